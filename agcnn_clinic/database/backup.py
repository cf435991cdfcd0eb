"""A copy of the database while the daemon goes on, and such a copy put back in its place."""

import contextlib
import itertools
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from agcnn_clinic.database.revision import HEAD, Standing, standing
from agcnn_clinic.database.session import Database
from agcnn_clinic.durable import fsync_file, fsync_folder, led_to, make_alike
from agcnn_clinic.errors import DatabaseError, UsageError


def backup(database: Database, target: Path) -> int:
    """Copy an SQLite database as it is at one moment; writers are not kept waiting.

    The copy is one file without a write-ahead log, was checked, and takes its name only once it is whole and on disk.

    Args:
        database: the open database.
        target: the file to make; a link that leads to none yet is followed.

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
    with _explained(f"The backup {target} cannot be made"):
        target = led_to(target)
        with _whole_copy(database.file, target) as partial:
            partial.replace(target)
            fsync_folder(target.parent)
    return target.stat().st_size


class Restored(NamedTuple):
    """What became of a database in whose place a backup was put.

    Attributes:
        revision: the restored one's.
        kept: where the one before is kept; None if there was none.
        logs: where logs are kept that it has left: it was damaged, or is gone without them.
    """

    revision: str
    kept: Path | None
    logs: tuple[Path, ...]


_LOGS = ("-wal", "-journal")
"""What SQLite leaves beside a database, whose newest rows are in there alone."""


def unused(mark: str, *folders: Path) -> str:
    """Return the mark, with a number where a name in the folders has it: what is set aside shall replace nothing."""
    numbered = itertools.chain((mark,), (f"{mark}-{number}" for number in itertools.count(2)))
    return next(one for one in numbered if not any(found for folder in folders for found in folder.glob(f"*-{one}*")))


def restore(copy: Path, file: Path, mark: str) -> Restored:
    """Put a backup in the database's place; what was there is kept beside it. Hold the clinic's lock meanwhile.

    At every moment a whole database has the name: the old one or the new one. It keeps its mode and its owner.

    Args:
        copy: what `backup` made; it stays as it is.
        file: where the clinic's database is, or was; a link stays one, as it does for SQLite.
        mark: what is put behind the name under which the old one is kept; see `unused`.

    Raises:
        UsageError: there is no such copy.
        DatabaseError: the copy is damaged, no clinic's, or of a newer version; another program has the database open;
            or the disk cannot be written. Nothing was changed then.
    """
    if not copy.is_file():
        raise UsageError(f"There is no {copy}; name a file that `agcnn-clinic db backup` made.")
    with _explained(f"The database cannot be restored from {copy}"):
        file = led_to(file)
        with _whole_copy(copy, file) as partial:
            revision = _revision(partial, copy)
            kept = file.with_name(f"{file.stem}-{mark}{file.suffix}")
            was_there = file.exists()
            with _set_aside(file, kept) if was_there else contextlib.nullcontext():
                if was_there:
                    make_alike(partial, file.stat())
                _clear_logs(file, kept)
                partial.replace(file)
            fsync_folder(file.parent)
    logs = (kept.with_name(kept.name + ending) for ending in _LOGS)
    return Restored(revision, kept if was_there else None, tuple(log for log in logs if log.exists()))


@contextlib.contextmanager
def _whole_copy(source: Path, target: Path) -> Iterator[Path]:
    """A checked copy of a database on the target's disk, under a temporary name, for the length of the block."""
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    os.close(handle)
    partial = Path(name)
    try:
        _copy(source, partial)
        fsync_file(partial)
        yield partial
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise DatabaseError(f"{what}: {error}.") from error
    except OSError as error:
        raise DatabaseError(
            f"{what}: {error.strerror}; the folder must be there, have room and let this user write."
        ) from error


def _revision(partial: Path, copy: Path) -> str:
    """The revision of a copy that this software can go on with."""
    with contextlib.closing(sqlite3.connect(partial)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone():
            raise DatabaseError(f"{copy} is not the database of a clinic; name a file that `db backup` made.")
        (revision,) = connection.execute("SELECT version_num FROM alembic_version").fetchone() or ("",)
        if standing(revision) is Standing.AHEAD:
            raise DatabaseError(
                f"{copy} is at revision {revision}, which this version does not know (it writes {HEAD}); "
                "install the newer version of agcnn-clinic that made it."
            )
        if connection.execute("PRAGMA foreign_key_check").fetchone():
            raise DatabaseError(f"Rows of {copy} contradict each other; name an older backup.")
    return str(revision)


@contextlib.contextmanager
def _set_aside(file: Path, kept: Path) -> Iterator[None]:
    """Give the old database a second name, with all that its write-ahead log holds; nobody gets at it in the block.

    Who opened it before it has lost its name would begin a log under that, which SQLite would take for the new one's.
    """
    log, kept_log = (path.with_name(f"{path.name}-wal") for path in (file, kept))
    if log.exists():
        # Before SQLite looks at a damaged database: it may throw the log away.
        shutil.copy(log, kept_log)
    with contextlib.closing(sqlite3.connect(file, timeout=5, isolation_level=None)) as connection:
        try:
            # Its log goes into it, and no other one is begun.
            connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute("BEGIN EXCLUSIVE")
            (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
            if mode != "delete":
                raise sqlite3.OperationalError("it was opened between the two")  # noqa: TRY301 (as if it had been before)
            kept_log.unlink(missing_ok=True)
        except sqlite3.OperationalError as error:
            kept_log.unlink(missing_ok=True)
            raise DatabaseError("Another program has the database open; end it, then try again.") from error
        except sqlite3.DatabaseError:
            pass  # damaged: that may be why it is restored. It is kept as it is, its log beside it
        os.link(file, kept)
        fsync_folder(file.parent)
        yield


def _clear_logs(file: Path, kept: Path) -> None:
    """Let nothing lie beside a database that SQLite would take for the new one's: it would put it into that.

    A killed process leaves its log, and the database may be gone or damaged. What was committed last is in there alone.
    """
    for ending in _LOGS:
        log, kept_log = (path.with_name(path.name + ending) for path in (file, kept))
        if log.exists() and not kept_log.exists():
            log.replace(kept_log)
        log.unlink(missing_ok=True)
    file.with_name(f"{file.name}-shm").unlink(missing_ok=True)


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
