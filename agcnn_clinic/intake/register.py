"""The rows of files that have come in, and the outcome of each where that is clear at once.

Rows are written as plain values, many in one statement: making objects of them costs as much again and more.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import select, update
from sqlalchemy.orm import Session, aliased

from agcnn_clinic.database import trail
from agcnn_clinic.database.many import add_rows, in_parts
from agcnn_clinic.database.outcomes import PENDING, decided, doubt, reason_file
from agcnn_clinic.database.tables import ReceivedFile
from agcnn_clinic.database.trail import Told
from agcnn_clinic.domain import NOT_ABOUT_THE_BYTES, REASONS, Header, MediaType, Outcome, ReasonCode
from agcnn_clinic.errors import ImageError, StorageError
from agcnn_clinic.intake.describe import Described, conflict, describe, doubted, known_instances, remarked


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
    """None where it could not be read, and of a zip."""
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
    def belongs_to_a_study(self) -> bool:
        """Whether it is a file of the study that its header names."""
        return self.header is not None and self.error is None

    @property
    def content(self) -> "Content":
        """What makes another file the same."""
        return Content(self.sha256, self.source.get("described", ""))

    @property
    def speaks_for_its_content(self) -> bool:
        """Whether what becomes of it holds for the same content when it comes again."""
        return self.error is None or ReasonCode(self.error.code) not in NOT_ABOUT_THE_BYTES


class Content(NamedTuple):
    """Two files of the same content are one file that came twice."""

    sha256: str
    """Of the bytes."""
    described: str
    """Of what a study.toml says of them; empty where none does."""


class _First(NamedTuple):
    """The first file with some content that speaks for it."""

    id: int
    outcome: str


class _LaidOut(NamedTuple):
    """A file that is ready to get its row."""

    registration: Registration
    quarantine_path: str
    """Empty where it does not lie in the quarantine."""


def register(
    session: Session, groups: Sequence[Sequence[Registration]], now: datetime, worker: str = ""
) -> list[StorageError | None]:
    """Write the rows of files, and of studies and instances where they are new, and tell the audit trail.

    All that a file's row needs to know of others (the same bytes, the same instance) is the same in one batch as in
    several, one after another.

    Args:
        session: one that writes; nobody else can add a row in its transaction.
        groups: the files, by what was taken together.
        now: the time of arrival.
        worker: who takes them (`claims.Claims.worker`).

    Returns:
        What kept each group from getting its rows, None of those that have them. One of which a file belongs in
        quarantine, and cannot be laid out there, has none, and may be registered again.
    """
    firsts = _firsts(session, {registration.content for group in groups for registration in group})
    spoken_for = set(firsts)
    headers = [registration.header for group in groups for registration in group if registration.header is not None]
    known = known_instances(session, headers)
    studies = {uid: one.study.study_instance_uid for uid, one in known.items()}
    ready: list[_LaidOut] = []
    hindered: list[StorageError | None] = []
    for registrations in groups:
        group, named = _of_their_studies(registrations, studies)
        try:
            laid_out = _laid_out(group, spoken_for, now)
        except StorageError as error:
            hindered.append(error)
        else:
            ready += laid_out
            spoken_for.update(registration.content for registration in group if registration.speaks_for_its_content)
            studies |= named
            hindered.append(None)
    joining = [one.registration for one in ready if one.registration.belongs_to_a_study]
    headers = [registration.header for registration in joining if registration.header is not None]
    described = describe(session, headers, known, now)
    rows = _Rows(session, firsts, described, now)
    for one in ready:
        rows.add(one)
    rows.write()
    if disputed := doubted(filter(None, map(_of_another_study, ready)), known | described):
        doubt(session, disputed, now)
    _bytes_are_there(session, [one.registration for one in ready])
    trail.imported(session, rows.written, now, worker=worker)
    return hindered


class _Rows:
    """The rows of a batch's files, in order, written as many at a time as may be."""

    def __init__(
        self, session: Session, firsts: dict[Content, _First], described: dict[str, Described], now: datetime
    ) -> None:
        self.written: list[Told] = []
        self._session = session
        self._firsts = firsts
        self._described = described
        self._now = now
        self._waiting: list[tuple[dict[str, Any], str | None]] = []
        """Rows, and the key of each one's study."""
        self._speaking: dict[Content, int] = {}
        """Which of those that wait speaks for its content."""

    def add(self, file: _LaidOut) -> None:
        registration, content = file.registration, file.registration.content
        if content in self._speaking:
            self.write()  # this one's row tells the other one's id
        header, described, said = registration.header, None, dict(registration.source)
        if header is not None:
            said = vars(header.instance) | said
            if registration.belongs_to_a_study:
                described = self._described[header.instance.sop_instance_uid]
                said |= remarked(header, described)
        row = {
            "instance_id": None if described is None else described.instance_id,
            "original_name": registration.original_name,
            "media_type": registration.media_type,
            "size": registration.size,
            "sha256": content.sha256,
            "arrival": registration.arrival,
            "stored_path": registration.stored_path,
            "quarantine_path": file.quarantine_path,
            "received_at": self._now,
            "header": said,
            "container_id": registration.container_id,
        }
        first, error = self._firsts.get(content), registration.error
        if first is not None:
            # What is not decided yet would stand in this row for ever as if it were not.
            became = "" if first.outcome == Outcome.PENDING else f", {first.outcome}"
            row |= decided(
                ReasonCode.SAME_BYTES,
                now=self._now,
                detail=f"it is file {first.id}{became}",
                details={"same_as_file": first.id},
            )
        elif error is not None:
            code = ReasonCode(error.code)
            row |= decided(code, now=self._now, detail=error.detail, details=registration.details)
        else:
            row |= PENDING
        if first is None and registration.speaks_for_its_content:
            self._speaking[content] = len(self._waiting)
        self._waiting.append((row, None if described is None else described.study.key))

    def write(self) -> None:
        """Write those that wait; from now on they have ids."""
        if not self._waiting:
            return
        ids = add_rows(self._session, ReceivedFile, [row for row, _ in self._waiting])
        told = [Told(file_id, key, row["outcome"]) for file_id, (row, key) in zip(ids, self._waiting, strict=True)]
        for content, place in self._speaking.items():
            self._firsts[content] = _First(told[place].file_id, told[place].outcome)
        self.written += told
        self._waiting, self._speaking = [], {}


