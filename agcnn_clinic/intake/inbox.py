"""The intake loop's step: look through the inbox, take what is finished."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from agcnn_clinic.config import Config
from agcnn_clinic.intake.accept import Intake, accept, read_directory, release
from agcnn_clinic.intake.discover import Walk, found
from agcnn_clinic.intake.disk import Watermark
from agcnn_clinic.intake.grouping import Ways, grouped, look
from agcnn_clinic.intake.items import Group, Item
from agcnn_clinic.intake.leave import remove_empty
from agcnn_clinic.intake.settle import LongWaits, StabilityTracker
from agcnn_clinic.intake.study_toml import STUDY_TOML
from agcnn_clinic.intake.told import Told
from agcnn_clinic.intake.unpack import Unpacker
from agcnn_clinic.moments import utc_now

log = logging.getLogger(__name__)

BATCH = 512
"""Groups that share one transaction, at most."""
BATCH_BYTES = 64_000_000
"""A batch that has reached this size is taken as it is: nothing can be read of it before all of it is copied."""
EMPTY_FOLDER_SECONDS = 3600.0
"""Nobody is about to fill a folder that has been empty for so long: the second film of a study comes minutes after the
first, and what copies a CD makes its folders before it fills them."""
NO_FILES = "links, pipes or devices are passed over; what a link leads to is not taken"


def first_look(config: Config) -> StabilityTracker:
    """See what lies in the inbox, so that it settles from now on; nothing is opened and nothing taken."""
    tracker = StabilityTracker(config.intake.settle_seconds)
    files = list(Walk(config.inbox, config.intake.ignore))
    tracker.observe(files, time.monotonic())
    return tracker


class Inbox:
    """The inbox of one clinic, and what has been seen in it so far."""

    def __init__(
        self,
        config: Config,
        intake: Intake,
        watermark: Watermark | None = None,
        clock: Callable[[], float] = time.monotonic,
        tracker: StabilityTracker | None = None,
    ) -> None:
        """Look after the inbox of a clinic.

        Args:
            config: the clinic's settings.
            intake: takes the files.
            watermark: says how much room there is; None for that of the clinic's disks.
            clock: seconds that only grow.
            tracker: what was seen of the inbox already, by that clock; None for nothing.
        """
        self._root = config.inbox
        self._ignore = config.intake.ignore
        self._intake = intake
        self._clock = clock
        self._tracker = StabilityTracker(config.intake.settle_seconds) if tracker is None else tracker
        self._long_waits = LongWaits()
        self._empty_folders = StabilityTracker(max(EMPTY_FOLDER_SECONDS, config.intake.study_quiet_seconds))
        self._keeps_topmost = config.intake.keep_folders == "topmost"
        self._unpacker = Unpacker(config, intake, self._take)
        self._stopped: Callable[[], bool] = lambda: False
        self._held: list[Item] = []
        """Zips that are still to be unpacked, and lie in the inbox until then."""
        self._offered = self._waiting = 0
        """Files for which room was asked, and those for which there was none."""
        self.watermark = watermark or Watermark.of(config)
        """What says how much room there is."""
        self.left_behind = 0
        """How many files the last look through the inbox, or through what a person named, could not take."""
        self.unlisted = 0
        """How many folders it could not look into; the inbox itself counts as one."""
        self._away = ""
        self._told_unlisted, self._told_no_files = Told(), Told()

    def sweep(self, stopped: Callable[[], bool] = lambda: False) -> tuple[int, float | None]:
        """Look through the whole inbox once and take every finished file.

        Args:
            stopped: asked between batches; once it is true, what is not taken yet stays where it is.

        Returns:
            How many files were taken, and the seconds until an unfinished one may be finished (None: none waits).
        """
        self._stopped = stopped
        try:
            return self._sweep()
        finally:
            self._intake.hindered.tell()
            self._intake.leaving.tell()

    def _sweep(self) -> tuple[int, float | None]:
        # What an earlier run left half unpacked, or what waited for room.
        unpacked = self._unpack()
        walk = Walk(self._root, self._ignore)
        files = list(walk)
        self._tell_unlisted(walk.unlisted)
        for what, count in self._told_no_files.news({NO_FILES: len(walk.no_files)}):
            log.warning("%d %s", count, what)
        self._intake.leaving.forget_all_but(files)
        now = self._clock()
        settled, wait = self._tracker.observe(files, now)
        held = {item.found for item in self._held}
        settled = [file for file in settled if file not in held]
        self._long_waits.observe(files, settled, now)
        groups = grouped(files, settled, self._ways(), remove=True)
        taken = self._accept(group for group in groups if not self._intake.leaving.tried_again(group.files))
        self.left_behind += len(self._unpacker.pending())
        # What lies at the top may be an administrator's, made for a sender with a group and modes of its own.
        empty = [folder for folder in walk.empty if folder.folder or not self._keeps_topmost]
        remove_empty(self._empty_folders.observe(empty, now)[0])
        return unpacked + taken, wait

    def take(self, sources: Iterable[Path], stopped: Callable[[], bool] = lambda: False) -> int:
        """Take files and folders that a person names, at once; they stay where they are. `stopped` as in `sweep`.

        A named folder is looked through like an inbox: its PNGs are a study each, unless a study.toml lies in it.
        It may be an exchange medium, which the inbox itself is not.
        """
        self._stopped = stopped
        unlisted: Counter[str] = Counter()
        no_files: list[str] = []
        try:
            taken = self._accept(group for source in sources for group in self._groups_of(source, unlisted, no_files))
        finally:
            self._intake.hindered.tell()
        self.unlisted = unlisted.total()
        if no_files:
            log.warning("%d %s", len(no_files), NO_FILES)
        for why, folders in unlisted.items():
            log.warning("%d folders cannot be looked into, and what lies there is not taken: %s", folders, why)
        return taken

    @property
    def hindered(self) -> Sequence[str]:
        """The names of those files that the last look could not take for another reason than a lack of room."""
        return self._intake.hindered.names

    def _tell_unlisted(self, unlisted: Mapping[str, str]) -> None:
        """Say what of the inbox cannot be looked into; without names, since senders call folders after patients."""
        self.unlisted = len(unlisted)
        away = unlisted.get("", "")
        if away and away != self._away:
            log.warning("the inbox cannot be looked through (%s); it is tried again", away)
        elif self._away and not away:
            log.info("the inbox is there again")
        self._away = away
        for why, folders in self._told_unlisted.news(Counter(why for name, why in unlisted.items() if name)):
            log.warning("%d folders of the inbox cannot be looked into, and what lies there waits: %s", folders, why)

    def _groups_of(self, source: Path, unlisted: "Counter[str]", no_files: list[str]) -> Iterator[Group]:
        if not source.is_dir():
            yield Group((found(source),), remove=False)
            return
        walk = Walk(source, self._ignore)
        files = list(walk)
        unlisted.update(walk.unlisted.values())
        no_files += walk.no_files
        single = any(file.path.name == STUDY_TOML and not file.folder for file in files)
        yield from grouped(files, files, self._ways(), top_is_a_study=single, top_is_a_medium=True)

    def _ways(self) -> Ways:
        return Ways(look, lambda file: read_directory(self._intake, file))

    def _accept(self, groups: Iterable[Group]) -> int:
        """Take groups, and what is in the zips among them."""
        self._offered = self._waiting = 0
        taken, self.left_behind = self._take(groups)
        taken += self._unpack()
        self.watermark.tell(self._offered, self._waiting)
        return taken

    def _take(self, groups: Iterable[Group]) -> tuple[int, int]:
        """Take groups as far as there is room; returns how many files were taken, and how many were not."""
        taken = left = 0
        waited = self._waiting
        for done in accept(self._intake, self._fitting(groups), utc_now):
            self._held += done.held
            taken += done.files
            left += done.left
        return taken, left + self._waiting - waited + int(self._stopped())

    def _fitting(self, groups: Iterable[Group]) -> Iterator[list[Group]]:
        """Batches of those groups for which there is room, until this is stopped."""
        for batch in _batches(groups):
            fits = self.watermark.fitting([group.size for group in batch])
            self._offered += sum(len(group.files) for group in batch)
            self._waiting += sum(len(group.files) for group, fit in zip(batch, fits, strict=True) if not fit)
            yield [group for group, fit in zip(batch, fits, strict=True) if fit]
            if self._stopped():
                return

    def _unpack(self) -> int:
        """Unpack every zip that has not all its rows yet, each once; then those that are done leave the inbox."""
        taken = 0
        tried: set[int] = set()
        while not self._stopped() and (due := [one for one in self._unpacker.pending() if one not in tried]):
            tried.add(due[0])
            taken += self._unpacker.unpack(due[0], utc_now)
        if self._held:
            self._held = release(self._intake, self._held)
        return taken


def _batches(groups: Iterable[Group]) -> Iterator[list[Group]]:
    """The groups in order, as many at a time as `BATCH` and `BATCH_BYTES` allow."""
    batch: list[Group] = []
    size = 0
    for group in groups:
        batch.append(group)
        size += group.size
        if len(batch) == BATCH or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
