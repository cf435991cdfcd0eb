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


def discover(root: Path, ignore: Iterable[str]) -> Iterator[Found]:
    """All regular files below a folder, in order of name.

    Symbolic links, FIFOs, sockets and devices are passed over; so are names that match a pattern of `ignore`.
    A folder or file that vanishes during the walk is passed over too: the next walk sees what is true then.
    """
    yield from _walk(root, tuple(ignore))


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


def _walk(root: Path, ignore: tuple[str, ...]) -> Iterator[Found]:
    # A stack of its own: folders may be nested deeper than Python lets functions call themselves.
    open_folders = [("", root, iter(_entries(root)))]
    while open_folders:
        below, folder, entries = open_folders[-1]
        entry = next(entries, None)
        if entry is None:
            open_folders.pop()
            continue
        if is_ignored(entry.name, ignore):
            continue
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError:
            continue
        path = folder / entry.name
        if stat.S_ISDIR(status.st_mode):
            open_folders.append((f"{below}{shown(entry.name)}/", path, iter(_entries(path))))
        elif stat.S_ISREG(status.st_mode):
            yield Found(path, below + shown(entry.name), below.rstrip("/"), status.st_size, status.st_mtime_ns)


def _entries(folder: Path) -> "list[os.DirEntry[str]]":
    try:
        with os.scandir(folder) as listing:
            return sorted(listing, key=lambda entry: os.fsencode(entry.name))
    except OSError:
        return []
