"""Making reports, and making them again.

Reports go compose -> render -> deliver, with a row each. A process that is killed on the way leaves at most delivered
files without rows: their reports are still due, and the same versions are written over them. One that falls asleep on
the way, and wakes when another has delivered one of those versions, leaves the other's as it is.
"""

import contextlib
import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Select, select, update
from sqlalchemy.orm import Session, selectinload

from agcnn_clinic import __version__
from agcnn_clinic.config import Config
from agcnn_clinic.database import trail
from agcnn_clinic.database.claims import ALONE, Claims, Work
from agcnn_clinic.database.session import Database
from agcnn_clinic.database.tables import Instance, Model, Report, ReportReading, Study
from agcnn_clinic.domain import Outcome
from agcnn_clinic.errors import RemovedError, UsageError
from agcnn_clinic.faults import FaultPoint, reached
from agcnn_clinic.reporting.compose import compose
from agcnn_clinic.reporting.content import Edition, ReportContent
from agcnn_clinic.reporting.deliver import deliver, delivery, report_name, take_effect
from agcnn_clinic.reporting.readings import Readings, counting_readings, readings_of_model, readings_of_report
from agcnn_clinic.reporting.rendering import Press, rendered


class Made(NamedTuple):
    """What became of reports that were to be made."""

    paths: dict[int, Path]
    """Where they were delivered, by study."""
    anew: list[int]
    """Studies whose next version another process took meanwhile: they are to be composed anew, under the next number.
    What is in neither is another worker's by now."""


@dataclass(frozen=True)
class Remade:
    """A report that was made again. `note` says in a sentence where it differs from what was delivered; else empty."""

    path: Path
    note: str


def make_reports(
    database: Database,
    study_ids: Collection[int],
    *,
    clock: Callable[[], datetime],
    config: Config,
    press: Press,
    model_id: int | None = None,
    claims: Claims = ALONE,
) -> Made:
    """Make the next version of the report of each of these studies: all of them, or none where one cannot be made.

    They are composed of one state of the database, and delivered with one transaction: what a report costs besides its
    rendering is mostly what each question and each transaction costs.

    Args:
        database: the clinic's.
        study_ids: the studies.
        clock: gives the time that is printed.
        config: the clinic's settings.
        press: makes the PDFs.
        model_id: the model whose readings are printed; None for those that count.
        claims: what the studies were claimed with; a report that a person asks for is claimed by nobody.

    Raises:
        LeaseLostError: another worker delivered one of these versions just now.
        StorageError: the archive cannot be read or the reports folder cannot be written.
        RenderingError: a PDF cannot be made.
        DatabaseError: the database cannot be used.
    """
    with database.session() as session:
        readings = _readings(session, study_ids, model_id)
        contents = {
            study.id: _next(session, study, readings, clock, config, model_id)
            for study in _with_files(session, study_ids)
        }
    pdfs: dict[int, bytes] = {}
    for study_id, content in contents.items():
        pdfs[study_id] = rendered(content, config.reporting, press)
        reached(FaultPoint.REPORT_RENDERED)
    paths = {
        study_id: config.reports / report_name(content.study_key, content.edition.version)
        for study_id, content in contents.items()
    }
    with contextlib.ExitStack() as stack:
        deliveries = {key: stack.enter_context(delivery(pdf, paths[key])) for key, pdf in pdfs.items()}
        session = stack.enter_context(database.write())
        kept = claims.kept(session, Work.STUDY, contents)
        made: list[int] = []
        told: list[trail.Delivered] = []
        for study in _with_reports(session, kept):
            content = contents[study.id]
            if _next_version(study) != content.edition.version:
                continue
            made.append(study.id)
            told.append(trail.Delivered(study.key, content.edition.version, _sha256(pdfs[study.id])))
            session.add(_row(study.id, content, model_id, _below(config.root, paths[study.id]), told[-1].sha256))
            if model_id is None:
                study.reported_revision = content.study_revision
        # No row names it: a process that was killed left it.
        left_there = {study_id for study_id in made if paths[study_id].exists()}
        claims.done(session, Work.STUDY, made)
        trail.reported(session, told, now=clock())
        session.flush()
        reached(FaultPoint.REPORT_ROW_WRITTEN)
        # Last, since the server answered until now: it ends the transaction of one that sleeps, and another one
        # makes this version then. Within the transaction, so that the files are there before their rows are.
        for study_id in made:
            deliveries[study_id](study_id in left_there)
        if made:
            take_effect(config.reports)
    reached(FaultPoint.REPORT_COMMITTED)
    return Made({key: paths[key] for key in made}, [key for key in kept if key not in made])


