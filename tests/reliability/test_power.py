"""A power cut: what the kernel had not been told to put on the disk is gone. The order of its calls, recorded."""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest

pytestmark = pytest.mark.sqlite_only("a daemon alone with its file, killed at each durable step")

CALLS = (
    "openat,write,pwrite64,ftruncate,fsync,fdatasync,rename,renameat,renameat2,link,linkat,"
    "unlink,unlinkat,mkdir,mkdirat"
)


class Call(NamedTuple):
    """A system call that succeeded, by the thread that made it."""

    thread: int
    name: str
    paths: tuple[Path, ...]
    creates: bool


def calls(record: Path, root: Path) -> Iterator[Call]:
    """The calls of a record that speak of files below a folder, in the order in which they ended."""
    begun: dict[str, str] = {}
    for line in record.read_text(errors="surrogateescape").splitlines():
        thread, _, text = line.partition(" ")
        text = text.strip()
        if text.endswith("<unfinished ...>"):
            begun[thread] = text.removesuffix("<unfinished ...>")
            continue
        if resumed := re.match(r"<\.\.\. \w+ resumed>", text):
            text = begun.pop(thread, "") + text[resumed.end() :]
        if (call := re.match(r"(\w+)\((.*)\)\s+= (\d+)", text)) is None:
            continue
        name, arguments, _ = call.groups()
        # Paths are quoted in calls that name a file, below the folder of a descriptor before them where they are
        # relative; and in angle brackets behind the descriptor in the others.
        named = re.findall(r'(?:<([^>]*)>, )?"([^"]*)"', arguments)
        quoted = [str(Path(folder, file)) for folder, file in named]
        paths = quoted if name not in ("write", "pwrite64", "ftruncate", "fsync", "fdatasync") else []
        paths = paths or re.findall(r"\d+<([^>]*)>", arguments)[:1]
        below = tuple(Path(path) for path in paths if Path(path).is_relative_to(root))
        if below:
            yield Call(int(thread), name, below, "O_CREAT" in arguments)


@dataclass
class Disk:
    """What is sure to be on a disk that forgets, at a power cut, everything that was not synced."""

    root: Path
    unsynced_bytes: set[Path] = field(default_factory=set)
    unsynced_names: set[Path] = field(default_factory=set)
    made: dict[int, set[Path]] = field(default_factory=dict)
    """Files that a thread gave their final name, and that no commit of that thread has told the database of."""
    committed: set[Path] = field(default_factory=set)
    commits: int = 0

    def is_safe(self, path: Path) -> bool:
        """Whether a file, its name and the folders that it lies in would be there."""
        names = [path, *(folder for folder in path.parents if folder.is_relative_to(self.root))]
        return path not in self.unsynced_bytes and self.unsynced_names.isdisjoint(names)

    def take(self, call: Call) -> None:
        """Bring it up to date with a call; fails where a commit speaks of a file that is not safe."""
        path = call.paths[0]
        match call.name:
            case "openat" if call.creates:
                self.unsynced_names.add(path)
            case "write" | "pwrite64" | "ftruncate":
                self.unsynced_bytes.add(path)
            case "mkdir" | "mkdirat":
                self.unsynced_names.add(path)
            case "rename" | "renameat" | "renameat2" | "link" | "linkat":
                self._named(call)
            case "unlink" | "unlinkat":
                self.unsynced_bytes.discard(path)
                self.unsynced_names.discard(path)
            case "fsync" | "fdatasync":
                self.unsynced_bytes.discard(path)
                self.unsynced_names = {name for name in self.unsynced_names if name.parent != path}
                if path.name.endswith("-wal"):
                    self._commit(call.thread)

    def _named(self, call: Call) -> None:
        old, new = call.paths
        if old in self.unsynced_bytes:
            self.unsynced_bytes.add(new)
        if "rename" in call.name:
            self.unsynced_bytes.discard(old)
            self.unsynced_names.discard(old)
        self.unsynced_names.add(new)
        self.made.setdefault(call.thread, set()).add(new)

    def _commit(self, thread: int) -> None:
        made = self.made.pop(thread, set())
        unsafe = sorted(str(path) for path in made if not self.is_safe(path))
        assert not unsafe, f"a row speaks of files that a power cut would take: {unsafe}"
        self.committed |= made
        self.commits += 1


def test_nothing_that_the_database_knows_or_the_inbox_gave_up_is_lost_by_a_power_cut(new_trial, mail, traced, tmp_path):
    """At each commit the files it speaks of are synced with their names; at each removal from the inbox, its row is."""
    trial = new_trial("clinic")
    trial.start()
    trial.wait_until_idle()
    record = tmp_path / "record"
    with traced(trial.pid, record, "-y", "-s", "0", "-e", f"trace={CALLS}"):
        mail.drop(trial, "x", random.Random(0))
        trial.wait_until_idle()
    trial.stop()
    trial.check()

    config, disk, let_go = trial.config, Disk(trial.config.root), []
    archived = {path.stem: path for path in config.archive.rglob("*.*") if path.is_file()}
    for call in calls(record, config.root):
        path = call.paths[0]
        if call.name.startswith("unlink") and path.is_relative_to(config.inbox):
            assert not disk.made.get(call.thread), f"{path.name} left the inbox before the row of its batch was safe"
            name = str(path.relative_to(config.inbox))
            let_go.append(name)
            if name in trial.digest_of:
                kept = archived[trial.digest_of[name]]
                assert kept in disk.committed, f"{name} left the inbox before its row was safe"
                assert disk.is_safe(kept), f"{name} left the inbox before its bytes were safe"
        disk.take(call)

    assert set(let_go) >= set(trial.expected), "each file left the inbox under the eyes of this test"
    quarantined = {path for path in disk.committed if path.parent == config.quarantine}
    assert quarantined == set(config.quarantine.iterdir())
    assert {path for path in disk.committed if path.parent == config.reports} == set(config.reports.iterdir())
    assert disk.commits >= 3
