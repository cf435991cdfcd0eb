"""The rows of a file that has come in: its study, its instance, itself, and its outcome where that is clear at once."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from agcnn_clinic.database.outcomes import decide, reason_file
from agcnn_clinic.database.tables import Instance, ReceivedFile, Study
from agcnn_clinic.dicom.uid import study_key
from agcnn_clinic.domain import NOT_ABOUT_THE_BYTES, REASONS, Header, MediaType, Outcome, ReasonCode
from agcnn_clinic.errors import ImageError


@dataclass(frozen=True)
class Registration:
    """An archived file and what was learned from its header."""

    original_name: str
    media_type: MediaType
    size: int
    sha256: str
    arrival: str | None
    stored_path: str
    header: Header | None
    error: ImageError | None
    quarantine: Callable[[str, dict[str, Any]], str]
    """Lays an archived file out in the quarantine; see `Storage.quarantine`."""
    source: dict[str, Any] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    """Machine-readable, beside the error: see `received_file.details`."""
    container_id: int | None = None
    """The row of the zip that it came in."""


def register(session: Session, registration: Registration, now: datetime) -> ReceivedFile:
    """Add a file's row, and its study and instance where they are new, in the caller's transaction.

    The first header of a study or instance is the one that is kept: a later file never overwrites patient data.

    Raises:
        StorageError: the file belongs in quarantine, and that cannot be written.
    """
    earlier = _earlier_with_the_same_bytes(session, registration.sha256)
    header = registration.header
    file = ReceivedFile(
        original_name=registration.original_name,
        media_type=registration.media_type,
        size=registration.size,
        sha256=registration.sha256,
        arrival=registration.arrival,
        stored_path=registration.stored_path,
        received_at=now,
        outcome=Outcome.PENDING,
        header=(asdict(header.instance) if header is not None else {}) | registration.source,
        container_id=registration.container_id,
    )
    session.add(file)
    if header is not None:
        file.instance = instance_of(session, header, now)
    if earlier is not None:
        decide(
            file,
            ReasonCode.SAME_BYTES,
            now=now,
            detail=f"it is file {earlier.id}, {earlier.outcome}",
            details={"same_as_file": earlier.id},
        )
    elif registration.error is not None:
        code, detail = ReasonCode(registration.error.code), registration.error.detail
        if REASONS[code].outcome is Outcome.QUARANTINED:
            file.quarantine_path = registration.quarantine(registration.stored_path, reason_file(code, detail, now))
        decide(file, code, now=now, detail=detail, details=registration.details)
    # Retention may have removed these very bytes; now they are there again, for every row that tells of them.
    session.execute(
        update(ReceivedFile)
        .where(ReceivedFile.sha256 == file.sha256, ReceivedFile.stored_path == file.stored_path)
        .where(ReceivedFile.removed_at.is_not(None))
        .values(removed_at=None)
    )
    session.flush()
    return file


def _earlier_with_the_same_bytes(session: Session, sha256: str) -> ReceivedFile | None:
    statement = (
        select(ReceivedFile)
        .where(ReceivedFile.sha256 == sha256, ReceivedFile.outcome != Outcome.DUPLICATE)
        .where(ReceivedFile.reason_code.not_in(NOT_ABOUT_THE_BYTES))
        .order_by(ReceivedFile.id)
        .limit(1)
    )
    return session.scalars(statement).first()


def instance_of(session: Session, header: Header, now: datetime) -> Instance:
    """The row of a SOP Instance, added with its study where they are new; its study has just received something."""
    uid = header.instance.sop_instance_uid
    instance = session.scalars(select(Instance).where(Instance.sop_instance_uid == uid)).first()
    if instance is None:
        instance = Instance(
            study=_study(session, header, now),
            series_instance_uid=header.instance.series_instance_uid,
            sop_instance_uid=uid,
        )
        session.add(instance)
    instance.study.last_received_at = now
    return instance


def _study(session: Session, header: Header, now: datetime) -> Study:
    uid = header.study.study_instance_uid
    study = session.scalars(select(Study).where(Study.study_instance_uid == uid)).first()
    if study is None:
        study = Study(
            key=study_key(uid), first_received_at=now, last_received_at=now, revision=0, **asdict(header.study)
        )
        session.add(study)
    return study
