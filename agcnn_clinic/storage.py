"""The files of a clinic: how bytes come into the archive, and how broken ones are laid out for a person.

The archive is addressed by content: a file's place follows from its SHA-256, so that keeping it twice keeps it once.
Nothing is named after anything that a file or its sender says.

The order that a power cut cannot break: bytes to a temporary file, fsync, rename, fsync of the folder, and only then
the row that says so; the inbox lets go of its copy after that row is committed.
"""

import contextlib
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from agcnn_clinic.config import Config
from agcnn_clinic.domain import MediaType
from agcnn_clinic.errors import StorageError

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


@dataclass(frozen=True)
class Staged:
    """A file's bytes, safe on the archive's disk under a temporary name."""

    path: Path
    sha256: str
    size: int
    head: bytes
    arrival: str
    """Which file it was: name, device, inode, times and content. The same file found again has the same arrival."""


class Storage:
    """The archive and the quarantine of one clinic."""

    def __init__(self, config: Config) -> None:
        self._archive = config.archive
        self._quarantine = config.quarantine
        self._incoming = config.archive / ".incoming"

    def prepare(self) -> None:
        """Make the folders, and clear what an interrupted run left half copied (its source is still in the inbox).

        Raises:
            StorageError: a folder cannot be made or written.
        """
        with _explained("The archive or quarantine folder cannot be written"):
            for folder in (self._archive, self._quarantine, self._incoming):
                folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
            for left in self._incoming.iterdir():
                left.unlink()

    def stage(self, source: Path, name: str) -> Staged:
        """Copy a regular file to the archive's disk, hashing it on the way.

        Args:
            source: the file; a symbolic link is not followed.
            name: its name below the inbox, part of its arrival.

        Raises:
            StorageError: it vanished, is not a regular file, changes while being read, or the disk is full.
        """
        with _explained("A file of the inbox cannot be copied into the archive"):
            source_fd = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(source_fd, "rb") as reader:
                before = os.fstat(reader.fileno())
                if not stat.S_ISREG(before.st_mode):
                    raise StorageError("A name in the inbox is no longer a regular file; it stays where it is.")
                target, digest, size, head = self._copied(reader)
                after = os.fstat(reader.fileno())
                if (before.st_size, before.st_mtime_ns, size) != (after.st_size, after.st_mtime_ns, after.st_size):
                    target.unlink()
                    raise StorageError("A file of the inbox is still being written; it is taken once it is still.")
        identity = (name, before.st_dev, before.st_ino, before.st_mtime_ns, before.st_ctime_ns, digest)
        arrival = hashlib.sha256(repr(identity).encode()).hexdigest()
        return Staged(target, digest, size, head, arrival)

    def _copied(self, reader: BinaryIO) -> tuple[Path, str, int, bytes]:
        """Copy an open file to a temporary one and sync it: its path, SHA-256, size and first bytes."""
        descriptor, name = tempfile.mkstemp(suffix=".part", dir=self._incoming)
        digest, size, head = hashlib.sha256(), 0, b""
        try:
            with os.fdopen(descriptor, "wb") as writer:
                while block := reader.read(_COPY_BYTES):
                    head = head or block[:HEAD_BYTES]
                    digest.update(block)
                    size += writer.write(block)
                writer.flush()
                os.fsync(writer.fileno())
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
            if not final.parent.is_dir():
                final.parent.mkdir(mode=_FOLDER_MODE, exist_ok=True)
                fsync_folder(self._archive)
            staged.path.replace(final)
            fsync_folder(final.parent)
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
                try:
                    target.hardlink_to(source)
                except OSError:
                    temporary = self._quarantine / f".{name}.part"
                    shutil.copyfile(source, temporary)
                    temporary.replace(target)
            text = json.dumps(reason, ensure_ascii=False, indent=2) + "\n"
            write_atomically(self._quarantine / f"{name}.reason.json", text.encode())
        return name

    def release(self, quarantine_path: str) -> None:
        """Take a file out of the quarantine folder; its bytes stay in the archive.

        Raises:
            StorageError: the quarantine cannot be written.
        """
        with _explained("The quarantine cannot be written"):
            for name in (quarantine_path, f"{quarantine_path}.reason.json"):
                (self._quarantine / name).unlink(missing_ok=True)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that its final name never shows half of it, and a power cut does not undo it.

    Raises:
        OSError: the folder cannot be written.
    """
    descriptor, temporary = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as writer:
            os.fchmod(writer.fileno(), _FILE_MODE)
            writer.write(data)
            writer.flush()
            os.fsync(writer.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)


def fsync_folder(folder: Path) -> None:
    """Make a rename in a folder survive a power cut, where the platform knows how."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{what}: {error.strerror or error}; nothing is lost, it is tried again.") from error
