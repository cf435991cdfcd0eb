"""Who may work on a clinic.

On SQLite one process at a time. The lock is the kernel's: it goes when the process goes, however it goes. On PostgreSQL
any number of workers, which share the work by leases.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from agcnn_clinic.config import Config
from agcnn_clinic.database.claims import ALONE, Claims
from agcnn_clinic.database.session import Database
from agcnn_clinic.errors import ClinicBusyError, StorageError


@contextlib.contextmanager
def at_work_on(config: Config, database: Database) -> Iterator[Claims]:
    """Be a worker of a clinic for the length of a `with` block; gives what to claim its work with.

    Raises:
        ClinicBusyError: another process works on it, and it cannot be shared.
        StorageError: the clinic's folder cannot be written.
        DatabaseError: the database cannot be used.
    """
    if database.file is not None:
        with only_process(config.lock_file):
            yield ALONE
        return
    # Only a server has these, and SQLite's commands shall not wait for the object mapper.
    from agcnn_clinic.database.leases import Leases  # noqa: PLC0415

    with Leases(database, config.database.lease_seconds) as leases:
        yield leases


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
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = file.read().strip() or "unknown"
            raise ClinicBusyError(
                f"Process {holder} works on this clinic already: drop the files into its inbox, or stop it first."
            ) from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def holder(path: Path) -> str | None:
    """The id of the process that holds the clinic's lock, "unknown" where it did not say; None when it is free."""
    try:
        with only_process(path):
            return None
    except ClinicBusyError:
        return path.read_text().strip() or "unknown"
