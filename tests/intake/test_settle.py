"""When a file counts as finished."""

import logging
import time
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from agcnn_clinic.intake.discover import Found
from agcnn_clinic.intake.inbox import Inbox, first_look
from agcnn_clinic.intake.settle import LongWaits, StabilityTracker
from agcnn_clinic.staging import Identity


def file(name: str = "a.dcm", size: int = 10, mtime_ns: int = 1) -> Found:
    return Found(Path("/inbox") / name, name, "", Identity(0, 0, size, mtime_ns))


def test_a_file_is_finished_after_staying_the_same_for_the_whole_time():
    """Seen twice the same, two seconds apart, with two seconds to settle: finished."""
    tracker = StabilityTracker(2)
    assert tracker.observe([file()], now=100) == ([], 2)
    assert tracker.observe([file()], now=101.5) == ([], 0.5)
    assert tracker.observe([file()], now=102) == ([file()], None)


def test_the_next_look_is_when_the_first_of_the_waiting_may_be_finished():
    """Whatever comes after it waits by itself."""
    tracker = StabilityTracker(2)
    tracker.observe([file("a.dcm")], now=0)
    assert tracker.observe([file("a.dcm"), file("b.dcm")], now=1.5) == ([], 0.5)


def test_a_file_that_grows_starts_again():
    """Each change of size or time begins the wait anew."""
    tracker = StabilityTracker(2)
    tracker.observe([file(size=10)], now=0)
    assert tracker.observe([file(size=11)], now=2) == ([], 2)
    assert tracker.observe([file(size=11, mtime_ns=2)], now=4) == ([], 2)
    assert tracker.observe([file(size=11, mtime_ns=2)], now=6)[0] == [file(size=11, mtime_ns=2)]


def test_a_file_that_went_away_and_came_back_is_new():
    """A name that was missing from one listing has to settle again."""
    tracker = StabilityTracker(2)
    tracker.observe([file()], now=0)
    tracker.observe([], now=1)
    assert tracker.observe([file()], now=2) == ([], 2)


def test_without_a_settle_time_a_file_is_finished_at_once():
    """settle_seconds = 0 takes what is there."""
    assert StabilityTracker(0).observe([file()], now=5) == ([file()], None)


def test_a_file_settles_from_the_first_look_on(desk):
    """Before there is anything to take it with; one that grows between that look and the next has to wait."""
    settings = desk.config.intake.model_copy(update={"settle_seconds": 3600.0})
    config = desk.config.model_copy(update={"intake": settings})
    for name in ("whole", "grows"):
        (config.inbox / name).write_text("no film")
    seen = first_look(config)
    with (config.inbox / "grows").open("a") as growing:
        growing.write(", and more")
    later = time.monotonic() // 1 + 3602  # whole seconds, which floats add without a remainder
    assert Inbox(config, desk.intake, clock=lambda: later, tracker=seen).sweep() == (1, 3600)
    assert desk.waiting() == ["grows"]


def test_a_film_in_a_folder_is_taken_when_it_is_finished_itself(desk, film_of):
    """Not after those that are still being copied beside it, and not with them: half a film would be a broken one."""
    settings = desk.config.intake.model_copy(update={"settle_seconds": 3600.0})
    config = desk.config.model_copy(update={"intake": settings})
    (config.inbox / "export").mkdir()
    for instance, name in enumerate(("grows", "whole")):
        film_of(f"export/{name}", study=1, instance=instance)
    seen = first_look(config)
    with (config.inbox / "export" / "grows").open("ab") as growing:
        growing.write(b"more")
    later = time.monotonic() + 3601
    assert Inbox(config, desk.intake, clock=lambda: later, tracker=seen).sweep()[0] == 1
    assert desk.waiting() == ["export/grows"]


@given(
    sizes=st.lists(st.integers(0, 3), min_size=1, max_size=20),
    steps=st.lists(st.floats(0.1, 5), min_size=20, max_size=20),
    settle=st.floats(0, 6),
)
def test_finished_means_unchanged_for_at_least_the_settle_time(sizes, steps, settle):
    """Against the obvious rule: finished if and only if the newest run of equal sizes is old enough."""
    tracker, now, since, last = StabilityTracker(settle), 0.0, 0.0, None
    for size, step in zip(sizes, steps, strict=False):
        now += step
        if size != last:
            since, last = now, size
        settled, wait = tracker.observe([file(size=size)], now)
        assert bool(settled) == (since + settle - now <= 0)
        assert (wait is None) == bool(settled)


def below(name: str, size: int = 10) -> Found:
    return Found(Path("/inbox") / name, name, name.rpartition("/")[0], Identity(0, 0, size, 1))


def test_files_that_wait_for_long_are_told_of_once_and_without_their_names(caplog):
    """Those of a folder in which something else grows, at any depth; not those beside it, nor those that came later."""
    listing = [below(name) for name in ("pacs/deep/film.png", "pacs/export.zip", "other/film.png", "film.png")]
    waits, growing = LongWaits(), [below("pacs/big/export.part2"), below("export.part3")]
    with caplog.at_level(logging.WARNING):
        for now in range(0, 600, 60):
            waits.observe([*listing, *growing], listing, now)
        assert not caplog.records
        late = below("pacs/late.png")
        for now in (600, 660, 900):
            waits.observe([*listing, late, *growing], [*listing, late], now)
    (record,) = caplog.records
    assert record.getMessage().startswith("2 finished files have waited in the inbox for 10 minutes")
    assert "pacs" not in record.getMessage()


def test_a_folder_that_is_finished_now_and_then_keeps_nothing_waiting(caplog):
    """The wait counts from the last time that all of the folder was finished; one that begins anew is told of anew."""
    waits, film, more = LongWaits(), below("pacs/film.png"), below("pacs/more.png")
    with caplog.at_level(logging.WARNING):
        waits.observe([film, more], [film], 0)
        waits.observe([film, more], [film, more], 599)
        waits.observe([film, more], [film], 601)
        assert not caplog.records
        waits.observe([film, more], [film], 1201)
        waits.observe([film, more], [film, more], 1300)
        waits.observe([film, more], [film], 1400)
        waits.observe([film, more], [film], 2000)
    assert len(caplog.records) == 2
