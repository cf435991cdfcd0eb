"""How every figure of an experiment looks, beside its colours; and how it is written, without a display."""

from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, Final

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.typing import RcKeyType

from agcnn_training.files import replace_file

GREY: Final = "#6E6E6E"
PALE: Final = "#DDDDDD"

_RESOLUTION: Final = 150
_STYLE: Final[dict[RcKeyType, Any]] = {  # Any, since each key has a type of its own
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # text stays text
}


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches, whose parts find their own places."""
    return Figure(figsize=(width, height), layout="constrained")


def plain(axes: Axes) -> None:
    """Leave of the frame only what carries a scale, and lay a pale grid behind."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=PALE, linewidth=0.6)
    axes.set_axisbelow(True)


def save(figure: Figure, folder: Path, name: str) -> tuple[Path, ...]:
    """Write a figure as PNG and PDF; the same figure gives the same bytes.

    Raises:
        TrainingError: the folder cannot be written.
    """
    paths = folder / f"{name}.png", folder / f"{name}.pdf"
    with rc_context(_STYLE):
        for path, undated in zip(paths, ({}, {"CreationDate": None}), strict=True):
            draw = partial(figure.savefig, format=path.suffix[1:], dpi=_RESOLUTION, metadata=undated)
            replace_file(path, draw)
    return paths


def styled() -> AbstractContextManager[None]:
    """The context in which figures are made."""
    return rc_context(_STYLE)
