"""FRONT DOOR of the data: from what a person has on disk to rows, files, a split and boxes."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import compress
from pathlib import Path

from agcnn_models.labels import LABELS, PATHOLOGIES
from agcnn_training.data.boxes import LesionBox, read_boxes
from agcnn_training.data.chestxray14 import SOURCE, ChestXray14
from agcnn_training.data.names import film_key
from agcnn_training.data.records import read_names
from agcnn_training.data.splits import (
    TEST,
    TRAIN,
    VALIDATION,
    Indices,
    Split,
    leaking_share,
    split_by_image,
    split_by_lists,
    split_by_patient,
    split_officially,
)
from agcnn_training.data.table import Row, labelled, read_pretraining_table, read_table, unknown
from agcnn_training.errors import TrainingError
from agcnn_training.recipe import SplitMethod, SplitRecipe


@dataclass(frozen=True)
class Dataset:
    """Films with labels, and what is to be done with each.

    Attributes:
        rows: what is known of each film.
        paths: the file of each film; ``rows[i]`` lies in ``paths[i]``.
        split: indices into both.
        boxes: lesions that were drawn on some of the films.
        about: what the films are, as a sentence.
    """

    rows: tuple[Row, ...]
    paths: tuple[Path, ...]
    split: Split
    boxes: tuple[LesionBox, ...] = ()
    about: str = "Chest films with the labels of the table that was given."


def open_data(
    data: Path, images: Path | None, split: SplitRecipe, *, boxes: Path | None = None, partial: bool = False
) -> Dataset:
    """Open a ChestX-ray14 folder or a label table.

    Args:
        data: the root of ChestX-ray14, or a CSV or parquet table (see ``read_table``).
        images: the folder of the images; left out: where they lie in ChestX-ray14, the table's own folder.
        split: how the films are divided; files of names are relative to the root, or to the table's folder.
        boxes: a table of lesions (see ``read_boxes``); left out: ChestX-ray14's own, none for a table.
        partial: whether to go on with the films that are there when others are missing.

    Raises:
        TrainingError: something is missing or wrong; the sentence says what to do.
    """
    if not data.is_dir():
        films = _of_table(data, images or data.parent, boxes, partial=partial)
        made = _split_table(data, films.rows, split)
        return Dataset(_without_shared_histories(films.rows, made), films.paths, made, films.boxes)
    source = ChestXray14(data, images)
    films = _of_chestxray14(source, boxes, partial=partial)
    made = _split_chestxray14(source, films.rows, split)
    return Dataset(_without_shared_histories(films.rows, made), films.paths, made, films.boxes, source.about)


@dataclass(frozen=True)
class Collection:
    """Films with labels that nothing divides but NIH's own list of test films: to be read, or yet to be split.

    Attributes:
        rows: the films.
        paths: the file of each.
        boxes: lesions drawn on them.
        test: indices of those on the official test list; empty for a table.
    """

    rows: tuple[Row, ...]
    paths: tuple[Path, ...]
    boxes: tuple[LesionBox, ...]
    test: frozenset[int] = frozenset()


def open_collection(data: Path, images: Path | None, *, boxes: Path | None = None, partial: bool = False) -> Collection:
    """Open a ChestX-ray14 folder or a label table without splitting it; arguments as for ``open_data``.

    Raises:
        TrainingError: something is missing or wrong; the sentence says what to do.
    """
    if not data.is_dir():
        return _of_table(data, images or data.parent, boxes, partial=partial)
    dataset = ChestXray14(data, images)
    films = _of_chestxray14(dataset, boxes, partial=partial)
    listed = dataset.test if dataset.has_lists else frozenset()
    return replace(films, test=frozenset(i for i, row in enumerate(films.rows) if film_key(row.image) in listed))


def account(dataset: Dataset) -> tuple[str, ...]:
    """What a person should know of the data before training on them: a sentence each."""
    split = dataset.split
    patients = [row.patient for row in dataset.rows]
    counts = f"{len(split.train)} train, {len(split.validation)} validate, {len(split.test)} test"
    sentences = [f"{len(dataset.rows)} films of {len(set(patients))} patients: {counts} ({split.description})."]
    shared = {pair: number for pair, number in split.overlap.items() if number}
    if shared:
        pairs = "; ".join(f"{one} and {other}: {number}" for (one, other), number in shared.items())
        sentences.append(f"WARNING: patients have films on two sides ({pairs}), so the metrics flatter the network.")
        leaking = leaking_share(patients, split)
        if leaking > 0:
            sentences.append(f"Of the test films {leaking:.0%} are of a patient who trains.")
    else:
        sentences.append("No patient has films on two sides.")
    if not len(split.test):
        sentences.append("No film is kept for test: the figures will be those of the validation films.")
    sentences.extend(
        f"Without a positive {side} film: {', '.join(empty)}."
        for side, chosen in ((TRAIN, split.train), (VALIDATION, split.validation))
        if (empty := _without_positives(dataset, chosen))
    )
    return tuple(sentences)


def require_judges(dataset: Dataset, not_assessed: Sequence[str]) -> None:
    """Make sure that the validation films can choose an epoch, before any film is read.

    Args:
        dataset: its rows and split are looked at.
        not_assessed: labels that the train films do not teach, by which nothing is judged (see ``never_learnt``).

    Raises:
        TrainingError: among the validation films no pathology that is learnt is both present and absent.
    """
    rows = [dataset.rows[index] for index in dataset.split.validation]
    for label in (label for label in PATHOLOGIES if label not in not_assessed):
        known = [label in labelled(row) for row in rows if label not in unknown(row)]
        if any(known) and not all(known):
            return
    raise TrainingError(
        f"No pathology that the train films teach is both present and absent among the {len(rows)} validation films, "
        "so nothing could choose an epoch: add films, keep out a larger share of the patients, or choose another split."
    )


def fingerprint(dataset: Dataset) -> str:
    """SHA-256 over what a run learns from: every row, its side, and the size of its file.

    Not the pixels, which would take hours to read, nor the time of change: a copy of the data on another machine has
    others, and a run may go on there.

    Raises:
        TrainingError: a file is missing.
    """
    digest = hashlib.sha256()
    sides = dataset.split.side_of()
    for index, (row, path) in enumerate(zip(dataset.rows, dataset.paths, strict=True)):
        digest.update(json.dumps([asdict(row), sides.get(index), _size(path)], default=sorted).encode())
    return digest.hexdigest()


def fingerprint_pretraining(table: Path, images: Path) -> str:
    """SHA-256 over the further films that a run learns from: their names, classes and the sizes of their files.

    Raises:
        TrainingError: the table or a file is missing or wrong.
    """
    digest = hashlib.sha256()
    for row in read_pretraining_table(table):
        digest.update(json.dumps([asdict(row), _size(images / row.image)]).encode())
    return digest.hexdigest()


def _of_chestxray14(dataset: ChestXray14, boxes: Path | None, *, partial: bool) -> Collection:
    """The films that are there; without ``partial`` that has to be all."""
    if not partial and (missing := dataset.missing()):
        archives = ", ".join(dataset.archives(missing))
        raise TrainingError(
            f"Of the {len(dataset.rows):,} films that {dataset.root} lists {len(missing):,} are missing, {missing[0]} "
            f"first: get {archives or 'them'} from {SOURCE}, or go on without them with --partial."
        )
    rows = tuple(row for row in dataset.rows if film_key(row.image) in dataset.films)
    if not rows:
        raise TrainingError(
            f"None of the films that {dataset.root} lists is there: put them into its folder images, or name their "
            "folder with --images."
        )
    paths = tuple(dataset.films[film_key(row.image)] for row in rows)
    return Collection(rows, paths, _read_boxes(boxes, rows) if boxes else dataset.boxes(rows))


def _of_table(data: Path, folder: Path, boxes: Path | None, *, partial: bool) -> Collection:
    """The same of a table."""
    rows = read_table(data)
    there = [(folder / row.image).is_file() for row in rows]
    if partial:
        rows = tuple(compress(rows, there))
    elif not all(there):
        lost = rows[there.index(False)]
        raise TrainingError(
            f"The image {folder / lost.image} is missing, one of {there.count(False):,} that {data.name} lists and "
            "that are not there: put them there, name their folder with --images, or go on without them with --partial."
        )
    if not rows:
        raise TrainingError(f"None of the images of {data.name} is in {folder}: name their folder with --images.")
    return Collection(rows, tuple(folder / row.image for row in rows), _read_boxes(boxes, rows) if boxes else ())


def _split_chestxray14(dataset: ChestXray14, rows: Sequence[Row], split: SplitRecipe) -> Split:
    match split.method:
        case None | SplitMethod.OFFICIAL:
            return split_officially(rows, dataset.train_val, dataset.test, split.validation, split.seed)
        case SplitMethod.CHEXNET:
            return split_by_lists(rows, dataset.chexnet_lists(), "the lists of the CheXNet ports")
        case _:
            return _split_rows(rows, split, dataset.root)


def _split_table(data: Path, rows: Sequence[Row], split: SplitRecipe) -> Split:
    if split.method in (SplitMethod.OFFICIAL, SplitMethod.CHEXNET):
        raise TrainingError(
            f"The split {split.method} belongs to ChestX-ray14 and {data.name} is a table: give the root of "
            "ChestX-ray14 as --data, or choose another split.method (patient, paper, lists)."
        )
    return _split_rows(rows, split, data.parent)


def _split_rows(rows: Sequence[Row], split: SplitRecipe, folder: Path) -> Split:
    patients = [row.patient for row in rows]
    match split.method:
        case SplitMethod.PAPER:
            return split_by_image([row.image for row in rows], patients, split.seed)
        case SplitMethod.LISTS:
            given = {TRAIN: split.train_list, VALIDATION: split.validation_list, TEST: split.test_list}
            paths = {side: folder / path for side, path in given.items() if path is not None}
            names = ", ".join(path.name for path in paths.values())
            lists = {side: read_names(path) for side, path in paths.items()}
            return split_by_lists(rows, lists, f"the lists {names or 'of the recipe, which names none'}")
        case _:
            return split_by_patient(patients, split.validation, split.seed, test=split.test)


def _read_boxes(path: Path, rows: Sequence[Row]) -> tuple[LesionBox, ...]:
    boxes = read_boxes(path, rows)
    if not boxes:
        raise TrainingError(
            f"None of the boxes of {path.name} is on a film of the data: give the table that fits them."
        )
    return boxes


def _without_shared_histories(rows: Sequence[Row], split: Split) -> tuple[Row, ...]:
    """Take the history from patients on two sides: it would tell training what the other side's films show."""
    if not any(split.overlap.values()):
        return tuple(rows)
    sides = defaultdict(set)
    for index, side in split.side_of().items():
        sides[rows[index].patient].add(side)
    return tuple(replace(row, history=None) if len(sides[row.patient]) > 1 else row for row in rows)


def _without_positives(dataset: Dataset, chosen: Indices) -> list[str]:
    present: set[str] = set().union(*(labelled(dataset.rows[index]) for index in chosen))
    return [label for label in LABELS if label not in present]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise TrainingError(f"The image {path} is missing: put it there, or take its row out of the table.") from error
