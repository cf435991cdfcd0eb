"""ChestX-ray14 as NIH distributes it: the labels, the official lists, the boxes, and where each film lies."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final

from agcnn_models.labels import NO_FINDING
from agcnn_training.data.boxes import LesionBox, read_boxes
from agcnn_training.data.names import SUFFIXES, film_key
from agcnn_training.data.records import read_names
from agcnn_training.data.table import Row, read_table
from agcnn_training.errors import TrainingError

FILMS: Final = 112_120
PATIENTS: Final = 30_805

SOURCE: Final = "the NIH Clinical Center's Box folder, https://nihcc.app.box.com/v/ChestXray-NIHCC"

_ENTRIES: Final = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
BOXES: Final = "BBox_List_2017.csv"
TRAIN_VAL: Final = "train_val_list.txt"
TEST: Final = "test_list.txt"
# Sides to files, as ports of CheXNet keep them; in a folder of their own, since NIH's list has a name of theirs.
CHEXNET_FOLDER: Final = "chexnet-split"
_CHEXNET: Final = {"train": "train_list.txt", "validation": "val_list.txt", "test": "test_list.txt"}

# The films lie in the archives in the order of their names: so many in the first, and in each of the next ten.
_FIRST_ARCHIVE: Final = 4_999
_NEXT_ARCHIVES: Final = 10_000


@dataclass(frozen=True)
class ChestXray14:
    """The data set in a folder.

    The folder holds ``Data_Entry_2017_v2020.csv`` (or ``Data_Entry_2017.csv``), ``BBox_List_2017.csv``,
    ``train_val_list.txt`` and ``test_list.txt``, each as it is or with ``.gz``, and the films in ``images/`` or in
    ``images_001/`` to ``images_012/`` at any depth. Films match by their names without suffix, so that a converted
    copy (JPEG, DICOM) is as good as the original.

    Attributes:
        root: the folder.
        images: where to look for films instead.
    """

    root: Path
    images: Path | None = None

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """All rows of the label table, whether or not the film is there, each with its ``history``.

        Raises:
            TrainingError: the table is missing or wrong.
        """
        return with_histories(self._table, self.train_val if self.has_lists else frozenset())

    @cached_property
    def about(self) -> str:
        """What the films are, as a sentence; a table that is not NIH's own is not said to be.

        Raises:
            TrainingError: the table is missing or wrong.
        """
        table = self._table_file.name.removesuffix(".gz")
        if len(self.rows) == FILMS:
            return f"Frontal films of ChestX-ray14 (NIH Clinical Center), with the labels of {table}."
        return f"Chest films, with the labels of a table in the form of ChestX-ray14's {table}."

    @cached_property
    def train_val(self) -> frozenset[str]:
        """The official films that train or validate; all but the test list where only that is there.

        Raises:
            TrainingError: neither list is there.
        """
        return self._official(TRAIN_VAL, TEST)

    @cached_property
    def test(self) -> frozenset[str]:
        """The official films that test; all but the train_val list where only that is there.

        Raises:
            TrainingError: neither list is there.
        """
        return self._official(TEST, TRAIN_VAL)

    @cached_property
    def films(self) -> dict[str, Path]:
        """The files of the films, by name without suffix.

        Raises:
            TrainingError: the folder of images is missing, or a film lies in it twice.
        """
        if self.images is not None:
            folders = [self.images]
        else:
            folders = sorted(path for path in self.root.glob("images*") if path.is_dir())
        if not all(folder.is_dir() for folder in folders):
            raise TrainingError(f"There is no folder {self.images}: give the right one with --images.")
        found: dict[str, Path] = {}
        for path in _files(folders):
            if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
                continue
            name = film_key(path.name)
            if name in found:
                raise TrainingError(f"A film lies twice, in {found[name]} and in {path}: keep one of them.")
            found[name] = path
        return found

    def boxes(self, rows: Sequence[Row]) -> tuple[LesionBox, ...]:
        """The radiologists' boxes on these films; none where the list of boxes is missing."""
        path = _labels_file(self.root, BOXES)
        return read_boxes(path, rows) if path else ()

    def chexnet_lists(self) -> dict[str, frozenset[str]]:
        """The three lists of the CheXNet ports, by side.

        Raises:
            TrainingError: one of them is missing.
        """
        folder = self.root / CHEXNET_FOLDER
        paths = {side: _labels_file(folder, name) for side, name in _CHEXNET.items()}
        missing = [_CHEXNET[side] for side, path in paths.items() if path is None]
        if missing:
            raise TrainingError(
                f"The split chexnet needs {', '.join(missing)} in {folder}: take them from the repository "
                "arnoweng/CheXNet, folder ChestX-ray14/labels, or choose another split."
            )
        return {side: read_names(path) for side, path in paths.items() if path is not None}

    def missing(self) -> tuple[str, ...]:
        """The films of the label table that are not there, by name, in order."""
        return tuple(sorted(row.image for row in self.rows if film_key(row.image) not in self.films))

    def missing_labels(self) -> tuple[str, ...]:
        """The label files, beside the table, that are not there."""
        return tuple(name for name in (BOXES, TRAIN_VAL, TEST) if _labels_file(self.root, name) is None)

    def archives(self, images: Iterable[str]) -> dict[str, int]:
        """The NIH archives that hold these films, with how many of them; empty for a table that is not NIH's own."""
        if len(self.rows) != FILMS:
            return {}
        order = {name: index for index, name in enumerate(sorted(row.image for row in self.rows))}
        numbers = Counter(max(order[image] - _FIRST_ARCHIVE, -1) // _NEXT_ARCHIVES + 2 for image in images)
        return {f"images_{number:03d}.tar.gz": count for number, count in sorted(numbers.items())}

    @cached_property
    def _table(self) -> tuple[Row, ...]:
        return read_table(self._table_file)

    @property
    def _table_file(self) -> Path:
        if (path := _labels_file(self.root, *_ENTRIES)) is None:
            raise TrainingError(
                f"{self.root} has no {' or '.join(_ENTRIES)}, so it is not the root of ChestX-ray14: give that folder, "
                f"or a label table. The data set comes from {SOURCE}."
            )
        return path

    @property
    def has_lists(self) -> bool:
        """Whether either of NIH's two lists is there."""
        return any(_labels_file(self.root, name) for name in (TRAIN_VAL, TEST))

    def _official(self, name: str, other: str) -> frozenset[str]:
        if path := _labels_file(self.root, name):
            return read_names(path)
        if (path := _labels_file(self.root, other)) is None:
            raise TrainingError(f"{self.root} has no {name} or {other}: get it from {SOURCE}.")
        rest = read_names(path)
        return frozenset(key for row in self._table if (key := film_key(row.image)) not in rest)


def with_histories(rows: Sequence[Row], train_val: frozenset[str]) -> tuple[Row, ...]:
    """Tell each row what the films taken just before and just after of the same patient show.

    Films a few days apart share most of what is to be seen; films years apart need not. Only films on the same side of
    the official lists count, so that nothing of a test film reaches training.

    Args:
        rows: all rows of the label table; NIH numbers a patient's films in the order in which they were taken.
        train_val: the films of one side (see ``read_names``); all others are the other side.
    """
    sides = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.image):
        sides[row.patient, film_key(row.image) in train_val].append(row)
    histories: dict[str, frozenset[str]] = {}
    for films in sides.values():
        for index, row in enumerate(films):
            neighbours = films[max(index - 1, 0) : index] + films[index + 1 : index + 2]
            if neighbours:
                histories[row.image] = frozenset[str]().union(*(film.findings for film in neighbours)) - {NO_FINDING}
    return tuple(replace(row, history=histories.get(row.image)) for row in rows)


def _labels_file(folder: Path, *names: str) -> Path | None:
    """The first of these files that is there, as it is or gzipped."""
    candidates = (folder / f"{name}{packed}" for name in names for packed in ("", ".gz"))
    return next((path for path in candidates if path.is_file()), None)


def _files(folders: Iterable[Path]) -> Iterable[Path]:
    # os.walk: Path.rglob follows no links, and copies of this data set are often links.
    for folder in folders:
        for place, _, names in os.walk(folder, followlinks=True):
            yield from (Path(place, name) for name in sorted(names))