def _of_another_study(file: _LaidOut) -> Header | None:
    """The header of a file that names another study than its SOP Instance UID is known in; None of any other."""
    header, error = file.registration.header, file.registration.error
    return header if error is not None and error.code == ReasonCode.UID_CONFLICT else None


def _of_their_studies(
    group: Sequence[Registration], studies: Mapping[str, str]
) -> tuple[list[Registration], dict[str, str]]:
    """Give an error to those whose SOP Instance is known in another study than the one that they name.

    Args:
        group: files that are taken together, in order.
        studies: the Study Instance UID of each SOP Instance that is known, by its UID.

    Returns:
        The files, and what they add to `studies` if they get their rows.
    """
    named: dict[str, str] = {}
    files = []
    for registration in group:
        file, header = registration, registration.header
        if header is not None:
            uid = header.instance.sop_instance_uid
            study = studies.get(uid) or named.setdefault(uid, header.study.study_instance_uid)
            # A PNG names none: what it is part of follows from what lies beside it.
            if registration.media_type is MediaType.DICOM and (error := conflict(header, study)) is not None:
                file = replace(registration, error=error)
        files.append(file)
    return files, named


def _laid_out(group: Sequence[Registration], spoken_for: set[Content], now: datetime) -> list[_LaidOut]:
    """Lay out in the quarantine what belongs there, unless the same bytes were here before.

    First what may fail, which can be done again: there is nothing to take back then.

    Raises:
        StorageError: the quarantine cannot be written.
    """
    laid_out = []
    among_these: set[Content] = set()
    for registration in group:
        path, error = "", registration.error
        if registration.content not in spoken_for | among_these:
            if error is not None and registration.lies_in_quarantine:
                reason = reason_file(ReasonCode(error.code), error.detail, now)
                path = registration.quarantine(registration.stored_path, reason)
            if registration.speaks_for_its_content:
                among_these.add(registration.content)
        laid_out.append(_LaidOut(registration, path))
    return laid_out


def _firsts(session: Session, contents: set[Content]) -> dict[Content, _First]:
    """The first file of each content that speaks for it, where there is one."""
    found: list[tuple[Content, _First]] = []
    for part in in_parts(sorted({content.sha256 for content in contents})):
        described = ReceivedFile.header["described"].as_string()
        asked = (
            select(ReceivedFile.sha256, described, ReceivedFile.id, ReceivedFile.outcome)
            .where(ReceivedFile.sha256.in_(part), ReceivedFile.outcome != Outcome.DUPLICATE)
            .where(ReceivedFile.reason_code.not_in(NOT_ABOUT_THE_BYTES))
            .order_by(ReceivedFile.id)
        )
        for sha256, said, file_id, outcome in session.execute(asked):
            found.append((Content(sha256, said or ""), _First(file_id, outcome)))
    open_again = _zips_with_open_files(session, [first.id for _, first in found if first.outcome == Outcome.UNPACKED])
    firsts: dict[Content, _First] = {}
    for content, first in found:
        if first.id not in open_again:
            firsts.setdefault(content, first)
    return firsts


def _zips_with_open_files(session: Session, zips: Sequence[int]) -> set[int]:
    """Those of the zips with a file in them, at any depth, that does not speak for its content: nor do they."""
    found: set[int] = set()
    for part in in_parts(zips):
        of_zip, deeper = aliased(ReceivedFile), aliased(ReceivedFile)
        inside = (
            select(of_zip.container_id.label("zip"), of_zip.id, of_zip.reason_code)
            .where(of_zip.container_id.in_(part))
            .cte("inside", recursive=True)
        )
        inside = inside.union_all(
            select(inside.c.zip, deeper.id, deeper.reason_code).join(inside, deeper.container_id == inside.c.id)
        )
        found.update(session.scalars(select(inside.c.zip).where(inside.c.reason_code.in_(NOT_ABOUT_THE_BYTES))))
    return found


def _bytes_are_there(session: Session, registrations: Sequence[Registration]) -> None:
    """Retention may have removed these bytes; now they are there again, for every row that tells of them."""
    for part in in_parts(registrations):
        session.execute(
            update(ReceivedFile)
            # A path holds the hash, so these are pairs; the hash is what there is an index for.
            .where(ReceivedFile.sha256.in_([one.sha256 for one in part]))
            .where(ReceivedFile.stored_path.in_([one.stored_path for one in part]))
            .where(ReceivedFile.removed_at.is_not(None))
            .values(removed_at=None),
            execution_options={"synchronize_session": False},
        )
