"""What a data set lacks, how to get it, and which of its films are damaged."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from agcnn_training.data.chestxray14 import BOXES, FILMS, PATIENTS, SOURCE, TEST, TRAIN_VAL, ChestXray14
from agcnn_training.data.names import film_key
from agcnn_training.data.parallel import on_each
from agcnn_training.data.pictures import ImageLoader, Loading
from agcnn_training.data.table import read_table
from agcnn_training.errors import TrainingError, TrainingStopped

_NAMED: Final = 5
_BLOCK: Final = 2048

# A whole file of a kind begins and ends like this (PNG: the chunk IEND with its checksum; JPEG: SOI and EOI).
_PNG: Final = (b"\x89PNG\r\n\x1a\n", b"\x00\x00\x00\x00IEND\xaeB`\x82")
_JPEG: Final = (b"\xff\xd8\xff", b"\xff\xd9")
_DICOM_PREAMBLE: Final = 128


@dataclass(frozen=True)
class Damage:
    """One film that cannot be used, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Check:
    """What was found in a data set.

    Attributes:
        name: of the data set.
        films: how many its labels list.
        patients: of how many patients.
        missing: the films that are listed and not there.
        damaged: the films that are there and cannot be used.
        remarks: what else a person should know, a sentence each: what to get, and where.
        deep: whether every film was decoded, or only its size, beginning and end looked at.
    """

    name: str
    films: int
    patients: int
    missing: tuple[str, ...]
    damaged: tuple[Damage, ...]
    remarks: tuple[str, ...]
    deep: bool

    @property
    def is_sound(self) -> bool:
        """Whether every film is there and none is damaged."""
        return not self.missing and not self.damaged

    def sentences(self) -> tuple[str, ...]:
        """The whole account, for people."""
        there = self.films - len(self.missing)
        looked = "all were decoded" if self.deep else "beginnings and ends were looked at"
        sentences = [
            f"{self.name}: {self.films:,} films of {self.patients:,} patients listed, {there:,} there; {looked}."
        ]
        if self.missing:
            sentences.append(f"{len(self.missing):,} are missing: {_some(self.missing)}.")
        if not there:
            sentences.append("Where they lie in another folder, name that with --images.")
        sentences.extend(self.remarks)
        if self.damaged:
            sentences.append(f"{len(self.damaged):,} are damaged; get these anew:")
            sentences.extend(f"  {damage.path}: {damage.reason}" for damage in self.damaged)
        if self.is_sound:
            sentences.append("Nothing is missing, and nothing is damaged.")
        return tuple(sentences)


def check_data(data: Path, images: Path | None, loading: Loading, *, deep: bool = False) -> Check:
    """Look through ChestX-ray14 or the films of a label table.

    Args:
        data: the root of ChestX-ray14, or a table.
        images: the folder of the images, where they do not lie beside the labels.
        loading: how films are decoded, and where progress is shown.
        deep: whether to decode every film.

    Raises:
        TrainingError: the labels cannot be read.
    """
    if data.is_dir():
        dataset = ChestXray14(data, images)
        name, rows, missing = f"ChestX-ray14 in {data}", dataset.rows, dataset.missing()
        listed = {film_key(row.image) for row in rows}
        there = [path for key, path in sorted(dataset.films.items()) if key in listed]
        remarks = _remarks(dataset, missing, strangers=len(dataset.films) - len(there))
    else:
        name, rows, remarks = data.name, read_table(data), []
        paths = {row.image: (images or data.parent) / row.image for row in rows}
        found = {image: path for image, path in paths.items() if path.is_file()}
        there, missing = list(found.values()), tuple(sorted(paths.keys() - found.keys()))
    return Check(
        name=name,
        films=len(rows),
        patients=len({row.patient for row in rows}),
        missing=missing,
        damaged=find_damaged(there, loading, deep=deep),
        remarks=tuple(remarks),
        deep=deep,
    )


def find_damaged(paths: Sequence[Path], loading: Loading, *, deep: bool) -> tuple[Damage, ...]:
    """The films that are no whole image files; with ``deep`` those too that do not decode.

    Raises:
        TrainingStopped: someone asked to stop.
    """
    work = partial(_decoding_fault, loader=loading.loader) if deep else file_fault
    damaged = []
    title = "decoding films" if deep else "looking at films"
    with closing(on_each(work, paths, loading.workers, ahead=_BLOCK)) as faults:
        for path, fault in zip(loading.journal.steps(paths, len(paths), title), faults, strict=True):
            if fault is not None:
                damaged.append(Damage(path, fault))
            if loading.stop.made:
                raise TrainingStopped("Stopped before all films had been looked at.")
    return tuple(damaged)


def file_fault(path: Path) -> str | None:
    """Why a file cannot be a whole PNG, JPEG or DICOM image, judged by its size, beginning and end; else None."""
    try:
        with path.open("rb") as file:
            head = file.read(_DICOM_PREAMBLE + 4)
            size = file.seek(0, 2)
            file.seek(max(size - 16, 0))
            tail = file.read()
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    if not size:
        return "it is empty"
    for begin, end in (_PNG, _JPEG):
        if head.startswith(begin):
            return None if end in tail else "it is cut off"
    return None if head[_DICOM_PREAMBLE:] == b"DICM" else "it is no PNG, JPEG or DICOM file"


def _decoding_fault(path: Path, loader: ImageLoader) -> str | None:
    try:
        loader(path)
    except TrainingError as error:
        return str(error)
    return file_fault(path)


def _remarks(dataset: ChestXray14, missing: Sequence[str], strangers: int) -> list[str]:
    remarks = []
    patients = len({row.patient for row in dataset.rows})
    if (len(dataset.rows), patients) != (FILMS, PATIENTS):
        remarks.append(f"NIH's own table lists {FILMS:,} films of {PATIENTS:,} patients: this one is another.")
    if archives := dataset.archives(missing):
        names = ", ".join(f"{name} ({count:,})" for name, count in archives.items())
        remarks.append(f"They are in these archives of {SOURCE}: {names}.")
    remarks.extend(_unlabelled(frozenset(dataset.missing_labels())))
    if strangers:
        remarks.append(f"{strangers:,} further image files are not listed and are passed over.")
    return remarks


def _unlabelled(missing: frozenset[str]) -> list[str]:
    """What follows from the label files that are not there."""
    remarks = []
    if BOXES in missing:
        remarks.append(f"{BOXES} is missing: localisation cannot be measured; {SOURCE} has it.")
    if {TRAIN_VAL, TEST} <= missing:
        remarks.append(f"{TRAIN_VAL} and {TEST} are missing: the official split needs one of them; {SOURCE} has them.")
    elif lists := {TRAIN_VAL, TEST} & missing:
        remarks.append(f"{min(lists)} is missing: what the other list does not name counts as its content.")
    return remarks


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMED])
    return f"{shown} and {len(names) - _NAMED:,} more" if len(names) > _NAMED else shown
