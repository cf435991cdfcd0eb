"""What is sent of one report, made of its row and its PDF; and its row, once an archive has taken it."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import update
from sqlalchemy.orm import Session

from agcnn_clinic.config import Config
from agcnn_clinic.database import trail
from agcnn_clinic.database.session import Database
from agcnn_clinic.database.tables import Report, Study
from agcnn_clinic.dicom.attributes import quiet
from agcnn_clinic.errors import ImageError, SendingError
from agcnn_clinic.reporting.content import ReportContent
from agcnn_clinic.reporting.making import sha256_of, with_files
from agcnn_clinic.reporting.remaking import as_it_was
from agcnn_clinic.sandbox.pool import Sandbox
from agcnn_clinic.sending.encapsulated_pdf import encapsulated_pdf
from agcnn_clinic.sending.objects import Before, Kind, SentObject, Structure, as_file, referable, structured


class Parcel(NamedTuple):
    """A report as it is sent."""

    report_id: int
    study_key: str
    version: int
    objects: list[SentObject]


class UnsendableError(SendingError):
    """A report is not as it was delivered: it is not sent."""


def as_dicom(
    content: ReportContent,
    pdf: bytes,
    kinds: tuple[Kind, ...],
    before: Before | None = None,
    structure: Structure = structured,
) -> list[SentObject]:
    """Make the objects that are to be sent of a report.

    Times in them are of this machine's zone, as those of the images are of their machine's.

    Args:
        content: what the report says.
        pdf: the report as it was delivered.
        kinds: which objects.
        before: the report that this one replaces, where that is sent.
        structure: makes the SR, as `structured`; here or in a child process.

    Returns:
        The objects. No SR where no image can be referred to (`objects.referable`).
    """
    with quiet():
        objects = []
        if Kind.PDF in kinds:
            objects.append(SentObject(Kind.PDF, as_file(encapsulated_pdf(content, pdf))))
        if Kind.SR in kinds and referable(content):
            objects.append(SentObject(Kind.SR, structure(content, before)))
        return objects


def structured_by(children: Sandbox) -> Structure:
    """What has SRs made by child processes: Python's lock is not held meanwhile, nor highdicom loaded here.

    It raises UnsendableError where a child fails.
    """

    def structure(content: ReportContent, before: Before | None) -> bytes:
        try:
            return children.run(structured, content, before)
        except ImageError as error:
            raise UnsendableError(
                f"Report {content.edition.version} of study {content.study_key} is not sent: its SR cannot be made "
                f"({error}); it is tried again."
            ) from error

    return structure


def packed(database: Database, config: Config, report_id: int, structure: Structure = structured) -> Parcel:
    """Make what is sent of a report: of its rows, and of the PDF as it was delivered.

    Args:
        database: the clinic's.
        config: the clinic's settings.
        report_id: the report's row.
        structure: makes the SR.

    Raises:
        UnsendableError: the PDF is not there, or not as it was delivered, or the SR cannot be made.
        DatabaseError: the database cannot be used.
    """
    with database.session() as session:
        row = session.get_one(Report, report_id)
        (study,) = with_files(session, [row.study_id])
        content = as_it_was(session, study, row, config)
        path, sha256, before = config.report_file(row.path), row.sha256, _before(session, study, row, config)
    try:
        pdf = path.read_bytes()
    except OSError as error:
        raise _unsendable(content.study_key, row.version, f"its PDF cannot be read ({error.strerror})") from error
    if sha256_of(pdf) != sha256:
        raise _unsendable(content.study_key, row.version, "its PDF is not the one that was delivered")
    kinds = tuple(Kind(kind) for kind in config.sending.objects)
    return Parcel(report_id, content.study_key, row.version, as_dicom(content, pdf, kinds, before, structure))


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


def _unsendable(study_key: str, version: int, why: str) -> UnsendableError:
    return UnsendableError(
        f"Report {version} of study {study_key} is not sent: {why}; make it again with `agcnn-clinic report --missing`."
    )
