"""What lies in the inbox: a walk that never follows a link and never opens a file.

Whoever may write there can put a link in the place of a folder at any moment. So what is listed is known by its inode:
a path that leads to another one by now leads to nothing that was listed.
"""

import os
import re
import stat
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import translate
from functools import cache
from pathlib import Path

from agcnn_clinic.staging import Identity, identity_of

_GONE = (FileNotFoundError, NotADirectoryError)
"""What one meets where a name has vanished since it was listed, or is another thing's by now."""


class _AnotherFolderError(OSError):
    """A path leads to another folder than the one that was listed under it."""

    strerror = "it is another folder by now"


@dataclass(frozen=True)
class Found:
    """A regular file of the inbox, or a folder of it, as the directory listing shows it."""

    path: Path
    name: str
    """Its path below the inbox, for a person; bytes that are not UTF-8 are escaped."""
    folder: str
    """The folder below the inbox that it lies in; empty at the top."""
    identity: Identity
    """Which file it is, and which state of it."""

    @property
    def size(self) -> int:
        """Bytes that it holds."""
        return self.identity.size

    @property
    def mtime_ns(self) -> int:
        """When it was written to at last, in nanoseconds."""
        return self.identity.mtime_ns

    @property
    def base(self) -> str:
        """The last part of its name."""
        return self.name.rpartition("/")[2]

    @property
    def top(self) -> str:
        """The topmost of its folders; empty at the top."""
        return self.folder.partition("/")[0]

    @property
    def within(self) -> Hashable:
        """The folder itself: two names that are not UTF-8 may look the same when they are shown."""
        return self.path.parent


@dataclass
class _Folder:
    """A folder that is being walked through."""

    itself: Found
    entries: Iterator[tuple[str, os.stat_result | OSError]] = field(default_factory=lambda: iter(()))
    """What lies in it, by name, and what is known of it or why nothing is."""
    is_empty: bool = True


class Walk:
    """A walk through a folder: all regular files below it, in order of name.

    Symbolic links, FIFOs, sockets and devices are passed over; so are names that match a pattern of `ignore`.
    A folder or file that vanishes during the walk is passed over too: the next walk sees what is true then.
    """

    def __init__(self, root: Path, ignore: tuple[str, ...]) -> None:
        self._root = root
        self._ignore = ignore
        self.unlisted: dict[str, str] = {}
        """Why a folder could not be looked into, by its path below the root for a person ("" for the root itself), once
        the walk is done: nobody knows what lies there."""
        self.no_files: list[str] = []
        """What is neither file nor folder, a link or a pipe, by its path for a person, once the walk is done."""
        self.empty: list[Found] = []
        """The folders below the root that hold nothing but such folders, once the walk is done; the innermost first."""

    def __iter__(self) -> Iterator[Found]:
        """Walk; begun again, it is another walk."""
        self.unlisted, self.no_files, self.empty = {}, [], []
        # A stack of its own: folders may be nested deeper than Python lets functions call themselves.
        open_folders = [self._opened(Found(self._root, "", "", Identity(0, 0, 0, 0)))]
        while open_folders:
            folder = open_folders[-1]
            entry = next(folder.entries, None)
            if entry is None:
                open_folders.pop()
                if open_folders and folder.is_empty:
                    self.empty.append(folder.itself)
                elif open_folders:
                    open_folders[-1].is_empty = False
                continue
            base, status = entry
            if is_ignored(base, self._ignore):
                folder.is_empty = False
                continue
            if isinstance(status, OSError):
                if not isinstance(status, _GONE):
                    self._missed(folder, status)
                continue
            within = folder.itself.name
            name = f"{within}/{shown(base)}" if within else shown(base)
            found = Found(folder.itself.path / base, name, within, identity_of(status))
            if stat.S_ISDIR(status.st_mode):
                open_folders.append(self._opened(found))
                continue
            folder.is_empty = False
            if stat.S_ISREG(status.st_mode):
                yield found
            else:
                self.no_files.append(name)

    def _opened(self, itself: Found) -> _Folder:
        folder = _Folder(itself)
        try:
            with held_open(itself.path) as descriptor:
                if itself.path != self._root and not is_still(itself, os.fstat(descriptor)):
                    raise _AnotherFolderError
                with os.scandir(descriptor) as listing:
                    entries = [(entry.name, _status(entry)) for entry in listing]
            folder.entries = iter(sorted(entries, key=lambda entry: os.fsencode(entry[0])))
        except OSError as error:
            if itself.path == self._root or not isinstance(error, _GONE):
                self._missed(folder, error)
        return folder

    def _missed(self, folder: _Folder, error: OSError) -> None:
        folder.is_empty = False
        self.unlisted[folder.itself.name] = error.strerror or str(error)


def found(path: Path, name: str | None = None) -> Found:
    """A file that a person names on the command line; a link that they name is meant, and followed.

    Raises:
        OSError: it cannot be looked at.
    """
    status = path.stat()
    return Found(path.resolve(), shown(name or path.name), "", identity_of(status))


@contextmanager
def held_open(folder: Path) -> Iterator[int]:
    """A descriptor of a folder, for what is to happen in it, wherever its path leads meanwhile.

    Raises:
        OSError: there is no such folder, or it may not be looked into.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def is_still(listed: Found, status: os.stat_result) -> bool:
    """Whether this is the file or folder that was listed, in whatever state: a link may lead to another one by now."""
    return (status.st_dev, status.st_ino) == (listed.identity.device, listed.identity.inode)


def _status(entry: "os.DirEntry[str]") -> os.stat_result | OSError:
    try:
        return entry.stat(follow_symlinks=False)
    except OSError as error:
        return error


def shown(name: str) -> str:
    r"""A file name as text that every terminal and database takes: undecodable bytes become `\xNN`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def is_ignored(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether a name matches one of the patterns, whatever the case of either: Windows writes THUMBS.DB as well."""
    return bool(patterns) and _any_of(patterns).match(name.casefold()) is not None


@cache
def _any_of(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """All patterns as one: each name of the inbox is looked at, each time that it is looked through."""
    return re.compile("|".join(translate(pattern.casefold()) for pattern in patterns))
