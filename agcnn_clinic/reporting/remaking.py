"""Making reports again, or for somebody who asks: from the rows alone, the same bytes where nothing has changed."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import update
from sqlalchemy.orm import Session

from agcnn_clinic import __version__
from agcnn_clinic.config import Config
from agcnn_clinic.database import trail
from agcnn_clinic.database.session import Database
from agcnn_clinic.database.tables import Report, Study
from agcnn_clinic.errors import RemovedError, UsageError
from agcnn_clinic.holdings import is_as_delivered
from agcnn_clinic.layout import remade_beside
from agcnn_clinic.reporting.compose import compose
from agcnn_clinic.reporting.content import Edition, ReportContent
from agcnn_clinic.reporting.deliver import delivery, take_effect
from agcnn_clinic.reporting.making import (
    has_pending,
    make_report,
    next_content,
    of_kind,
    readings_to_print,
    report_before,
    sha256_of,
    with_files,
)
from agcnn_clinic.reporting.readings import readings_of_report
from agcnn_clinic.reporting.rendering import Press, rendered


@dataclass(frozen=True)
class Remade:
    """A report that was made again. `note` says in a sentence where it differs from what was delivered; else empty."""

    path: Path
    note: str


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
        (study,) = with_files(session, [study_id])
        if has_pending(study):
            raise UsageError(f"Study {study.key} has images that are not decided yet; ask again once they are.")
        content = next_content(
            session, study, readings_to_print(session, [study_id], model_id), clock, config, model_id
        )
        if not content.images:
            raise UsageError(
                f"The model {content.requested_model} has read no image of study {study.key}; let it read them with "
                f"`agcnn-clinic reanalyse {study.key} --model`, and the folder of its bundle."
            )
        newest = [reports[-1] for kind in (None, model_id) if (reports := of_kind(study, kind))]
        same = [row.version for row in newest if _says(as_it_was(session, study, row, config)) == _says(content)]
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

    Where they differ, what was delivered is left as it is, and the new PDF is written beside it. If nothing is left of
    that, and it waits to be sent, a newer version goes instead.

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
        (study,) = with_files(session, [study_id])
        row = delivered_version(study, version)
        content = as_it_was(session, study, row, config)
        path, sha256 = config.report_file(row.path), row.sha256
        _refuse_without_films(content, path)
    data = rendered(content, config.reporting, press)
    is_same = sha256_of(data) == sha256
    made = path if is_same else remade_beside(path)
    with delivery(data, made) as take_place:
        is_lost = not is_same and not is_as_delivered(path, sha256)
        # Before it has its name: of a report that is missing `doctor` tells, of one that its row calls removed nobody.
        with database.write() as session:
            trail.report_again(session, content.study_key, version=row.version, now=clock())
            # Under either name it is retention's to remove, which may have done so since the look at the row.
            session.execute(update(Report).where(Report.id == row.id).values(removed_at=None))
            is_replaced = is_lost and config.sending.is_on and _replaced_by_newer(session, row.id)
        take_place(True)
    take_effect(config.reports)
    if is_same:
        return Remade(path, "")
    why = (
        f"it was made by agcnn-clinic {row.software_version} and this is {__version__}"
        if row.software_version != __version__
        # An upgrade need not change the number: where the program is a checkout, it is the same between two releases.
        else "the program, the settings under [reporting], the archive or an outcome has changed since"
    )
    then = " It waited to be sent: a newer version goes instead." if is_replaced else ""
    return Remade(made, f"The PDF differs from version {row.version} as it was delivered: {why}.{then}")


def _replaced_by_newer(session: Session, report_id: int) -> bool:
    """Let a report that cannot be sent any more wait no longer, and a newer one go instead; False if it did not wait.

    Under its own UIDs nothing else may be sent: the archive may have it, where the clinic ended before it knew. Where
    no newer one is or was sent, a new version is due.
    """
    row = session.get_one(Report, report_id)
    if not row.to_send:
        return False
    row.to_send = False
    newer = [report for report in of_kind(row.study, None) if report.version > row.version]
    if not any(report.to_send or report.sent_at is not None for report in newer):
        row.study.revision += 1
    return True


def as_it_was(session: Session, study: Study, row: Report, config: Config) -> ReportContent:
    """What a report says, from the readings that it prints.

    Args:
        session: to read from.
        study: the study with its files (`making.with_files`).
        row: the report.
        config: the clinic's settings.
    """
    return compose(
        study,
        Edition(row.version, row.created_at, row.software_version, report_before(study, row.version, row.model_id)),
        readings=readings_of_report(session, study.id, row.id),
        archive=config.archive,
        study_revision=row.study_revision,
        model=row.model,
    )


def _says(content: ReportContent) -> tuple[list[tuple[int, str]], list[str]]:
    """What tells two reports of a study and a model apart: the readings and whose they are, and what was not read."""
    read = [(image.inference_id, image.other_patient) for image in content.images]
    return read, [image.original_name for image in content.unread]


def delivered_version(study: Study, version: int | None) -> Report:
    """The row of a study's report: of that version, or of the clinic's own newest.

    Raises:
        UsageError: there is none.
    """
    wanted = of_kind(study, None) if version is None else [one for one in study.reports if one.version == version]
    if wanted:
        return wanted[-1]
    if version is not None and study.reports:
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
