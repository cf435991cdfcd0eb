"""quarantine list and show: the broken and hostile files, each with its reason."""

from typing import TYPE_CHECKING, Annotated

import typer

from agcnn_clinic.cli.formats import Column, Kind, Row
from agcnn_clinic.cli.output import (
    RECORD_FORMATS,
    FormatOption,
    LimitOption,
    OutputOption,
    Printing,
    RecordFormatOption,
    Shown,
    form_of,
    print_rows,
)
from agcnn_clinic.moments import iso

if TYPE_CHECKING:
    from agcnn_clinic.database.tables import ReceivedFile

quarantine_app = typer.Typer(no_args_is_help=True, help="Broken or hostile files: list, show, requeue.")


@quarantine_app.command("list")
def list_quarantine(
    ctx: typer.Context, form: FormatOption = None, output: OutputOption = None, limit: LimitOption = None
) -> None:
    """The files in quarantine, the newest first, each with its reason."""
    from agcnn_clinic.cli.access import recorded_rows
    from agcnn_clinic.cli.context import clinic_config, clinic_database
    from agcnn_clinic.database.queries import count_quarantined, quarantined

    printing = Printing.of(form, output, limit)
    with clinic_database(clinic_config(ctx)) as database, database.session() as session:
        rows = recorded_rows(
            ctx,
            database,
            map(_quarantine_row, quarantined(session, limit=printing.rows_to_ask)),
            lambda: count_quarantined(session),
            printing,
        )
        print_rows(rows, _QUARANTINE, printing, shown=_QUARANTINE_SHOWN)


@quarantine_app.command("show")
def show_quarantined(
    ctx: typer.Context,
    file_id: Annotated[int, typer.Argument(metavar="ID", help="An id that `quarantine list` prints.")],
    form: RecordFormatOption = None,
    output: OutputOption = None,
) -> None:
    """All that is known of a file in quarantine: why it is there, and what to do."""
    from agcnn_clinic.cli.access import record_one
    from agcnn_clinic.cli.context import clinic_config, clinic_database
    from agcnn_clinic.cli.show import print_quarantined
    from agcnn_clinic.database.queries import quarantined_file

    config, how = clinic_config(ctx), form_of(form, output, RECORD_FORMATS)
    with clinic_database(config) as database, database.session() as session:
        file = quarantined_file(session, file_id)
        studies = [file.instance.study.key] if file.instance else []
        record_one(ctx, database, form=how, output=output, studies=studies, files=[file.id])
    print_quarantined(file, config.quarantine, how, output)


def _what_to_do(row: Row) -> str:
    return f"Nothing: retention has removed its bytes. {row['reason']}" if row["removed_at"] else str(row["reason"])


_QUARANTINE = (
    Column("id", Kind.INTEGER),
    Column("received_at", Kind.MOMENT),
    Column("decided_at", Kind.MOMENT),
    Column("original_name"),
    Column("media_type"),
    Column("size", Kind.INTEGER),
    Column("sha256"),
    Column("reason_code"),
    Column("reason"),
    Column("quarantine_path"),
    Column("removed_at", Kind.MOMENT),
    Column("study_key"),
    Column("sop_instance_uid"),
)
_QUARANTINE_SHOWN = (
    Shown("id", "id"),
    Shown("received_at", "received", rank=2),
    Shown("original_name", "file", width=60, narrow=24),
    Shown("size", "bytes", rank=4),
    Shown("reason_code", "reason"),
    Shown("study_key", "study", rank=3),
    Shown("reason", "what to do", rank=1, width=120, narrow=28, text=_what_to_do),
)


def _quarantine_row(file: "ReceivedFile") -> Row:
    return {
        "id": file.id,
        "received_at": iso(file.received_at),
        "decided_at": None if file.decided_at is None else iso(file.decided_at),
        "original_name": file.original_name,
        "media_type": file.media_type,
        "size": file.size,
        "sha256": file.sha256,
        "reason_code": file.reason_code,
        "reason": file.reason,
        "quarantine_path": file.quarantine_path,
        "removed_at": None if file.removed_at is None else iso(file.removed_at),
        "study_key": file.instance.study.key if file.instance else None,
        "sop_instance_uid": file.instance.sop_instance_uid if file.instance else None,
    }
