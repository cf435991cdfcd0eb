"""How a connection is made: on SQLite or PostgreSQL, with the same promises.

Every connection of the clinic comes from `make_engine`. A transaction is a read, which sees one state of the database
and may not write, unless it is begun on `writing(engine)`; writers take turns. A row that was committed is still there
after a power cut.
"""

from pathlib import Path

from sqlalchemy import URL, Connection, Engine, event, make_url
from sqlalchemy.exc import ArgumentError

from agcnn_clinic.database import postgresql, sqlite
from agcnn_clinic.errors import ConfigError, DatabaseError

_WRITE = "agcnn_clinic_write"


def parse_url(url: str) -> URL:
    """`database.url` taken apart.

    Raises:
        ConfigError: it is not an SQLAlchemy URL. The sentence does not repeat it: it may hold a password.
    """
    try:
        return make_url(url)
    except (ArgumentError, ValueError) as error:
        raise ConfigError('database.url is not a database address; write it like "sqlite:///clinic.sqlite".') from error


def sqlite_file(url: str) -> Path | None:
    """The file of an SQLite database; None for a database server.

    Raises:
        DatabaseError: SQLite in memory, which would forget everything with the process.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() != "sqlite":
        return None
    # Taken as it stands: the parsed URL would read "100%20" in a folder's name as "100 ", and end at a question mark.
    path = url.partition(":///")[2]
    name = path.rpartition("/")[2]
    if not name or "?" in name or path.startswith((":memory:", "file:")):
        raise DatabaseError(
            'database.url must name a file: write it like "sqlite:///clinic.sqlite", without options or question marks.'
        )
    return Path(path)


def make_engine(url: str, *, busy_timeout_seconds: float, foreign_keys: bool = True, create: bool = False) -> Engine:
    """An engine for the clinic's database; nothing is connected before it is used.

    Args:
        url: an SQLAlchemy URL with an absolute path.
        busy_timeout_seconds: how long to wait for another process that is writing, and for a server to answer.
        foreign_keys: False for migrations, which copy tables: SQLite would take a dropped copy for deleted rows.
        create: whether a missing SQLite file is made.

    Raises:
        DatabaseError: the SQLite file is missing, in memory, or on a network file system.
        ConfigError: the URL is not valid, neither SQLite's nor PostgreSQL's, or the driver is not installed.
    """
    file, parsed = sqlite_file(url), parse_url(url)
    if file is not None:
        begin = sqlite.begin
        engine = sqlite.sqlite_engine(
            file, busy_timeout_seconds=busy_timeout_seconds, foreign_keys=foreign_keys, create=create
        )
    elif parsed.get_backend_name() in ("postgresql", "postgres"):
        begin = postgresql.begin
        engine = postgresql.postgresql_engine(parsed, busy_timeout_seconds=busy_timeout_seconds)
    else:
        raise ConfigError(
            "database.url names a kind of database that the clinic does not know; "
            'write "sqlite:///FILE" or "postgresql://USER:PASSWORD@HOST/DATABASE".'
        )

    def on_begin(connection: Connection) -> None:
        begin(connection, write=connection.get_execution_options().get(_WRITE, False))

    event.listen(engine, "begin", on_begin)
    return engine


def writing(engine: Engine) -> Engine:
    """The same engine and pool, whose transactions may write."""
    return engine.execution_options(**{_WRITE: True})
