"""The three views: the database's interface for people and programs that ask it, documented here and kept stable.

alembic/versions/ makes them. Columns may be added at the end in a later revision; none is renamed or removed. They are
read with SQLAlchemy Core: the object mapper would double the time that `agcnn-clinic findings` takes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Float,
    Integer,
    MetaData,
    Select,
    String,
    Table,
    and_,
    func,
    or_,
    select,
)

from agcnn_clinic.database.states import Columns, is_in, state_of
from agcnn_clinic.database.values import storable
from agcnn_clinic.errors import UsageError
from agcnn_models.labels import LABELS

LABEL_COLUMNS: dict[str, str] = {label: label.lower().replace(" ", "_") for label in LABELS}
"""Each label, in NIH's spelling, and its column in study_summary."""

_ROWS_AT_ONCE = 1000
HASH_BEGINNING = 8
"""So many characters of a hash are taken for a hash and not for a name."""

_FEW_DAYS = 28
"""A range of no more days is asked for day by day; of a longer one SQLite thinks that it is not worth the index."""

_T = TypeVar("_T")

_metadata = MetaData()

finding_list = Table(
    "finding_list",
    _metadata,
    Column("finding_id", Integer, comment="Number of the finding; later findings have larger ones."),
    Column("inference_id", Integer, comment="One model over one image; the newest reading has the largest number."),
    Column("file_id", Integer, comment="The received file that was read."),
    Column("study_key", String, comment="The short id that `studies` prints."),
    Column("study_instance_uid", String, comment="Study Instance UID (0020,000D)."),
    Column("patient_id", String, comment="Patient ID (0010,0020)."),
    Column("patient_name", String, comment="Patient's Name (0010,0010), as DICOM writes it."),
    Column("patient_sex", String, comment="Patient's Sex (0010,0040)."),
    Column("patient_birth_date", String, comment="ISO 8601, or empty."),
    Column("accession_number", String, comment="Accession Number (0008,0050)."),
    Column("study_date", String, comment="ISO 8601, or empty."),
    Column("series_instance_uid", String, comment="Series Instance UID (0020,000E)."),
    Column("sop_instance_uid", String, comment="SOP Instance UID (0008,0018): the image."),
    Column("view_position", String, comment="View Position (0018,5101); empty where unknown."),
    Column("label", String, comment="One of the 15 labels of ChestX-ray14, in NIH's spelling."),
    Column("probability", Float, comment="The fusion branch's, calibrated where the model is for this label."),
    Column("threshold", Float, comment="On probability; null where the model has none for this label."),
    Column("positive", Boolean, comment="probability >= threshold; null without a threshold."),
    Column("probability_global", Float, comment="The global branch's output, uncalibrated."),
    Column("probability_local", Float, comment="The local branch's output, uncalibrated."),
    Column("probability_fusion", Float, comment="The fusion branch's output, uncalibrated."),
    Column("model_name", String, comment="The model that read the image."),
    Column("model_version", String, comment="Its version."),
    Column("weights_sha256", String, comment="SHA-256 of its weights."),
    Column("thresholds_id", String, comment="The set that the threshold belongs to."),
    Column("software_version", String, comment="agcnn-clinic's version at that time."),
    Column("created_at", String, comment="When the image was read: ISO 8601, UTC."),
    Column("beside", Boolean, comment="Another reading of the image counts; this one is for comparison."),
)
"""One row a finding: one for each label that the model assesses, of each reading, the newest reading first."""

study_summary = Table(
    "study_summary",
    _metadata,
    Column("study_id", Integer, comment="Number of the study; later studies have larger ones."),
    Column("study_key", String, comment="The short id that `studies` prints; its report's file name begins with it."),
    Column("study_instance_uid", String, comment="Study Instance UID (0020,000D)."),
    Column("patient_id", String, comment="Patient ID (0010,0020)."),
    Column("patient_name", String, comment="Patient's Name (0010,0010), as DICOM writes it."),
    Column("patient_sex", String, comment="Patient's Sex (0010,0040)."),
    Column("patient_birth_date", String, comment="ISO 8601, or empty."),
    Column("accession_number", String, comment="Accession Number (0008,0050)."),
    Column("study_date", String, comment="ISO 8601, or empty."),
    Column("study_description", String, comment="Study Description (0008,1030)."),
    Column("first_received_at", String, comment="When its first file came: ISO 8601, UTC."),
    Column("last_received_at", String, comment="When its last file came: ISO 8601, UTC."),
    Column("revision", Integer, comment="Counts the outcomes that change what a report would say."),
    Column("instances", Integer, comment="How many different SOP Instances came."),
    Column("files_pending", Integer, comment="Files that are not decided yet."),
    Column("files_analysed", Integer, comment="Files that were read."),
    Column("files_refused", Integer, comment="Sound files that are not for this model."),
    Column("files_quarantined", Integer, comment="Broken or hostile files of this study."),
    Column("files_duplicate", Integer, comment="Files whose picture had been read before."),
    Column("positive_labels", String, comment="Labels positive on any image, joined by |; null where there are none."),
    *(
        Column(column, Float, comment=f"Highest probability of {label} over the images, by the readings that count.")
        for label, column in LABEL_COLUMNS.items()
    ),
    Column("report_version", Integer, comment="Version of the newest report; null where there is none."),
    Column("report_revision", Integer, comment="The revision of the study that it covers."),
    Column(
        "report_path",
        String,
        comment="Where it was delivered, from the clinic's folder or absolute; after a move only the name counts.",
    ),
    Column("report_created_at", String, comment="When it was made: ISO 8601, UTC."),
)
"""One row a study, a column a label, the newest study first."""

