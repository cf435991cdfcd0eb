"""One process trains in a run's folder. The lock is the kernel's: it goes when the process goes, however it goes."""

import fcntl
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from io import RawIOBase
from pathlib import Path
from typing import Final

from agcnn_training.errors import RunBusyError, TrainingError
from agcnn_training.files import unwritable

LOCK_FILE: Final = "lock"
_UNKNOWN: Final = "Another process"


@contextmanager
def only_run_in(folder: Path) -> Iterator[None]:
    """Make a run's folder, or find it, and hold it for the length of a `with` block.

    Where the file system has no locks nothing is held: that is no reason not to train.

    Raises:
        RunBusyError: another process trains in it.
        TrainingError: the folder cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"{folder} cannot be made ({error.strerror}): give another --out.") from error
    path = folder / LOCK_FILE
    try:
        file = path.open("ab+", buffering=0)
    except OSError as error:
        raise unwritable(path, error) from error
    with file:
        if _is_taken(file):
            raise RunBusyError(
                f"{_written(file)} trains in {folder} already: let it end, or stop it, then repeat the command; or "
                "give another --out."
            )
        try:
            file.truncate(0)
            file.write(f"Process {os.getpid()} on {platform.node()}\n".encode())
        except OSError as error:
            raise unwritable(path, error) from error
        yield


def _is_taken(file: RawIOBase) -> bool:
    """Take the lock, unless another has it."""
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # a share of another system may say it in the second way
        return True
    except OSError:
        return False
    return False


def _written(file: RawIOBase) -> str:
    """Who holds the lock, as that one wrote it."""
    try:
        file.seek(0)
        return (file.readall() or b"").decode().strip() or _UNKNOWN
    except OSError:  # a share may let nobody else read what is locked
        return _UNKNOWN
