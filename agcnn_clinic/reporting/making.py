"""Making reports: the next version of each.

Reports go compose -> render -> deliver, with a row each. A process that is killed on the way leaves at most delivered
files without rows: their reports are still due, and the same versions are written over them. One that falls asleep on
the way, and wakes when another has delivered one of those versions, leaves the other's as it is.
"""

import contextlib
import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Select, select
from sqlalchemy.orm import Session, selectinload

from agcnn_clinic import __version__
from agcnn_clinic.config import Config
from agcnn_clinic.database import trail
from agcnn_clinic.database.claims import ALONE, Claims, Work
from agcnn_clinic.database.outcomes import doubted_since
from agcnn_clinic.database.session import Database
from agcnn_clinic.database.tables import Instance, Model, Report, ReportReading, Study
from agcnn_clinic.domain import Outcome
from agcnn_clinic.errors import RenderingError, StorageError, UsageError
from agcnn_clinic.faults import FaultPoint, reached
from agcnn_clinic.reporting.compose import compose
from agcnn_clinic.reporting.content import Edition, ReportContent
from agcnn_clinic.reporting.deliver import delivery, report_name, take_effect
from agcnn_clinic.reporting.readings import Readings, counting_readings, readings_of_model
from agcnn_clinic.reporting.rendering import Press, rendered


class Made(NamedTuple):
    """What became of reports that were to be made."""

    paths: dict[int, Path]
    """Where they were delivered, by study."""
    anew: list[int]
    """Studies whose next version another process took meanwhile: they are to be composed anew."""
    failed: dict[int, StorageError | RenderingError]
    """Why a PDF cannot be made now: the archive cannot be read, or what renders failed."""
    waiting: list[int]
    """Studies of which a file is pending again: they are not complete any more. What is in none of these four is
    another worker's by now."""


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
    """Make the next version of the report of each of these studies.

    They are composed of one state of the database, and delivered with one transaction: what a report costs besides its
    rendering is mostly what each question and each transaction costs. One that cannot be rendered holds up no other;
    where the transaction fails, none of them is made.

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
        StorageError: the reports folder cannot be written.
        DatabaseError: the database cannot be used.
    """
    with database.session() as session:
        readings = readings_to_print(session, study_ids, model_id)
        studies = with_files(session, study_ids)
        # A file that is taken back out of quarantine now, and ends there again, makes no further version: one that is
        # composed meanwhile would never tell of it.
        waiting = [study.id for study in studies if has_pending(study)]
        contents = {
            study.id: next_content(session, study, readings, clock, config, model_id)
            for study in studies
            if study.id not in waiting
        }
    pdfs, failed = _rendered(contents, config, press)
    hashes = {study_id: sha256_of(pdf) for study_id, pdf in pdfs.items()}
    paths = {
        study_id: config.reports / report_name(contents[study_id].study_key, contents[study_id].edition.version)
        for study_id in pdfs
    }
    if not pdfs:
        return Made({}, [], failed, waiting)
    with contextlib.ExitStack() as stack:
        deliveries = {key: stack.enter_context(delivery(pdf, paths[key])) for key, pdf in pdfs.items()}
        session = stack.enter_context(database.write())
        kept = claims.kept(session, Work.STUDY, pdfs)
        made: list[int] = []
        for study in _with_reports(session, kept):
            content = contents[study.id]
            if next_version(study) != content.edition.version:
                continue
            made.append(study.id)
            row = _row(study.id, content, model_id, _below(config.root, paths[study.id]), hashes[study.id])
            row.to_send = model_id is None and config.sending.is_on
            session.add(row)
            if model_id is None:
                study.reported_revision = content.study_revision
        # No row names it: a process that was killed left it.
        left_there = {study_id for study_id in made if paths[study_id].exists()}
        claims.done(session, Work.STUDY, made)
        delivered = [_told(contents[key], hashes[key]) for key in made]
        trail.reported(session, delivered, now=clock(), worker=claims.worker)
        session.flush()
        reached(FaultPoint.REPORT_ROW_WRITTEN)
        # Last, since the server answered until now: it ends the transaction of one that sleeps, and another one
        # makes this version then. Within the transaction, so that the files are there before their rows are.
        for study_id in made:
            deliveries[study_id](study_id in left_there)
        if made:
            take_effect(config.reports)
    reached(FaultPoint.REPORT_COMMITTED)
    return Made({key: paths[key] for key in made}, [key for key in kept if key not in made], failed, waiting)


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

    Raises:
        UsageError: an image of the study is still to be decided.
        StorageError: the archive cannot be read or the reports folder cannot be written.
        RenderingError: the PDF cannot be made.
        DatabaseError: the database cannot be used.
    """
    while True:
        made = make_reports(database, [study_id], clock=clock, config=config, press=press, model_id=model_id)
        if study_id in made.failed:
            raise made.failed[study_id]
        if made.waiting:
            raise UsageError("The study has images that are not decided yet; ask again once they are.")
        if not made.anew:
            return made.paths[study_id]


def _rendered(
    contents: Mapping[int, ReportContent], config: Config, press: Press
) -> tuple[dict[int, bytes], dict[int, StorageError | RenderingError]]:
    """The PDFs by study, and why others cannot be made."""
    pdfs: dict[int, bytes] = {}
    failed: dict[int, StorageError | RenderingError] = {}
    for study_id, content in contents.items():
        try:
            pdfs[study_id] = rendered(content, config.reporting, press)
        except (StorageError, RenderingError) as error:
            failed[study_id] = error
        else:
            reached(FaultPoint.REPORT_RENDERED)
    return pdfs, failed


def with_files(session: Session, study_ids: Collection[int]) -> Sequence[Study]:
    """Studies with all that a report's content is composed of, but the readings."""
    files = selectinload(Study.instances).selectinload(Instance.files)
    return session.scalars(_studies(study_ids).options(files, selectinload(Study.reports))).all()


