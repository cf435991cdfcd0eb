"""What a model has met: the films of its own run, and those that the weights had met which the run was given."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple

from agcnn_training.data.names import film_key
from agcnn_training.data.splits import SIDES, TRAIN, VALIDATION
from agcnn_training.errors import TrainingError
from agcnn_training.files import csv_text, replace_text
from agcnn_training.run_folder import GIVEN_FILE, SPLIT_FILE, run_path

_CHOOSING: Final = (TRAIN, VALIDATION)
"""The sides whose films leave a trace in the weights: they moved them, or chose among their epochs."""


class Meeting(NamedTuple):
    """A film, whose it is, and on which side of a run it was; on none where its lists left it out."""

    image: str
    patient: str
    side: str


@dataclass(frozen=True)
class Met:
    """What is known of the films that a model, or a file of weights, has met.

    Attributes:
        films: of its run, and of those sides of earlier runs that left a trace in weights which the run was given.
        unknown: the names of files of weights, among those that it was given, of which nobody knows what they had met.
    """

    films: tuple[Meeting, ...]
    unknown: tuple[str, ...] = ()

    @cached_property
    def images(self) -> dict[str, str]:
        """The side of each film, by its name without suffix: the closest on which it was met."""
        found: dict[str, str] = {}
        for side in ("", *reversed(SIDES)):
            found.update((film_key(film.image), side) for film in self.films if film.side == side)
        return found

    @cached_property
    def patients(self) -> dict[str, frozenset[str]]:
        """The patients of each side."""
        return {side: frozenset(film.patient for film in self.films if film.side == side) for side in SIDES}

    @property
    def traces(self) -> tuple[Meeting, ...]:
        """The films that left a trace in its weights."""
        return tuple(film for film in self.films if film.side in _CHOOSING)


def read_met(bundle: Path) -> Met | None:
    """What a bundle has met, or None where the folder of its run is not beside it.

    Raises:
        TrainingError: a file is there and cannot be read.
    """
    return _read_run(run_path(bundle))


def met_by(weights: Path) -> Met | None:
    """What a file of weights has met: a stage in the folder of its run, or the weights of a bundle beside that.

    Returns:
        None where there is no such folder.

    Raises:
        TrainingError: a file is there and cannot be read.
    """
    folder = weights.resolve().parent
    return _read_run(folder) or _read_run(run_path(folder))


def write_given(run: Path, known: Sequence[tuple[str, Met]], unknown: Sequence[str]) -> None:
    """Record in a run's folder what the weights that it was given had met; nothing where it was given none.

    Args:
        run: the folder.
        known: files of weights, by name, with what each has met.
        unknown: the names of those of which nobody knows it: a line each, without a film.

    Raises:
        TrainingError: the disk is full or cannot be written.
    """
    lines = [(name, *film) for name, met in known for film in met.traces] + [(name, "", "", "") for name in unknown]
    if lines:
        replace_text(run / GIVEN_FILE, csv_text(("weights", *Meeting._fields), lines))


def _read_run(folder: Path) -> Met | None:
    split, given = folder / SPLIT_FILE, folder / GIVEN_FILE
    if not split.is_file():
        return None
    own = [Meeting(*cells) for cells in _lines(split, Meeting._fields)]
    before = list(_lines(given, ("weights", *Meeting._fields))) if given.is_file() else []
    return Met(
        films=(*own, *(Meeting(*film) for _, *film in before if film[0])),
        unknown=tuple(name for name, image, *_ in before if not image),
    )


def _lines(path: Path, columns: Sequence[str]) -> Iterable[list[str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [[row[column] or "" for column in columns] for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, KeyError, csv.Error) as error:
        raise TrainingError(f"{path} is not a run's split ({error}): repair it, or take it away.") from error
