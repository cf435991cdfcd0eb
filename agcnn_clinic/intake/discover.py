"""What lies in the inbox: a walk that never follows a link and never opens a file."""

import os
import stat
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path


@dataclass(frozen=True)
class Found:
    """A regular file of the inbox, as the directory listing shows it."""

    path: Path
    name: str
    """Its path below the inbox, for a person; bytes that are not UTF-8 are escaped."""
    folder: str
    """The folder below the inbox that it lies in; empty at the top."""
    size: int
    mtime_ns: int

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


class Walk:
    """A walk through a folder: all regular files below it, in order of name.

    Symbolic links, FIFOs, sockets and devices are passed over; so are names that match a pattern of `ignore`.
    A folder or file that vanishes during the walk is passed over too: the next walk sees what is true then.
    """

    def __init__(self, root: Path, ignore: Iterable[str]) -> None:
        self._root = root
        self._ignore = tuple(ignore)
        self.unlisted: dict[str, str] = {}
        """Why a folder could not be looked into, by its path below the root for a person ("" for the root itself), once
        the walk is done: nobody knows what lies there."""

    def __iter__(self) -> Iterator[Found]:
        """Walk; begun again, it is another walk."""
        self.unlisted = {}
        # A stack of its own: folders may be nested deeper than Python lets functions call themselves.
        open_folders = [("", self._root, iter(self._entries("", self._root)))]
        while open_folders:
            below, folder, entries = open_folders[-1]
            entry = next(entries, None)
            if entry is None:
                open_folders.pop()
                continue
            if is_ignored(entry.name, self._ignore):
                continue
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError as error:
                self._missed(below, error)
                continue
            path = folder / entry.name
            if stat.S_ISDIR(status.st_mode):
                inside = f"{below}{shown(entry.name)}/"
                open_folders.append((inside, path, iter(self._entries(inside, path))))
            elif stat.S_ISREG(status.st_mode):
                yield Found(path, below + shown(entry.name), below.rstrip("/"), status.st_size, status.st_mtime_ns)

    def _entries(self, below: str, folder: Path) -> "list[os.DirEntry[str]]":
        try:
            with os.scandir(folder) as listing:
                return sorted(listing, key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            self._missed(below, error, is_root=folder == self._root)
            return []

    def _missed(self, below: str, error: OSError, *, is_root: bool = False) -> None:
        if is_root or not isinstance(error, (FileNotFoundError, NotADirectoryError)):
            self.unlisted[below.rstrip("/")] = error.strerror or str(error)


def discover(root: Path, ignore: Iterable[str]) -> Walk:
    """What lies below a folder; see `Walk`."""
    return Walk(root, ignore)


def found(path: Path, name: str | None = None) -> Found:
    """A file that a person names on the command line; a link that they name is meant, and followed.

    Raises:
        OSError: it cannot be looked at.
    """
    status = path.stat()
    return Found(path.resolve(), shown(name or path.name), "", status.st_size, status.st_mtime_ns)


def shown(name: str) -> str:
    r"""A file name as text that every terminal and database takes: undecodable bytes become `\xNN`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def is_ignored(name: str, patterns: Iterable[str]) -> bool:
    """Whether a name matches one of the patterns, whatever the case of either: Windows writes THUMBS.DB as well."""
    return any(fnmatchcase(name.casefold(), pattern.casefold()) for pattern in patterns)
