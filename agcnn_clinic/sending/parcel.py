"""What is sent of one report, made of its row and its PDF; and its row, once it waits no longer."""

from collections.abc import Callable, Collection
from concurrent.futures import Future
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from agcnn_clinic.config import Config
from agcnn_clinic.database import trail
from agcnn_clinic.database.many import in_parts
from agcnn_clinic.database.session import Database
from agcnn_clinic.database.tables import Report, Study
from agcnn_clinic.dicom.attributes import quiet
from agcnn_clinic.errors import ImageError, SendingError
from agcnn_clinic.reporting.content import ReportContent
from agcnn_clinic.reporting.making import sha256_of, with_files
from agcnn_clinic.reporting.remaking import as_it_was
from agcnn_clinic.sandbox.pool import Sandbox
from agcnn_clinic.sending.encapsulated_pdf import encapsulated_pdf
from agcnn_clinic.sending.objects import Before, Kind, SentObject, Structure, as_file, referable, structured, when_asked


class Parcel(NamedTuple):
    """A report as it is sent."""

    report_id: int
    study_key: str
    version: int
    objects: list[SentObject]


class UnsendableError(SendingError):
    """A report is not as it was delivered: it is not sent."""


def structured_by(children: Sandbox) -> Structure:
    """What has SRs made by child processes: Python's lock is not held meanwhile, nor highdicom loaded here.

    What is waited for raises UnsendableError where a child fails.
    """

    def structure(content: ReportContent, before: Before | None) -> Callable[[], bytes]:
        return partial(_answer, children.submit(structured, content, before), content)

    return structure


def _answer(structuring: Future[bytes], content: ReportContent) -> bytes:
    try:
        return structuring.result()
    except ImageError as error:
        raise UnsendableError(
            f"Report {content.edition.version} of study {content.study_key} is not sent: its SR cannot be made "
            f"({error}); it is tried again."
        ) from error


def begun(
    database: Database, config: Config, report_id: int, structure: Structure = when_asked
) -> Callable[[], Parcel]:
    """Begin to make what is sent of a report: of its rows now, and then of the PDF as it was delivered.

    Times in the objects are of this machine's zone, as those of the images are of their machine's.

    Args:
        database: the clinic's.
        config: the clinic's settings.
        report_id: the report's row.
        structure: makes the SR; there is none where no image can be referred to (`objects.referable`).

    Returns:
        What waits for it, and raises UnsendableError where the PDF is not there, or not as it was delivered, or the
        SR cannot be made.

    Raises:
        DatabaseError: the database cannot be used.
    """
    with database.session() as session:
        row = session.get_one(Report, report_id)
        (study,) = with_files(session, [row.study_id])
        content = as_it_was(session, study, row, config)
        path, before = config.report_file(row.path), _before(session, study, row, config)
        sha256, is_removed = row.sha256, row.removed_at is not None
    kinds = config.sending.objects
    findings = structure(content, before) if Kind.SR in kinds and referable(content) else None

    def finished() -> Parcel:
        if is_removed:
            command = f"`agcnn-clinic report {content.study_key} --version {content.edition.version}`"
            raise _unsendable(content, "retention has removed its PDF", command)
        pdf = _delivered(path, sha256, content)
        objects = []
        if Kind.PDF in kinds:
            with quiet():
                objects.append(SentObject(Kind.PDF, as_file(encapsulated_pdf(content, pdf))))
        if findings is not None:
            objects.append(SentObject(Kind.SR, findings()))
        return Parcel(report_id, content.study_key, content.edition.version, objects)

    return finished


def _delivered(path: Path, sha256: str, content: ReportContent) -> bytes:
    try:
        pdf = path.read_bytes()
    except OSError as error:
        raise _unsendable(content, f"its PDF cannot be read ({error.strerror})") from error
    if sha256_of(pdf) != sha256:
        raise _unsendable(content, "its PDF is not the one that was delivered")
    return pdf


def record(session: Session, parcel: Parcel, *, to: str, now: datetime, worker: str = "") -> None:
    """Write down that an archive has taken a report; of one of which there is nothing to send, that it need not."""
    values = {"to_send": False} | ({"sent_at": now} if parcel.objects else {})
    session.execute(update(Report).where(Report.id == parcel.report_id).values(values))
    if parcel.objects:
        trail.sent(
            session,
            parcel.study_key,
            version=parcel.version,
            to=to,
            objects=len(parcel.objects),
            now=now,
            worker=worker,
        )


class Cancelled(NamedTuple):
    """A report that is not sent any more: its study's key, and its version."""

    study_key: str
    version: int


def cancel(
    session: Session, study_ids: Collection[int] | None, *, version: int | None, now: datetime
) -> list[Cancelled]:
    """Let reports that wait to be sent wait no longer.

    Args:
        session: one that writes.
        study_ids: whose reports; None for those of all studies.
        version: which of them; None for each that waits.
        now: the moment of the audit trail's event.

    Returns:
        Those that waited, the oldest first.
    """
    waiting = select(Report.id, Study.key, Report.version).join(Report.study).where(Report.to_send).order_by(Report.id)
    if study_ids is not None:
        waiting = waiting.where(Report.study_id.in_(study_ids))
    if version is not None:
        waiting = waiting.where(Report.version == version)
    rows = session.execute(waiting).all()
    for part in in_parts([row.id for row in rows]):
        session.execute(update(Report).where(Report.id.in_(part)).values(to_send=False))
    if rows:
        trail.sending_cancelled(session, [row.key for row in rows], reports=len(rows), now=now)
    return [Cancelled(row.key, row.version) for row in rows]


def _before(session: Session, study: Study, row: Report, config: Config) -> Before | None:
    """The newest report of its kind before it whose SR an archive has, or will have.

    That it waits still makes no difference: the SR that names it would be another one when it is sent once more.
    """
    for report in reversed(study.reports):
        is_before = report.model_id == row.model_id and report.version < row.version
        goes_out = report.to_send or report.sent_at is not None
        if is_before and goes_out and referable(as_it_was(session, study, report, config)):
            return Before(report.version, report.created_at)
    return None


def _unsendable(content: ReportContent, why: str, command: str = "`agcnn-clinic report --missing`") -> UnsendableError:
    report = f"Report {content.edition.version} of study {content.study_key}"
    return UnsendableError(f"{report} is not sent: {why}; make it again with {command}.")
