"""What `doctor` looks at in the database itself, and holds against it: schema, file, rows, files and reports."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from agcnn_clinic.cli import checks_access, checks_sending
from agcnn_clinic.cli.result import Result, State, told
from agcnn_clinic.config import Config
from agcnn_clinic.moments import utc_now
from agcnn_clinic.wording import counted

if TYPE_CHECKING:
    from agcnn_clinic.database.session import Database


def of_database(
    database: "Database", revision: str | None, config: Config, *, thorough: bool = False
) -> Iterator[Result]:
    """All checks of a database that is open and states `revision`; its rows are looked at if this version made them.

    `thorough` compares each index with its table, follows each reference and reads every archived byte.
    """
    from agcnn_clinic.cli.checks_server import check_server
    from agcnn_clinic.database.revision import Standing, standing

    yield _schema(revision)
    if database.file is None:
        yield from told("database", check_server)(database)
    else:
        yield from told("database", file)(database, database.file, thorough=thorough)
    if standing(revision) is not Standing.SAME:
        return
    for name, check in (
        ("database tables", tables),
        ("clock", times),
        ("archived files", partial(holdings, config=config, thorough=thorough)),
        ("reports to send", partial(checks_sending.waiting, config=config)),
        ("audit trail", checks_access.audit_trail),
    ):
        yield from told(name, check)(database)


def _schema(revision: str | None) -> Result:
    from agcnn_clinic.database.revision import HEAD, Standing, standing

    match standing(revision):
        case Standing.SAME:
            return Result("database schema", State.OK, f"revision {revision}")
        case Standing.BEHIND:
            return Result(
                "database schema",
                State.PROBLEM,
                f"revision {revision or 'none'}, this version needs {HEAD}",
                "Run `agcnn-clinic db backup FILE`, then `agcnn-clinic db upgrade`.",
            )
        case Standing.AHEAD:
            return Result(
                "database schema",
                State.PROBLEM,
                f"revision {revision}, this version knows up to {HEAD}",
                "Install the newer agcnn-clinic that upgraded it.",
            )


def file(database: "Database", path: Path, *, thorough: bool = False) -> Iterator[Result]:
    """An SQLite file and its journal; `thorough` compares each index with its table and follows each reference, too."""
    from sqlalchemy import text

    from agcnn_clinic.database.storage import file_system_of, mounts

    with database.connection() as connection:
        check = "integrity_check" if thorough else "quick_check"
        problems = [str(row[0]) for row in connection.execute(text(f"PRAGMA {check}(3)"))]
        broken = connection.execute(text("PRAGMA foreign_key_check")).first() if thorough else None
    if problems == ["ok"] and broken is not None:
        problems = [f"a row of the table {broken[0]} points to a row of {broken[2]} that does not exist"]
    if problems == ["ok"]:
        yield Result("database file", State.OK, str(path))
    else:
        yield Result(
            "database file",
            State.PROBLEM,
            f"damaged: {problems[0]}",
            "Stop the daemon and run `agcnn-clinic db restore FILE` with the newest backup; this file is kept.",
        )
    # None is opened that keeps no write-ahead log (`sqlite`): that would have ended this check.
    kind = file_system_of(path.resolve(), mounts()) or "unknown file system"
    yield Result("database journal", State.OK, f"WAL on {kind}")


def holdings(database: "Database", *, config: Config, thorough: bool = False) -> Iterator[Result]:
    """Hold archive and reports against the rows; `thorough` reads every byte of them."""
    from agcnn_clinic.cli.database import PNGS_AGAIN, READ_AGAIN
    from agcnn_clinic.holdings import compare

    found = compare(database, config, thorough=thorough)
    how = "there, their bytes as they came" if thorough else "there"
    mounted = "Is every disk of the clinic mounted? If so,"
    back = f"{mounted} put them back from a backup."
    again = (
        f"{mounted} `agcnn-clinic report --missing` makes them again; they are looked for in {config.reports}. One "
        "that comes out otherwise lies beside, as .remade.pdf: put the delivered one back from a backup."
    )
    for what, count, missing, altered, advice in (
        ("archived files", found.files, found.missing, found.altered, back),
        ("reports", found.reports, found.missing_reports, found.altered_reports, again),
    ):
        if missing or altered:
            said = f"{len(missing)} of {count} missing, {len(altered)} altered; the first: {(missing + altered)[0]}"
            yield Result(what, State.PROBLEM, said, advice)
        else:
            yield Result(what, State.OK, f"all {count} {how}")
    if found.unlisted:
        pngs = len(found.unlisted_pngs)
        yield Result(
            "archive",
            State.REMARK,
            f"without a row: {counted(len(found.unlisted), 'file')}" + (f", PNGs among them: {pngs}" if pngs else ""),
            "Usual while a daemon works and after it was killed: their sources are in the inbox. "
            f"After a restore: {READ_AGAIN}" + (f". {PNGS_AGAIN}" if pngs else ""),
        )


def times(database: "Database") -> Iterator[Result]:
    """Tell of studies that came later than now: the clock was ahead then, or is behind now."""
    from sqlalchemy import func, select

    from agcnn_clinic.database.states import CLOCKS_DIFFER
    from agcnn_clinic.database.tables import Study

    now = utc_now()
    with database.session() as session:
        asked = select(func.count(), func.max(Study.last_received_at))
        count, newest = session.execute(asked.where(Study.last_received_at > now + CLOCKS_DIFFER)).one()
    if count:
        last = f"{newest.astimezone():%Y-%m-%d at %H:%M}"
        yield Result(
            "clock",
            State.REMARK,
            f"{counted(count, 'study', 'studies')} came later than now, the last one on {last}",
            "Is this machine's clock right? If it was ahead when they came, they are reported all the same; "
            "[retention] counts their age from that time.",
        )


def tables(database: "Database") -> Iterator[Result]:
    """Tell of tables, columns and views that are missing from a database whose revision says that they are there."""
    from sqlalchemy import inspect

    from agcnn_clinic.database.audit import audit_event
    from agcnn_clinic.database.tables import Base
    from agcnn_clinic.database.views import finding_list, review_list, study_summary

    expected = [*Base.metadata.tables.values(), audit_event, finding_list, study_summary, review_list]
    with database.connection() as connection:
        inspector = inspect(connection)
        there = {*inspector.get_table_names(), *inspector.get_view_names()}
        missing = [table.name for table in expected if table.name not in there]
        for table in expected:
            if table.name in there:
                columns = {column["name"] for column in inspector.get_columns(table.name)}
                missing += [f"{table.name}.{column.name}" for column in table.columns if column.name not in columns]
    if missing:
        yield Result(
            "database tables",
            State.PROBLEM,
            f"not there, though the revision says so: {', '.join(missing)}",
            "Somebody has changed the database by hand: restore the newest backup.",
        )
