"""audit: who did what with the clinic's data, and whether that record is whole."""

import json
from datetime import datetime
from typing import Annotated

import typer

from agcnn_clinic.cli.formats import Column, Kind, Row
from agcnn_clinic.cli.output import (
    FormatOption,
    LimitOption,
    OutputOption,
    Printing,
    Shown,
    print_rows,
)
from agcnn_clinic.cli.ranges import MOMENT, in_utc, moment, require_order
from agcnn_clinic.errors import DatabaseError, UsageError

audit_app = typer.Typer(no_args_is_help=True, help="The audit trail: list, verify.")


class AuditTrailBrokenError(DatabaseError):
    """The audit trail is not as it was written."""


@audit_app.command("list")
def list_events(
    ctx: typer.Context,
    since: Annotated[
        datetime | None,
        typer.Option(parser=moment, metavar=MOMENT, help="At this moment or later, in this machine's time."),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option(parser=moment, metavar=MOMENT, help="Before this moment; a day alone is its beginning."),
    ] = None,
    event: Annotated[
        str | None, typer.Option(metavar="EVENT", help="What happened: imported, queried, exported, ...")
    ] = None,
    study: Annotated[str | None, typer.Option(metavar="STUDY", help="One study, named as for `show`.")] = None,
    user: Annotated[str | None, typer.Option(metavar="NAME", help="The user of the process, or who logged in.")] = None,
    form: FormatOption = None,
    output: OutputOption = None,
    limit: LimitOption = None,
) -> None:
    """The events of the audit trail, the newest first."""
    from agcnn_clinic.cli.access import recorded_rows
    from agcnn_clinic.cli.context import clinic_config, clinic_database, key_of
    from agcnn_clinic.database import audit
    from agcnn_clinic.database.audit_events import AuditEvent

    if event is not None and event not in tuple(AuditEvent):
        raise UsageError(f"There is no event {event!r}; an event is one of {', '.join(AuditEvent)}.")
    require_order("moments", since, until)
    printing = Printing.of(form, output, limit)
    with clinic_database(clinic_config(ctx)) as database:
        wanted = audit.EventFilter(
            since=since and in_utc(since),
            until=until and in_utc(until, latest=True),
            event=AuditEvent(event) if event else None,
            study=study and key_of(database, study),
            user=user,
        )
        with database.connection() as connection:
            rows = recorded_rows(
                ctx,
                database,
                audit.events(connection, wanted, limit=printing.rows_to_ask),
                lambda: audit.count_events(connection, wanted),
                printing,
                event=AuditEvent.AUDIT_READ,
            )
            print_rows(rows, _COLUMNS, printing, shown=_SHOWN)


@audit_app.command("verify")
def verify(
    ctx: typer.Context,
    expect: Annotated[
        str | None,
        typer.Option(metavar="HASH", help="A newest hash that an earlier verify printed: it must still be there."),
    ] = None,
) -> None:
    """Check every event against the chain of hashes, and print how many there are and the newest hash.

    Keep that hash where the clinic's users cannot write, and give it to a later `verify --expect`: what was cut off
    the end, or written anew as a whole, shows in no other way. The exit code is 4 where the trail is broken.
    """
    from agcnn_clinic.cli.context import clinic_config, clinic_database
    from agcnn_clinic.database import audit

    with clinic_database(clinic_config(ctx)) as database, database.connection() as connection:
        verdict = audit.verify(connection, expect=expect)
    if verdict.broken:
        raise AuditTrailBrokenError(
            f"{verdict.broken} {verdict.count} events before it are whole. Keep a copy of the database as it is, and "
            "find out who could write it."
        )
    typer.echo(f"{verdict.count} events, all as they were written; the newest hash is\n{verdict.head}")
    if verdict.met is False:
        raise AuditTrailBrokenError(
            "The expected hash is not in the audit trail: events were cut off its end, or it was written anew. Keep a "
            "copy of the database as it is, and compare it with a backup."
        )


_COLUMNS = (
    Column("id", Kind.INTEGER),
    Column("recorded_at", Kind.MOMENT),
    Column("event"),
    Column("event_id"),
    Column("event_type"),
    Column("action"),
    Column("outcome", Kind.INTEGER),
    Column("user_name"),
    Column("user_id", Kind.INTEGER),
    Column("login_name"),
    Column("process_id", Kind.INTEGER),
    Column("host"),
    Column("software_version"),
    Column("studies"),
    Column("files"),
    Column("details"),
    Column("sha256"),
)
"""Those of the table `audit_event`, which a test compares; importing it here would cost every `--help` its time."""


def _who(row: Row) -> str:
    return f"{row['user_name']} ({row['login_name']})" if row["login_name"] else str(row["user_name"])


def _details(row: Row) -> str:
    """The details in a line; of the settings only what has changed."""
    details = json.loads(row["details"])
    details.pop("settings", None)
    return ", ".join(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in details.items())


def _listed(row: Row, name: str) -> str:
    return str(row[name])[1:-1].replace('"', "").replace(",", ", ")


_SHOWN = (
    Shown("id", "id"),
    Shown("recorded_at", "when"),
    Shown("event", "event"),
    Shown("event_id", "code", rank=5),
    Shown("action", "action", rank=4),
    Shown("outcome", "outcome", rank=6),
    Shown("user_name", "user", text=_who, width=28),
    Shown("studies", "studies", rank=2, text=lambda row: _listed(row, "studies"), width=44, narrow=14),
    Shown("files", "files", rank=3, text=lambda row: _listed(row, "files"), width=24, narrow=8),
    Shown("details", "details", rank=1, text=_details, width=160, narrow=30),
)
