"""Label tables: which film shows what, of whom."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agcnn_models.labels import LABELS, NO_FINDING, PATHOLOGIES
from agcnn_training.errors import TrainingError

# The plain name of a column, then the name it bears in NIH's own Data_Entry_2017.csv.
_COLUMNS: Final = {
    "image": ("image", "Image Index"),
    "patient": ("patient", "Patient ID"),
    "finding_labels": ("finding_labels", "Finding Labels"),
    "age": ("age", "Patient Age"),
    "sex": ("sex", "Patient Sex", "Patient Gender"),
    "view": ("view", "View Position"),
    "class": ("class",),
}


@dataclass(frozen=True)
class Row:
    """One film of a label table. Age in years; sex "M" or "F"; view "PA" or "AP"; None where it is unknown."""

    image: str
    patient: str
    findings: frozenset[str]
    age: float | None = None
    sex: str | None = None
    view: str | None = None
    history: frozenset[str] | None = None


def labelled(row: Row) -> frozenset[str]:
    """The labels of a film: its findings, or No Finding when it has none (section III-A)."""
    return row.findings or frozenset({NO_FINDING})


@dataclass(frozen=True)
class PretrainingRow:
    """One film of a pretraining table, which has classes of its own and need not name patients."""

    image: str
    category: str


def read_table(path: Path) -> tuple[Row, ...]:
    """Read a CSV with the columns image, patient and finding_labels (or NIH's own names for them).

    ``finding_labels`` holds NIH's spelling, separated by ``|``; age, sex and view are optional.

    Raises:
        TrainingError: the file or a column is missing, a film has no patient or comes twice, or a label is unknown.
    """
    rows = tuple(
        _row(record, number, path) for number, record in _records(path, ("image", "patient", "finding_labels"))
    )
    _no_film_twice((row.image for row in rows), path)
    return rows


def read_pretraining_table(path: Path) -> tuple[PretrainingRow, ...]:
    """Read a CSV with the columns image and class.

    Raises:
        TrainingError: the file or a column is missing, a film comes twice, or there are fewer than two classes.
    """
    rows = tuple(PretrainingRow(record["image"], record["class"]) for _, record in _records(path, ("image", "class")))
    _no_film_twice((row.image for row in rows), path)
    if len(categories(rows)) < 2:
        raise TrainingError(f"{path.name} has one class only: pretraining needs films of two classes or more.")
    return rows


def categories(rows: Sequence[PretrainingRow]) -> tuple[str, ...]:
    """The classes of a pretraining table, sorted."""
    return tuple(sorted({row.category for row in rows}))


def _records(path: Path, needed: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """The lines of a CSV as dictionaries under our column names, each with its line number."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            header = reader.fieldnames or ()
            columns = {ours: theirs for ours, names in _COLUMNS.items() for theirs in names[::-1] if theirs in header}
            missing = [ours for ours in needed if ours not in columns]
            if missing:
                raise TrainingError(
                    f"{path.name} has no column {' or '.join(_COLUMNS[missing[0]])}: add it; its columns are "
                    f"{', '.join(header) or 'none'}."
                )
            records = [
                (number, {ours: (record[theirs] or "").strip() for ours, theirs in columns.items()})
                for number, record in enumerate(reader, start=2)
            ]
    except OSError as error:
        raise TrainingError(
            f"The label table {path} cannot be read ({error.strerror}): give its right path."
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise TrainingError(f"The label table {path} is not a CSV file in UTF-8: {error}.") from error
    if not records:
        raise TrainingError(f"{path.name} has no rows: a training run needs films.")
    return records


def _row(record: dict[str, str], number: int, path: Path) -> Row:
    findings = frozenset(part.strip() for part in record["finding_labels"].split("|") if part.strip())
    unknown = findings.difference(LABELS)
    if unknown:
        raise TrainingError(
            f"Line {number} of {path.name} has the unknown label {min(unknown)!r}: use {', '.join(LABELS)}."
        )
    if NO_FINDING in findings and findings.intersection(PATHOLOGIES):
        raise TrainingError(f"Line {number} of {path.name} says {NO_FINDING!r} beside a finding: keep one of them.")
    if not record["patient"] or not record["image"]:
        raise TrainingError(
            f"Line {number} of {path.name} names no {'image' if not record['image'] else 'patient'}: fill it in, "
            "since films of one patient must stay together."
        )
    return Row(
        image=record["image"],
        patient=record["patient"],
        findings=findings,
        age=_age(record.get("age", ""), number, path),
        sex=record.get("sex") or None,
        view=record.get("view") or None,
    )


def _age(text: str, number: int, path: Path) -> float | None:
    # NIH's first release writes 057Y, as DICOM does; the second writes 57.
    digits = text.removesuffix("Y")
    if not digits:
        return None
    try:
        return float(digits)
    except ValueError as error:
        raise TrainingError(
            f"Line {number} of {path.name} has the age {text!r}: write years, or leave it empty."
        ) from error


def _no_film_twice(images: Iterable[str], path: Path) -> None:
    seen: set[str] = set()
    for image in images:
        if image in seen:
            raise TrainingError(f"{path.name} lists {image} twice: keep one row for each film.")
        seen.add(image)
