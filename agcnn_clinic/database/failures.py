"""What the database driver reports, as one sentence that says what to do: the one place that translates it."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import exc

from agcnn_clinic.errors import DatabaseError, OnError


class DatabaseUnavailableError(DatabaseError):
    """The database cannot be used at this moment, for a cause that may pass: locked, disk full."""

    on_error = OnError.RETRY


_SENTENCES: dict[int, tuple[type[DatabaseError], str]] = {
    sqlite3.SQLITE_BUSY: (
        DatabaseUnavailableError,
        "The database is locked by another program; try again, or raise database.busy_timeout_seconds.",
    ),
    sqlite3.SQLITE_LOCKED: (
        DatabaseUnavailableError,
        "The database is locked by another program; try again, or raise database.busy_timeout_seconds.",
    ),
    sqlite3.SQLITE_FULL: (
        DatabaseUnavailableError,
        "The disk that holds the database is full; free some space.",
    ),
    sqlite3.SQLITE_IOERR: (
        DatabaseUnavailableError,
        "The disk that holds the database reports an input/output error; check the disk and the file system.",
    ),
    sqlite3.SQLITE_NOMEM: (DatabaseUnavailableError, "There is not enough memory for the database; free some."),
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
    sqlite3.SQLITE_CORRUPT: (
        DatabaseError,
        "The database is damaged; stop the daemon and restore the newest backup that `agcnn-clinic db backup` made.",
    ),
    sqlite3.SQLITE_NOTADB: (
        DatabaseError,
        "The file is not a SQLite database; check database.url, or restore a backup.",
    ),
}
"""By primary result code (https://www.sqlite.org/rescode.html)."""

_PRIMARY = 0xFF
"""An extended result code holds the primary one in its lowest byte."""


def translate(error: exc.DBAPIError) -> DatabaseError:
    """The error that a person should read in place of the driver's."""
    code = getattr(error.orig, "sqlite_errorcode", None)
    if isinstance(code, int) and code & _PRIMARY in _SENTENCES:
        kind, sentence = _SENTENCES[code & _PRIMARY]
        return kind(sentence)
    lost = DatabaseUnavailableError if error.connection_invalidated else DatabaseError
    return lost(f"The database reports: {_one_line(error.orig)}.")


@contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's operational errors, met inside, into DatabaseError.

    An IntegrityError passes: it says that a row exists already, and the caller knows what that means.
    """
    try:
        yield
    except exc.OperationalError as error:
        raise translate(error) from error
    except exc.DatabaseError as error:
        # A file that is not a database, or a damaged one, raises the base class itself.
        if type(error) is not exc.DatabaseError:
            raise
        raise translate(error) from error


def _one_line(error: BaseException | None) -> str:
    text = " ".join(str(error).split()) if error is not None else "no reason"
    return text.rstrip(".")
