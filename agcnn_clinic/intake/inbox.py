"""The intake loop's step: look through the inbox, take what is finished."""

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from agcnn_clinic.config import Config
from agcnn_clinic.intake.accept import Group, Intake, accept
from agcnn_clinic.intake.discover import Found, discover, found
from agcnn_clinic.intake.identify import PNG_SIGNATURE
from agcnn_clinic.intake.settle import StabilityTracker
from agcnn_clinic.intake.study_toml import STUDY_TOML

BATCH = 32
"""Groups that share one transaction, at most."""
BATCH_BYTES = 256_000_000
"""A batch that has reached this size is taken as it is: copying it must not take long."""


def _never() -> bool:
    return False


class Inbox:
    """The inbox of one clinic, and what has been seen in it so far."""

    def __init__(self, config: Config, intake: Intake) -> None:
        self._root = config.inbox
        self._ignore = config.intake.ignore
        self._intake = intake
        self._tracker = StabilityTracker(config.intake.settle_seconds)
        self.left_behind = 0
        """How many files the last look through the inbox, or through what a person named, could not copy."""

    def sweep(self, stopped: Callable[[], bool] = _never) -> tuple[int, float | None]:
        """Look through the whole inbox once and take every finished file.

        Args:
            stopped: asked between batches; once it is true, what is not taken yet stays where it is.

        Returns:
            How many files were taken, and the seconds until an unfinished one may be finished (None: none waits).
        """
        files = list(discover(self._root, self._ignore))
        settled, wait = self._tracker.observe(files, time.monotonic())
        return self._accept(grouped(files, settled, remove=True), stopped), wait

    def take(self, sources: Iterable[Path]) -> int:
        """Take files and folders that a person names, at once; they stay where they are.

        A named folder is looked through like an inbox: its PNGs are a study each, unless a study.toml lies in it.
        """
        return self._accept(group for source in sources for group in self._groups_of(source))

    def _groups_of(self, source: Path) -> Iterator[Group]:
        if not source.is_dir():
            yield Group((found(source),), remove=False)
            return
        files = list(discover(source, self._ignore))
        single = any(file.path.name == STUDY_TOML and not file.folder for file in files)
        yield from grouped(files, files, remove=False, top_is_a_study=single)

    def _accept(self, groups: Iterable[Group], stopped: Callable[[], bool] = _never) -> int:
        taken, self.left_behind = 0, 0
        for batch in _batches(groups):
            done = accept(self._intake, batch, datetime.now(UTC))
            taken += done.files
            self.left_behind += done.left
            if stopped():
                break
        return taken


def _batches(groups: Iterable[Group]) -> Iterator[list[Group]]:
    """The groups in order, as many at a time as `BATCH` and `BATCH_BYTES` allow."""
    batch: list[Group] = []
    size = 0
    for group in groups:
        batch.append(group)
        size += sum(file.size for file in group.files)
        if len(batch) == BATCH or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def grouped(
    files: Sequence[Found], settled: Sequence[Found], *, remove: bool, top_is_a_study: bool = False
) -> Iterator[Group]:
    """Divide the finished files into what is taken together.

    The PNGs of a folder are one study, with its study.toml: they are taken once every PNG and study.toml of that
    folder is finished. Everything else, and each PNG at the top, is taken alone.

    Args:
        files: all that was found.
        settled: those of them that are finished.
        remove: whether the files leave their place.
        top_is_a_study: whether the top folder itself is such a folder.
    """
    finished = set(settled)
    # By the folder itself: two names that are not UTF-8 may look the same when they are shown.
    together: defaultdict[Path, list[Found]] = defaultdict(list)
    for file in files:
        if (file.folder or top_is_a_study) and _belongs_to_png_study(file):
            together[file.path.parent].append(file)
        elif file in finished:
            yield Group((file,), remove=remove)
    for members in together.values():
        if finished.issuperset(members):
            yield Group(tuple(members), remove=remove)


def _belongs_to_png_study(file: Found) -> bool:
    if file.path.name == STUDY_TOML:
        return True
    try:
        # What was a file a moment ago may be a pipe by now, which would keep its reader waiting for ever.
        descriptor = os.open(file.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as reader:
            return reader.read(len(PNG_SIGNATURE)) == PNG_SIGNATURE
    except OSError:
        return False
