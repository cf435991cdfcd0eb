"""When a file is finished: once its size and time have stayed the same for long enough.

A plain object with the time handed in, so that it can be tested without waiting.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from agcnn_clinic.intake.discover import Found


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
