"""Writing files so that a power cut undoes nothing that counts, and shows nothing half done."""

import contextlib
import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

from agcnn_clinic.errors import StorageError
from agcnn_clinic.faults import FaultPoint, reached

T = TypeVar("T")
R = TypeVar("R")

_FILE_MODE = 0o600
_FOLDER_MODE = 0o700
_SYNCED_AT_ONCE = 8
"""How many files or folders are synced side by side: the disk writes together what it is asked for together."""
_TEMPORARY_PREFIX, _TEMPORARY_SUFFIX = ".agcnn-clinic-", ".part"


class Steps(NamedTuple):
    """The fault points of one atomic write."""

    written: FaultPoint
    renamed: FaultPoint
    synced: FaultPoint


def write_atomically(path: Path, data: bytes, steps: Steps | None = None) -> None:
    """Write a file so that its final name never shows half of it, and a power cut does not undo it.

    Args:
        path: the final name; what stood there is replaced.
        data: the whole content.
        steps: the fault points to reach on the way.

    Raises:
        OSError: the folder cannot be written.
    """
    with taking_the_place_of(path) as writer:
        writer.write(data)
        if steps is not None:
            writer.flush()
            reached(steps.written)
    if steps is not None:
        reached(steps.renamed)
    fsync_folder(path.parent)
    if steps is not None:
        reached(steps.synced)


def rewrite(path: Path, data: bytes) -> None:
    """Change what a file holds, as `write_atomically`, and nothing else: its mode, its owner and a link to it stay.

    Raises:
        OSError: there is no such file, or its folder cannot be written.
    """
    file = led_to(path)
    with taking_the_place_of(file, like=file.stat()) as writer:
        writer.write(data)
    fsync_folder(file.parent)


def led_to(path: Path) -> Path:
    """The file or folder that a name leads to through links, be it there or not yet: to replace that, and no link.

    Raises:
        OSError: links lead to themselves, or a folder on the way is closed. (`Path.resolve` has an error of its own for
            the one, and none for the other.)
    """
    place = Path(os.path.realpath(path))
    with contextlib.suppress(FileNotFoundError):
        place.stat()
    return place


@contextlib.contextmanager
def taking_the_place_of(path: Path, like: os.stat_result | None = None) -> Iterator[BinaryIO]:
    """A file to be written, which is synced and takes its name at the end of the block, or leaves nothing.

    Its folder is not synced.

    Args:
        path: its name.
        like: the file whose mode and owner it has (`make_alike`); None for one that is its writer's alone.

    Raises:
        OSError: the folder cannot be written.
    """
    with temporary_file(path.parent) as (writer, temporary):
        yield writer
        writer.flush()
        if like is not None:
            make_alike(temporary, like)
        os.fsync(writer.fileno())
        temporary.replace(path)


def make_alike(file: Path, like: os.stat_result) -> None:
    """Give a file the mode of one whose place it takes, and its owner and group as far as this user may.

    Raises:
        OSError: it cannot be changed.
    """
    with contextlib.suppress(PermissionError):  # root may, and it is root's files that nobody else could use
        os.chown(file, like.st_uid, like.st_gid)
    file.chmod(stat.S_IMODE(like.st_mode))


@contextlib.contextmanager
def temporary_file(folder: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """A file to be written under a temporary name, which is gone at the end of the block if the disk lets it go.

    It is locked meanwhile: that tells one that is being written from one that a killed process left.

    Raises:
        OSError: the folder cannot be written.
    """
    descriptor, name = tempfile.mkstemp(prefix=_TEMPORARY_PREFIX, suffix=_TEMPORARY_SUFFIX, dir=folder)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as writer:
            with contextlib.suppress(OSError):
                fcntl.flock(writer, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.fchmod(writer.fileno(), _FILE_MODE)
            yield writer, temporary
    finally:
        # What is done is done: one that cannot be removed is cleared at the next start (`clear_temporaries`).
        with contextlib.suppress(OSError):
            temporary.unlink()


def clear_temporaries(folder: Path, *, untouched_for: float = 0.0) -> None:
    """Remove the half-written files that killed processes left in a folder; one that is being written stays.

    Args:
        folder: where they are.
        untouched_for: how many seconds ago one was last written to, at least. Where nobody writes, 0; else a lock may
            not be taken yet, and some network shares know none.

    Raises:
        OSError: the folder cannot be written.
    """
    before = time.time() - untouched_for
    for left in folder.glob(f"{_TEMPORARY_PREFIX}*{_TEMPORARY_SUFFIX}"):
        try:
            with left.open("r+b") as file:
                if untouched_for and os.fstat(file.fileno()).st_mtime > before:
                    continue
                if not _is_being_written(file):
                    left.unlink()
        except (FileNotFoundError, IsADirectoryError, PermissionError):
            continue  # another one was quicker, or it is none of ours


def _is_being_written(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # some network shares know no locks
        return False
    return False


def make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing, each of which survives a power cut.

    Raises:
        OSError: it cannot be made.
    """
    if folder.is_dir():
        return
    make_folder(folder.parent)
    add_folder(folder)
    fsync_folder(folder.parent)


def add_folder(folder: Path) -> None:
    """Make a folder, unless it is there; it survives a power cut once the one that it lies in is synced.

    Raises:
        OSError: it cannot be made.
    """
    folder.mkdir(mode=_FOLDER_MODE, exist_ok=True)
    reached(FaultPoint.FOLDER_MADE)


def fsync_file(path: Path) -> None:
    """Bring what was written to a file to the disk. It need not be open: the first to sync hears of a failed write.

    Raises:
        OSError: the disk cannot be written, or is full.
    """
    _fsync(path, os.O_RDWR)


def fsync_folder(folder: Path) -> None:
    """Make a rename in a folder survive a power cut, where the platform knows how."""
    _fsync(folder, os.O_RDONLY)


def _fsync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def side_by_side(function: Callable[[T], R], things: Sequence[T]) -> list[R]:
    """Sync many things, a share of them in each of a few threads: what the function gives for each, in order.

    Shares, and not one thing after another: to hand one to a thread takes Python as long as a quick disk takes for it.
    """
    if len(things) <= 1:
        return [function(thing) for thing in things]

    def do(share: Sequence[T]) -> list[R]:
        return [function(thing) for thing in share]

    with ThreadPoolExecutor(_SYNCED_AT_ONCE, "sync") as threads:
        shares = list(threads.map(do, (things[first::_SYNCED_AT_ONCE] for first in range(_SYNCED_AT_ONCE))))
    return [shares[number % _SYNCED_AT_ONCE][number // _SYNCED_AT_ONCE] for number in range(len(things))]


@contextlib.contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn an OSError into a StorageError that says what could not be done, and that it is tried again."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{what}: {error.strerror or error}; nothing is lost, it is tried again.") from error
