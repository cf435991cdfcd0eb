"""`process`: the loops of `service` side by side, once, until none of them has anything left to do."""

import logging
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import NamedTuple

from agcnn_clinic.clinic import Clinic
from agcnn_clinic.database.claims import Work
from agcnn_clinic.database.own import OwnWork
from agcnn_clinic.errors import StorageError
from agcnn_clinic.service import HEED_SECONDS, LOOKING_SHARE, spent_by

LOOK_SECONDS = 0.1
"""How often a loop looks for what another one may have left it: here none of them wakes the next."""

log = logging.getLogger(__name__)


class Left(NamedTuple):
    """What could not be done, for a cause that may pass; the log says which."""

    files: int = 0
    """Files that could not be taken and stay where they are."""
    reports: int = 0
    """Reports that could not be made and are still due."""
    folders: int = 0
    """Folders that could not be looked into, be it the inbox itself: nobody knows what lies there."""
    names: tuple[str, ...] = ()
    """Those of the files that could not be taken for another reason than a lack of room, for a person."""
    unsent: int = 0
    """Reports that could not be sent and wait."""


def until_idle(
    clinic: Clinic, sources: Iterable[Path], progress: Callable[[int, int], None], own: OwnWork | None = None
) -> Left:
    """Take what is named and what lies in the inbox, and work until nothing is left to do.

    A study is complete once everything is taken; while others work on the clinic, too, that holds for those of which
    this run took a file, and what they have in hand of its files and studies is waited for.

    Args:
        clinic: the clinic at work.
        sources: files and folders besides the inbox; they stay where they are.
        progress: told the number of files taken and of files decided so far, by one thread at a time.
        own: what is this run's work, where others may work on the clinic; None where nobody else can.

    Returns:
        What is left; nothing else had to wait for it.

    Raises:
        ClinicError: a cause that a person must remove; what was done until then is kept.
    """
    once = _Once(clinic, sources, progress, own)
    with ThreadPoolExecutor(thread_name_prefix="loop") as threads:
        try:
            loops = [threads.submit(loop) for loop in (once.take, once.analyse, once.report, once.send)]
            # With an end to each wait: so a Ctrl-C is heeded that another thread has got.
            while wait(loops, HEED_SECONDS, FIRST_EXCEPTION).not_done:
                if any(loop.done() and loop.exception() for loop in loops):
                    break
        finally:
            once.stop()
    for loop in loops:
        loop.result()
    try:
        clinic.upkeep.step()
    except StorageError as error:
        log.warning("%s", error)
    return Left(
        files=once.left_behind,
        reports=clinic.reporting.unmade,
        folders=once.unlisted,
        names=once.hindered,
        unsent=once.unsent,
    )


class _Once:
    """The loops, each of which ends when it finds nothing to do after the one before it has ended."""

    def __init__(
        self, clinic: Clinic, sources: Iterable[Path], progress: Callable[[int, int], None], own: OwnWork | None
    ) -> None:
        self.left_behind = self.unlisted = self.unsent = 0
        self.hindered: tuple[str, ...] = ()
        self._clinic = clinic
        self._own = own
        self._sources = sources
        self._progress = progress
        self._telling = threading.Lock()
        self._taken = self._decided = 0
        self._all_taken, self._all_decided, self._all_reported = (threading.Event() for _ in range(3))
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End each loop after the step that it is at."""
        self._stopped.set()
        self._all_taken.set()
        self._all_decided.set()
        self._all_reported.set()

    def take(self) -> None:
        inbox, stopped = self._clinic.inbox, self._stopped.is_set
        self._tell(taken=inbox.take(self._sources, stopped))
        not_taken, unlisted, hindered = inbox.left_behind, inbox.unlisted, inbox.hindered
        while not stopped():
            arrived, unfinished = inbox.sweep(stopped)
            self._tell(taken=arrived)
            if unfinished is None and not arrived:
                break
            self._stopped.wait(unfinished or 0)
        self.left_behind = not_taken + inbox.left_behind
        self.unlisted = unlisted + inbox.unlisted
        self.hindered = (*hindered, *inbox.hindered)
        self._all_taken.set()

    def analyse(self) -> None:
        last_look = False
        while not last_look:
            last_look = self._all_taken.wait(LOOK_SECONDS)
            while not self._stopped.is_set() and (decided := self._clinic.analysis.step()):
                self._tell(decided=decided)
            last_look = last_look and not self._waits_for(Work.FILE)
        self._all_decided.set()

    def report(self) -> None:
        self._all_taken.wait()  # only then is a study complete: nothing more of it is on its way
        last_look, rest, spent = False, LOOK_SECONDS, spent_by(self._clinic.database)
        while not last_look:
            last_look = self._all_decided.wait(rest)
            before = spent()
            while not self._stopped.is_set() and self._make_reports():
                before = spent()
            rest = max(LOOK_SECONDS, LOOKING_SHARE * (spent() - before))
            last_look = last_look and not self._waits_for(Work.STUDY)
        self._all_reported.set()

    def send(self) -> None:
        if (sending := self._clinic.sending) is None:
            return
        last_look = False
        while not last_look:
            last_look = self._all_reported.wait(LOOK_SECONDS)
            while not self._stopped.is_set() and sending.step(self._stopped.is_set):
                pass
        self.unsent = sending.waiting()

    def _make_reports(self) -> int:
        reporting = self._clinic.reporting
        if self._own is None or not self._clinic.claims.living():
            return reporting.step(quiet_seconds=0)
        # For studies of others more may be on its way than this run knows of.
        quiet_seconds = self._clinic.config.intake.study_quiet_seconds
        return reporting.step(quiet_seconds) or reporting.step(quiet_seconds=0, among=self._own.studies())

    def _waits_for(self, work: Work) -> bool:
        """Whether another worker has something of this run's in hand; returns after a while where it has."""
        if self._own is None or not (others := self._clinic.claims.others(work)):
            return False
        own = self._own.pending() if work is Work.FILE else self._own.studies()
        return any(key in others for key in own) and not self._stopped.wait(LOOK_SECONDS)

    def _tell(self, *, taken: int = 0, decided: int = 0) -> None:
        with self._telling:
            self._taken, self._decided = self._taken + taken, self._decided + decided
            self._progress(self._taken, self._decided)
