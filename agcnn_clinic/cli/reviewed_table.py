"""The films of this clinic that a physician has reviewed, as a table that `train` and `evaluate` read."""

import csv
import io
from collections.abc import Callable, Sequence
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

from agcnn_clinic.errors import StorageError, UsageError
from agcnn_clinic.reporting.content import age

if TYPE_CHECKING:
    from agcnn_clinic.config import Config
    from agcnn_clinic.database.reviews import ReviewedFilm, Verdicts
    from agcnn_clinic.database.session import Database

TABLE = "reviewed.csv"
"""Beside what is made of it, which can be made again from it, whatever is reviewed later."""

_WRITTEN = {"present": "1", "absent": "0", "uncertain": "-1"}
_UNKNOWN = "-1"
"""An empty cell would be read as absent, as CheXpert's are; what nobody reviewed is not known."""
_NAMED = 5
"""So many studies of films that are left out are named."""


class ClinicFilms(NamedTuple):
    """The films that were reviewed, for a run or for results.

    Attributes:
        table: of them.
        images: the folder of their images.
        which: how many there are, until when they were reviewed, and of when they are; empty for a run that is resumed.
        left_out: what was reviewed and is not among them, a sentence for each reason.
    """

    table: Path
    images: Path
    which: str = ""
    left_out: tuple[str, ...] = ()


def films_of_the_clinic(ctx: typer.Context, folder: Path, *, resume: bool = False) -> ClinicFilms:
    """Write the table of reviewed films into a folder, for `--from-database`; the audit trail has that they were taken.

    Args:
        ctx: of the command.
        folder: what is made of the films will lie in it.
        resume: whether a run of that folder is to be resumed.

    Raises:
        UsageError, StorageError: as `reviewed_table` does.
    """
    from agcnn_clinic.cli.access import record_access
    from agcnn_clinic.cli.context import clinic_config, clinic_database
    from agcnn_clinic.database.audit_events import AuditEvent

    config = clinic_config(ctx)
    with clinic_database(config) as database:

        def record(films: int | None) -> None:
            record_access(ctx, database, AuditEvent.EXPORTED, rows=films)

        return reviewed_table(config, database, folder, resume=resume, record=record)


def reviewed_table(
    config: "Config", database: "Database", folder: Path, *, resume: bool, record: Callable[[int | None], None]
) -> ClinicFilms:
    """Write `reviewed.csv` into a folder, or find the one with which a run began that is to be resumed.

    A row an image with a verdict that stands: the path of its file in the archive; its patient, under a pseudonym;
    age at the study in years, sex and view where they are known; and a column a label with 1 (present), 0 (absent) or
    -1 (uncertain, or not reviewed). Films that may be another patient's than their study's are left out, and those
    whose files retention removed.

    Args:
        config: the clinic's settings.
        database: its database.
        folder: the folder.
        resume: whether a run is to be resumed.
        record: told before the films leave the clinic, and how many (None: those of the run that began).

    Raises:
        UsageError: nothing was reviewed, or films of one patient only.
        StorageError: the folder cannot be written.
    """
    from agcnn_clinic.database.reviews import reviewed_films
    from agcnn_clinic.durable import write_atomically

    table = folder / TABLE
    if resume and table.exists():
        record(None)
        return ClinicFilms(table, config.archive)
    with database.session() as session:
        films, in_doubt, removed = reviewed_films(session)
    left_out = (*([_doubted(in_doubt)] if in_doubt else []), *([_without_file(removed)] if removed else []))
    if not films:
        nothing = (
            f"No {'other ' if left_out else ''}film of this clinic has been reviewed: "
            "confirm or correct some with `agcnn-clinic review STUDY`."
        )
        raise UsageError(" ".join((*left_out, nothing)))
    if len({film.patient for film in films}) < 2:
        too_few = (
            "Only one patient's films have been reviewed, which no model can be trained on or measured by: "
            "review films of others, too, with `agcnn-clinic review STUDY`."
        )
        raise UsageError(" ".join((*left_out, too_few)))
    record(len(films))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(table, table_content(films, config.archive.absolute()).encode())
    except OSError as error:
        raise StorageError(f"{table} cannot be written: {error.strerror}.") from error
    return ClinicFilms(table, config.archive, _which(films), left_out)


def table_content(films: "Sequence[ReviewedFilm]", archive: Path) -> str:
    """The table as CSV."""
    from agcnn_clinic.database.views import LABEL_COLUMNS

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("image", "patient", "age", "sex", "view", *LABEL_COLUMNS))
    for film in films:
        writer.writerow(
            (
                archive / film.stored_path,
                film.patient,
                age(film.patient_birth_date, film.study_date),
                film.patient_sex if film.patient_sex in ("F", "M") else "",
                film.view_position if film.view_position in ("AP", "PA") else "",
                *(_cell(film.verdicts, label) for label in LABEL_COLUMNS),
            )
        )
    return text.getvalue()


def _which(films: "Sequence[ReviewedFilm]") -> str:
    """How many films, until when they were reviewed, and between which days their studies were made."""
    until = max(film.reviewed_at for film in films).astimezone(UTC)
    days = sorted(film.study_date for film in films if film.study_date)
    made = f", of studies from {days[0]} to {days[-1]}" if days else ""
    return f"the {len(films)} that were reviewed in this clinic until {until:%Y-%m-%d %H:%M} UTC{made}"


def _doubted(in_doubt: Sequence[str]) -> str:
    """That films were left out, for each of which there is its study's key."""
    studies = list(dict.fromkeys(in_doubt))
    more = f" and {len(studies) - _NAMED} more" if len(studies) > _NAMED else ""
    return (
        f"{len(in_doubt)} reviewed {'film is' if len(in_doubt) == 1 else 'films are'} left out, since a file names a "
        f"patient whom the study does not name ({', '.join(studies[:_NAMED])}{more}): `agcnn-clinic show STUDY` says "
        "which."
    )


def _without_file(removed: int) -> str:
    """That so many reviewed films were left out, since they cannot be read any more."""
    films, whose, them = ("film is", "its file", "it") if removed == 1 else ("films are", "their files", "them")
    return (
        f"{removed} reviewed {films} left out, since [retention] removed {whose}: drop {them} into the inbox again, "
        "and the reviews count again."
    )


def _cell(verdicts: "Verdicts", label: str) -> str:
    return _WRITTEN[verdicts[label]] if label in verdicts else _UNKNOWN
