"""Patient Orientation (0020,0020; PS3.3 C.7.6.1.1.1): where in the patient the rows and columns of an image run to."""

from typing import NamedTuple

_AXES = ("LR", "AP", "HF")


class Orientation(NamedTuple):
    """Where an image runs to, each as one to three of the letters L, R, A, P, H and F; empty where not stated.

    Attributes:
        rows: where a row runs to, from the left to the right of the image.
        columns: where a column runs to, from the top to the bottom.
    """

    rows: str = ""
    columns: str = ""


NOT_ORIENTED = Orientation()


def orientation_of(values: list[str]) -> Orientation:
    """Return what the values of Patient Orientation say; one that is no direction counts as not stated."""
    rows, columns, *_ = (*map(_direction, values), "", "")
    return Orientation(rows, columns)


def _direction(value: str) -> str:
    letters = value.upper()
    # "PA" runs forth and back at once: it is a view that was put in the wrong place.
    alone = all(sum(letter in axis for letter in letters) <= 1 for axis in _AXES)
    return letters if alone and set(letters) <= set("".join(_AXES)) else ""
