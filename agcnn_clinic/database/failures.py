"""What the database driver reports, as one sentence that says what to do: the one place that translates it."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import exc

from agcnn_clinic.errors import DatabaseError, OnError


class DatabaseUnavailableError(DatabaseError):
    """The database cannot be used at this moment, for a cause that may pass: locked, disk full, server gone."""

    on_error = OnError.RETRY


_Sentence = tuple[type[DatabaseError], str]

_LOCKED = (
    DatabaseUnavailableError,
    "The database is locked by another program; try again, or raise database.busy_timeout_seconds.",
)
_FULL = (DatabaseUnavailableError, "The disk that holds the database is full; free some space.")
_INPUT_OUTPUT = (
    DatabaseUnavailableError,
    "The disk that holds the database reports an input/output error; check the disk and the file system.",
)
_MEMORY = (DatabaseUnavailableError, "There is not enough memory for the database; free some.")

_SQLITE: dict[int, _Sentence] = {
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_IOERR: _INPUT_OUTPUT,
    sqlite3.SQLITE_NOMEM: _MEMORY,
    sqlite3.SQLITE_READONLY: (
        DatabaseError,
        "The database cannot be written; give this user write permission on the file and on the folder it lies in.",
    ),
    sqlite3.SQLITE_PERM: (DatabaseError, "Access to the database is denied; check the permissions of its file."),
    sqlite3.SQLITE_AUTH: (DatabaseError, "Access to the database is denied; check the permissions of its file."),
    sqlite3.SQLITE_CANTOPEN: (
        DatabaseError,
        "The database cannot be opened; check that its file and folder exist and that this user may write there.",
    ),
    # SQLite says so of a disk that cannot be read (EIO), too, and nothing tells the two apart.
    sqlite3.SQLITE_CORRUPT: (
        DatabaseError,
        (
            "The database is damaged, or its disk could not be read, of which the system's log tells; "
            "if it is damaged, stop the daemon and restore the newest backup that `agcnn-clinic db backup` made."
        ),
    ),
    sqlite3.SQLITE_NOTADB: (
        DatabaseError,
        "The file is not a SQLite database; check database.url, or restore a backup.",
    ),
}
"""By primary result code (https://www.sqlite.org/rescode.html)."""

_NO_TEXT = re.compile(r"Could not decode to UTF-8 column '(\w*)'")
"""So Python reports, under no code, a text that is no UTF-8; behind that it repeats the text, which may be a name."""

_PRIMARY = 0xFF
"""An extended result code holds the primary one in its lowest byte."""

_GONE = (
    DatabaseUnavailableError,
    "The database server cannot be reached or has gone away; check that it runs, and host and port in database.url.",
)
_CANCELLED = (DatabaseUnavailableError, "The database server has cancelled a statement, or its time was up; try again.")
_AGAIN = (DatabaseUnavailableError, "Another program came between in the database; try again.")
STANDBY: _Sentence = (
    DatabaseUnavailableError,
    "The database cannot be written, as a standby's cannot; it is tried again, or name the primary in database.url.",
)
"""A fail-over may leave the address with the old primary for a while, or with a new one that is not ready."""
_RIGHTS = (
    DatabaseError,
    "The database's role lacks a right; make it the owner of the database, as `agcnn-clinic doctor` checks.",
)
_DAMAGED = (DatabaseError, "The database is damaged; stop the daemon and restore the newest backup of the server.")

_POSTGRESQL: dict[str, _Sentence] = {
    "08": _GONE,  # connection exception
    "25006": STANDBY,  # read-only transaction
    "25P03": _GONE,  # idle-in-transaction timeout: the server closes the connection
    "25P04": _GONE,  # transaction timeout: likewise
    "40": _AGAIN,  # serialization failure, deadlock
    "42501": _RIGHTS,
    "53100": _FULL,
    "53200": _MEMORY,
    "55P03": _LOCKED,
    "57014": _CANCELLED,
    "57P": _GONE,  # shutdown, crash, starting up, database dropped, idle session
    "58030": _INPUT_OUTPUT,
    "XX001": _DAMAGED,
    "XX002": _DAMAGED,
}
"""By SQLSTATE or its beginning (https://www.postgresql.org/docs/current/errcodes-appendix.html)."""

_REFUSAL = re.compile(r"failed: \S+\s?:\s+(.+)")
"""What a server says where it refuses a connection, behind the severity, which is in its own language."""


def translate(error: exc.DBAPIError) -> DatabaseError | None:
    """The error that a person should read in place of the driver's; None where its cause is no matter of theirs."""
    if isinstance(error, exc.IntegrityError):
        return None
    found = _of_sqlite(error) if isinstance(error.orig, sqlite3.Error) else _of_postgresql(error)
    if found is None:
        return None
    kind, sentence = found
    return kind(sentence)


@contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's errors, met inside, into DatabaseError.

    An IntegrityError passes: it says that a row exists already, and the caller knows what that means.
    """
    try:
        yield
    except exc.DBAPIError as error:
        failure = translate(error)
        if failure is None:
            raise
        raise failure from error


def _of_sqlite(error: exc.DBAPIError) -> _Sentence | None:
    code = getattr(error.orig, "sqlite_errorcode", 0) & _PRIMARY
    if code in _SQLITE:
        return _SQLITE[code]
    if no_text := _NO_TEXT.match(str(error.orig)):
        return DatabaseError, (
            f"The column {no_text[1]!r} of the database holds what is no text: it is damaged, or another program has "
            "written to it; keep a copy as it is, and restore the newest backup that `agcnn-clinic db backup` made."
        )
    # A file that is not a database, or a damaged one, raises the base class itself.
    if isinstance(error, exc.OperationalError) or type(error) is exc.DatabaseError:
        return DatabaseError, f"The database reports: {_one_line(str(error.orig))}."
    return None


def _of_postgresql(error: exc.DBAPIError) -> _Sentence | None:
    state = getattr(error.orig, "sqlstate", None)
    if state is None:
        # There is no connection any more, or there never was one.
        return _refused(str(error.orig)) or _GONE if isinstance(error, exc.OperationalError) else None
    for length in (5, 3, 2):
        if state[:length] in _POSTGRESQL:
            return _POSTGRESQL[state[:length]]
    if isinstance(error, exc.OperationalError | exc.ProgrammingError):
        # Of tables and columns, that is: the lines behind the first one, and a DataError, may quote a row.
        diagnosis = getattr(error.orig, "diag", None)
        return DatabaseError, f"The database reports: {_one_line(getattr(diagnosis, 'message_primary', None))}."
    return None


def _refused(words: str) -> _Sentence | None:
    """What the server itself says; all other words may repeat a piece of the password as the host's name."""
    found = _REFUSAL.search(words)
    if found is None:
        return None
    sentence = (
        f"The database server refuses the connection ({_one_line(found[1])}); where this does not pass, check user, "
        "password and database in database.url, and the server's pg_hba.conf."
    )
    return DatabaseUnavailableError, sentence


def _one_line(words: str | None) -> str:
    return " ".join((words or "no reason").split()).rstrip(".")
