"""The files of a clinic: how bytes come into the archive, and how broken ones are laid out for a person.

The archive is addressed by content: a file's place follows from its SHA-256, so that keeping it twice keeps it once.
Nothing is named after anything that a file or its sender says.

The order that a power cut cannot break: bytes to a temporary file, fsync, rename, fsync of the folder, and only then
the row that says so; the inbox lets go of its copy after that row is committed. A new folder is synced by its parent
before anything in it counts.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import stat
import tempfile
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from agcnn_clinic.config import Config
from agcnn_clinic.domain import MediaType
from agcnn_clinic.errors import StorageError
from agcnn_clinic.faults import FaultPoint, reached

SUFFIXES = {
    MediaType.DICOM: ".dcm",
    MediaType.PNG: ".png",
    MediaType.STUDY_TOML: ".toml",
    MediaType.ZIP: ".zip",
    MediaType.UNKNOWN: ".bin",
}
HEAD_BYTES = 4096
"""How much of a file's beginning is handed on, to tell by content what it is."""

_COPY_BYTES = 1 << 20
_FILE_MODE = 0o600
_FOLDER_MODE = 0o700
_TEMPORARY_PREFIX, _TEMPORARY_SUFFIX = ".agcnn-clinic-", ".part"


class Identity(NamedTuple):
    """Which file lies under a name, and which state of it: what is compared before a source is let go."""

    device: int
    inode: int
    size: int
    mtime_ns: int


class Steps(NamedTuple):
    """The fault points of one atomic write."""

    written: FaultPoint
    renamed: FaultPoint
    synced: FaultPoint


_REASON_STEPS = Steps(
    FaultPoint.QUARANTINE_REASON_WRITTEN, FaultPoint.QUARANTINE_REASON_RENAMED, FaultPoint.QUARANTINE_SYNCED
)


@dataclass(frozen=True)
class Staged:
    """A file's bytes, safe on the archive's disk under a temporary name."""

    path: Path
    sha256: str
    size: int
    head: bytes
    identity: Identity
    """Of the source, as it was copied."""
    arrival: str
    """Which file it was: name, inode, times and content. The same file found again has the same arrival, also on
    another machine that shares the inbox: the number of a device is each machine's own."""
    arrival_as_link: str
    """The arrival that it had, if it shared its inode with another name then: without the time of the last change
    of the inode, which moves when the other name is removed."""


