"""The upkeep loop's step: clear what killed workers left, remove what retention says may go."""

import logging
import shutil
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from agcnn_clinic.config import Config
from agcnn_clinic.database.claims import ALONE, EVERYTHING, Claims, Work
from agcnn_clinic.database.session import Database
from agcnn_clinic.errors import StorageError
from agcnn_clinic.holdings import check_archive, check_reports
from agcnn_clinic.moments import utc_now
from agcnn_clinic.storage import Storage
from agcnn_clinic.upkeep.plan import Disk, Kind, Removal, plan
from agcnn_clinic.upkeep.remove import Remover

log = logging.getLogger(__name__)

LEFT_SECONDS = 1800.0
"""What nobody has written to for so long is left behind: no file takes a hundredth of it."""


def disk_of(folder: Path) -> Disk:
    """The disk that a folder lies on.

    Raises:
        StorageError: it cannot be asked.
    """
    try:
        usage = shutil.disk_usage(folder)
        return Disk(folder.stat().st_dev, usage.total, usage.free)
    except OSError as error:
        raise StorageError(f"The disk of {folder} cannot be asked for its room: {error.strerror or error}.") from error


class Upkeep:
    """The retention of one clinic, and its broom."""

    def __init__(
        self,
        database: Database,
        storage: Storage,
        config: Config,
        clock: Callable[[], datetime] = utc_now,
        disk_of: Callable[[Path], Disk] = disk_of,
        claims: Claims = ALONE,
    ) -> None:
        self._database = database
        self._config = config
        self._clock = clock
        self._disk_of = disk_of
        self._claims = claims
        self._storage = storage
        self._remover = Remover(database, storage, config, claims)
        self.removed = 0
        """How many files and reports retention has removed until now."""

    def planned(self) -> list[Removal]:
        """What would go now; no reports where none of them is there, of which a warning tells.

        Raises:
            StorageError: the archive is not there, or a disk cannot be asked.
            DatabaseError: the database cannot be used.
        """
        check_archive(self._database, self._config)
        with self._database.session() as session:
            removals = plan(session, self._config, self._clock(), self._disk_of)
        if all(one.candidate.kind is not Kind.REPORTS for one in removals):
            return removals
        try:
            check_reports(self._database, self._config)
        except StorageError as error:  # a clinic whose reports are taken elsewhere still wants room in its archive
            log.warning("no reports are removed: %s", error)
            return [one for one in removals if one.candidate.kind is not Kind.REPORTS]
        return removals

    def step(self, stopped: Callable[[], bool] = lambda: False) -> list[Removal]:
        """Remove what may go, and what runs that were ended left; returns what was removed.

        While another worker does so there is nothing to do here.

        Raises:
            StorageError: the archive is not there, or a folder cannot be written.
            DatabaseError: the database cannot be used.
        """
        if not self._claims.take(Work.UPKEEP, [EVERYTHING]):
            return []
        try:
            return self._removed(stopped)
        finally:
            self._claims.release(Work.UPKEEP, [EVERYTHING])

    def _removed(self, stopped: Callable[[], bool]) -> list[Removal]:
        self._remover.finish()
        removed = self._remover.remove(self.planned(), self._clock(), stopped)
        self.removed += len(removed)
        for (kind, why), count in sorted(Counter((one.candidate.kind, one.why) for one in removed).items()):
            log.info("retention removed %d of %s: %s", count, kind, why)
        try:
            self._storage.clear(self._claims.living(), untouched_for=LEFT_SECONDS)
        except StorageError as error:  # room was made all the same
            log.warning("%s", error)
        return removed
