"""Questions about single studies and files. Lists of many rows come from the views (`views`)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session, defer, joinedload, selectinload
from sqlalchemy.orm.interfaces import ORMOption

from agcnn_clinic.database.reviews import standing_reviews
from agcnn_clinic.database.states import waiting_window
from agcnn_clinic.database.tables import Inference, Instance, Model, ReceivedFile, Report, Review, Study
from agcnn_clinic.database.values import LARGEST_ID
from agcnn_clinic.database.views import HASH_BEGINNING
from agcnn_clinic.domain import Outcome, StudyState
from agcnn_clinic.errors import UsageError

_CANDIDATES = 8
"""So many candidates of an ambiguous name are listed; more would not be read."""

_LAST_CHARACTER = "\U0010ffff"


@dataclass(frozen=True)
class StudyDetail:
    """All that is known of a study; its objects are loaded whole but for the heat maps, and outlive the session.

    Attributes:
        study: the study.
        state: where it stands.
        instances: its images, in the order of arrival, each with its files, their inferences and findings.
        reports: its reports, the oldest first.
        reviews: of each instance (by its id) and label the review that counts.
    """

    study: Study
    state: StudyState
    instances: tuple[Instance, ...]
    reports: tuple[Report, ...]
    reviews: Mapping[int, Mapping[str, Review]]


def find_study(session: Session, text: str) -> Study:
    """The study that a person means.

    `text` is a Study Instance UID, the key that `studies` prints, an accession number, a patient id, or the beginning
    of a UID or of a key. A whole UID or key goes before an accession number or a patient id, and those before a
    beginning.

    Raises:
        UsageError: no study fits, or more than one: then the sentence lists them.
    """
    wanted = text.strip()
    if not wanted:
        raise UsageError("An empty name is no study; `agcnn-clinic studies` lists them.")
    ways: list[ColumnElement[bool]] = [
        or_(Study.study_instance_uid == wanted, Study.key == wanted.lower()),
        or_(Study.accession_number == wanted, Study.patient_id == wanted),
        or_(_begins(Study.study_instance_uid, wanted), _begins(Study.key, wanted.lower())),
    ]
    for way in ways:
        found = session.scalars(select(Study).where(way).order_by(Study.id.desc()).limit(_CANDIDATES + 1)).all()
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(_ambiguous(wanted, found))
    raise UsageError(
        f"There is no study {wanted!r}; `agcnn-clinic studies` lists them. "
        "A patient id or an accession number must be whole."
    )


def find_model(session: Session, study: Study, text: str) -> Model:
    """The model that a person means, among those that have read an image of a study.

    `text` is a model's name, `name@version`, or at least eight characters from the beginning of the SHA-256 of its
    weights or of its manifest; that of the manifest tells models apart that differ in their thresholds only.

    Raises:
        UsageError: no such model has read an image of the study, or more than one has: then the sentence lists them.
    """
    of_study = (
        select(Inference.model_id).join(Inference.file).join(ReceivedFile.instance).where(Instance.study_id == study.id)
    )
    readers = session.scalars(
        select(Model).where(Model.id.in_(of_study)).order_by(Model.id).options(defer(Model.manifest))
    ).all()
    found = [model for model in readers if _is_meant(model, text.strip())]
    if len(found) == 1:
        return found[0]
    listed = "".join(
        f"\n  {model.name}@{model.version}  weights {model.weights_sha256[:12]}  manifest {model.manifest_sha256[:12]}"
        for model in found or readers
    )
    if found:
        raise UsageError(f"{text!r} fits more than one model; name one of them by its version or a hash:{listed}")
    raise UsageError(
        f"No model {text!r} has read an image of study {study.key}; `agcnn-clinic reanalyse` lets one. "
        f"These have:{listed or ' none.'}"
    )


def study_detail(session: Session, study: Study, *, now: datetime, quiet_seconds: float) -> StudyDetail:
    """Load all that is known of a study, in a fixed number of queries."""
    files = selectinload(Instance.files)
    inferences = files.selectinload(ReceivedFile.inferences)
    instances = session.scalars(
        select(Instance)
        .where(Instance.study_id == study.id)
        .order_by(Instance.id)
        .options(
            inferences.options(defer(Inference.heat_map)),
            inferences.joinedload(Inference.model).options(defer(Model.manifest)),
            inferences.selectinload(Inference.findings),
            inferences.joinedload(Inference.attended_region),
        )
    ).all()
    reports = session.scalars(
        select(Report)
        .where(Report.study_id == study.id)
        .order_by(Report.version)
        .options(joinedload(Report.model).options(defer(Model.manifest)))
    ).all()
    own = [report for report in reports if report.model_id is None]
    outcomes = [file.outcome for instance in instances for file in instance.files]
    state = study_state(
        pending=outcomes.count(Outcome.PENDING),
        analysed=outcomes.count(Outcome.ANALYSED),
        last_received_at=study.last_received_at,
        revision=study.revision,
        reported_revision=own[-1].study_revision if own else None,
        now=now,
        quiet_seconds=quiet_seconds,
    )
    return StudyDetail(study, state, tuple(instances), tuple(reports), standing_reviews(session, study.id))


def study_state(
    *,
    pending: int,
    analysed: int,
    last_received_at: datetime,
    revision: int,
    reported_revision: int | None,
    now: datetime,
    quiet_seconds: float,
) -> StudyState:
    """Where a study stands, from what is stored of it.

    Args:
        pending: how many of its files are not decided yet.
        analysed: how many of its files were read.
        last_received_at: when its last file came.
        revision: the study's own revision.
        reported_revision: the one that its own newest report covers, None without a report.
        now: the moment for which it is told.
        quiet_seconds: how long nothing must have come before a study counts as complete.
    """
    if not pending and reported_revision is not None and reported_revision >= revision:
        return StudyState.REPORTED
    after, until = waiting_window(now, quiet_seconds)
    if pending or after < last_received_at <= until:
        return StudyState.RECEIVING
    return StudyState.READ if analysed else StudyState.NOT_READ


def quarantined(session: Session, *, limit: int | None = None) -> Iterator[ReceivedFile]:
    """The files in quarantine, the newest first, each with its instance and study where it has one."""
    query = (
        select(ReceivedFile)
        .where(ReceivedFile.outcome == Outcome.QUARANTINED)
        .order_by(ReceivedFile.id.desc())
        .limit(limit)
        .options(joinedload(ReceivedFile.instance).joinedload(Instance.study))
        .execution_options(yield_per=1000)
    )
    yield from session.scalars(query)


def count_quarantined(session: Session) -> int:
    """How many files `quarantined` gives without a limit."""
    return session.scalar(select(func.count()).where(ReceivedFile.outcome == Outcome.QUARANTINED)) or 0


def received_file(session: Session, file_id: int, *options: ORMOption) -> ReceivedFile | None:
    """One file by its id; None where no row has it. A database may fail at a number that can be no id."""
    return session.get(ReceivedFile, file_id, options=options) if 0 < file_id <= LARGEST_ID else None


def quarantined_file(session: Session, file_id: int) -> ReceivedFile:
    """One file in quarantine.

    Raises:
        UsageError: there is no such file, or it is not in quarantine.
    """
    file = received_file(session, file_id, joinedload(ReceivedFile.instance).joinedload(Instance.study))
    if file is None:
        raise UsageError(f"There is no file {file_id}; `agcnn-clinic quarantine list` lists those in quarantine.")
    if file.outcome != Outcome.QUARANTINED:
        raise UsageError(f"The file {file_id} is not in quarantine: it is {file.outcome}.")
    return file


def _is_meant(model: Model, text: str) -> bool:
    if text in (model.name, f"{model.name}@{model.version}"):
        return True
    hashes = (model.weights_sha256, model.manifest_sha256)
    return len(text) >= HASH_BEGINNING and any(one.startswith(text.lower()) for one in hashes)


def _begins(column: InstrumentedAttribute[str], text: str) -> ColumnElement[bool]:
    # The range is what an index can answer; LIKE alone would read every row, since SQLite's ignores case.
    return (column >= text) & (column < text + _LAST_CHARACTER) & column.startswith(text, autoescape=True)


def _ambiguous(text: str, found: Sequence[Study]) -> str:
    listed = "".join(
        f"\n  {study.key}  {study.study_date or 'no date'}  {_numbered(study)}  {study.study_instance_uid}"
        for study in found[:_CANDIDATES]
    )
    more = "\n  and more" if len(found) > _CANDIDATES else ""
    return f"{text!r} fits more than one study; name one of them by its key:{listed}{more}"


def _numbered(study: Study) -> str:
    return f"accession number {study.accession_number!r}" if study.accession_number else "no accession number"