def make_report(
    database: Database,
    study_id: int,
    *,
    clock: Callable[[], datetime],
    config: Config,
    press: Press,
    model_id: int | None = None,
) -> Path:
    """Make the next version of one study's report, as `make_reports`; returns where it was delivered.

    Another process may do so at the same time: a version that it has taken meanwhile is left to it, and the report is
    composed anew under the next number.
    """
    while True:
        made = make_reports(database, [study_id], clock=clock, config=config, press=press, model_id=model_id)
        if not made.anew:
            return made.paths[study_id]


def make_on_request(
    database: Database,
    study_id: int,
    model_id: int,
    *,
    clock: Callable[[], datetime],
    config: Config,
    press: Press,
) -> Remade:
    """Print a study from one model's readings: a new version, unless the newest one of its kind says the same already.

    Then that one is made again. So is the clinic's own newest report where it prints just these readings.

    Raises:
        UsageError: the model has read no image of the study, or an image of it is still to be decided.
        StorageError: the archive cannot be read or the reports folder cannot be written.
        RenderingError: the PDF cannot be made.
        DatabaseError: the database cannot be used.
    """
    with database.session() as session:
        study = session.get_one(Study, study_id)
        if any(file.outcome == Outcome.PENDING for instance in study.instances for file in instance.files):
            raise UsageError(f"Study {study.key} has images that are not decided yet; ask again once they are.")
        content = _next(session, study, _readings(session, [study_id], model_id), clock, config, model_id)
        if not content.images:
            raise UsageError(
                f"The model {content.requested_model} has read no image of study {study.key}; let it read them with "
                f"`agcnn-clinic reanalyse {study.key} --model`, and the folder of its bundle."
            )
        newest = [reports[-1] for kind in (None, model_id) if (reports := _of_kind(study, kind))]
        same = [row.version for row in newest if _says(_again(session, study, row, config)) == _says(content)]
    if same:
        return remake(database, study_id, same[0], clock=clock, config=config, press=press)
    path = make_report(database, study_id, clock=clock, config=config, press=press, model_id=model_id)
    return Remade(path, "")


def remake(
    database: Database,
    study_id: int,
    version: int | None = None,
    *,
    clock: Callable[[], datetime],
    config: Config,
    press: Press,
) -> Remade:
    """Make a delivered report again, from the rows and the archive alone: the same bytes where nothing has changed.

    Where they differ, what was delivered is left as it is, and the new PDF is written beside it.

    Args:
        database: the clinic's.
        study_id: the study.
        version: which report; None for the clinic's own newest.
        clock: tells the moment of the audit trail's event.
        config: the clinic's settings.
        press: makes the PDF.

    Raises:
        UsageError: there is no such report.
        RemovedError: retention has removed images that it shows.
        StorageError: the archive cannot be read or the reports folder cannot be written.
        RenderingError: the PDF cannot be made.
        DatabaseError: the database cannot be used.
    """
    with database.session() as session:
        study = session.get_one(Study, study_id)
        row = _delivered(study, version)
        content = _again(session, study, row, config)
        path, sha256, was_removed = config.root / row.path, row.sha256, row.removed_at is not None
        _refuse_without_films(content, path)
    data = rendered(content, config.reporting, press)
    trail.report_again(database, content.study_key, version=row.version, now=clock())
    if _sha256(data) == sha256:
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


