"""studies, findings and show: what the database knows, printed."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agcnn_clinic.cli.formats import Column, Kind, Row
from agcnn_clinic.cli.output import (
    RECORD_FORMATS,
    Format,
    FormatOption,
    LimitOption,
    OutputOption,
    Printing,
    RecordFormatOption,
    Shown,
    form_of,
    print_rows,
)
from agcnn_clinic.cli.ranges import DAY, day, require_order
from agcnn_clinic.moments import utc_now

if TYPE_CHECKING:
    import sqlalchemy

    from agcnn_clinic.config import Config

_STATES = ("receiving", "read", "reported", "not read")

DateFrom = Annotated[
    datetime | None,
    typer.Option(parser=day, metavar=DAY, help="The study date is this day or later."),
]
DateTo = Annotated[
    datetime | None,
    typer.Option(parser=day, metavar=DAY, help="The study date is this day or earlier."),
]
Patient = Annotated[str | None, typer.Option(metavar="ID", help="The whole Patient ID.")]
Accession = Annotated[str | None, typer.Option(metavar="NUMBER", help="The whole Accession Number.")]
StudyName = Annotated[
    str,
    typer.Argument(
        metavar="STUDY",
        help="A Study Instance UID, an accession number, a patient id with one study, or the unique beginning of the "
        "UID or of the key that `studies` prints.",
    ),
]
MinProbability = Annotated[float | None, typer.Option(min=0, max=1, help="The probability is this or higher.")]
MaxProbability = Annotated[float | None, typer.Option(min=0, max=1, help="The probability is this or lower.")]


def studies(
    ctx: typer.Context,
    patient: Patient = None,
    accession: Accession = None,
    date_from: DateFrom = None,
    date_to: DateTo = None,
    state: Annotated[str | None, typer.Option(metavar="STATE", help=f"Where they stand: {', '.join(_STATES)}.")] = None,
    form: FormatOption = None,
    output: OutputOption = None,
    limit: LimitOption = None,
) -> None:
    """The studies that came, the newest first: where they stand and what was found."""
    from agcnn_clinic.cli.access import recorded_rows
    from agcnn_clinic.cli.context import clinic_config, clinic_database
    from agcnn_clinic.database import views
    from agcnn_clinic.domain import StudyState
    from agcnn_clinic.errors import UsageError

    if state is not None and state not in tuple(StudyState):
        raise UsageError(f"There is no state {state!r}; a study is {', '.join(StudyState)}.")
    require_order("study dates", date_from, date_to)
    wanted = views.StudyFilter(
        date_from=date_from and date_from.date(),
        date_to=date_to and date_to.date(),
        patient=patient,
        accession=accession,
        state=state,
    )
    printing = Printing.of(form, output, limit)
    config = clinic_config(ctx)
    now, quiet_seconds = utc_now(), config.intake.study_quiet_seconds
    with clinic_database(config) as database, database.connection() as connection:
        rows = recorded_rows(
            ctx,
            database,
            views.studies(connection, wanted, now=now, quiet_seconds=quiet_seconds, limit=printing.rows_to_ask),
            lambda: views.count_studies(connection, wanted, now=now, quiet_seconds=quiet_seconds),
            printing,
        )
        columns = [*column_kinds(views.study_summary.columns), Column("state")]
        if printing.form is Format.TABLE:
            listed = list(rows)
            print_rows(listed, columns, printing, shown=_studies_shown(config))
            _tell_of_removed(connection, [row["study_id"] for row in listed[: printing.limit]])
        else:
            print_rows(rows, columns, printing, shown=_studies_shown(config))


def _tell_of_removed(connection: "sqlalchemy.Connection", study_ids: Sequence[int]) -> None:
    from agcnn_clinic.database.removed import removed_of

    images, reports = removed_of(connection, study_ids)
    if images or reports:
        what = " and ".join(f"{name} of {count}" for name, count in (("images", images), ("reports", reports)) if count)
        typer.echo(f"Retention has removed {what} of these studies; `agcnn-clinic show STUDY` says which.", err=True)


def findings(
    ctx: typer.Context,
    label: Annotated[
        str | None, typer.Option(metavar="LABEL", help='One label: "pleural thickening", No_Finding, ...')
    ] = None,
    positive: Annotated[
        bool | None, typer.Option("--positive/--negative", help="Only those at or above their threshold, or below.")
    ] = None,
    min_probability: MinProbability = None,
    max_probability: MaxProbability = None,
    date_from: DateFrom = None,
    date_to: DateTo = None,
    patient: Patient = None,
    accession: Accession = None,
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="A name, name@version, or the beginning of the weights' hash.")
    ] = None,
    study: Annotated[str | None, typer.Option(metavar="STUDY", help="One study, named as for `show`.")] = None,
    reviewed: Annotated[bool, typer.Option("--reviewed", help="Only what a physician has reviewed, and how.")] = False,
    form: FormatOption = None,
    output: OutputOption = None,
    limit: LimitOption = None,
) -> None:
    """The findings, the newest reading first: one row a label of an image, as in the view finding_list."""
    from agcnn_clinic.cli.access import recorded_rows
    from agcnn_clinic.cli.context import clinic_config, clinic_database, key_of
    from agcnn_clinic.database import views

    require_order("study dates", date_from, date_to)
    require_order("probabilities", min_probability, max_probability)
    printing = Printing.of(form, output, limit)
    with clinic_database(clinic_config(ctx)) as database:
        if study is not None:
            study = key_of(database, study)
        wanted = views.FindingFilter(
            label=label,
            positive=positive,
            min_probability=min_probability,
            max_probability=max_probability,
            date_from=date_from and date_from.date(),
            date_to=date_to and date_to.date(),
            patient=patient,
            accession=accession,
            model=model,
            study=study,
            reviewed=reviewed,
        )
        with database.connection() as connection:
            rows = recorded_rows(
                ctx,
                database,
                views.findings(connection, wanted, limit=printing.rows_to_ask),
                lambda: views.count_findings(connection, wanted),
                printing,
                studies=[study] if study else [],
            )
            columns = column_kinds(views.finding_columns(wanted))
            shown = (*_FINDINGS_SHOWN, *_REVIEW_SHOWN) if reviewed else _FINDINGS_SHOWN
            print_rows(rows, columns, printing, shown=shown, marked="positive")


def show(
    ctx: typer.Context,
    study: StudyName,
    form: RecordFormatOption = None,
    output: OutputOption = None,
) -> None:
    """All that is known of a study: its files, why they ended as they did, what was found, its reports."""
    from agcnn_clinic.cli.access import record_one
    from agcnn_clinic.cli.context import clinic_config, clinic_database
    from agcnn_clinic.cli.show import print_study
    from agcnn_clinic.database.queries import find_study, study_detail

    config = clinic_config(ctx)
    how = form_of(form, output, RECORD_FORMATS)
    with clinic_database(config) as database, database.session() as session:
        found = find_study(session, study)
        detail = study_detail(session, found, now=utc_now(), quiet_seconds=config.intake.study_quiet_seconds)
        record_one(ctx, database, form=how, output=output, studies=[found.key])
    print_study(detail, config, how, output)


def column_kinds(columns: "Iterable[sqlalchemy.Column[Any]]") -> list[Column]:
    """A view's columns, with what they hold."""
    kinds: dict[type, Kind] = {bool: Kind.FLAG, int: Kind.INTEGER, float: Kind.NUMBER}
    return [
        Column(
            column.name,
            Kind.MOMENT if column.name.endswith("_at") else kinds.get(column.type.python_type, Kind.TEXT),
        )
        for column in columns
    ]


