"""What `doctor` looks at in the database itself: whether all of it is there, and of a time that can be."""

from collections.abc import Iterator
from datetime import UTC, datetime

from agcnn_clinic.cli.result import Result, State
from agcnn_clinic.config import Config


def times(config: Config) -> Iterator[Result]:
    """Tell of studies that came later than now: the clock was ahead then, or is behind now."""
    from sqlalchemy import func, select

    from agcnn_clinic.database.revision import Standing, standing
    from agcnn_clinic.database.session import open_database
    from agcnn_clinic.database.states import CLOCKS_DIFFER
    from agcnn_clinic.database.tables import Study

    now = datetime.now(UTC)
    with open_database(config.database_url, busy_timeout_seconds=5, check_revision=False) as database:
        if standing(database.revision()) is not Standing.SAME:
            return
        with database.session() as session:
            asked = select(func.count(), func.max(Study.last_received_at))
            count, newest = session.execute(asked.where(Study.last_received_at > now + CLOCKS_DIFFER)).one()
    if count:
        yield Result(
            "clock",
            State.REMARK,
            f"{count} studies came later than now, the last one on {newest.astimezone():%Y-%m-%d at %H:%M}",
            "Is this machine's clock right? If it was ahead when they came, they are reported all the same; "
            "[retention] counts their age from that time.",
        )


def schema(config: Config) -> Iterator[Result]:
    """Tell of tables, columns and views that are missing from a database whose revision says that they are there."""
    from sqlalchemy import inspect

    from agcnn_clinic.database.audit import audit_event
    from agcnn_clinic.database.revision import Standing, standing
    from agcnn_clinic.database.session import open_database
    from agcnn_clinic.database.tables import Base
    from agcnn_clinic.database.views import finding_list, review_list, study_summary

    expected = [*Base.metadata.tables.values(), audit_event, finding_list, study_summary, review_list]
    with open_database(config.database_url, busy_timeout_seconds=5, check_revision=False) as database:
        if standing(database.revision()) is not Standing.SAME:
            return
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
