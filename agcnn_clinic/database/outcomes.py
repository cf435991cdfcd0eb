"""How a file gets its one outcome: the only code that writes `received_file.outcome`."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from functools import cache
from types import MappingProxyType
from typing import Any

from sqlalchemy import ColumnElement, Select, bindparam, case, exists, select
from sqlalchemy.orm import Session, aliased, joinedload, object_session

from agcnn_clinic.database.tables import Instance, ReceivedFile, Study
from agcnn_clinic.domain import REASONS, InstanceDescription, Outcome, ReasonCode, Warn

PENDING: Mapping[str, Any] = MappingProxyType(
    {"outcome": Outcome.PENDING, "reason_code": "", "reason": "", "details": {}, "decided_at": None}
)
"""What the row of a file without an outcome holds: the columns that `decided` speaks of."""
REASON_BEFORE, SAME_SINCE = "reason_before", "same_since"
"""In the details of a file of a study that was taken back out of quarantine: the reason that it was there for, while it
is pending, and the moment since when its reason is what it is, also once it has come to the same end again."""
OTHER_PATIENT_SINCE = "other_patient_since"
"""In the details of a file: the moment since when there is one of its SOP Instance UID that names another study and
another patient; see `doubt`."""
OF_THE_PICTURE = (ReasonCode.READ, ReasonCode.HEADER_DIFFERS)
"""The outcomes of files that have the picture of their image, each under a header that no file before it had."""


def sentence(code: ReasonCode, detail: str) -> str:
    """The reason for a person: the table's sentence, and what was found."""
    text = REASONS[code].sentence
    return f"{text} ({detail}.)" if detail else text


def reason_file(code: ReasonCode, detail: str, now: datetime) -> dict[str, Any]:
    """What `<name>.reason.json` in the quarantine says.

    The name that the file came with stays in the database, where `quarantine list` finds it: senders name files after
    patients, and reason files are what people mail to each other.
    """
    return {
        "reason_code": code,
        "reason": sentence(code, detail),
        "decided_at": now.isoformat(timespec="seconds"),
    }


def to_decide(session: Session, ids: Collection[int]) -> dict[int, ReceivedFile]:
    """The files of these ids, by id, with the studies whose revision `decide` counts up: all in one query."""
    study = joinedload(ReceivedFile.instance).joinedload(Instance.study)
    asked = select(ReceivedFile).where(ReceivedFile.id.in_(ids)).options(study)
    return {file.id: file for file in session.scalars(asked)}


def decided(code: ReasonCode, *, now: datetime, detail: str, details: dict[str, Any] | None) -> dict[str, Any]:
    """What the row of a file with this outcome holds: its columns by name."""
    return {
        "outcome": REASONS[code].outcome,
        "reason_code": code,
        "reason": sentence(code, detail),
        "details": dict(details or {}),
        "decided_at": now,
    }


def decide(
    file: ReceivedFile,
    code: ReasonCode,
    *,
    now: datetime,
    detail: str = "",
    details: dict[str, Any] | None = None,
) -> None:
    """Give a file its outcome, in the caller's transaction.

    An outcome that changes what the study's report says counts up the study's revision, which makes a report due: not
    that of an object that is no image, nor that of an image which came again and was not read again, for the reason of
    before, nor that of one which was taken back out of quarantine and is there again for the same reason, nor that of a
    duplicate, unless it is the first file of its image that names another patient than the study, or was said to be
    unread before it was taken back.

    Raises:
        ValueError: the file has an outcome already.
    """
    if file.outcome not in (None, Outcome.PENDING):
        raise ValueError(f"file {file.id} is {file.outcome} already")
    before = file.details or {}
    moment = now if file.instance is None else _after_reports(file.instance.study, now)
    for name, value in decided(code, now=moment, detail=detail, details=details).items():
        setattr(file, name, value)
    if OTHER_PATIENT_SINCE in before:
        file.details = file.details | {OTHER_PATIENT_SINCE: before[OTHER_PATIENT_SINCE]}
    if before.get(REASON_BEFORE) == file.reason:
        file.details = file.details | {SAME_SINCE: before[SAME_SINCE]}
        return
    was_unread = REASON_BEFORE in before and not _is_replaced(file)
    if file.instance is not None and (was_unread or (_is_reported(file) and not _is_told_already(file))):
        file.instance.study.revision += 1


