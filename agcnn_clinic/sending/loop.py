"""The sending loop's step: bring every report that waits to the archive."""

import logging
import time
from collections.abc import Callable, Collection
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import select

from agcnn_clinic.config import Config
from agcnn_clinic.database.claims import ALONE, Claims, Work
from agcnn_clinic.database.session import Database
from agcnn_clinic.database.tables import Report
from agcnn_clinic.errors import SendingError
from agcnn_clinic.faults import FaultPoint, reached
from agcnn_clinic.moments import utc_now
from agcnn_clinic.sending.archive import Archive, NotTakenError, Store
from agcnn_clinic.sending.objects import Kind, Structure, when_asked
from agcnn_clinic.sending.parcel import Parcel, UnsendableError, begun, record

TOGETHER = 16
"""How many reports share an association, at most."""
REST_SECONDS, LONGEST_REST_SECONDS = 60.0, 3600.0
"""How long an archive that is not there is left alone, and a report that it does not take: each time twice as long, so
that thousands of these do not keep it busy."""

log = logging.getLogger(__name__)


class _Unsent(NamedTuple):
    """A report that was not sent when it was tried last.

    Attributes:
        why: what kept it.
        until, rest: until when it is left alone, and for how long that is.
        taken: what an archive has of it already.
    """

    why: str
    until: float
    rest: float
    taken: frozenset[Kind]


class Sending:
    """The sending of one clinic; nothing ever waits where no archive is named."""

    def __init__(
        self,
        database: Database,
        config: Config,
        structure: Structure = when_asked,
        claims: Claims = ALONE,
        clock: Callable[[], datetime] = utc_now,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        """`structure` makes the SRs.

        `clock` gives the time of day that is recorded; `elapsed` counts seconds, and is never set back.
        """
        self._database = database
        self._config = config
        self._structure = structure
        self._claims = claims
        self._clock = clock
        self._elapsed = elapsed
        self._archive = Archive.configured(config)
        self._away = ""
        """Why no association with the archive came about when it was tried last."""
        self._away_until = 0.0
        self._unsent: dict[int, _Unsent] = {}

    def step(self, stopped: Callable[[], bool] = lambda: False) -> int:
        """Send reports that wait, as far as they are taken; returns how many were tried, 0 when none could be.

        One that is not taken keeps no other waiting. The log says once why, until it is another reason.

        Args:
            stopped: asked before each report; what is at hand then is finished, if the archive answers.

        Raises:
            DatabaseError: the database cannot be used.
        """
        if self._elapsed() < self._away_until or not (due := self._due()):
            return 0
        mine = self._claims.take(Work.SENDING, due, select(Report.id).where(Report.id.in_(due), Report.to_send))
        tried = sent = 0
        try:
            with self._archive.connected(stopped) as store:
                if self._away:
                    log.info("the archive %s answers again", self._archive)
                    self._away = ""
                # All are begun before the first is sent, so that several SRs are made side by side.
                parcels = {
                    report_id: begun(self._database, self._config, report_id, self._structure)
                    for report_id in due
                    if report_id in mine
                }
                for report_id, finished in parcels.items():
                    if not stopped():
                        tried += 1
                        sent += self._send(report_id, finished, store)
        except SendingError as error:
            if not tried:
                self._tell(str(error))
                self._away = str(error)
            if not sent:
                self._away_until = self._elapsed() + REST_SECONDS
        finally:
            self._claims.release(Work.SENDING, mine)
        return tried

    def waiting(self) -> int:
        """How many reports wait to be sent, but for those that another worker has in hand.

        Raises:
            DatabaseError: the database cannot be used.
        """
        return len(self._waiting(but_not=set(self._claims.others(Work.SENDING))))

    def _due(self) -> list[int]:
        """What was not tried yet, the oldest first; then what was and has rested, the one first whose rest ended first.

        So whatever the archive does to one, or to thousands, they keep no other waiting.
        """
        others, now = set(self._claims.others(Work.SENDING)), self._elapsed()
        untried = self._waiting(others.union(self._unsent), TOGETHER)
        rested = [report_id for report_id, unsent in self._unsent.items() if unsent.until <= now]
        again = sorted(set(rested) - others, key=lambda report_id: (self._unsent[report_id].until, report_id))
        return [*untried, *self._still(again[: TOGETHER - len(untried)])]

    def _still(self, report_ids: list[int]) -> list[int]:
        """Those of a few reports that wait still; what another process has sent is forgotten."""
        with self._database.session() as session:
            still = set(session.scalars(select(Report.id).where(Report.id.in_(report_ids), Report.to_send)))
        for report_id in set(report_ids) - still:
            del self._unsent[report_id]
        return [report_id for report_id in report_ids if report_id in still]

    def _waiting(self, but_not: Collection[int], at_most: int | None = None) -> list[int]:
        """Reports that wait, the oldest first. What is left out is left out here: a statement has room for so much."""
        waiting = select(Report.id).where(Report.to_send).order_by(Report.id)
        if at_most is not None:
            waiting = waiting.limit(at_most + len(but_not))
        with self._database.session() as session:
            return [report_id for report_id in session.scalars(waiting) if report_id not in but_not][:at_most]

    def _send(self, report_id: int, finished: Callable[[], Parcel], store: Store) -> bool:
        """Send one report; returns whether it was taken.

        Raises:
            SendingError: the association has come to its end by it, or with it.
            DatabaseError: the database cannot be used.
        """
        before = self._unsent.get(report_id)
        taken = set(before.taken) if before is not None else set()
        try:
            parcel = finished()
            for sent in parcel.objects:
                if sent.kind not in taken:
                    store(sent)
                    taken.add(sent.kind)
        except SendingError as error:
            is_its_own = isinstance(error, NotTakenError | UnsendableError)
            self._tell(str(error))
            rest = min(2 * before.rest, LONGEST_REST_SECONDS) if before is not None and is_its_own else REST_SECONDS
            self._unsent[report_id] = _Unsent(str(error), self._elapsed() + rest, rest, frozenset(taken))
            if is_its_own:
                return False
            raise
        reached(FaultPoint.REPORT_SENT)
        with self._database.write() as session:
            if self._claims.kept(session, Work.SENDING, [report_id]):
                record(session, parcel, to=str(self._archive), now=self._clock(), worker=self._claims.worker)
                self._claims.done(session, Work.SENDING, [report_id])
        if before is not None:
            del self._unsent[report_id]
            self._hope(before.why)
        return True

    def _tell(self, why: str) -> None:
        if why != self._away and all(why != unsent.why for unsent in self._unsent.values()):
            log.warning("%s", why)

    def _hope(self, why: str) -> None:
        """Let all that was kept by what keeps one no longer be tried at once, and not in an hour."""
        now = self._elapsed()
        for report_id, unsent in self._unsent.items():
            if unsent.until > now and unsent.why == why:
                self._unsent[report_id] = unsent._replace(until=now)