review_list = Table(
    "review_list",
    _metadata,
    Column("review_id", Integer, comment="Number of the review; later reviews have larger ones."),
    Column("finding_id", Integer, comment="The finding that the physician was looking at; null where there was none."),
    Column("inference_id", Integer, comment="The reading that the physician was looking at."),
    Column("study_key", String, comment="The short id that `studies` prints."),
    Column("study_instance_uid", String, comment="Study Instance UID (0020,000D)."),
    Column("patient_id", String, comment="Patient ID (0010,0020)."),
    Column("accession_number", String, comment="Accession Number (0008,0050)."),
    Column("study_date", String, comment="ISO 8601, or empty."),
    Column("sop_instance_uid", String, comment="SOP Instance UID (0008,0018): the image."),
    Column("label", String, comment="One of the 15 labels of ChestX-ray14, in NIH's spelling."),
    Column("verdict", String, comment="present, absent or uncertain; cleared where an earlier verdict is taken back."),
    Column("newest", Boolean, comment="Whether no later review speaks of the same image and label: this one counts."),
    Column("probability", Float, comment="What the model had said; null where it did not assess the label."),
    Column("threshold", Float, comment="The finding's threshold; null where the model had none."),
    Column("positive", Boolean, comment="Whether the model had called it positive; null without a threshold."),
    Column("model_name", String, comment="The model that had read the image."),
    Column("model_version", String, comment="Its version."),
    Column("weights_sha256", String, comment="SHA-256 of its weights."),
    Column("reviewer", String, comment="Who reviewed it."),
    Column("note", String, comment="What the reviewer added; often empty."),
    Column("reviewed_at", String, comment="When: ISO 8601, UTC."),
)
"""One row a review, the newest first; reviews that a later one supersedes are kept."""

_REVIEWED_COLUMNS = ("verdict", "reviewer", "reviewed_at")
"""What `findings` shows of the review that counts, beside the columns of finding_list."""


@dataclass(frozen=True)
class FindingFilter:
    """Which findings to list; what is None does not limit them."""

    label: str | None = None
    """As `label_named` reads it."""
    positive: bool | None = None
    min_probability: float | None = None
    max_probability: float | None = None
    date_from: date | None = None
    """The study date lies on this day or later; a study without a date is in no range."""
    date_to: date | None = None
    patient: str | None = None
    """The Patient ID, whole."""
    accession: str | None = None
    """The Accession Number, whole."""
    model: str | None = None
    """A model's name, `name@version`, or at least eight characters from the beginning of its weights' SHA-256."""
    study: str | None = None
    """A study's key, whole."""
    reviewed: bool = False
    """Only those that a physician has looked at and said something of that still counts; the rows then say what."""


@dataclass(frozen=True)
class StudyFilter:
    """Which studies to list; what is None does not limit them."""

    date_from: date | None = None
    date_to: date | None = None
    patient: str | None = None
    accession: str | None = None
    state: str | None = None
    """One of `domain.StudyState`."""


def label_named(text: str) -> str:
    """The label that a person means: `pleural thickening`, `Pleural_Thickening` and `no_finding` are understood.

    Raises:
        UsageError: there is no such label; the sentence lists them.
    """
    wanted = "_".join(text.lower().replace("_", " ").replace("-", " ").split())
    for label, column in LABEL_COLUMNS.items():
        if column == wanted:
            return label
    raise UsageError(f"There is no label {text!r}; the labels are {', '.join(LABEL_COLUMNS.values())}.")


def findings(connection: Connection, wanted: FindingFilter, *, limit: int | None = None) -> Iterator[dict[str, Any]]:
    """Rows of finding_list, the newest reading first, as they are asked for.

    Raises:
        UsageError: the filter names no label.
    """
    columns = finding_list.c
    newest = columns.inference_id + 0 if _few_days(wanted.date_from, wanted.date_to) else columns.inference_id
    return _rows(connection, _findings(wanted).order_by(newest.desc(), columns.finding_id), limit)


def count_findings(connection: Connection, wanted: FindingFilter) -> int:
    """How many rows `findings` gives without a limit."""
    return _count(connection, _findings(wanted))


def finding_columns(wanted: FindingFilter) -> list[Column[Any]]:
    """The columns of the rows that `findings` gives."""
    return [*finding_list.columns, *(review_list.c[name] for name in _REVIEWED_COLUMNS if wanted.reviewed)]


