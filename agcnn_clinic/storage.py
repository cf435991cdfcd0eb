"""The files of a clinic: how bytes come into the archive, and how broken ones are laid out for a person.

The archive is addressed by content: a file's place follows from its SHA-256, so that keeping it twice keeps it once.
Nothing is named after anything that a file or its sender says.

The order that a power cut cannot break: bytes to a temporary file, fsync, rename, fsync of the folder, and only then
the row that says so; the inbox lets go of its copy after that row is committed. A new folder is synced by its parent
before anything in it counts. Each step is done for a batch of files before the next one is: the disk takes them
together sooner than one after another.
"""

import json
import shutil
import threading
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from agcnn_clinic import staging
from agcnn_clinic.config import Config
from agcnn_clinic.domain import SUFFIXES, MediaType
from agcnn_clinic.durable import (
    Steps,
    add_folder,
    clear_temporaries,
    explained,
    fsync_folder,
    make_folder,
    side_by_side,
    taking_the_place_of,
    write_atomically,
)
from agcnn_clinic.faults import FaultPoint, reached
from agcnn_clinic.staging import Identity, Staged

_REASON_STEPS = Steps(
    FaultPoint.QUARANTINE_REASON_WRITTEN, FaultPoint.QUARANTINE_REASON_RENAMED, FaultPoint.QUARANTINE_SYNCED
)


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
        with explained("The archive, quarantine or reports folder cannot be written"):
            for folder in (self._archive, self._quarantine, self._reports, self._incoming):
                make_folder(folder)
            for left in self._all_incoming.iterdir():
                if not left.is_dir():
                    left.unlink(missing_ok=True)
            self.clear(living)
            # What an interrupted run had renamed or made here may not be on the disk yet; from now on it is.
            for folder in (self._archive, self._quarantine, self._reports):
                fsync_folder(folder)

    def clear(self, living: Collection[str], *, untouched_for: float = 0.0) -> None:
        """Clear what killed workers left half written. What this one or a living one is writing stays.

        Args:
            living: the other workers that copy into the archive now.
            untouched_for: of PDFs and quarantined files, those that nobody has written to for so many seconds.

        Raises:
            StorageError: a folder cannot be written.
        """
        with explained("The archive, quarantine or reports folder cannot be written"):
            for left in self._all_incoming.glob("*"):
                if left.is_dir() and left != self._incoming and left.name not in living:
                    shutil.rmtree(left, ignore_errors=True)  # another worker may be at it, too
            for folder in (self._quarantine, self._reports):
                clear_temporaries(folder, untouched_for=untouched_for)

    def stage(self, source: Path, name: str, seen: Identity | None = None) -> Staged:
        """Copy a file to the archive's disk; see `staging.stage`."""
        return staging.stage(self._landing(), source, name, seen)

    def stage_content(self, blocks: Iterable[bytes], arrival: str) -> Staged:
        """Write what is no file to the archive's disk; see `staging.stage_content`."""
        return staging.stage_content(self._landing(), blocks, arrival)

    def _landing(self) -> Path:
        """Where files are copied to; it is not made where the archive's disk has gone from under a running clinic."""
        with explained("The archive cannot be written"):
            if self._incoming != self._all_incoming and self._all_incoming.is_dir():
                # Another worker that took this one for dead has removed it.
                make_folder(self._incoming)
        return self._incoming

    def keep(self, staged: Staged, media_type: MediaType) -> str:
        """Give synced bytes their place in the archive, which a power cut may undo until `make_safe` is called.

        Returns:
            The place, relative to the archive folder.

        Raises:
            StorageError: the archive cannot be written.
        """
        relative = f"{staged.sha256[:2]}/{staged.sha256}{SUFFIXES[media_type]}"
        final = self._archive / relative
        with explained("The archive cannot be written"):
            try:
                staged.path.replace(final)
            except FileNotFoundError:
                add_folder(final.parent)
                staged.path.replace(final)
            reached(FaultPoint.ARCHIVE_RENAMED)
        return relative

    def make_safe(self, stored_paths: Iterable[str]) -> None:
        """Make what was kept survive a power cut: for many files at once, each folder is synced once.

        Raises:
            StorageError: the archive cannot be written.
        """
        # The archive itself, too: some of those folders may be new in it.
        folders = sorted({self._archive} | {(self._archive / stored_path).parent for stored_path in stored_paths})
        with explained("The archive cannot be written"):
            side_by_side(_made_safe, folders)

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
        with explained("The quarantine cannot be written"):
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
        with explained("A file cannot be removed from archive and quarantine"):
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
        with explained("The quarantine cannot be written"):
            for name in (quarantine_path, f"{quarantine_path}.reason.json"):
                (self._quarantine / name).unlink(missing_ok=True)


def _made_safe(folder: Path) -> None:
    fsync_folder(folder)
    reached(FaultPoint.ARCHIVE_SYNCED)


def _link_or_copy(source: Path, target: Path) -> None:
    """A hard link where the disk can, else a copy that is whole before it has its name."""
    try:
        target.hardlink_to(source)
    except OSError:
        with source.open("rb") as reader, taking_the_place_of(target) as writer:
            shutil.copyfileobj(reader, writer)
