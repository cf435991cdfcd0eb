"""Which reports are due, making them, and making them again.

A report goes compose -> render -> deliver -> one row. A process that is killed on the way leaves at most a delivered
file without a row: the report is still due, and the same version is written over it.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import exists, func, select, update
from sqlalchemy.orm import Session

from agcnn_clinic import __version__
from agcnn_clinic.config import Config
from agcnn_clinic.database.session import Database
from agcnn_clinic.database.tables import Instance, ReceivedFile, Report, Study
from agcnn_clinic.domain import MediaType, Outcome, Picture, ReasonCode
from agcnn_clinic.errors import ImageError, RemovedError, UsageError
from agcnn_clinic.faults import FaultPoint, reached
from agcnn_clinic.reporting.compose import compose
from agcnn_clinic.reporting.content import Edition, ReadImage, ReportContent
from agcnn_clinic.reporting.deliver import deliver, report_name
from agcnn_clinic.reporting.pdf import render

ReadPicture = Callable[[Path, MediaType], Picture]
"""Gives the normalised picture of an archived file; raises ImageError where it cannot be read again."""


@dataclass(frozen=True)
class Remade:
    """A report that was made again. `note` says in a sentence where it differs from what was delivered; else empty."""

    path: Path
    note: str


def studies_due(session: Session, now: datetime, quiet_seconds: float, *, limit: int = 100) -> list[int]:
    """The ids of complete studies whose report is missing or older than what is known, the longest waiting first.

    A study is complete when nothing came for it during `quiet_seconds`, no file of it is pending and at least one
    was read: where nothing was read there is nothing to report on.
    """
    of_study = select(ReceivedFile.id).join(ReceivedFile.instance).where(Instance.study_id == Study.id)
    covered = exists().where(Report.study_id == Study.id, Report.study_revision >= Study.revision)
    statement = (
        select(Study.id)
        .where(
            Study.last_received_at <= now - timedelta(seconds=quiet_seconds),
            ~covered,
            ~of_study.where(ReceivedFile.outcome == Outcome.PENDING).exists(),
            of_study.where(ReceivedFile.outcome == Outcome.ANALYSED).exists(),
        )
        .order_by(Study.last_received_at, Study.id)
        .limit(limit)
    )
    return list(session.scalars(statement))


def make_report(
    database: Database,
    study_id: int,
    *,
    clock: Callable[[], datetime],
    config: Config,
    read_picture: ReadPicture,
) -> Path:
    """Make the next version of a study's report; returns where it was delivered.

    Raises:
        StorageError: the archive cannot be read or the reports folder cannot be written.
        DatabaseError: the database cannot be used.
    """
    with database.session() as session:
        content = _next(session, session.get_one(Study, study_id), clock, config)
    data = _rendered(content, config, read_picture)
    reached(FaultPoint.REPORT_RENDERED)
    edition = content.edition
    path = config.reports / report_name(content.study_key, edition.version)
    deliver(data, path)
    with database.write() as session:
        session.add(
            Report(
                study_id=study_id,
                version=edition.version,
                study_revision=content.study_revision,
                created_at=edition.created_at,
                software_version=edition.software_version,
                path=_below(config.root, path),
                sha256=hashlib.sha256(data).hexdigest(),
            )
        )
        session.flush()
        reached(FaultPoint.REPORT_ROW_WRITTEN)
    reached(FaultPoint.REPORT_COMMITTED)
    return path


def remake(
    database: Database,
    study_id: int,
    version: int | None = None,
    *,
    config: Config,
    read_picture: ReadPicture,
) -> Remade:
    """Make a delivered report again, from the rows and the archive alone: the same bytes where nothing has changed.

    Where they differ, what was delivered is left as it is, and the new PDF is written beside it.

    Args:
        database: the clinic's.
        study_id: the study.
        version: which report; None for the newest.
        config: the clinic's settings.
        read_picture: see `ReadPicture`.

    Raises:
        UsageError: there is no such report.
        RemovedError: retention has removed images that it shows.
        StorageError: the archive cannot be read or the reports folder cannot be written.
        DatabaseError: the database cannot be used.
    """
    with database.session() as session:
        study = session.get_one(Study, study_id)
        row = _delivered(study, version)
        content = compose(
            session,
            study,
            Edition(row.version, row.created_at, row.software_version, _before(study, row.version)),
            archive=config.archive,
            study_revision=row.study_revision,
        )
        path, sha256, was_removed = config.root / row.path, row.sha256, row.removed_at is not None
        _refuse_without_films(content, path)
    data = _rendered(content, config, read_picture)
    if hashlib.sha256(data).hexdigest() == sha256:
        deliver(data, path)
        if was_removed:
            with database.write() as session:
                session.execute(
                    update(Report)
                    .where(Report.study_id == study_id, Report.version == content.edition.version)
                    .values(removed_at=None)
                )
        return Remade(path, "")
    beside = path.with_suffix(".remade.pdf")
    deliver(data, beside)
    why = (
        f"it was made by agcnn-clinic {row.software_version} and this is {__version__}"
        if row.software_version != __version__
        else "the settings under [reporting], the archive or an outcome has changed since"
    )
    return Remade(beside, f"The PDF differs from version {row.version} as it was delivered: {why}.")


def _next(session: Session, study: Study, clock: Callable[[], datetime], config: Config) -> ReportContent:
    version = max((report.version for report in study.reports), default=0) + 1
    # Read after the session has seen its first row: whatever it sees was decided before. And should the clock have
    # been set back, the report is still not older than the readings that it prints.
    newest = session.scalar(
        select(func.max(ReceivedFile.decided_at)).join(ReceivedFile.instance).where(Instance.study_id == study.id)
    )
    now = clock()
    moment = now if newest is None else max(now, newest)
    edition = Edition(version, moment, __version__, _before(study, version))
    return compose(session, study, edition, archive=config.archive)


def _before(study: Study, version: int) -> tuple[int, datetime] | None:
    earlier = [report for report in study.reports if report.version < version]
    return (earlier[-1].version, earlier[-1].created_at) if earlier else None


def _delivered(study: Study, version: int | None) -> Report:
    if not study.reports:
        raise UsageError(
            f"Study {study.key} has no report yet; one is made once nothing more has come for it "
            "(intake.study_quiet_seconds), if at least one image was read."
        )
    if version is None:
        return study.reports[-1]
    for report in study.reports:
        if report.version == version:
            return report
    raise UsageError(f"Study {study.key} has no report version {version}; the newest is {study.reports[-1].version}.")


def _refuse_without_films(content: ReportContent, delivered: Path) -> None:
    """Refuse to make a report again that had pictures of images which are gone.

    Raises:
        RemovedError: it cannot be what it was.
    """
    made = content.edition.created_at
    gone = [image.removed_at for image in content.images if image.removed_at is not None and image.removed_at > made]
    if gone:
        kept = f"the PDF as it was delivered is {delivered}" if delivered.exists() else "the PDF is not there, either"
        raise RemovedError(
            f"The report of study {content.study_key} cannot be made again: retention removed {len(gone)} of its "
            f"images on {max(gone).date()}; {kept}. Drop the images into the inbox again, and it can."
        )


def _rendered(content: ReportContent, config: Config, read_picture: ReadPicture) -> bytes:
    def picture_of(image: ReadImage) -> Picture:
        if image.removed_at is not None:
            raise ImageError(ReasonCode.UNREADABLE_PIXELS, "retention has removed the image")
        return read_picture(image.path, image.media_type)

    return render(content, picture_of, config.reporting)


def _below(root: Path, path: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
