"""What lies in the inbox: a walk that never follows a link and never opens a file."""

import os
import stat
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

_GONE = (FileNotFoundError, NotADirectoryError)
"""What one meets where a name has vanished since it was listed, or is another thing's by now."""


@dataclass(frozen=True)
class Found:
    """A regular file of the inbox, or a folder of it, as the directory listing shows it."""

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


@dataclass
class _Folder:
    """A folder that is being walked through."""

    itself: Found
    entries: "Iterator[os.DirEntry[str]]" = field(default_factory=lambda: iter(()))
    is_empty: bool = True


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
        self.empty: list[Found] = []
        """The folders below the root that hold nothing but such folders, once the walk is done; the innermost first."""

    def __iter__(self) -> Iterator[Found]:
        """Walk; begun again, it is another walk."""
        self.unlisted, self.empty = {}, []
        # A stack of its own: folders may be nested deeper than Python lets functions call themselves.
        open_folders = [self._opened(Found(self._root, "", "", 0, 0))]
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
            if is_ignored(entry.name, self._ignore):
                folder.is_empty = False
                continue
            try:
                status = entry.stat(follow_symlinks=False)
            except _GONE:
                continue
            except OSError as error:
                self._missed(folder, error)
                continue
            within = folder.itself.name
            name = f"{within}/{shown(entry.name)}" if within else shown(entry.name)
            found = Found(folder.itself.path / entry.name, name, within, status.st_size, status.st_mtime_ns)
            if stat.S_ISDIR(status.st_mode):
                open_folders.append(self._opened(found))
                continue
            folder.is_empty = False
            if stat.S_ISREG(status.st_mode):
                yield found

    def _opened(self, itself: Found) -> _Folder:
        folder = _Folder(itself)
        try:
            with os.scandir(itself.path) as listing:
                folder.entries = iter(sorted(listing, key=lambda entry: os.fsencode(entry.name)))
        except OSError as error:
            if itself.path == self._root or not isinstance(error, _GONE):
                self._missed(folder, error)
        return folder

    def _missed(self, folder: _Folder, error: OSError) -> None:
        folder.is_empty = False
        self.unlisted[folder.itself.name] = error.strerror or str(error)


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
