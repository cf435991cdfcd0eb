"""How a loop of the service rests."""

import threading
import time

import pytest

from agcnn_clinic.service import _rest

LONG = 3600.0


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
    _rest(LONG, wake, stop, not_before=time.monotonic() - 1)
    assert (wake.waits, stop.waits) == ([], [0.0])


def test_a_loop_that_is_woken_again_and_again_begins_no_more_often_than_it_should():
    """A folder that is being copied wakes it for every file."""
    wake, stop = Noted(happened=True), Noted()
    _rest(LONG, wake, stop, not_before=time.monotonic() + 50)
    assert wake.waits == []
    assert stop.waits == [pytest.approx(50, abs=5)]


def test_a_loop_that_is_told_to_stop_rests_no_longer():
    """Neither until its time is over nor until it may begin again."""
    wake, stop = Noted(), Noted(happened=True)
    _rest(LONG, wake, stop, not_before=time.monotonic() + 50)
    assert (wake.waits, stop.waits) == ([], [])


def test_a_loop_that_nobody_wakes_looks_whether_it_shall_stop():
    """It waits in short pieces, since two events cannot be waited for at a time."""
    wake, stop = Noted(), Noted()
    wake.wait = lambda timeout: stop.set() or wake.waits.append(timeout)
    _rest(LONG, wake, stop, not_before=0)
    assert wake.waits == [0.5]
