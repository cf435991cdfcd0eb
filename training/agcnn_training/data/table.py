"""Label tables: which film shows what, of whom."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from agcnn_models.labels import LABELS, NO_FINDING, PATHOLOGIES
from agcnn_training.data.names import film_key
from agcnn_training.data.records import Columns, Record, read_records
from agcnn_training.errors import TrainingError

# The plain name of a column, then the name it bears in NIH's own Data_Entry_2017.csv.
_COLUMNS: Final[Columns] = {
    "image": ("image", "Image Index"),
    "patient": ("patient", "Patient ID"),
    "finding_labels": ("finding_labels", "Finding Labels"),
    "uncertain_labels": ("uncertain_labels",),
    "history": ("history",),
    "age": ("age", "Patient Age"),
    "sex": ("sex", "Patient Sex", "Patient Gender"),
    "view": ("view", "View Position"),
}
# One column a label, with a blank or NIH's underscore; "Pleural Effusion" is CheXpert's name.
_LABEL_COLUMNS: Final[Columns] = {label: (label, label.replace("_", " ")) for label in LABELS} | {
    "Effusion": ("Effusion", "Pleural Effusion")
}
_PRETRAINING_COLUMNS: Final[Columns] = {"image": ("image",), "class": ("class",)}

_A_YEAR: Final = {"Y": 1.0, "M": 12.0, "W": 365.25 / 7, "D": 365.25}
"""How many of DICOM's units of age a year has."""

_SEXES: Final = {"m": "M", "male": "M", "f": "F", "female": "F"}

_KNOWN: Final = frozenset(LABELS)
_PRESENT: Final = frozenset({"1", "1.0", "true"})
_ABSENT: Final = frozenset({"", "0", "0.0", "false"})
_UNCERTAIN: Final = frozenset({"-1", "-1.0"})


@dataclass(frozen=True)
class Row:
    """One film of a label table.

    Attributes:
        image: its name, relative to the folder of images.
        patient: whose it is.
        findings: the labels that it bears; empty says the same as No Finding alone.
        age: in years, of infants a fraction of one; None where it is unknown, as for the next two.
        sex: "M" or "F"; what else a table says stands for neither.
        view: "PA" or "AP", likewise.
        uncertain: labels of which nobody knows whether it bears them.
        history: what the same patient's films of just before and after show; None where there are none.
    """

    image: str
    patient: str
    findings: frozenset[str]
    age: float | None = None
    sex: str | None = None
    view: str | None = None
    uncertain: frozenset[str] = frozenset()
    history: frozenset[str] | None = None


def labelled(row: Row) -> frozenset[str]:
    """The labels that a film certainly bears: its findings, or No Finding when it has none (section III-A)."""
    return row.findings if row.findings or row.uncertain else frozenset({NO_FINDING})


def unknown(row: Row) -> frozenset[str]:
    """The labels of which nobody knows: No Finding too, where nothing is present and anything is uncertain."""
    return row.uncertain if row.findings or not row.uncertain else row.uncertain | {NO_FINDING}


@dataclass(frozen=True)
class PretrainingRow:
    """One film of a pretraining table, which has classes of its own and need not name patients."""

    image: str
    category: str


def read_table(path: Path) -> tuple[Row, ...]:
    """Read a table of films: CSV (``.csv``, ``.csv.gz``) or parquet, a row a film.

    Columns, or NIH's own names for them: ``image``, ``patient``, and the labels, which are written in one of two ways:

    - ``finding_labels``: NIH's spelling, separated by ``|``; empty says No Finding. What is not listed is absent,
      except for what ``uncertain_labels`` lists in the same way.
    - a column for each label, as in CheXpert: 1 present, 0 absent, -1 uncertain. Empty is absent, which is how
      CheXpert's own authors read "not mentioned". A finding without a column is uncertain: nobody looked for it.

    Where there is ``finding_labels``, columns of single labels are not read. ``age``, ``sex`` (M or Male, F or Female)
    and ``view`` (PA, AP) are optional, in capitals or not; so is ``history``, the findings of the same patient's films
    of just before and after (``No Finding`` for none, empty for unknown).

    Raises:
        TrainingError: the file or a column is missing, a film has no patient or comes twice, under a name with another
            suffix too, or a label is unknown.
    """
    records = read_records(path, {**_COLUMNS, **_LABEL_COLUMNS}, ("image", "patient"))
    if not records[0].cells.keys() & {"finding_labels", *LABELS}:
        raise TrainingError(
            f"{path.name} has no labels: add a column finding_labels or Finding Labels, or a column for each label "
            f"({', '.join(LABELS)})."
        )
    rows = tuple(map(_row, records))
    _no_film_twice([row.image for row in rows], path)
    _one_name_each([row.image for row in rows], path)
    return rows