def has_pending(study: Study) -> bool:
    """Whether a file of it is still to be decided."""
    return any(file.outcome == Outcome.PENDING for instance in study.instances for file in instance.files)


def _with_reports(session: Session, study_ids: Collection[int]) -> Sequence[Study]:
    return session.scalars(_studies(study_ids).options(selectinload(Study.reports))).all()


def _studies(study_ids: Collection[int]) -> Select[Study]:
    return select(Study).where(Study.id.in_(study_ids)).order_by(Study.id)


def readings_to_print(session: Session, study_ids: Collection[int], model_id: int | None) -> Readings:
    if model_id is None:
        return counting_readings(session, study_ids)
    return readings_of_model(session, study_ids, model_id)


def next_content(
    session: Session,
    study: Study,
    readings: Readings,
    clock: Callable[[], datetime],
    config: Config,
    model_id: int | None = None,
) -> ReportContent:
    version = next_version(study)
    files = [file for instance in study.instances for file in instance.files]
    # After the session has seen its first row: whatever it sees was decided before. And should the clock have been set
    # back, the report is still not older than the readings that it prints, nor than the reports before it.
    read_at = [readings[file.id].created_at for file in files if file.id in readings]
    decided_at = [file.decided_at for file in files if file.decided_at is not None]
    doubted_at = [since for file in files if (since := doubted_since(file)) is not None]
    made_at = [report.created_at for report in study.reports]
    edition = Edition(
        version,
        max(clock(), *decided_at, *doubted_at, *read_at, *made_at),
        __version__,
        report_before(study, version, model_id),
    )
    model = None if model_id is None else session.get_one(Model, model_id)
    return compose(study, edition, readings=readings, archive=config.archive, model=model)


def next_version(study: Study) -> int:
    return max((report.version for report in study.reports), default=0) + 1


def of_kind(study: Study, model_id: int | None) -> list[Report]:
    """The clinic's own reports of a study (None), or those by request with a model; the newest last."""
    return [report for report in study.reports if report.model_id == model_id]


def report_before(study: Study, version: int, model_id: int | None) -> tuple[int, datetime] | None:
    """The report that a version replaces: the newest one of its kind before it."""
    earlier = [report for report in of_kind(study, model_id) if report.version < version]
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


def _told(content: ReportContent, sha256: str) -> trail.Delivered:
    return trail.Delivered(content.study_key, content.edition.version, sha256)


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _below(root: Path, path: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
