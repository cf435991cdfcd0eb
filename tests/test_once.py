"""How the loops of `process` begin, wait for each other and end. What they do is tested with them."""

import threading
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import pytest

from agcnn_clinic.clinic import Clinic
from agcnn_clinic.errors import DatabaseError
from agcnn_clinic.once import Left, until_idle

PATIENCE = 60.0


class Inbox:
    """Files that are found on the first look through it, and none that is waited for."""

    left_behind = unlisted = 0
    hindered = ()

    def __init__(self, files: int) -> None:
        self._files = files

    def take(self, sources, _stopped):
        return len(sources)

    def sweep(self, _stopped):
        found, self._files = self._files, 0
        return found, None


class Counting:
    """A loop's work: so many steps that find something to do, and how often it was asked."""

    unmade = 0

    def __init__(self, *found: int) -> None:
        self._found = list(found)
        self.asked = 0

    def step(self, *_, **__):
        self.asked += 1
        return self._found.pop(0) if self._found else 0


def clinic(**loops):
    """A clinic whose loops have nothing to do but what is said."""
    nothing = {"inbox": Inbox(0), "analysis": Counting(), "reporting": Counting(), "upkeep": Counting()}
    nothing["sending"] = None
    database = SimpleNamespace(file=Path("clinic.sqlite"))
    return SimpleNamespace(**{"database": database} | nothing | loops)


def nobody(taken: int, decided: int) -> None:
    """Is told how far the work is."""


def test_all_that_is_taken_is_counted_and_decided_and_upkeep_comes_last():
    """Two files are named, three lie in the inbox; the analysis decides five, in two batches."""
    told = []
    upkeep = Counting()
    at_work = clinic(inbox=Inbox(3), analysis=Counting(4, 1), upkeep=upkeep)
    assert until_idle(at_work, ["a", "b"], lambda *counts: told.append(counts)) == Left(files=0, reports=0)
    assert told[-1] == (5, 5)
    assert upkeep.asked == 1


def test_every_loop_that_a_clinic_has_is_asked():
    """What `watch` alone did would never be done where `process` runs once a night."""

    class Loop(Counting):
        def waiting(self):
            return 0

    no_loops = {"config", "database", "claims", "inbox"}
    loops = {field.name: Loop() for field in fields(Clinic) if field.name not in no_loops}
    until_idle(clinic(**loops), [], nobody)
    assert [name for name, loop in loops.items() if not loop.asked] == []


def test_the_loops_work_at_the_same_time():
    """Films are read while others are taken, and reports made while films are read."""
    reading, reporting = threading.Event(), threading.Event()

    class Taking(Inbox):
        def sweep(self, stopped):
            assert reading.wait(PATIENCE)
            return super().sweep(stopped)

    class Reading(Counting):
        def step(self):
            reading.set()
            if self.asked == 1:  # the second step: all is taken by then, and the reports need not wait for this one
                assert reporting.wait(PATIENCE)
            return super().step()

    class Reporting(Counting):
        def step(self, **how):
            reporting.set()
            return super().step(**how)

    until_idle(clinic(inbox=Taking(1), analysis=Reading(1), reporting=Reporting(1)), [], nobody)


def test_no_report_is_made_before_everything_is_taken():
    """Only then is a study known to be complete."""
    taken = threading.Event()

    class Taking(Inbox):
        def sweep(self, stopped):
            found = super().sweep(stopped)
            if not found[0]:
                taken.set()
            return found

    class Reporting(Counting):
        def step(self, **how):
            assert taken.is_set()
            assert how == {"quiet_seconds": 0}
            return super().step(**how)

    until_idle(clinic(inbox=Taking(3), reporting=Reporting(1)), [], nobody)


def test_what_is_decided_last_is_reported():
    """The reporting loop looks once more after the analysis has ended."""
    analysis = Counting(1)
    asked_after = []

    class Reporting(Counting):
        def step(self, **how):
            asked_after.append(analysis.asked)
            return super().step(**how)

    until_idle(clinic(analysis=analysis, reporting=Reporting()), [], nobody)
    assert asked_after[-1] == analysis.asked


class Shared:
    """The claims of a clinic on which another worker is: what it has in hand at each time that one asks."""

    def __init__(self, *in_hand: set[int]) -> None:
        self._in_hand = list(in_hand)

    def living(self):
        return {"another"}

    def others(self, _work):
        return self._in_hand.pop(0) if self._in_hand else set()


class Own:
    """This run's work: file 1 of study 7."""

    def pending(self):
        return {1}

    def studies(self):
        return [7]


def test_what_another_worker_has_in_hand_of_ones_own_is_waited_for():
    """Its file is looked for again until the other one has let go of it; a file of the other's own is not."""
    claims = Shared({1, 2}, {1}, {2})
    config = SimpleNamespace(intake=SimpleNamespace(study_quiet_seconds=30))
    until_idle(clinic(claims=claims, config=config), [], nobody, Own())
    assert claims.others(None) == set()


def test_a_study_that_another_worker_may_still_receive_is_left_to_rest():
    """Only those of which this run took a file count as complete at once."""
    asked = []

    class Reporting(Counting):
        def step(self, quiet_seconds, among=None):
            asked.append((quiet_seconds, among))
            return super().step()

    config = SimpleNamespace(intake=SimpleNamespace(study_quiet_seconds=30))
    until_idle(clinic(reporting=Reporting(), claims=Shared(), config=config), [], nobody, Own())
    assert asked[:2] == [(30, None), (0, [7])]


def test_what_is_left_is_told_at_the_end():
    """What cannot be taken, looked into or made ends no loop, and upkeep does its part."""
    inbox, reporting, upkeep = Inbox(2), Counting(1), Counting()
    inbox.left_behind = inbox.unlisted = reporting.unmade = 1
    inbox.hindered = ["a.dcm"]
    assert until_idle(clinic(inbox=inbox, reporting=reporting, upkeep=upkeep), [], nobody) == Left(
        2, 1, 2, ("a.dcm", "a.dcm")
    )
    assert upkeep.asked == 1


def test_what_is_reported_is_sent_beside_and_what_waits_still_is_told_at_the_end():
    """The last report is sent, too: the loop looks once more after all are made, and upkeep finds what is left."""
    order, sent = [], threading.Event()

    class Reporting(Counting):
        def step(self, *_, **__):
            if super().step():
                order.append("reported")
                return 1
            assert sent.wait(PATIENCE), "what is reported is sent while more may come"
            return 0

    class Sending(Counting):
        def step(self, *_, **__):
            if "reported" not in order or "sent" in order:
                return 0
            order.append("sent")
            sent.set()
            return 1

        def waiting(self):
            order.append("counted")
            return 3

    class Upkeep(Counting):
        def step(self, *_, **__):
            order.append("upkeep")

    left = until_idle(clinic(reporting=Reporting(1), sending=Sending(), upkeep=Upkeep()), [], nobody)
    assert order == ["reported", "sent", "counted", "upkeep"]
    assert left == Left(unsent=3)


@pytest.mark.parametrize("loop", ["inbox", "analysis", "reporting"])
def test_what_stops_one_loop_stops_all(loop):
    """The error comes out, the other loops do not wait for what will never come, and upkeep is left for another day."""

    class Failing(Counting):
        left_behind = unlisted = 0
        hindered = ()

        def step(self, *_, **__):
            raise DatabaseError("The disk is full.")

        take = sweep = step

    upkeep = Counting()
    with pytest.raises(DatabaseError, match="full"):
        until_idle(clinic(**{loop: Failing(), "upkeep": upkeep}), [], nobody)
    assert not upkeep.asked
