"""What `doctor` looks at in a database server. It asks, and changes nothing."""

import statistics
import time
from collections.abc import Iterator

from sqlalchemy import Connection, Row, text

from agcnn_clinic.cli.result import Result, State
from agcnn_clinic.database.session import Database
from agcnn_clinic.database.tables import Base, Claim, Inference, ReceivedFile, Report, Study, Worker

OLDEST = 14
"""The oldest major version of PostgreSQL that its makers still mend."""
SLOW_SECONDS = 0.01
"""A film takes some fifty round trips to the server; at this one each they take half a second."""

_TRIPS = 7

_SERVER = text("""
    SELECT
        current_setting('server_version') AS version,
        current_setting('server_version_num')::int / 10000 AS major,
        current_setting('fsync')::bool AND current_setting('full_page_writes')::bool AS durable,
        pg_is_in_recovery() AS standby,
        current_database() AS database,
        current_user AS role,
        (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS superuser,
        inet_server_addr() IS NULL OR inet_server_addr() = inet_client_addr() AS same_machine,
        coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false) AS encrypted
""")

_MISSING_RIGHTS = text("""
    SELECT DISTINCT needed || ' on ' || relname AS missing
    FROM pg_class, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS needed
    WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND relname = ANY(:tables)
      AND (needed <> 'UPDATE' OR relname = ANY(:updated)) AND (needed <> 'DELETE' OR relname = ANY(:deleted))
      AND NOT has_table_privilege(oid, needed)
    ORDER BY missing
""")


def check_server(database: Database) -> Iterator[Result]:
    """Its version and distance, whether it keeps what it has, who may read along, and what the clinic's role may do."""
    with database.connection() as connection:
        server = connection.execute(_SERVER).one()
        missing = connection.execute(
            _MISSING_RIGHTS,
            {
                "tables": list(Base.metadata.tables),
                "updated": [table.__tablename__ for table in (Study, ReceivedFile, Inference, Report, Worker)],
                "deleted": [table.__tablename__ for table in (Worker, Claim)],
            },
        )
        yield _version(server, _round_trip(connection))
        yield from _safety(server)
        yield _rights(server, [row.missing for row in missing])


def _round_trip(connection: Connection) -> float:
    """The median time of an empty question, in seconds."""
    seconds = []
    for _ in range(_TRIPS):
        began = time.perf_counter()
        connection.execute(text("SELECT 1")).scalar()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def _version(server: Row[tuple[object, ...]], seconds: float) -> Result:
    found = f"PostgreSQL {server.version}, database {server.database}, {1000 * seconds:.1f} ms away"
    if server.major < OLDEST:
        advice = "Its makers mend this version no more; move the database to a newer server."
        return Result("database server", State.REMARK, found, advice)
    if seconds > SLOW_SECONDS:
        return Result(
            "database server", State.REMARK, found, "Each film waits for it many times; move the two closer together."
        )
    return Result("database server", State.OK, found)


def _safety(server: Row[tuple[object, ...]]) -> Iterator[Result]:
    if server.standby:
        yield Result("database standby", State.PROBLEM, "cannot be written", "Name the primary server in database.url.")
    if not server.durable:
        yield Result(
            "database durability",
            State.PROBLEM,
            "fsync or full_page_writes is off: a power cut would damage the database",
            "Set both to on in postgresql.conf.",
        )
    if not (server.same_machine or server.encrypted):
        yield Result(
            "database connection",
            State.REMARK,
            "not encrypted: names and findings can be read on the network",
            "Set up TLS on the server and put ?sslmode=verify-full behind database.url.",
        )


def _rights(server: Row[tuple[object, ...]], missing: list[str]) -> Result:
    if missing:
        return Result(
            "database rights",
            State.PROBLEM,
            f"the role {server.role} lacks {', '.join(missing)}",
            f"Make it the owner: ALTER DATABASE {server.database} OWNER TO {server.role}, and the tables' likewise.",
        )
    if server.superuser:
        return Result(
            "database rights",
            State.REMARK,
            f"the role {server.role} is a superuser",
            "Give the clinic a role that owns its database and nothing else.",
        )
    return Result("database rights", State.OK, f"the role {server.role} has those that are needed")
