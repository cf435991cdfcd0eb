"""Who looks at patient data is recorded: each command that shows or exports some passes its rows through here.

The event is written before the first row is shown. Where it cannot be written, because the database is locked,
read-only or its disk is full, nothing is shown: the reports lie in their folder as PDFs, so nobody's care waits for a
command, and an access that leaves no trace is what the trail is there to prevent.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from agcnn_clinic.cli.formats import Row
from agcnn_clinic.cli.output import Format, Printing
from agcnn_clinic.database.audit_events import AuditEvent
from agcnn_clinic.errors import DatabaseError
from agcnn_clinic.moments import utc_now

if TYPE_CHECKING:
    from agcnn_clinic.database.session import Database

_READ_AHEAD = 1000
"""So many rows are read before they are shown, to count them; where there are more the database is asked."""


def recorded_rows(
    ctx: typer.Context,
    database: "Database",
    rows: Iterable[Row],
    count: Callable[[], int],
    printing: Printing,
    *,
    studies: Sequence[str] = (),
    event: AuditEvent | None = None,
) -> Iterator[Row]:
    """The same rows, once the trail says that they are shown.

    Args:
        ctx: the command, whose name and options are recorded; of the options the names only.
        database: the clinic's.
        rows: what is to be shown, and maybe one more.
        count: how many rows there are without a limit; asked only where there are many.
        printing: how they are printed, where to and how many.
        studies: the study that they are about, where it is one.
        event: what happens; None: a query, or an export where they do not go to a terminal.

    Raises:
        DatabaseError: the access cannot be recorded.
    """
    coming = iter(rows)
    first = list(islice(coming, _READ_AHEAD))
    total = len(first) if len(first) < _READ_AHEAD else count()
    shown = total if printing.limit is None else min(total, printing.limit)
    event = event or (AuditEvent.EXPORTED if exports(printing.form, printing.output) else AuditEvent.QUERIED)
    record_access(ctx, database, event, studies=studies, format=printing.form, rows=shown)
    return chain(first, coming)


def record_one(
    ctx: typer.Context,
    database: "Database",
    *,
    form: Format,
    output: Path | None,
    studies: Sequence[str] = (),
    files: Sequence[int] = (),
) -> None:
    """Record that one study or one file is about to be shown.

    Raises:
        DatabaseError: the access cannot be recorded.
    """
    event = AuditEvent.EXPORTED if exports(form, output) else AuditEvent.ACCESSED
    record_access(ctx, database, event, studies=studies, files=files, format=form)


def record_access(
    ctx: typer.Context,
    database: "Database",
    event: AuditEvent,
    *,
    studies: Sequence[str] = (),
    files: Sequence[int] = (),
    **details: Any,
) -> None:
    """Record that the command is about to read or hand out patient data.

    Raises:
        DatabaseError: it cannot be recorded; the sentence says that nothing is shown.
    """
    from agcnn_clinic.database.audit import About, append

    command = " ".join(ctx.command_path.split()[1:])
    about = About(studies, files, {"command": command, "options": _given(ctx), **details})
    try:
        with database.transaction() as connection:
            append(connection, event, about, now=utc_now())
    except DatabaseError as error:
        raise type(error)(f"Nothing is shown, since the audit trail cannot record it. {error}") from error


def _given(ctx: typer.Context) -> list[str]:
    """The names of the arguments and options that were given; their values may be a patient's."""
    sources = {name: ctx.get_parameter_source(name) for name in ctx.params}
    return sorted(name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE")


def exports(form: Format, output: Path | None) -> bool:
    """Whether what is printed leaves the terminal: to a file, or in a program's format to a program."""
    return output is not None or (form is not Format.TABLE and not sys.stdout.isatty())
