"""The front door: three loops and two beside them, joined only by the database.

    INTAKE      discover -> settle -> accept        inbox  -> archive + database row
    ANALYSIS    normalise -> infer -> record        pixels -> findings in the database
    REPORTING   compose -> render -> deliver        rows   -> PDF
    SENDING     pack -> send -> record              PDF    -> DICOM archive, where one is named
    UPKEEP      plan -> say so -> remove            what retention lets go

Each reads from the database what is due, does that, and commits. A process that is killed leaves nothing but work to
be done again. No loop calls another: one that has done something wakes the next, which would have looked anyway.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from agcnn_clinic.clinic import Clinic
from agcnn_clinic.database.session import Database
from agcnn_clinic.errors import ClinicError, OnError, StorageError
from agcnn_clinic.intake.watch import Hints

log = logging.getLogger(__name__)

RETRY_SECONDS = 5.0
"""How long a loop rests after an error whose cause may pass."""
HEED_SECONDS = 0.5
"""How long a signal may go unheeded."""
LOOK_SECONDS = 0.5
"""How often a loop looks for what another process may have left it; what another loop leaves wakes it."""
UNSENT_SECONDS = 5.0
"""How often the sending loop looks for what could not be sent before; what is reported wakes it."""
WHOLE_SECONDS = 0.03
"""How long after the first word of a file the inbox is looked through: the file is whole by then, and settles."""
GATHER_SECONDS, GATHERING_SHARE = 0.05, 4.0
"""How long the inbox is then left alone, since a folder that is being copied tells of every file: for so long at least,
and for so many times as long as it took to look through it."""
LOOKING_SHARE = 20.0
"""A loop that finds nothing to do rests so many times as long as it worked to find that out; see `spent_by`."""


class Rest(NamedTuple):
    """How long a loop rests after a step."""

    seconds: float = 0.0
    """Unless it is woken."""
    at_least: float = 0.0
    """Even so."""


def spent_by(database: Database) -> Callable[[], float]:
    """What tells the seconds that a look into a database takes from others.

    Where it is a file this thread does the work, and only what it works counts: a look that has waited for a core, or
    for Python's lock while the network reads a batch, would have the next one put off by twenty times that. Where a
    server does the work, all of the time counts, since how much of it was work the server does not say.
    """
    return time.monotonic if database.file is None else time.thread_time


def until_told(clinic: Clinic, stop: threading.Event) -> None:
    """`watch`: the loops side by side until `stop` is set; what is in hand then is finished or left as it was.

    A signal's handler in this thread may set it at any moment: this thread never holds its lock.

    Raises:
        ClinicError: a loop met a cause that a person must remove.
    """
    steps = _Steps(clinic, stop)
    failures: list[BaseException] = []
    with steps.hints:
        loops = [
            threading.Thread(target=_repeat, name=name, args=(step, wake, stop, failures))
            for name, step, wake in (
                ("intake", steps.take, steps.arrived),
                ("analysis", steps.analyse, steps.received),
                ("reporting", steps.report, steps.decided),
                ("sending", steps.send, steps.reported),
                ("upkeep", steps.tidy, stop),
            )
        ]
        for loop in loops:
            loop.start()
        log.info("watching the inbox")
        # This thread runs what a signal calls, but only when its wait ends, if the system gave the signal to another.
        # It must not wait for `stop`, which that sets (`cli.clinic.stop_when_told`).
        while not stop.is_set():
            loops[0].join(HEED_SECONDS)
        for loop in loops:
            loop.join()
    log.info("stopped")
    if failures:
        raise failures[0]


class _Steps:
    """What each loop does again and again, and the events that wake it before it would look by itself."""

    def __init__(self, clinic: Clinic, stop: threading.Event) -> None:
        self.arrived, self.received = threading.Event(), threading.Event()
        self.decided, self.reported = threading.Event(), threading.Event()
        self.hints = Hints(clinic.config.inbox, clinic.config.intake.mode, self.arrived)
        self._clinic = clinic
        self._stop = stop
        self._spent = spent_by(clinic.database)

    def take(self) -> Rest:
        if self.arrived.is_set():
            self._stop.wait(WHOLE_SECONDS)
        self.hints.renew()
        self.arrived.clear()
        began = time.monotonic()
        taken, wait = self._clinic.inbox.sweep(self._stop.is_set)
        if taken:
            self.received.set()
            return Rest()
        gathering = max(GATHER_SECONDS, GATHERING_SHARE * (time.monotonic() - began))
        rescan = self._clinic.config.intake.rescan_seconds
        rest = min(rescan, wait or rescan)
        return Rest(rest, at_least=min(gathering, rest))

    def analyse(self) -> Rest:
        self.received.clear()
        if self._clinic.analysis.step():
            self.decided.set()
            return Rest()
        return Rest(LOOK_SECONDS)

    def report(self) -> Rest:
        self.decided.clear()
        before = self._spent()
        if self._clinic.reporting.step(self._clinic.config.intake.study_quiet_seconds):
            self.reported.set()
            return Rest()
        share = LOOKING_SHARE * (self._spent() - before)
        return Rest(max(LOOK_SECONDS, share), at_least=share)

    def send(self) -> Rest:
        self.reported.clear()
        sending = self._clinic.sending
        if sending is not None and sending.step(self._stop.is_set):
            return Rest()
        return Rest(UNSENT_SECONDS)

    def tidy(self) -> Rest:
        try:
            self._clinic.upkeep.step(self._stop.is_set)
        except StorageError as error:  # a disk that is away may be so for days: once an hour is enough to say so
            log.warning("%s", error)
        return Rest(self._clinic.config.retention.every_minutes * 60)


def _repeat(
    step: Callable[[], Rest], wake: threading.Event, stop: threading.Event, failures: list[BaseException]
) -> None:
    """Run one loop: a step, then the rest that the step asked for, until told to stop.

    An error that may pass is logged and the step tried again; one that may not stops all loops.
    """
    while not stop.is_set():
        try:
            rest = step()
        except BaseException as error:  # noqa: BLE001 (a fault of the program: the daemon must end, not hang half alive)
            if not isinstance(error, ClinicError) or error.on_error is not OnError.RETRY:
                failures.append(error)
                stop.set()
                return
            log.warning("%s", error)
            rest = Rest(RETRY_SECONDS, at_least=RETRY_SECONDS)
        if rest.seconds:
            _rest(rest, wake, stop)


def _rest(rest: Rest, wake: threading.Event, stop: threading.Event) -> None:
    """Wait, until told to stop at the latest, or until woken, but then not for less than the rest asks for."""
    began = time.monotonic()
    while not stop.is_set() and not wake.is_set() and (left := began + rest.seconds - time.monotonic()) > 0:
        wake.wait(min(left, HEED_SECONDS))
    if wake.is_set():
        stop.wait(max(0.0, began + rest.at_least - time.monotonic()))
