"""SQLite, set up so that a row that was committed is still there after a power cut."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event

from agcnn_clinic.database import storage
from agcnn_clinic.database.values import storable_json
from agcnn_clinic.errors import DatabaseError

_FORMAT_AT, _WITH_LOG = 18, b"\x02\x02"
"""Where a database file says how it is written and read, and what it says there while it has a write-ahead log."""
_FILE_MODE = 0o600
"""The database holds patient data: nobody else reads it unless the administrator says so."""


def sqlite_engine(file: Path, *, busy_timeout_seconds: float, foreign_keys: bool, create: bool) -> Engine:
    """An engine for a database file; see `engine.make_engine`.

    Raises:
        DatabaseError: the file is missing or on a network file system.
    """
    storage.refuse_network_folder(file, storage.mounts())
    if create:
        _create(file)
    elif not file.is_file():
        raise DatabaseError(
            f"There is no database {file}; make a clinic with `agcnn-clinic init`, or correct database.url."
        )
    # mode=rw: a file that is gone when a connection is made must be an error, not an empty new database.
    location = URL.create("sqlite", database="file:" + quote(str(file.absolute())), query={"mode": "rw", "uri": "true"})
    engine = create_engine(
        location,
        connect_args={"timeout": busy_timeout_seconds},
        json_serializer=storable_json,
        hide_parameters=True,  # an error's text may end in a log, and parameters are patient data
    )

    def on_connect(connection: Any, record: Any) -> None:
        del record
        _set_up(connection, foreign_keys=foreign_keys)

    event.listen(engine, "connect", on_connect)
    return engine


class OpenFile:
    """The file that an engine has opened, held against the one that has its name.

    SQLite goes on with an open file whatever becomes of its name. Of a backup that was moved into its place, or of a
    database that was removed, it says nothing, and what is committed from then on is lost with the process. Nor does it
    say that another database was copied into the file itself: it mixes the two.
    """

    def __init__(self, engine: Engine, file: Path) -> None:
        """Look at each connection, and at each transaction's beginning; `check` is for its end."""
        self._file = file
        self._opened: tuple[int, int] | None = None
        self._held: int | None = None
        self._had_log = False
        # Each before SQLite looks into the file. A connection to another one of this name would cut the log's index,
        # since locks do not hold within a process; a thread that has it mapped would end the process with SIGBUS.
        event.listen(engine, "connect", self._look, insert=True)
        event.listen(engine, "begin", self._look, insert=True)

    def hold(self) -> None:
        """From now on look into the file, too: for a process that has it open for long.

        Raises:
            DatabaseError: it cannot be opened, or `check` finds something.
        """
        if self._held is None:
            self.check()
            try:
                self._held = os.open(self._file, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                raise DatabaseError(f"The database {self._file} cannot be opened: {error.strerror}.") from error
            self.check()

    def let_go(self) -> None:
        """No more, once no connection is left: a file that is closed takes all of this process's locks on it along."""
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def check(self) -> None:
        """See that the name still has the file that was opened, and the file what was in it; it takes microseconds.

        Raises:
            DatabaseError: it has another one, or none; or a backup, which has no log of its own, was copied into it.
        """
        try:
            status = self._file.stat()
        except (FileNotFoundError, NotADirectoryError):
            found = None
        except OSError:
            return  # the disk fails, perhaps for a moment: SQLite says so where it matters
        else:
            found = status.st_dev, status.st_ino
        self._opened = self._opened or found
        if found is None or found != self._opened:
            raise DatabaseError(
                f"The database {self._file} was replaced or removed while it was open, and nothing more is written; "
                "see that the right file is there (`agcnn-clinic db restore` puts a backup in its place), then start."
            )
        if self._held is None:
            return
        # Of a backup that was put here while a killed process's log lay beside it, it is said later, if at all.
        try:
            has_log = os.pread(self._held, len(_WITH_LOG), _FORMAT_AT) == _WITH_LOG
        except OSError:
            return  # as above
        self._had_log = self._had_log or has_log
        if self._had_log and not has_log:
            raise DatabaseError(
                f"Something was copied into the database {self._file} while it was open, and nothing more is written; "
                "put a backup in its place with `agcnn-clinic db restore`, since the two are mixed now, then start."
            )

    def _look(self, *_event: Any) -> None:
        self.check()


def begin(connection: Connection, *, write: bool) -> None:
    """Begin a transaction: one that sees one state and may not write, or the only one that writes."""
    connection.exec_driver_sql(f"PRAGMA query_only = {'OFF' if write else 'ON'}")
    # IMMEDIATE waits for its turn at the start. A read that turns into a write later cannot wait: it fails.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _create(file: Path) -> None:
    try:
        os.close(os.open(file, os.O_CREAT | os.O_RDWR, _FILE_MODE))
    except OSError as error:
        raise DatabaseError(
            f"The database {file} cannot be made: {error.strerror}; check that the folder exists and may be written."
        ) from error


def _set_up(connection: Any, *, foreign_keys: bool) -> None:
    # SQLAlchemy's recipe: the driver begins no transaction by itself, so that `begin` can choose its kind.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")
    # A commit returns only once the disk has it; WAL alone would let the last ones go in a power cut.
    cursor.execute("PRAGMA synchronous = FULL")
    (mode,) = cursor.execute("PRAGMA journal_mode = WAL").fetchone()
    cursor.close()
    if mode != "wal":
        raise DatabaseError(
            f"The database cannot keep a write-ahead log where it lies (journal mode {mode}); move it to a local disk."
        )