class Storage:
    """The archive and the quarantine of one clinic."""

    def __init__(self, config: Config, worker: str = "") -> None:
        """`worker`: who copies into the archive, where several do; see `claims.Claims`."""
        self._archive = config.archive
        self._quarantine = config.quarantine
        self._reports = config.reports
        self._incoming = config.archive / ".incoming" / worker
        self._all_incoming = config.archive / ".incoming"
        self.changing = threading.Lock()
        """Held from when bytes get their place until their row says so, and from when rows say that bytes are gone
        until they are: two loops of this process could else take the same bytes for kept and for gone."""

    def prepare(self, living: Collection[str] = ()) -> None:
        """Make the folders, and clear what an interrupted run left half written (its source is in inbox or archive).

        Args:
            living: the other workers that copy into the archive now.

        Raises:
            StorageError: a folder cannot be made or written.
        """
        with _explained("The archive, quarantine or reports folder cannot be written"):
            for folder in (self._archive, self._quarantine, self._reports, self._incoming):
                make_folder(folder)
            for left in self._all_incoming.iterdir():
                if left.is_dir() and left != self._incoming and left.name not in living:
                    shutil.rmtree(left, ignore_errors=True)  # another worker may be at it, too
                elif not left.is_dir():
                    left.unlink(missing_ok=True)
            for folder in (self._quarantine, self._reports):
                clear_temporaries(folder)
            # What an interrupted run had renamed or made here may not be on the disk yet; from now on it is.
            for folder in (self._archive, self._quarantine, self._reports):
                fsync_folder(folder)

    def stage(self, source: Path, name: str, seen: tuple[int, int] | None = None) -> Staged:
        """Copy a regular file to the archive's disk, hashing it on the way.

        Args:
            source: the file; a symbolic link is not followed.
            name: its name below the inbox, part of its arrival.
            seen: size and time, in nanoseconds, with which it settled; None where that was not waited for.

        Raises:
            StorageError: it vanished, is not a regular file, changes while being read, or the disk is full.
        """
        with _explained("A file of the inbox cannot be copied into the archive"):
            source_fd = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(source_fd, "rb") as reader:
                before = os.fstat(reader.fileno())
                if not stat.S_ISREG(before.st_mode):
                    raise StorageError("A name in the inbox is no longer a regular file; it stays where it is.")
                if seen is not None and seen != (before.st_size, before.st_mtime_ns):
                    raise StorageError("A file of the inbox was written anew; it is taken once it is still.")
                target, digest, size, head = self._copied(iter(lambda: reader.read(_COPY_BYTES), b""))
                identity = identity_of(os.fstat(reader.fileno()))
                if identity != identity_of(before) or identity.size != size:
                    target.unlink()
                    raise StorageError("A file of the inbox is still being written; it is taken once it is still.")
        as_link = _arrival(name, before.st_ino, before.st_mtime_ns, digest)
        alone = _arrival(name, before.st_ino, before.st_mtime_ns, before.st_ctime_ns, digest)
        return Staged(target, digest, size, head, identity, as_link if before.st_nlink > 1 else alone, as_link)

    def stage_content(self, blocks: Iterable[bytes], arrival: str) -> Staged:
        """Write what is no file of the disk to the archive's disk, hashing it on the way.

        Args:
            blocks: the content.
            arrival: which file it is; the same one must have the same.

        Raises:
            StorageError: the disk is full.
        """
        with _explained("A file cannot be unpacked into the archive"):
            target, digest, size, head = self._copied(blocks)
        return Staged(target, digest, size, head, Identity(0, 0, size, 0), arrival, arrival)

    def _copied(self, blocks: Iterable[bytes]) -> tuple[Path, str, int, bytes]:
        """Write blocks to a temporary file and sync it: its path, SHA-256, size and first bytes."""
        # Another worker that took this one for dead has removed it.
        make_folder(self._incoming)
        descriptor, name = tempfile.mkstemp(suffix=".part", dir=self._incoming)
        digest, size, head = hashlib.sha256(), 0, b""
        try:
            with os.fdopen(descriptor, "wb") as writer:
                for block in blocks:
                    head = head or block[:HEAD_BYTES]
                    digest.update(block)
                    size += writer.write(block)
                writer.flush()
                reached(FaultPoint.COPY_WRITTEN)
                os.fsync(writer.fileno())
                reached(FaultPoint.COPY_SYNCED)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return Path(name), digest.hexdigest(), size, head

    def keep(self, staged: Staged, media_type: MediaType) -> str:
        """Give staged bytes their place in the archive; returns it relative to the archive folder.

        Raises:
            StorageError: the archive cannot be written.
        """
        relative = f"{staged.sha256[:2]}/{staged.sha256}{SUFFIXES[media_type]}"
        final = self._archive / relative
        with _explained("The archive cannot be written"):
            make_folder(final.parent)
            staged.path.replace(final)
            reached(FaultPoint.ARCHIVE_RENAMED)
            fsync_folder(final.parent)
            reached(FaultPoint.ARCHIVE_SYNCED)
        return relative

    def archived(self, stored_path: str) -> Path:
        """Where an archived file lies."""
        return self._archive / stored_path

    def quarantine(self, stored_path: str, reason: dict[str, Any]) -> str:
        """Lay an archived file out for a person, beside `<name>.reason.json`; returns its quarantine-relative name.

        Doing it again does nothing more. The file is a hard link where the disk can, else a copy.

        Raises:
            StorageError: the quarantine cannot be written.
        """
        source = self._archive / stored_path
        name = source.name
        with _explained("The quarantine cannot be written"):
            target = self._quarantine / name
            if not target.exists():
                _link_or_copy(source, target)
            reached(FaultPoint.QUARANTINE_FILE_PLACED)
            text = json.dumps(reason, ensure_ascii=False, indent=2) + "\n"
            # The folder is synced after this, and the file's name with it.
            write_atomically(self._quarantine / f"{name}.reason.json", text.encode(), _REASON_STEPS)
        return name

    def remove(self, stored_paths: Sequence[str]) -> None:
        """Remove files from the archive, and from the quarantine with their reasons; again does nothing more.

        Raises:
            StorageError: a folder cannot be written.
        """
        with _explained("A file cannot be removed from archive and quarantine"):
            for stored_path in stored_paths:
                name = Path(stored_path).name
                for path in (self._quarantine / name, self._quarantine / f"{name}.reason.json"):
                    path.unlink(missing_ok=True)
                (self._archive / stored_path).unlink(missing_ok=True)
            # A power cut must not bring back, unknown to any row, what the rows call gone.
            folders = {(self._archive / stored_path).parent for stored_path in stored_paths}
            for folder in (folder for folder in (*folders, self._quarantine) if folder.is_dir()):
                fsync_folder(folder)

    def release(self, quarantine_path: str) -> None:
        """Take a file out of the quarantine folder; its bytes stay in the archive.

        Raises:
            StorageError: the quarantine cannot be written.
        """
        with _explained("The quarantine cannot be written"):
            for name in (quarantine_path, f"{quarantine_path}.reason.json"):
                (self._quarantine / name).unlink(missing_ok=True)


