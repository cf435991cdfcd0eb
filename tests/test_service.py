"""How the loops of `watch` rest, and how they wake each other. What they do is tested with them."""

import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from agcnn_clinic import service
from agcnn_clinic.cli.clinic import stop_when_told
from agcnn_clinic.config import Config
from agcnn_clinic.service import Rest, _rest, until_told

LONG = 3600.0
PATIENCE = 60.0


class Noted(threading.Event):
    """An event that notes how long it was waited for, and does not wait."""

    def __init__(self, *, happened: bool = False) -> None:
        super().__init__()
        self.waits: list[float] = []
        if happened:
            self.set()

    def wait(self, timeout=None):
        self.waits.append(timeout)
        return self.is_set()


def test_a_loop_that_has_rested_long_enough_begins_as_soon_as_it_is_woken():
    """A film that comes into an idle inbox is looked at at once."""
    wake, stop = Noted(happened=True), Noted()
    _rest(Rest(LONG), wake, stop)
    assert (wake.waits, stop.waits) == ([], [0.0])


def test_a_loop_that_is_woken_again_and_again_begins_no_more_often_than_it_should():
    """A folder that is being copied wakes it for every file."""
    wake, stop = Noted(happened=True), Noted()
    _rest(Rest(LONG, at_least=50), wake, stop)
    assert wake.waits == []
    assert stop.waits == [pytest.approx(50, abs=5)]


def test_a_loop_that_is_told_to_stop_rests_no_longer():
    """Neither until its time is over nor until it may begin again."""
    wake, stop = Noted(), Noted(happened=True)
    _rest(Rest(LONG, at_least=50), wake, stop)
    assert (wake.waits, stop.waits) == ([], [])


def test_a_loop_that_nobody_wakes_looks_whether_it_shall_stop():
    """It waits in short pieces, since two events cannot be waited for at a time."""
    wake, stop = Noted(), Noted()
    wake.wait = lambda timeout: stop.set() or wake.waits.append(timeout)
    _rest(Rest(LONG), wake, stop)
    assert wake.waits == [0.5]


class Looking:
    """A loop's work: nothing to do at first, then one thing, and what it then calls."""

    def __init__(self, then=lambda: None) -> None:
        self.looked = threading.Event()
        self._then = then

    def step(self, *_how) -> int:
        if not self.looked.is_set():
            self.looked.set()
            return 0
        self._then()
        return 1


def test_what_a_loop_has_done_wakes_the_next_one(tmp_path, monkeypatch):
    """Each has looked in vain and would look again in an hour: a film taken then is read, reported and sent at once."""
    for name in ("LOOK_SECONDS", "UNSENT_SECONDS"):
        monkeypatch.setattr(service, name, LONG)
    config = Config()
    config._root = tmp_path
    config.inbox.mkdir()
    stop, sent = threading.Event(), threading.Event()
    analysis, reporting = Looking(), Looking()
    sending = Looking(then=lambda: (sent.set(), stop.set()))

    def sweep(_stopped) -> tuple[int, None]:
        assert analysis.looked.wait(PATIENCE)
        assert reporting.looked.wait(PATIENCE)
        assert sending.looked.wait(PATIENCE)
        return 1, None

    inbox, upkeep = SimpleNamespace(sweep=sweep), SimpleNamespace(step=lambda _stopped: None)
    clinic = SimpleNamespace(
        config=config,
        database=SimpleNamespace(file=None),
        inbox=inbox,
        analysis=analysis,
        reporting=reporting,
        sending=sending,
        upkeep=upkeep,
    )
    giving_up = threading.Timer(PATIENCE, stop.set)
    giving_up.start()
    until_told(clinic, stop)
    giving_up.cancel()
    assert sent.is_set()


def waited(_quiet_seconds: float) -> int:
    """A look that finds nothing, and has waited for a busy machine."""
    threading.Event().wait(0.05)
    return 0


def worked(_quiet_seconds: float) -> int:
    """A look that finds nothing in a large database."""
    before = time.thread_time()
    while time.thread_time() - before < 0.05:
        pass
    return 0


@pytest.mark.parametrize(
    ("look", "file", "at_least"),
    [(waited, Path("clinic.sqlite"), False), (worked, Path("clinic.sqlite"), True), (waited, None, True)],
)
def test_a_look_for_reports_that_only_had_to_wait_puts_the_next_one_off_no_further(look, file, at_least):
    """In a file it is this process that looks; what a server does in the meantime is not known, and counts."""
    clinic = SimpleNamespace(config=Config(), database=SimpleNamespace(file=file), reporting=SimpleNamespace(step=look))
    rest = service._Steps(clinic, threading.Event()).report()
    assert (rest.at_least >= 20 * 0.05) is at_least
    assert rest.seconds == max(service.LOOK_SECONDS, rest.at_least)


class Told(threading.Event):
    """An event that is set for good once it was set so many times, and counts when its lock was not to be had."""

    def __init__(self, times: int) -> None:
        super().__init__()
        # One that its holder may take again, and which tells so, where the event's own would wait for ever.
        self._cond = threading.Condition(threading.RLock())
        self.left, self.found_held = times, 0

    def set(self) -> None:
        self.found_held += self._cond._is_owned()
        self.left -= 1
        if self.left <= 0:
            super().set()


@pytest.fixture
def at_each_line():
    """A function that takes what is to be called before each line that this thread executes, to the test's end."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def call(happens: Callable[[], None]) -> None:
        def tracing(_frame, event, _argument):
            if event == "line":
                happens()
            return tracing

        sys.settrace(tracing)

    yield call
    sys.settrace(None)
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_signal_may_come_at_any_moment_while_the_loops_are_waited_for(tmp_path, monkeypatch, at_each_line):
    """Its handler sets the event that ends them, and would wait for ever for a lock that its own thread has."""
    monkeypatch.setattr(service, "HEED_SECONDS", 0.001)
    config = Config()
    config._root = tmp_path
    config.inbox.mkdir()
    idle = SimpleNamespace(step=lambda *_: 0, sweep=lambda *_: (0, None))
    database = SimpleNamespace(file=None)
    loops = dict.fromkeys(("inbox", "analysis", "reporting", "sending", "upkeep"), idle)
    clinic = SimpleNamespace(config=config, database=database, **loops)
    stop = Told(times=2000)

    def told_again() -> None:
        stop_when_told(stop)
        signal.raise_signal(signal.SIGTERM)

    at_each_line(told_again)
    until_told(clinic, stop)
    sys.settrace(None)
    assert (stop.left <= 0, stop.found_held) == (True, 0)


def test_a_second_signal_may_come_while_the_first_is_heeded(at_each_line):
    """Ctrl-C twice: the second finds the first at setting the event, whose lock it has."""
    stop = Told(times=1)
    stop_when_told(stop)
    at_each_line(lambda: signal.raise_signal(signal.SIGINT))
    signal.raise_signal(signal.SIGTERM)
    sys.settrace(None)
    assert (stop.is_set(), stop.found_held) == (True, 0)
