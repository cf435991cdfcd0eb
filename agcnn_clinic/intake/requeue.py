"""A quarantined file is tried again: its bytes are in the archive, so nothing has to be sent anew."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from agcnn_clinic.database import trail
from agcnn_clinic.database.outcomes import doubt, reopen, sentence
from agcnn_clinic.database.queries import received_file
from agcnn_clinic.database.session import Database
from agcnn_clinic.database.tables import Instance, ReceivedFile
from agcnn_clinic.dicom.attributes import read_dicom_header
from agcnn_clinic.domain import Header, MediaType, Outcome, ReasonCode
from agcnn_clinic.errors import ImageError, UsageError
from agcnn_clinic.intake.describe import conflict, describe, doubted, known_instances, remarked
from agcnn_clinic.moments import utc_now
from agcnn_clinic.sandbox.pool import Sandbox
from agcnn_clinic.storage import Storage


class Tried(NamedTuple):
    """What became of a file that was to be taken back."""

    file_id: int
    said: str
    """The same for a person."""
    stays: bool = False
    """Whether it stays in quarantine."""

    def __str__(self) -> str:
        return f"{self.file_id}: {self.said}"


def requeue_files(database: Database, storage: Storage, sandbox: Sandbox, ids: Sequence[int]) -> Iterator[Tried]:
    """Take quarantined files back to PENDING, each once, and say of each what was done.

    A file whose header could not be read is read anew; where that fails again it stays where it is.

    Raises:
        UsageError: an id is not that of a quarantined file; nothing was changed then.
    """
    with database.session() as session:
        files = {file_id: received_file(session, file_id) for file_id in ids}
        wrong = [str(key) for key, file in files.items() if file is None or file.outcome != Outcome.QUARANTINED]
        if wrong:
            raise UsageError(
                f"Not in quarantine: {', '.join(wrong)}; `agcnn-clinic quarantine list` prints the ids. "
                "A file that was refused is judged anew when it is dropped into the inbox again."
            )
        headers = {
            file_id: _header(storage, sandbox, file)
            for file_id, file in files.items()
            if file is not None and file.instance_id is None
        }
    for file_id in files:
        header = headers.get(file_id)
        if isinstance(header, str):
            yield Tried(file_id, _staying(header), stays=True)
        else:
            yield _requeued(database, storage, file_id, header)


def _requeued(database: Database, storage: Storage, file_id: int, header: Header | None) -> Tried:
    """Take one file back, with the header that was read anew, if one was."""
    with database.write() as session:
        file = session.get_one(ReceivedFile, file_id)
        if file.outcome != Outcome.QUARANTINED:  # somebody else has taken it back just now
            return Tried(file_id, f"is not in quarantine any more: it is {file.outcome}")
        if file.removed_at is not None:
            return Tried(file_id, _staying(_GONE), stays=True)
        released = file.quarantine_path
        if header is None:
            reopen(file)
        else:
            known, uid = known_instances(session, [header]), header.instance.sop_instance_uid
            if uid in known and (error := conflict(header, known[uid].study.study_instance_uid)) is not None:
                doubt(session, doubted([header], known), utc_now())
                return Tried(file_id, _staying(sentence(ReasonCode(error.code), error.detail)), stays=True)
            reopen(file)
            described = describe(session, [header], known, utc_now())[uid]
            file.instance = session.get_one(Instance, described.instance_id)
            file.header = vars(header.instance) | remarked(header, described)
        trail.requeued(session, file, utc_now())
        session.flush()
        # Before it is anybody's to read: who puts it back there would have it taken away again.
        if released and not _lies_there_for_another(session, file, released):
            storage.release(released)
    return Tried(file_id, "taken back; it is read at the next watch or process")


def _staying(why: str) -> str:
    return f"stays in quarantine; {why}"


def _lies_there_for_another(session: Session, file: ReceivedFile, quarantine_path: str) -> bool:
    """Whether another file that is still in quarantine has this place there: the same bytes share one."""
    # The hash is what there is an index for.
    others = select(ReceivedFile.id).where(
        ReceivedFile.sha256 == file.sha256, ReceivedFile.quarantine_path == quarantine_path
    )
    return session.scalars(others).first() is not None


_GONE = "retention has removed its bytes; drop the file into the inbox again, then requeue it"


def why_not(file: ReceivedFile) -> str | None:
    """Say why a file in quarantine cannot be taken back, and what to do; None where it can be tried."""
    if file.removed_at is not None:
        return _GONE
    if file.instance_id is None and file.media_type not in (MediaType.DICOM, MediaType.ZIP):
        return "it is neither DICOM nor part of a readable study folder; drop the corrected files into the inbox"
    return None


def _header(storage: Storage, sandbox: Sandbox, file: ReceivedFile) -> Header | str | None:
    if (why := why_not(file)) is not None:
        return why
    if file.media_type == MediaType.ZIP:
        return None
    try:
        return sandbox.run(read_dicom_header, storage.archived(file.stored_path))
    except ImageError as error:
        return f"its header still cannot be read ({error.detail or error.code})"
