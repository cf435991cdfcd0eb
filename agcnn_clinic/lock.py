"""Who may work on a clinic.

On SQLite one process at a time. The lock is the kernel's: it goes when the process goes, however it goes. On PostgreSQL
any number of workers, which share the work by leases. Root not at all, if the clinic is another user's.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from agcnn_clinic.config import Config
from agcnn_clinic.database.claims import ALONE, Claims
from agcnn_clinic.database.engine import sqlite_file
from agcnn_clinic.database.session import Database
from agcnn_clinic.errors import ClinicBusyError, StorageError, UsageError
from agcnn_clinic.users import user_name

_ROOT = 0
_LOOKS, _LOOK_SECONDS = 500, 0.01
"""How often, and after how long each time, it is tried again to get the lock from those that only look at it."""


@contextlib.contextmanager
def at_work_on(config: Config, database: Database) -> Iterator[Claims]:
    """Be a worker of a clinic for the length of a `with` block; gives what to claim its work with.

    Raises:
        UsageError: this is root, and the clinic another user's.
        ClinicBusyError: another process works on it, and it cannot be shared.
        StorageError: the clinic's folder cannot be written.
        DatabaseError: the database cannot be used.
    """
    refuse_root(config)
    if database.file is not None:
        with only_process(config.lock_file):
            database.hold()
            yield ALONE
        return
    # Only a server has these, and SQLite's commands shall not wait for the object mapper.
    from agcnn_clinic.database.leases import Leases  # noqa: PLC0415

    with Leases(database, config.database.lease_seconds) as leases:
        yield leases


def refuse_root(config: Config) -> None:
    """See that what this process makes is of use to the clinic's own user: what root makes is root's alone.

    Raises:
        UsageError: this is root, and the clinic another user's.
    """
    _refuse_root_for(owner_of(config))


def refuse_root_in(folder: Path) -> None:
    """The same where a clinic's config.toml is still to be made.

    Raises:
        UsageError: this is root, and the folder another user's.
        OSError: there is no such folder.
    """
    _refuse_root_for(folder.stat().st_uid)


def _refuse_root_for(owner: int) -> None:
    if os.geteuid() == _ROOT and owner != _ROOT:
        name = user_name(owner)
        raise UsageError(
            f"This clinic is {name}'s, who could not use what root makes in it; run the command as that user: "
            f"runuser -u {name} -- agcnn-clinic ..."
        )


def owner_of(config: Config) -> int:
    """The clinic's own user: whose the database is, or where that is a server the archive.

    Where that is not there yet, or root's, it is whose the folder of config.toml is. Root copies a backup into it, or
    a command of root's has made the database, and the clinic is no less the other user's.
    """
    owner = _owner(sqlite_file(config.database_url) or config.archive)
    return _owner(config.root) if owner == _ROOT else owner


def _owner(path: Path) -> int:
    try:
        return path.stat().st_uid
    except OSError:
        return _ROOT


@contextlib.contextmanager
def only_process(path: Path) -> Iterator[None]:
    """Hold the clinic's lock for the length of a `with` block.

    Raises:
        ClinicBusyError: another process holds it.
        StorageError: the clinic's folder cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageError(f"The clinic's folder cannot be written: {error.strerror}.") from error
    with os.fdopen(descriptor, "r+") as file:
        if not _is_had(file):
            raise ClinicBusyError(
                f"Process {_written(file)} works on this clinic already: leave it to that one, which takes what is in "
                "the inbox and keeps to [retention], or stop it first."
            )
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def holder(path: Path) -> str | None:
    """The id of the process that holds the clinic's lock, "unknown" where it did not say; None when it is free.

    A clinic that never worked has no lock file, and looking makes none.

    Raises:
        StorageError: it cannot be looked at.
    """
    try:
        with path.open() as file:
            # Others may look at the same time, and who is about to work waits for them.
            return None if _flocked(file, fcntl.LOCK_SH) else _written(file)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"The clinic's lock {path} cannot be looked at: {error.strerror}.") from error


def _is_had(file: TextIO) -> bool:
    """Take the lock; False where a process works under it. One that looks has it for a moment, and is waited for."""
    for _ in range(_LOOKS):
        if _flocked(file, fcntl.LOCK_EX):
            return True
        if not _flocked(file, fcntl.LOCK_SH):
            return False
        fcntl.flock(file, fcntl.LOCK_UN)
        time.sleep(_LOOK_SECONDS)
    return False


def _flocked(file: TextIO, how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _written(file: TextIO) -> str:
    return file.read().strip() or "unknown"
