"""PostgreSQL, set up to give what the clinic has from SQLite: readers that see one state, and one writer at a time.

Writers take turns by an advisory lock of the database, held until their transaction ends. With that, READ COMMITTED is
enough: each statement of the one writer sees all that was committed before, and nobody else commits meanwhile. So ids
are committed in their order, a row that was looked for and not found can be added, and no transaction must be tried
again, as it would be under SERIALIZABLE. (REPEATABLE READ would not do: its one state is that of the moment before the
lock was waited for.) Transactions are short, and readers wait for nobody.
"""

import math
from typing import Any

from sqlalchemy import URL, Connection, Engine, ExceptionContext, create_engine, event
from sqlalchemy.exc import NotSupportedError

from agcnn_clinic.database.failures import STANDBY
from agcnn_clinic.database.values import storable_json
from agcnn_clinic.errors import ConfigError, DatabaseError

DRIVER = "postgresql+psycopg"

WRITERS_TURN = int.from_bytes(b"agcnncli")
"""The advisory lock that a writing transaction holds; the numbers are each database's own."""

_KEEPALIVES = {"idle": 30, "interval": 10, "count": 3}
_UNANSWERED_MS = 60_000
"""A machine that has vanished is noticed within a minute, here and by the server, which then takes its lock away: one
that says nothing by the keepalives, and one that does not take what it is sent, to which none go, by the other."""

_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_WRITE = (
    "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL idle_in_transaction_session_timeout = '30s'; "
    f"SELECT pg_advisory_xact_lock({WRITERS_TURN})"
)
"""A writer that has fallen asleep in its turn (a machine suspended, a process stopped) must not keep it for ever."""


def postgresql_engine(url: URL, *, busy_timeout_seconds: float) -> Engine:
    """An engine for a database on a server; see `engine.make_engine`.

    Raises:
        ConfigError: the URL names another driver than psycopg, or it is not installed.
    """
    if url.drivername not in ("postgres", "postgresql", DRIVER):
        raise ConfigError('database.url names a driver that the clinic does not use; begin it with "postgresql://".')
    settings = {
        "application_name": "agcnn-clinic",
        "connect_timeout": max(2, math.ceil(busy_timeout_seconds)),
        **{f"keepalives_{name}": value for name, value in _KEEPALIVES.items()},
        "tcp_user_timeout": _UNANSWERED_MS,
    }
    try:
        engine = create_engine(
            url.set(drivername=DRIVER),
            # What the administrator has written behind the URL's question mark goes before.
            connect_args={name: value for name, value in settings.items() if name not in url.query},
            pool_pre_ping=True,
            json_serializer=storable_json,
            hide_parameters=True,  # an error's text may end in a log, and parameters are patient data
        )
    except ImportError as error:
        raise ConfigError(
            "The driver for PostgreSQL is not installed; install it with `pip install 'agcnn-clinic[postgresql]'`."
        ) from error

    def on_connect(connection: Any, record: Any) -> None:
        del record
        _set_up(connection, busy_timeout_seconds)

    event.listen(engine, "connect", on_connect)
    event.listen(engine, "handle_error", _first_line_only)
    return engine


def begin(connection: Connection, *, write: bool) -> None:
    """Begin a transaction: one that sees one state and may not write, or the only one that writes.

    Raises:
        DatabaseUnavailableError: it is to write, and the server is a standby.
    """
    # Without the options of the query that begins it: a row-by-row cursor cannot run these.
    at_once = {"stream_results": False, "yield_per": None}
    try:
        connection.exec_driver_sql(_WRITE if write else _READ, execution_options=at_once)
    except NotSupportedError as error:
        # So (0A000) a standby answers to this statement; of another one it would mean something else.
        kind, sentence = STANDBY
        raise kind(sentence) from error


def _first_line_only(context: ExceptionContext) -> None:
    """Keep of an error what says its kind: the server's DETAIL quotes the row, and an error may end in a log."""
    primary = getattr(getattr(context.original_exception, "diag", None), "message_primary", None)
    if primary is not None:
        context.original_exception.args = (primary,)
        if context.sqlalchemy_exception is not None:
            context.sqlalchemy_exception.args = (primary,)


def _set_up(connection: Any, busy_timeout_seconds: float) -> None:
    # The driver begins no transaction by itself, so that `begin` can choose its kind.
    connection.autocommit = True
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise DatabaseError(
            f"The database holds text as {encoding}, which has no room for every patient's name; "
            "make one with ENCODING 'UTF8' and name that in database.url."
        )
    settings = {
        # 0 would mean to wait for ever.
        "lock_timeout": max(1, round(busy_timeout_seconds * 1000)),
        # To compile study_summary takes a hundred times as long as to run it.
        "jit": "off",
        **{f"tcp_keepalives_{name}": value for name, value in _KEEPALIVES.items()},
        "tcp_user_timeout": _UNANSWERED_MS,
    }
    connection.execute(
        "SELECT set_config(name, value, false) FROM unnest(%s::text[], %s::text[]) AS setting (name, value)",
        (list(settings), list(map(str, settings.values()))),
    )
    # A commit returns only once the disk has it, whatever the server, the database or the role was set to.
    connection.execute(
        "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
    )