_FINDINGS_SHOWN = (
    Shown("study_key", "study"),
    Shown("study_date", "date", rank=5),
    Shown("patient_id", "patient", rank=2, width=20),
    Shown("accession_number", "accession", rank=6, width=16),
    Shown("view_position", "view", rank=7),
    Shown("label", "label", text=lambda row: row["label"].replace("_", " ")),
    Shown("positive", "positive"),
    Shown("probability", "probability"),
    Shown("threshold", "threshold", rank=1),
    Shown("probability_global", "global", rank=9),
    Shown("probability_local", "local", rank=10),
    Shown("probability_fusion", "fusion", rank=8),
    Shown("model_name", "model", rank=11, text=lambda row: f"{row['model_name']} {row['model_version']}", width=24),
    Shown("beside", "beside", rank=3),
)
_REVIEW_SHOWN = (Shown("verdict", "review"), Shown("reviewer", "by", rank=3, width=20))


def _studies_shown(config: "Config") -> tuple[Shown, ...]:
    def report(row: Row) -> str:
        return str(config.report_file(row["report_path"])) if row["report_path"] else ""

    return (
        Shown("study_key", "study"),
        Shown("state", "state"),
        Shown("study_date", "date", rank=1),
        Shown("patient_id", "patient", rank=2, width=20),
        Shown("patient_name", "name", rank=4, text=_name, width=28),
        Shown("accession_number", "accession", rank=5, width=16),
        Shown("instances", "files", rank=3, text=_files),
        Shown("positive_labels", "positive", text=_positive, width=120, narrow=24),
        Shown("report_path", "report", rank=6, text=report),
    )


def _name(row: Row) -> str:
    from agcnn_clinic.reporting.content import person_name

    return next(iter(person_name(row["patient_name"])), "")


def _files(row: Row) -> str:
    outcomes = ("pending", "analysed", "refused", "quarantined", "duplicate")
    counts = {outcome: row[f"files_{outcome}"] for outcome in outcomes}
    return ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)


def _positive(row: Row) -> str:
    """The positive labels with their probabilities. An image that was not read has none.

    The highest first, and No Finding last, as in reports: where a narrow terminal cuts the cell, and where it is of
    another image than what was found, it must not be what one reads of the study.
    """
    from agcnn_clinic.database.views import LABEL_COLUMNS
    from agcnn_models.labels import NO_FINDING

    if not row["files_analysed"]:
        return "-"
    labels = [label for label in (row["positive_labels"] or "").split("|") if label]
    labels.sort(key=lambda label: (label == NO_FINDING, -row[LABEL_COLUMNS[label]]))
    return ", ".join(f"{label.replace('_', ' ')} {row[LABEL_COLUMNS[label]]:.2f}" for label in labels) or "none"
