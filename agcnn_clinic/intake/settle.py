"""When a file is finished: once its size and time have stayed the same for long enough.

A plain object with the time handed in, so that it can be tested without waiting.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from agcnn_clinic.intake.discover import Found

log = logging.getLogger(__name__)

LONG_WAIT_SECONDS = 600.0
"""A folder that is copied is whole before that, but for the largest; what is written for longer may never end."""


@dataclass
class _Seen:
    size: int
    mtime_ns: int
    since: float


@dataclass
class StabilityTracker:
    """Remembers since when each file of the inbox has looked as it does now."""

    settle_seconds: float
    _seen: dict[Path, _Seen] = field(default_factory=dict)

    def observe(self, files: Iterable[Found], now: float) -> tuple[list[Found], float | None]:
        """Take in one complete listing of the inbox.

        Args:
            files: every file that is there now; one that is missing is forgotten.
            now: seconds of a monotonic clock.

        Returns:
            The files that are finished, and the seconds until the next one may be (None: none is waiting).
        """
        settled: list[Found] = []
        waits: list[float] = []
        present: dict[Path, _Seen] = {}
        for file in files:
            seen = self._seen.get(file.path)
            if seen is None or (seen.size, seen.mtime_ns) != (file.size, file.mtime_ns):
                seen = _Seen(file.size, file.mtime_ns, now)
            present[file.path] = seen
            remaining = seen.since + self.settle_seconds - now
            if remaining <= 0:
                settled.append(file)
            else:
                waits.append(remaining)
        self._seen = present
        return settled, min(waits, default=None)


@dataclass
class LongWaits:
    """Tells of finished files that wait for others below their topmost folder: one that never ends keeps them all."""

    _since: dict[Path, float] = field(default_factory=dict)
    _told: bool = False

    def observe(self, files: Iterable[Found], settled: Iterable[Found], now: float) -> None:
        """Take in one complete listing of the inbox; log, once, when files begin to wait for long.

        Args:
            files: every file that is there now.
            settled: those of them that are finished.
            now: seconds of a monotonic clock.
        """
        finished = set(settled)
        unfinished = {file.top for file in files if file.folder and file not in finished}
        waiting = [file.path for file in finished if file.top in unfinished]
        self._since = {path: self._since.get(path, now) for path in waiting}
        long = sum(now - since >= LONG_WAIT_SECONDS for since in self._since.values())
        if long and not self._told:
            log.warning(
                "%d finished files have waited in the inbox for %d minutes: something below the same topmost folder is "
                "still being written, and what is no DICOM is taken once all of it is finished",
                long,
                LONG_WAIT_SECONDS // 60,
            )
        self._told = bool(long)