def told_since(file: ReceivedFile) -> datetime | None:
    """Since when a report says of a file what it says; None while the file is pending.

    When it was decided, or, where it was taken back out of quarantine and has come to the same end again, when it was
    decided first: reports from before say the same, and no report is made while it is pending.
    """
    if file.decided_at is None or SAME_SINCE not in file.details:
        return file.decided_at
    return datetime.fromisoformat(file.details[SAME_SINCE])


def _after_reports(study: Study, now: datetime) -> datetime:
    """This moment, or one after all reports of a study, should the clock that they bear have been set back since.

    None of them tells of what is decided now, and each is to be made again as it was.
    """
    made = [report.created_at for report in study.reports] if study.reported_revision else []
    return max(now, *(one + timedelta(microseconds=1) for one in made)) if made else now


def doubt(session: Session, named: Iterable[tuple[int, InstanceDescription]], now: datetime) -> None:
    """Say that images may be another patient's, in the caller's transaction: where they were read a new report is due.

    A film that went to the wrong patient comes again under the right one, and so under another study: that file is none
    of this study, but whoever reads its report must know. Of a film that only has got the same UID nothing is said.

    Args:
        session: one that writes.
        named: the ids of instances, each with what a file with its UID says that names another study and patient.
        now: the moment.
    """
    by_instance: defaultdict[int | None, list[InstanceDescription]] = defaultdict(list)
    for instance_id, described in named:
        by_instance[instance_id].append(described)
    study = joinedload(ReceivedFile.instance).joinedload(Instance.study)
    files = session.scalars(select(ReceivedFile).where(ReceivedFile.instance_id.in_(by_instance)).options(study)).all()
    told = {file.instance_id for file in files if names_another_patient(file)}
    for file in files:
        if file.outcome not in (Outcome.PENDING, Outcome.ANALYSED) or OTHER_PATIENT_SINCE in file.details:
            continue
        if not any(_may_be_the_same(file.header, described) for described in by_instance[file.instance_id]):
            continue
        moment = now if file.instance is None else _after_reports(file.instance.study, now)
        file.details = file.details | {OTHER_PATIENT_SINCE: moment.isoformat()}
        if file.instance is not None and file.outcome == Outcome.ANALYSED and file.instance_id not in told:
            file.instance.study.revision += 1


def _may_be_the_same(header: Mapping[str, Any], described: InstanceDescription) -> bool:
    """Whether two headers may be of one exposure: of the same size and the same moment, if they say one."""
    said = {name: getattr(described, name) for name in ("rows", "columns", "acquisition_date_time")}
    return said == {name: header.get(name, value) for name, value in said.items()}


def doubted_since(file: ReceivedFile) -> datetime | None:
    """Since when a file of another study names another patient for its image; None where none does."""
    since = file.details.get(OTHER_PATIENT_SINCE)
    return None if since is None else datetime.fromisoformat(since)


def study_has_file(outcome: Outcome) -> ColumnElement[bool]:
    """Whether the study that a query is at has a file of this outcome."""
    file, instance = aliased(ReceivedFile), aliased(Instance)
    # CASE keeps SQLite from the index of outcomes: it would read every file of an outcome for each study.
    ended_so = case((file.outcome == outcome, 1), else_=0) == 1
    return exists().where(instance.study_id == Study.id, file.instance_id == instance.id, ended_so)


def names_another_patient(file: ReceivedFile) -> bool:
    """Whether it is in doubt whose a file's image is: it has the picture and names another patient than the study.

    The file that was read, or one that brought the same picture under another header; or one for which another study's
    file does (`doubt`). What came in its own study with another picture (a UID conflict) says nothing of whose it is.
    """
    named = Warn.OTHER_PATIENT in file.header.get("remarks", ()) or OTHER_PATIENT_SINCE in file.details
    return named and file.reason_code in OF_THE_PICTURE