def _with_files(session: Session, study_ids: Collection[int]) -> Sequence[Study]:
    """Studies with all that a report's content is composed of, but the readings."""
    files = selectinload(Study.instances).selectinload(Instance.files)
    return session.scalars(_studies(study_ids).options(files, selectinload(Study.reports))).all()


def _with_reports(session: Session, study_ids: Collection[int]) -> Sequence[Study]:
    return session.scalars(_studies(study_ids).options(selectinload(Study.reports))).all()


def _studies(study_ids: Collection[int]) -> Select[Study]:
    return select(Study).where(Study.id.in_(study_ids)).order_by(Study.id)


def _readings(session: Session, study_ids: Collection[int], model_id: int | None) -> Readings:
    if model_id is None:
        return counting_readings(session, study_ids)
    return readings_of_model(session, study_ids, model_id)


def _next(
    session: Session,
    study: Study,
    readings: Readings,
    clock: Callable[[], datetime],
    config: Config,
    model_id: int | None = None,
) -> ReportContent:
    version = _next_version(study)
    files = [file for instance in study.instances for file in instance.files]
    # After the session has seen its first row: whatever it sees was decided before. And should the clock have been set
    # back, the report is still not older than the readings that it prints.
    read_at = [readings[file.id].created_at for file in files if file.id in readings]
    decided_at = [file.decided_at for file in files if file.decided_at is not None]
    edition = Edition(version, max(clock(), *decided_at, *read_at), __version__, _before(study, version, model_id))
    model = None if model_id is None else session.get_one(Model, model_id)
    return compose(study, edition, readings=readings, archive=config.archive, model=model)


def _again(session: Session, study: Study, row: Report, config: Config) -> ReportContent:
    """What a report said, from the readings that it printed."""
    return compose(
        study,
        Edition(row.version, row.created_at, row.software_version, _before(study, row.version, row.model_id)),
        readings=readings_of_report(session, study.id, row.id),
        archive=config.archive,
        study_revision=row.study_revision,
        model=row.model,
    )


def _says(content: ReportContent) -> tuple[list[int], list[str]]:
    """What tells two reports of a study and a model apart: the readings, and the images without one."""
    return [image.inference_id for image in content.images], [image.original_name for image in content.unread]


def _next_version(study: Study) -> int:
    return max((report.version for report in study.reports), default=0) + 1


def _of_kind(study: Study, model_id: int | None) -> list[Report]:
    """The clinic's own reports of a study (None), or those by request with a model; the newest last."""
    return [report for report in study.reports if report.model_id == model_id]


def _before(study: Study, version: int, model_id: int | None) -> tuple[int, datetime] | None:
    """The report that a version replaces: the newest one of its kind before it."""
    earlier = [report for report in _of_kind(study, model_id) if report.version < version]
    return (earlier[-1].version, earlier[-1].created_at) if earlier else None


def _row(study_id: int, content: ReportContent, model_id: int | None, path: str, sha256: str) -> Report:
    edition = content.edition
    return Report(
        study_id=study_id,
        version=edition.version,
        study_revision=content.study_revision,
        created_at=edition.created_at,
        software_version=edition.software_version,
        path=path,
        sha256=sha256,
        model_id=model_id,
        readings=[ReportReading(inference_id=image.inference_id) for image in content.images],
    )


def _delivered(study: Study, version: int | None) -> Report:
    own = _of_kind(study, None)
    if version is None and own:
        return own[-1]
    for report in study.reports:
        if report.version == version:
            return report
    if own:
        raise UsageError(
            f"Study {study.key} has no report version {version}; the newest is {study.reports[-1].version}."
        )
    raise UsageError(
        f"Study {study.key} has no report yet; one is made once nothing more has come for it "
        "(intake.study_quiet_seconds), if at least one image was read."
    )


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


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _below(root: Path, path: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
