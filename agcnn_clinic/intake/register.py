"""The rows of a file that has come in: its study, its instance, itself, and its outcome where that is clear at once."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, joinedload

from agcnn_clinic.database.many import in_parts
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

    @property
    def lies_in_quarantine(self) -> bool:
        """Whether a person has to look at it, unless the same bytes were here before."""
        return self.error is not None and REASONS[ReasonCode(self.error.code)].outcome is Outcome.QUARANTINED

    @property
    def speaks_for_its_bytes(self) -> bool:
        """Whether what becomes of it holds for the same bytes when they come again."""
        return self.error is None or ReasonCode(self.error.code) not in NOT_ABOUT_THE_BYTES


class Known:
    """What the database knows of a batch of files: asked for once, and kept up to date while the batch gets rows.

    It belongs to one writing transaction: nobody else can add a row in it.
    """

    def __init__(self, session: Session, registrations: Sequence[Registration]) -> None:
        """Ask the database about all files of a batch."""
        headers = [registration.header for registration in registrations if registration.header is not None]
        self._first = {file.sha256: file for file in _first_with_the_same_bytes(session, registrations)}
        self.descriptions = Descriptions(session, headers)

    def first(self, sha256: str) -> ReceivedFile | None:
        """The first file with these bytes that speaks for them; without an id where it is new and not flushed."""
        return self._first.get(sha256)

    def add(self, file: ReceivedFile) -> None:
        """A file of the batch has its row, and speaks for its bytes."""
        self._first.setdefault(file.sha256, file)


class Descriptions:
    """The studies and instances that some headers speak of, those that the database knows and those added since."""

    def __init__(self, session: Session, headers: Sequence[Header]) -> None:
        """Ask the database about them."""
        self._session = session
        self._instances: dict[str, Instance] = {}
        for uids in in_parts(sorted({header.instance.sop_instance_uid for header in headers})):
            asked = select(Instance).where(Instance.sop_instance_uid.in_(uids))
            for instance in session.scalars(asked.options(joinedload(Instance.study, innerjoin=True))):
                self._instances[instance.sop_instance_uid] = instance
        self._studies: dict[str, Study] = {}
        for uids in in_parts(sorted({header.study.study_instance_uid for header in headers})):
            for study in session.scalars(select(Study).where(Study.study_instance_uid.in_(uids))):
                self._studies[study.study_instance_uid] = study

    def instance(self, header: Header, now: datetime) -> Instance:
        """The row of a SOP Instance, added with its study where they are new; its study has just received something.

        The first header of a study or instance is the one that is kept: a later file never overwrites patient data.
        """
        uid = header.instance.sop_instance_uid
        instance = self._instances.get(uid)
        if instance is None:
            instance = self._instances[uid] = Instance(
                study=self._study(header, now),
                series_instance_uid=header.instance.series_instance_uid,
                sop_instance_uid=uid,
            )
            self._session.add(instance)
        instance.study.last_received_at = now
        return instance

    def _study(self, header: Header, now: datetime) -> Study:
        uid = header.study.study_instance_uid
        study = self._studies.get(uid)
        if study is None:
            study = self._studies[uid] = Study(
                key=study_key(uid), first_received_at=now, last_received_at=now, revision=0, **asdict(header.study)
            )
            self._session.add(study)
        return study


def register(
    session: Session, known: Known, registrations: Sequence[Registration], now: datetime
) -> list[ReceivedFile]:
    """Add the rows of files that were taken together, and of studies and instances where they are new.

    In the caller's transaction, whose flush gives them their ids: so the rows of a batch go to the database together.

    Raises:
        StorageError: one of them belongs in quarantine, and that cannot be written; none of them has a row.
    """
    # First what may fail, which can be done again: there is nothing to take back then.
    laid_out = _laid_out(known, registrations, now)
    return [
        _row(session, known, registration, quarantine_path, now)
        for registration, quarantine_path in zip(registrations, laid_out, strict=True)
    ]


def bytes_are_there(session: Session, files: Sequence[ReceivedFile]) -> None:
    """Retention may have removed the bytes of these files; now they are there again, for every row that tells of them.

    In the caller's transaction.
    """
    for part in in_parts(files):
        session.execute(
            update(ReceivedFile)
            # A path holds the hash, so these are pairs; the hash is what there is an index for.
            .where(ReceivedFile.sha256.in_([file.sha256 for file in part]))
            .where(ReceivedFile.stored_path.in_([file.stored_path for file in part]))
            .where(ReceivedFile.removed_at.is_not(None))
            .values(removed_at=None),
            execution_options={"synchronize_session": False},
        )


def _laid_out(known: Known, registrations: Sequence[Registration], now: datetime) -> list[str]:
    """Lay out in the quarantine what belongs there: the quarantine path of each file, empty for the others."""
    paths = []
    among_these: set[str] = set()
    for registration in registrations:
        path, error = "", registration.error
        if known.first(registration.sha256) is None and registration.sha256 not in among_these:
            if error is not None and registration.lies_in_quarantine:
                reason = reason_file(ReasonCode(error.code), error.detail, now)
                path = registration.quarantine(registration.stored_path, reason)
            if registration.speaks_for_its_bytes:
                among_these.add(registration.sha256)
        paths.append(path)
    return paths


def _row(
    session: Session, known: Known, registration: Registration, quarantine_path: str, now: datetime
) -> ReceivedFile:
    first = known.first(registration.sha256)
    if first is not None and first in session.new:
        session.flush()  # it came in this very batch, and gets the id that this row tells of
    header = registration.header
    file = ReceivedFile(
        original_name=registration.original_name,
        media_type=registration.media_type,
        size=registration.size,
        sha256=registration.sha256,
        arrival=registration.arrival,
        stored_path=registration.stored_path,
        quarantine_path=quarantine_path,
        received_at=now,
        outcome=Outcome.PENDING,
        # What `decide` may set is set, so that one INSERT fits the files with an outcome and those without.
        reason_code="",
        reason="",
        details={},
        header=(asdict(header.instance) if header is not None else {}) | registration.source,
        container_id=registration.container_id,
    )
    session.add(file)
    if header is not None:
        file.instance = known.descriptions.instance(header, now)
    if first is not None:
        decide(
            file,
            ReasonCode.SAME_BYTES,
            now=now,
            detail=f"it is file {first.id}, {first.outcome}",
            details={"same_as_file": first.id},
        )
        return file
    if (error := registration.error) is not None:
        decide(file, ReasonCode(error.code), now=now, detail=error.detail, details=registration.details)
    if registration.speaks_for_its_bytes:
        known.add(file)
    return file


def _first_with_the_same_bytes(session: Session, registrations: Sequence[Registration]) -> Iterator[ReceivedFile]:
    for hashes in in_parts(sorted({registration.sha256 for registration in registrations})):
        first = (
            select(func.min(ReceivedFile.id))
            .where(ReceivedFile.sha256.in_(hashes), ReceivedFile.outcome != Outcome.DUPLICATE)
            .where(ReceivedFile.reason_code.not_in(NOT_ABOUT_THE_BYTES))
            .group_by(ReceivedFile.sha256)
        )
        yield from session.scalars(select(ReceivedFile).where(ReceivedFile.id.in_(first)))