def reviews(connection: Connection, study_key: str, *, limit: int | None = None) -> Iterator[dict[str, Any]]:
    """Rows of review_list of one study, the newest first."""
    columns = review_list.c
    query = select(review_list).where(columns.study_key == study_key).order_by(columns.review_id.desc())
    return _rows(connection, query, limit)


def count_reviews(connection: Connection, study_key: str) -> int:
    """How many rows `reviews` gives without a limit."""
    return _count(connection, select(review_list).where(review_list.c.study_key == study_key))


def studies(
    connection: Connection,
    wanted: StudyFilter,
    *,
    now: datetime,
    quiet_seconds: float,
    limit: int | None = None,
) -> Iterator[dict[str, Any]]:
    """Rows of study_summary with the column `state` (one of `domain.StudyState`), the newest study first.

    Args:
        connection: to read from.
        wanted: which ones.
        now: the moment for which the state is told.
        quiet_seconds: a study for which files came within this time is still receiving.
        limit: the most rows to give.
    """
    query = _studies(wanted, now, quiet_seconds).order_by(study_summary.c.study_id.desc())
    return _rows(connection, query, limit)


def count_studies(connection: Connection, wanted: StudyFilter, *, now: datetime, quiet_seconds: float) -> int:
    """How many rows `studies` gives without a limit, for the same moment."""
    return _count(connection, _studies(wanted, now, quiet_seconds))


def _findings(wanted: FindingFilter) -> Select[Any]:
    query = select(finding_list).where(*_of_finding(wanted))
    if wanted.reviewed:
        query = query.join(review_list, review_list.c.finding_id == finding_list.c.finding_id)
        query = query.where(review_list.c.newest, review_list.c.verdict != "cleared")
        query = query.add_columns(*(review_list.c[name] for name in _REVIEWED_COLUMNS))
    return query


def _studies(wanted: StudyFilter, now: datetime, quiet_seconds: float) -> Select[Any]:
    columns = study_summary.c
    in_state = [] if wanted.state is None else is_in(wanted.state, columns, now, quiet_seconds)
    state = state_of(columns, now, quiet_seconds).label("state")
    return select(study_summary, state).where(*_of_study(columns, wanted), *in_state)


def _count(connection: Connection, query: Select[Any]) -> int:
    return connection.execute(select(func.count()).select_from(query.subquery())).scalar_one()


def _rows(connection: Connection, query: Select[Any], limit: int | None) -> Iterator[dict[str, Any]]:
    result = connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(query.limit(limit))
    for row in result:
        yield row._asdict()


def _of_finding(wanted: FindingFilter) -> list[ColumnElement[bool]]:
    columns = finding_list.c
    label = columns.label.concat("") if _few_days(wanted.date_from, wanted.date_to) else columns.label
    return [
        *_of_study(columns, wanted),
        *_if_given(wanted.label, lambda text: label == label_named(text)),
        *_if_given(wanted.positive, columns.positive.is_),
        *_if_given(wanted.min_probability, columns.probability.__ge__),
        *_if_given(wanted.max_probability, columns.probability.__le__),
        *_if_given(wanted.study, lambda text: columns.study_key == storable(text)),
        *_if_given(wanted.model, _is_model),
    ]


def _of_study(columns: Columns, wanted: FindingFilter | StudyFilter) -> list[ColumnElement[bool]]:
    return [
        *_on_days(columns.study_date, wanted.date_from, wanted.date_to),
        # A command line may hold bytes that are no text; nothing that is stored has them.
        *_if_given(wanted.patient, lambda text: columns.patient_id == storable(text)),
        *_if_given(wanted.accession, lambda text: columns.accession_number == storable(text)),
    ]


def _few_days(first: date | None, last: date | None) -> list[date]:
    """The days of a range that is asked for day by day; none of another.

    A day in the middle of many years is found at once by the index of days. SQLite takes that index for equality, where
    in a range it would rather look through all findings from the newest on; and where there is no other index that
    would seem better to it, of labels or in the order that is wanted: they are put behind operators.
    """
    if first is None or last is None or (last - first).days >= _FEW_DAYS:
        return []
    return [first + timedelta(days=days) for days in range((last - first).days + 1)]


def _on_days(column: Column[Any], first: date | None, last: date | None) -> list[ColumnElement[bool]]:
    if days := _few_days(first, last):
        return [column.in_([day.isoformat() for day in days])]
    return [
        *_if_given(first, lambda day: column >= day.isoformat()),
        *_if_given(last, lambda day: and_(column != "", column <= day.isoformat())),
    ]


def _if_given(wanted: _T | None, condition: Callable[[_T], ColumnElement[bool]]) -> list[ColumnElement[bool]]:
    return [] if wanted is None else [condition(wanted)]


def _is_model(given: str) -> ColumnElement[bool]:
    columns, text = finding_list.c, storable(given)
    name, _, version = text.rpartition("@")
    ways = [columns.model_name == text]
    if name and version:
        ways.append(and_(columns.model_name == name, columns.model_version == version))
    if len(text) >= HASH_BEGINNING:
        ways.append(columns.weights_sha256.startswith(text.lower(), autoescape=True))
    return or_(*ways)
