"""retention: what may leave the disk, listed or removed."""

from typing import TYPE_CHECKING, Annotated

import typer

from agcnn_clinic.cli.formats import Column, Kind, Row
from agcnn_clinic.cli.output import FormatOption, LimitOption, OutputOption, Printing, Shown, print_rows
from agcnn_clinic.moments import iso

if TYPE_CHECKING:
    from agcnn_clinic.upkeep.plan import Removal


def retention(
    ctx: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would go now, and why.")] = False,
    form: FormatOption = None,
    output: OutputOption = None,
    limit: LimitOption = None,
) -> None:
    """Remove now what [retention] in config.toml lets go, as `watch` and `process` do. Rows are never removed."""
    import contextlib

    from agcnn_clinic.cli.context import clinic_config, clinic_database
    from agcnn_clinic.cli.logs import start_logging
    from agcnn_clinic.lock import at_work_on
    from agcnn_clinic.storage import Storage
    from agcnn_clinic.upkeep.loop import Upkeep

    config = clinic_config(ctx)
    printing = Printing.of(form, output, limit)
    start_logging(config.log, quiet=True)
    with clinic_database(config) as database, contextlib.ExitStack() as stack:
        if dry_run:
            removals = Upkeep(database, Storage(config), config).planned()
        else:
            # The daemon takes files meanwhile, perhaps these very bytes.
            claims = stack.enter_context(at_work_on(config, database))
            removals = Upkeep(database, Storage(config), config, claims=claims).step()
        print_rows(map(_row, removals), _COLUMNS, printing, shown=_SHOWN)
    if not config.retention.is_on:
        typer.echo("Retention is off: nothing has a limit under [retention] of config.toml.", err=True)
        return
    megabytes = sum(removal.candidate.size for removal in removals) / 1e6
    would = "would be removed" if dry_run else "removed"
    typer.echo(f"{len(removals)} {would}, {megabytes:,.1f} MB.", err=True)


_COLUMNS = (
    Column("kind"),
    Column("ids"),
    Column("study_key"),
    Column("since", Kind.MOMENT),
    Column("size", Kind.INTEGER),
    Column("path"),
    Column("why"),
)
_SHOWN = (
    Shown("kind", "from"),
    Shown("ids", "id", width=24, narrow=8),
    Shown("study_key", "study", rank=1),
    Shown("since", "since", rank=2),
    Shown("size", "bytes"),
    Shown("path", "file", rank=3, width=40, narrow=16),
    Shown("why", "why"),
)


def _row(removal: "Removal") -> Row:
    candidate = removal.candidate
    return {
        "kind": str(candidate.kind),
        "ids": ", ".join(map(str, candidate.ids)),
        "study_key": candidate.study_key,
        "since": iso(candidate.since),
        "size": candidate.size,
        "path": candidate.path,
        "why": removal.why,
    }