def read_pretraining_table(path: Path) -> tuple[PretrainingRow, ...]:
    """Read a table with the columns image and class.

    Raises:
        TrainingError: the file or a column is missing, a film has no class or comes twice, or there are fewer than two
            classes.
    """
    records = read_records(path, _PRETRAINING_COLUMNS, ("image", "class"))
    for where, values in records:
        if lacking := next((name for name in ("image", "class") if not values[name]), None):
            raise TrainingError(f"{where} names no {lacking}: fill it in, or take the line out.")
    rows = tuple(PretrainingRow(record.cells["image"], record.cells["class"]) for record in records)
    _no_film_twice([row.image for row in rows], path)
    if len(categories(rows)) < 2:
        raise TrainingError(f"{path.name} has one class only: pretraining needs films of two classes or more.")
    return rows


def categories(rows: Sequence[PretrainingRow]) -> tuple[str, ...]:
    """The classes of a pretraining table, sorted."""
    return tuple(sorted({row.category for row in rows}))


def _row(record: Record) -> Row:
    where, values = record
    findings, uncertain = _listed_labels(record) if "finding_labels" in values else _label_columns(record)
    if NO_FINDING in findings and findings.intersection(PATHOLOGIES):
        raise TrainingError(f"{where} says {NO_FINDING!r} beside a finding: keep one of them.")
    if both := findings & uncertain:
        raise TrainingError(f"{where} calls {min(both)} both present and uncertain: keep one of them.")
    if not values["patient"] or not values["image"]:
        raise TrainingError(
            f"{where} names no {'image' if not values['image'] else 'patient'}: fill it in, "
            "since films of one patient must stay together."
        )
    return Row(
        image=values["image"],
        patient=values["patient"],
        findings=findings,
        age=_age(values.get("age", ""), where),
        sex=_sex(values.get("sex", "")),
        view=values.get("view", "").upper() or None,
        uncertain=uncertain,
        history=_labels(values["history"], where) - {NO_FINDING} if values.get("history") else None,
    )


def _listed_labels(record: Record) -> tuple[frozenset[str], frozenset[str]]:
    """Present and uncertain labels of a row that lists them."""
    where, values = record
    return _labels(values["finding_labels"], where), _labels(values.get("uncertain_labels", ""), where)


def _label_columns(record: Record) -> tuple[frozenset[str], frozenset[str]]:
    """Present and uncertain labels of a row with a column for each."""
    where, values = record
    written = {label: values[label].lower() for label in LABELS if label in values}
    for label, value in written.items():
        if value not in _PRESENT | _ABSENT | _UNCERTAIN:
            raise TrainingError(
                f"{where} has {values[label]!r} under {label}: write 1 (present), 0 (absent) or -1 (uncertain)."
            )
    findings = frozenset(label for label, value in written.items() if value in _PRESENT)
    uncertain = {label for label in PATHOLOGIES if written.get(label, "-1") in _UNCERTAIN}
    if NO_FINDING in written and not findings:
        # Something is there, or may be, for which these labels have no name.
        uncertain.add(NO_FINDING)
    return findings, frozenset(uncertain)


def _labels(text: str, where: str) -> frozenset[str]:
    labels = _parts(text)
    if not labels <= _KNOWN:
        raise TrainingError(f"{where} has the unknown label {min(labels - _KNOWN)!r}: use {', '.join(LABELS)}.")
    return labels


@lru_cache(maxsize=4096)
def _parts(text: str) -> frozenset[str]:
    # Large tables repeat a few hundred combinations a hundred thousand times.
    return frozenset(part.strip() for part in text.split("|") if part.strip())


def _age(text: str, where: str) -> float | None:
    # NIH's first release writes 057Y, as DICOM does (VR AS); the second writes 57.
    if not text:
        return None
    unit = _A_YEAR.get(text[-1])
    try:
        age = float(text[:-1]) / unit if unit else float(text)
    except ValueError:
        age = math.nan
    if not (math.isfinite(age) and age >= 0):
        raise TrainingError(
            f"{where} has the age {text!r}: write years, or an age as DICOM does (057Y, 011M), or leave it empty."
        )
    return age


def _sex(text: str) -> str | None:
    # CheXpert writes Female, NIH and DICOM F.
    return _SEXES.get(text.lower(), text) or None


def _no_film_twice(images: Sequence[str], path: Path) -> None:
    seen: set[str] = set()
    for image in images:
        if image in seen:
            raise TrainingError(f"{path.name} lists {image} twice: keep one row for each film.")
        seen.add(image)


def _one_name_each(images: Sequence[str], path: Path) -> None:
    """Lists, boxes and runs name films without their suffixes: two of one name would be taken for each other."""
    named: dict[str, str] = {}
    for image in images:
        other = named.setdefault(film_key(image), image)
        if other != image:
            raise TrainingError(
                f"{path.name} lists both {other} and {image}, and films match by their names without suffix: keep one "
                "of them, or rename one with its file."
            )
