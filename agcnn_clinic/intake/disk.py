"""The watermark: intake stops before a disk is full, so that what was taken can still be read and reported."""

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from agcnn_clinic.config import Config
from agcnn_clinic.database.engine import sqlite_file

log = logging.getLogger(__name__)

_MB = 1_000_000


def free_bytes(folder: Path) -> int:
    """Free bytes of the disk that a folder lies on, or will lie on once it is made.

    Raises:
        OSError: it cannot be asked.
    """
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def watched_folders(config: Config) -> dict[str, Path]:
    """The folders that grow with what is taken, by what they hold; a database server's disk is its own affair."""
    database = sqlite_file(config.database_url)
    return {
        "archive": config.archive,
        **({"database": database.parent} if database is not None else {}),
        "reports": config.reports,
    }


@dataclass
class Watermark:
    """How much may be taken before a disk has less free than it must keep.

    Attributes:
        folders: those that are watched, by what they hold.
        min_free_bytes: what must stay free; 0 for no watermark.
        free: gives the free bytes of a folder's disk.
        low: what keeps intake from going on, for a person; empty while nothing does.
    """

    folders: dict[str, Path]
    min_free_bytes: int
    free: Callable[[Path], int] = free_bytes
    low: str = ""

    @classmethod
    def of(cls, config: Config, free: Callable[[Path], int] = free_bytes) -> "Watermark":
        """The watermark of a clinic."""
        return cls(watched_folders(config), config.intake.min_free_mb * _MB, free)

    def fitting(self, sizes: Sequence[int]) -> list[bool]:
        """Which of the next files, by their sizes in bytes, may be taken together; a smaller one may pass a larger one.

        A disk that cannot be asked is not in the way: what is written there says what is wrong.
        """
        if not self.min_free_bytes:
            return [True] * len(sizes)
        left = min(map(self._left, self.folders.values()))
        fits = []
        for size in sizes:
            fits.append(size <= left)
            left -= size if fits[-1] else 0
        return fits

    def tell(self, offered: int, waiting: int) -> None:
        """Log when files begin to wait for room, and when of those that were offered none does any more."""
        if waiting and not self.low:
            name = min(self.folders, key=lambda name: self._left(self.folders[name]))
            least = self.min_free_bytes // _MB
            self.low = f"the disk of the {name} would have less than intake.min_free_mb ({least} MB) free"
            log.warning("intake stops: %s; files wait where they are until there is room", self.low)
        elif self.low and offered and not waiting:
            self.low = ""
            log.info("intake goes on: there is room on the disk again")

    def _left(self, folder: Path) -> float:
        try:
            return self.free(folder) - self.min_free_bytes
        except OSError:
            return float("inf")
