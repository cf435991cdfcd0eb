"""The reporting loop's step: make every report that is due."""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from itertools import chain
from math import ceil

from agcnn_clinic.config import Config
from agcnn_clinic.database.claims import ALONE, Claims, Work
from agcnn_clinic.database.session import Database
from agcnn_clinic.database.tables import Study
from agcnn_clinic.errors import ClinicError, LeaseLostError, StorageError
from agcnn_clinic.moments import utc_now
from agcnn_clinic.reporting.due import is_due, leave_unread, studies_due
from agcnn_clinic.reporting.making import make_reports
from agcnn_clinic.reporting.rendering import Press

TOGETHER = 8
"""How many reports share a transaction, at most."""
REST_SECONDS = 60.0
"""How long a report that cannot be made is left alone, from when all others were tried."""

log = logging.getLogger(__name__)


class Reporting:
    """The reporting of one clinic."""

    def __init__(
        self,
        database: Database,
        config: Config,
        press: Press,
        clock: Callable[[], datetime] = utc_now,
        at_once: int = 1,
        claims: Claims = ALONE,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` gives the time of day that is printed; `elapsed` counts seconds, and is never set back."""
        self._database = database
        self._config = config
        self._press = press
        self._clock = clock
        self._at_once = at_once
        self._claims = claims
        self._elapsed = elapsed
        self._resting: dict[int, str] = {}
        """Studies whose report could not be made when it was tried last, and why."""
        self._told: dict[int, str] = {}
        """The same of the time before, until they are tried: a film that is lost stays so, and the log says it once."""
        self._tried_again_at: float | None = None
        """When those are tried again; None until all others were tried, however many those are."""

    @property
    def unmade(self) -> int:
        """How many reports are due that could not be made when they were tried last."""
        return len(self._resting)

    def step(self, quiet_seconds: float, among: Sequence[int] | None = None) -> int:
        """Make reports that are due, as far as they can be made; returns how many were tried, 0 when none was due.

        A study whose report cannot be made does not keep the others waiting: it rests until all of them were tried,
        and `REST_SECONDS` more.

        Args:
            quiet_seconds: how long nothing must have come for a study.
            among: only of these studies; None for all.

        Raises:
            ChildrenUnavailableError: the processes that render cannot be started.
            DatabaseError: the database cannot be used.
        """
        due = self._due(quiet_seconds, among)
        if not due and self._are_rested():
            self._told, self._resting = self._resting, {}
            due = self._due(quiet_seconds, among)
        if not due and among is None:
            leave_unread(self._database, self._clock(), quiet_seconds)
        if not due:
            return 0
        # Rows come and go in turns; the PDFs are rendered side by side.
        size = min(TOGETHER, ceil(len(due) / self._at_once))
        parts = [due[start : start + size] for start in range(0, len(due), size)]
        with ThreadPoolExecutor(self._at_once, "report") as threads:
            ends = list(chain.from_iterable(threads.map(partial(self._make, quiet_seconds), parts)))
        failed = {study_id: str(end) for study_id, end in zip(due, ends, strict=True) if isinstance(end, ClinicError)}
        self._resting |= failed
        told = {study_id: self._told.pop(study_id, None) for study_id in due}
        if news := {study_id: why for study_id, why in failed.items() if told[study_id] != why}:
            why = next(iter(news.values()))
            log.warning("%d reports cannot be made now, of the studies %s: %s", len(news), list(news), why)
        return ends.count(True) + len(failed)

    def _due(self, quiet_seconds: float, among: Sequence[int] | None) -> list[int]:
        not_now = self._resting.keys() | self._claims.others(Work.STUDY)
        with self._database.session() as session:
            return studies_due(session, self._clock(), quiet_seconds, but_not=not_now, among=among)

    def _are_rested(self) -> bool:
        """Whether there are some that may be tried again, now that no other is due."""
        if not self._resting:
            return False
        if self._tried_again_at is None:
            self._tried_again_at = self._elapsed() + REST_SECONDS
        rested = self._elapsed() >= self._tried_again_at
        if rested:
            self._tried_again_at = None
        return rested

    def _make(self, quiet_seconds: float, study_ids: Sequence[int]) -> list[bool | ClinicError]:
        """Make the reports of studies, but of those that another worker has; of each whether, or why it cannot be now.

        Where they cannot be delivered together they are made one by one.
        """
        still_due = is_due(self._clock(), quiet_seconds).where(Study.id.in_(study_ids))
        mine = self._claims.take(Work.STUDY, study_ids, still_due)
        ends: dict[int, bool | ClinicError] = dict.fromkeys(study_ids, False)
        to_make = [[study_id for study_id in study_ids if study_id in mine]] if mine else []
        while to_make:
            part = to_make.pop()
            try:
                made = make_reports(
                    self._database,
                    part,
                    clock=self._clock,
                    config=self._config,
                    press=self._press,
                    claims=self._claims,
                )
            except (StorageError, LeaseLostError) as error:
                if len(part) > 1:
                    to_make += [[study_id] for study_id in reversed(part)]
                elif isinstance(error, LeaseLostError):
                    log.warning("%s", error)
                else:
                    ends[part[0]] = error
                continue
            ends |= made.failed | dict.fromkeys(made.paths, True)
            if made.anew:
                to_make.append(made.anew)
            if lost := len(part) - sum(map(len, made)):
                log.warning("%d reports were made by another worker meanwhile; this one's are forgotten", lost)
        self._claims.release(
            Work.STUDY, [study_id for study_id, end in ends.items() if study_id in mine and end is not True]
        )
        return list(ends.values())
