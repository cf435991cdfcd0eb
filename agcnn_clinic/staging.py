"""How bytes come to the archive's disk: copied under a temporary name, hashed on the way, their source compared."""

import hashlib
import os
import stat
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from agcnn_clinic.durable import explained, fsync_file
from agcnn_clinic.errors import StorageError
from agcnn_clinic.faults import FaultPoint, reached

HEAD_BYTES = 4096
"""How much of a file's beginning is handed on, to tell by content what it is."""

_COPY_BYTES = 1 << 20


class Identity(NamedTuple):
    """Which file lies under a name, and which state of it: what is compared before a source is let go."""

    device: int
    inode: int
    size: int
    mtime_ns: int


def identity_of(status: os.stat_result) -> Identity:
    """What tells a file, and a state of it, from any other that may come to lie under its name."""
    return Identity(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


@dataclass(frozen=True)
class Staged:
    """A file's bytes on the archive's disk, under a temporary name; safe there once they are synced."""

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

    def sync(self) -> None:
        """Make the bytes survive a power cut.

        Raises:
            StorageError: the disk is full, or fails.
        """
        with explained("A file of the inbox cannot be written to the archive's disk"):
            fsync_file(self.path)


def stage(folder: Path, source: Path, name: str, seen: Identity | None = None) -> Staged:
    """Copy a regular file, hashing it on the way.

    Args:
        folder: where the copy goes.
        source: the file; a symbolic link is not followed.
        name: its name below the inbox, part of its arrival.
        seen: as it was listed; None where it was not. Of its path only the last part cannot be a link by now.

    Raises:
        StorageError: it vanished, is not a regular file, changes while being read, or the disk is full.
    """
    with explained("A file of the inbox cannot be copied into the archive"):
        source_fd = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(source_fd, "rb") as reader:
            before = os.fstat(reader.fileno())
            if not stat.S_ISREG(before.st_mode):
                raise StorageError("A name in the inbox is no longer a regular file; it stays where it is.")
            if seen is not None and seen != identity_of(before):
                raise StorageError("A file of the inbox was written anew; it is taken once it is still.")
            target, digest, size, head = _copied(folder, iter(lambda: reader.read(_COPY_BYTES), b""))
            identity = identity_of(os.fstat(reader.fileno()))
            if identity != identity_of(before) or identity.size != size:
                target.unlink()
                raise StorageError("A file of the inbox is still being written; it is taken once it is still.")
    as_link = _arrival(name, before.st_ino, before.st_mtime_ns, digest)
    alone = _arrival(name, before.st_ino, before.st_mtime_ns, before.st_ctime_ns, digest)
    return Staged(target, digest, size, head, identity, as_link if before.st_nlink > 1 else alone, as_link)


def stage_content(folder: Path, blocks: Iterable[bytes], arrival: str) -> Staged:
    """Write what is no file of the disk, hashing it on the way.

    Args:
        folder: where it goes.
        blocks: the content.
        arrival: which file it is; the same one must have the same.

    Raises:
        StorageError: the disk is full.
    """
    with explained("A file cannot be unpacked into the archive"):
        target, digest, size, head = _copied(folder, blocks)
    return Staged(target, digest, size, head, Identity(0, 0, size, 0), arrival, arrival)


def _copied(folder: Path, blocks: Iterable[bytes]) -> tuple[Path, str, int, bytes]:
    """Write blocks to a temporary file: its path, SHA-256, size and first bytes."""
    descriptor, name = tempfile.mkstemp(suffix=".part", dir=folder)
    digest, size, head = hashlib.sha256(), 0, b""
    try:
        with os.fdopen(descriptor, "wb") as writer:
            for block in blocks:
                head = head or block[:HEAD_BYTES]
                digest.update(block)
                size += writer.write(block)
        reached(FaultPoint.COPY_WRITTEN)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return Path(name), digest.hexdigest(), size, head


def _arrival(*parts: str | int) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()
