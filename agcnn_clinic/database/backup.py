"""A copy of the database while the daemon goes on."""

import os
import sqlite3
import tempfile
from pathlib import Path

from agcnn_clinic.database.session import Database
from agcnn_clinic.errors import DatabaseError, UsageError


def backup(database: Database, target: Path) -> int:
    """Copy an SQLite database as it is at one moment; writers are not kept waiting.

    The copy is one file without a write-ahead log, was checked, and takes its name only once it is whole and on disk.

    Args:
        database: the open database.
        target: the file to make.

    Returns:
        The copy's size in bytes.

    Raises:
        UsageError: the target exists already.
        DatabaseError: it is a database server; or the copy cannot be written or is damaged.
    """
    if database.file is None:
        raise DatabaseError("A database server is backed up with its own tool, such as pg_dump.")
    if target.exists():
        raise UsageError(f"{target} exists already; name a new file.")
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise DatabaseError(f"The backup {target} cannot be written: {error.strerror}.") from error
    os.close(handle)
    partial = Path(name)
    try:
        _copy(database.file, partial)
        _sync(partial)
        partial.replace(target)
        _sync(target.parent)
    except sqlite3.Error as error:
        raise DatabaseError(f"The backup {target} cannot be made: {error}.") from error
    except OSError as error:
        raise DatabaseError(f"The backup {target} cannot be written: {error.strerror}.") from error
    finally:
        partial.unlink(missing_ok=True)
    return target.stat().st_size


def _copy(source: Path, partial: Path) -> None:
    read, write = sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True), sqlite3.connect(partial)
    try:
        # All pages in one step: the copy is one moment of the database, whatever is written meanwhile.
        read.backup(write)
        # The source's journal mode is copied, too; a backup shall be one file, on whatever disk.
        write.execute("PRAGMA journal_mode = DELETE")
        (found,) = write.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise DatabaseError(f"The copy is damaged ({found}); check the database with `agcnn-clinic doctor`.")
    finally:
        write.close()
        read.close()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
