"""db: upgrade, current, backup and restore of the clinic's database, and what it does not know of the archive."""

from pathlib import Path
from typing import Annotated

import typer

from agcnn_clinic.moments import utc_now

READ_AGAIN = "agcnn-clinic db unlisted | xargs -r -d '\\n' agcnn-clinic process"
"""What reads again what a restored database does not know."""
PNGS_AGAIN = (
    "The archive has no study.toml, which may say whose a PNG is and from which side: once the zips have been read "
    "again, drop what agcnn-clinic db unlisted --png then lists into the inbox, each with its study.toml."
)
"""What to do about the PNGs that it does not know."""

db_app = typer.Typer(no_args_is_help=True, help="The database: upgrade, current, backup, restore, unlisted.")


@db_app.command("upgrade")
def upgrade(ctx: typer.Context) -> None:
    """Bring the database to the revision that this version needs. Back it up before."""
    from agcnn_clinic.cli.context import clinic_config
    from agcnn_clinic.database import migrate
    from agcnn_clinic.database.revision import HEAD

    url = clinic_config(ctx).database_url
    before = migrate.current(url)
    migrate.upgrade(url)
    if before == HEAD:
        typer.echo(f"The database is at revision {before} already.")
    else:
        typer.echo(f"The database went from revision {before or 'none'} to {HEAD}.")


@db_app.command("current")
def current(ctx: typer.Context) -> None:
    """Print the database's revision, and whether it is the one that this version needs."""
    from agcnn_clinic.cli.context import clinic_config
    from agcnn_clinic.database import migrate
    from agcnn_clinic.database.revision import HEAD, Standing, standing

    revision = migrate.current(clinic_config(ctx).database_url)
    says = {
        Standing.SAME: "which this version needs",
        Standing.BEHIND: f"and this version needs {HEAD}: run `agcnn-clinic db upgrade`",
        Standing.AHEAD: f"and this version knows {HEAD} only: install the newer one that upgraded it",
    }
    typer.echo(f"{revision or 'none'}, {says[standing(revision)]}")


@db_app.command("backup")
def backup(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The copy to make; it must not exist yet.")],
) -> None:
    """Copy the database to FILE, also while the daemon runs."""
    from agcnn_clinic.cli.context import clinic_config
    from agcnn_clinic.database import trail
    from agcnn_clinic.database.audit import has_trail
    from agcnn_clinic.database.backup import backup as copy
    from agcnn_clinic.database.session import open_database

    config = clinic_config(ctx)
    busy = config.database.busy_timeout_seconds
    # Also before an upgrade: the revision does not matter for a copy.
    with open_database(config.database_url, busy_timeout_seconds=busy, check_revision=False) as database:
        with database.transaction() as connection:
            if has_trail(connection):
                trail.backed_up(connection, utc_now())
        size = copy(database, file)
    typer.echo(f"{file} holds the database as it is now: {size:,} bytes.")


@db_app.command("restore")
def restore(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A copy that `db backup` made; it stays as it is.")],
) -> None:
    """Put the copy FILE in the database's place. Stop the daemon before; the old database is kept beside it."""
    from agcnn_clinic.cli.context import clinic_config
    from agcnn_clinic.database import backup as backups
    from agcnn_clinic.database import trail
    from agcnn_clinic.database.audit import has_trail
    from agcnn_clinic.database.engine import sqlite_file
    from agcnn_clinic.database.revision import HEAD
    from agcnn_clinic.database.session import open_database
    from agcnn_clinic.errors import DatabaseError
    from agcnn_clinic.holdings import compare, delivered_names
    from agcnn_clinic.lock import only_process, refuse_root
    from agcnn_clinic.reporting.deliver import set_aside
    from agcnn_clinic.wording import counted

    config = clinic_config(ctx)
    database_file = sqlite_file(config.database_url)
    if database_file is None:
        raise DatabaseError("A database server is restored with its own tool, such as pg_restore.")
    refuse_root(config)
    now = utc_now()
    with only_process(config.lock_file):
        # The lock lies beside the database, wherever a link to that leads.
        mark = backups.unused(f"before-{now:%Y%m%dT%H%M%S}", config.lock_file.parent, config.reports)
        restored = backups.restore(file, database_file, mark)
        typer.echo(f"The database is as it was when {file} was made.")
        if restored.kept is not None:
            typer.echo(f"The one before is kept as {restored.kept}.")
        for log in restored.logs:
            typer.echo(f"A log that the one before had left is kept as {log}.")
        with open_database(config.database_url, check_revision=False) as database:
            with database.transaction() as connection:
                if has_trail(connection):
                    trail.restored(connection, now)
            if aside := set_aside(config.reports, delivered_names(database), mark):
                typer.echo(f"Delivered after it was made: {counted(aside, 'report')}, kept beside as *-{mark}.pdf.")
            if restored.revision != HEAD:
                typer.echo(f"It is at revision {restored.revision or 'none'}: run `agcnn-clinic db upgrade`.")
                return
            found = compare(database, config)
    if found.unlisted:
        typer.echo(f"Archived after it was made: {counted(len(found.unlisted), 'file')}.")
    if found.unlisted_others:
        typer.echo(f"Have them read again: {READ_AGAIN}")
    if found.unlisted_pngs:
        typer.echo(f"PNGs among them: {len(found.unlisted_pngs)}. {PNGS_AGAIN}")


@db_app.command("unlisted")
def unlisted(
    ctx: typer.Context,
    png: Annotated[bool, typer.Option("--png", help="The PNGs, and nothing else.")] = False,
) -> None:
    """Print the archived files that no row of the database names, a path a line: what `process` shall read again.

    PNGs are left out, since the archive has nothing of what a study.toml said of them: read by themselves, a lateral
    view would count as a frontal one, and a picture of a CD's viewer as a film. Drop them into the inbox again, each
    with its study.toml. Those that never had one are printed with --png, among all others.
    """
    from agcnn_clinic.cli.context import clinic_config, clinic_database
    from agcnn_clinic.holdings import compare
    from agcnn_clinic.wording import counted

    config = clinic_config(ctx)
    with clinic_database(config) as database:
        found = compare(database, config)
    for path in found.unlisted_pngs if png else found.unlisted_others:
        typer.echo(config.archive / path)
    if found.unlisted_pngs and not png:
        typer.echo(f"Left out: {counted(len(found.unlisted_pngs), 'PNG')}. {PNGS_AGAIN}", err=True)