def corrects_the_patient(file: ReceivedFile) -> bool:
    """Whether it is an image that was read before, sent again under another patient than its study's.

    A PACS that merges patients, or corrects one, sends such files.
    """
    return file.outcome == Outcome.DUPLICATE and names_another_patient(file)


def is_image(file: ReceivedFile) -> bool:
    """Whether it is an image, or may be one: a study's report says nothing of its documents and presentation states.

    Those that this clinic has sent are among them, where the archive sends on what it receives: each report would make
    another one due.
    """
    return file.reason_code != ReasonCode.NO_PIXELS


def takes_the_place_of(newer: ReceivedFile, file: ReceivedFile) -> bool:
    """Whether, of two files of an image that were not read, a report tells of the newer one alone.

    The same bytes; or others that were not read for the same reason: a film comes raw and compressed, or with another
    header each time that an archive sends it on. Those of a UID conflict must have the same picture, too.
    """
    return newer.sha256 == file.sha256 or (
        (newer.reason_code, newer.picture_sha256) == (file.reason_code, file.picture_sha256)
    )


def _is_reported(file: ReceivedFile) -> bool:
    """Whether a report says anything of a file with this outcome."""
    return is_image(file) and (file.outcome != Outcome.DUPLICATE or corrects_the_patient(file))


def _is_replaced(file: ReceivedFile) -> bool:
    """Whether a later file of the instance was read: then no report says that this one was not."""
    session = object_session(file)
    later = select(ReceivedFile.id).where(
        ReceivedFile.instance_id == file.instance_id,
        ReceivedFile.id > file.id,
        ReceivedFile.outcome == Outcome.ANALYSED,
    )
    return session is not None and session.scalars(later.limit(1)).first() is not None


def _is_told_already(file: ReceivedFile) -> bool:
    """Whether a file of the instance before it made the report say the same: senders send again."""
    session = object_session(file)
    if session is None:
        return False
    if file.outcome == Outcome.DUPLICATE:
        earlier = select(ReceivedFile).where(
            ReceivedFile.instance_id == file.instance_id,
            ReceivedFile.id < file.id,
            ReceivedFile.reason_code.in_(OF_THE_PICTURE),
        )
        return any(map(names_another_patient, session.scalars(earlier)))
    if file.outcome == Outcome.ANALYSED:
        return False
    given = {"instance": file.instance_id, "file": file.id}
    with session.no_autoflush:  # of an instance's files one is due at a time: no other is decided in this transaction
        before = session.execute(_decided_before(), given).first()
    return before is not None and _told_of(*before) == _told_of(file.reason, file.picture_sha256, file.header)


def _told_of(reason: str, picture_sha256: str, header: Mapping[str, Any]) -> tuple[object, ...]:
    """What a report tells of a file that was not read."""
    return reason, picture_sha256, header.get("view_position", ""), header.get("remarks", [])


@cache
def _decided_before() -> Select[str, str, dict[str, Any]]:
    """Asks what `_told_of` takes, of the file of an instance that was decided last before a file."""
    return (
        select(ReceivedFile.reason, ReceivedFile.picture_sha256, ReceivedFile.header)
        .where(ReceivedFile.instance_id == bindparam("instance"), ReceivedFile.id < bindparam("file"))
        .where(ReceivedFile.outcome.not_in([Outcome.PENDING, Outcome.DUPLICATE]))
        .order_by(ReceivedFile.id.desc())
        .limit(1)
    )


def reopen(file: ReceivedFile) -> None:
    """Take a quarantined file back to PENDING, in the caller's transaction: it is read again as if it had just come.

    Its details keep what its study's report says of it. A file of no study is in no report yet: it is to be given its
    study after this.
    """
    if file.outcome != Outcome.QUARANTINED:
        raise ValueError(f"file {file.id} is {file.outcome}, not quarantined")
    told = {}
    if file.instance is not None and (since := told_since(file)) is not None:
        told = {REASON_BEFORE: file.reason, SAME_SINCE: since.isoformat()}
    for name, value in (dict(PENDING) | {"details": told}).items():
        setattr(file, name, value)
    file.attempts = 0
    file.quarantine_path = ""
