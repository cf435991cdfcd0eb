"""How a connection is made: SQLite set up so that a row that was committed is still there after a power cut.

Every connection of the clinic comes from `make_engine`. A transaction is a read, which sees one state of the database
and may not write, unless it is begun on `writing(engine)`.
"""

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from agcnn_clinic.database import storage
from agcnn_clinic.errors import ConfigError, DatabaseError

_WRITE = "agcnn_clinic_write"
_FILE_MODE = 0o600
"""The database holds patient data: nobody else reads it unless the administrator says so."""


def parse_url(url: str) -> URL:
    """`database.url` taken apart.

    Raises:
        ConfigError: it is not an SQLAlchemy URL. The sentence does not repeat it: it may hold a password.
    """
    try:
        return make_url(url)
    except ArgumentError as error:
        raise ConfigError('database.url is not a database address; write it like "sqlite:///clinic.sqlite".') from error


def sqlite_file(url: str) -> Path | None:
    """The file of an SQLite database; None for a database server.

    Raises:
        DatabaseError: SQLite in memory, which would forget everything with the process.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() != "sqlite":
        return None
    if "?" in url or not parsed.database or parsed.database.startswith((":memory:", "file:")):
        raise DatabaseError(
            'database.url must name a file: write it like "sqlite:///clinic.sqlite", without options or question marks.'
        )
    # Taken as it stands: the parsed URL would read "100%20" in a folder's name as "100 ".
    return Path(url.partition(":///")[2])


def make_engine(url: str, *, busy_timeout_seconds: float, foreign_keys: bool = True, create: bool = False) -> Engine:
    """An engine for the clinic's database; nothing is connected before it is used.

    Args:
        url: an SQLAlchemy URL with an absolute path.
        busy_timeout_seconds: how long to wait for another process that is writing.
        foreign_keys: False for migrations, which copy tables: SQLite would take a dropped copy for deleted rows.
        create: whether a missing SQLite file is made.

    Raises:
        DatabaseError: the SQLite file is missing, in memory, or on a network file system.
        ConfigError: the URL is not valid or its driver is not installed.
    """
    file = sqlite_file(url)
    if file is None:
        return _server_engine(url)
    storage.refuse_network_folder(file, storage.mounts())
    if create:
        _create(file)
    elif not file.is_file():
        raise DatabaseError(
            f"There is no database {file}; make a clinic with `agcnn-clinic init`, or correct database.url."
        )
    # mode=rw: a file that vanishes under a running daemon must be an error, not an empty new database.
    location = URL.create("sqlite", database="file:" + quote(str(file.absolute())), query={"mode": "rw", "uri": "true"})
    # An error that is printed must not bring the values along: they are patient data.
    engine = create_engine(location, connect_args={"timeout": busy_timeout_seconds}, hide_parameters=True)
    _set_up_sqlite(engine, busy_timeout_seconds=busy_timeout_seconds, foreign_keys=foreign_keys)
    return engine


def writing(engine: Engine) -> Engine:
    """The same engine and pool, whose transactions may write."""
    return engine.execution_options(**{_WRITE: True})


def _server_engine(url: str) -> Engine:
    try:
        return create_engine(parse_url(url), pool_pre_ping=True, hide_parameters=True)
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise ConfigError(
            f"The driver for database.url is not installed ({error}); install it beside agcnn-clinic."
        ) from error


def _create(file: Path) -> None:
    try:
        os.close(os.open(file, os.O_CREAT | os.O_RDWR, _FILE_MODE))
    except OSError as error:
        raise DatabaseError(
            f"The database {file} cannot be made: {error.strerror}; check that the folder exists and may be written."
        ) from error


def _set_up_sqlite(engine: Engine, *, busy_timeout_seconds: float, foreign_keys: bool) -> None:
    def on_connect(connection: Any, record: Any) -> None:
        del record
        # SQLAlchemy's recipe: the driver begins no transaction by itself, so that `on_begin` can choose its kind.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {round(busy_timeout_seconds * 1000)}")
        cursor.execute(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")
        # A commit returns only once the disk has it; WAL alone would let the last ones go in a power cut.
        cursor.execute("PRAGMA synchronous = FULL")
        (mode,) = cursor.execute("PRAGMA journal_mode = WAL").fetchone()
        cursor.close()
        if mode != "wal":
            raise DatabaseError(
                f"The database cannot keep a write-ahead log where it lies (journal mode {mode}); "
                "move it to a local disk."
            )

    def on_begin(connection: Connection) -> None:
        write = connection.get_execution_options().get(_WRITE, False)
        connection.exec_driver_sql(f"PRAGMA query_only = {'OFF' if write else 'ON'}")
        # IMMEDIATE waits for its turn at the start. A read that turns into a write later cannot wait: it fails.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    event.listen(engine, "connect", on_connect)
    event.listen(engine, "begin", on_begin)