def identity_of(status: os.stat_result) -> Identity:
    """What tells a file, and a state of it, from any other that may come to lie under its name."""
    return Identity(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def write_atomically(path: Path, data: bytes, steps: Steps | None = None) -> None:
    """Write a file so that its final name never shows half of it, and a power cut does not undo it.

    Args:
        path: the final name; what stood there is replaced.
        data: the whole content.
        steps: the fault points to reach on the way.

    Raises:
        OSError: the folder cannot be written.
    """
    with _taking_the_place_of(path) as writer:
        writer.write(data)
        if steps is not None:
            writer.flush()
            reached(steps.written)
    if steps is not None:
        reached(steps.renamed)
    fsync_folder(path.parent)
    if steps is not None:
        reached(steps.synced)


@contextlib.contextmanager
def _taking_the_place_of(path: Path) -> Iterator[BinaryIO]:
    """A file to be written, which is synced and takes its name at the end of the block, or leaves nothing.

    It is locked meanwhile: that tells one that is being written from one that a killed process left.
    """
    descriptor, temporary = tempfile.mkstemp(prefix=_TEMPORARY_PREFIX, suffix=_TEMPORARY_SUFFIX, dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as writer:
            with contextlib.suppress(OSError):
                fcntl.flock(writer, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.fchmod(writer.fileno(), _FILE_MODE)
            yield writer
            writer.flush()
            os.fsync(writer.fileno())
            Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def clear_temporaries(folder: Path) -> None:
    """Remove the half-written files that killed processes left in a folder; one that is being written stays.

    Raises:
        OSError: the folder cannot be written.
    """
    for left in folder.glob(f"{_TEMPORARY_PREFIX}*{_TEMPORARY_SUFFIX}"):
        with contextlib.suppress(FileNotFoundError), left.open("r+b") as file:
            if not _is_being_written(file):
                left.unlink()


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
    folder.mkdir(mode=_FOLDER_MODE, exist_ok=True)
    reached(FaultPoint.FOLDER_MADE)
    fsync_folder(folder.parent)


def fsync_folder(folder: Path) -> None:
    """Make a rename in a folder survive a power cut, where the platform knows how."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _arrival(*parts: str | int) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _link_or_copy(source: Path, target: Path) -> None:
    """A hard link where the disk can, else a copy that is whole before it has its name."""
    try:
        target.hardlink_to(source)
    except OSError:
        with source.open("rb") as reader, _taking_the_place_of(target) as writer:
            shutil.copyfileobj(reader, writer, _COPY_BYTES)


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{what}: {error.strerror or error}; nothing is lost, it is tried again.") from error
