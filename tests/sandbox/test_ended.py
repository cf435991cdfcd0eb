"""Children that something else has ended, before or while they are given a task: that is no file's fault."""

import ctypes
import os
import signal
import threading
import time
from collections import Counter
from multiprocessing import forkserver
from multiprocessing.connection import wait
from pathlib import Path

import psutil
import pytest

from agcnn_clinic.errors import ChildrenUnavailableError, ImageError
from agcnn_clinic.sandbox.pool import Sandbox, _Child


def test_a_child_that_was_ended_while_idle_is_replaced(sandbox):
    """Nobody's file is blamed for a child that somebody killed between two tasks."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        child = psutil.Process(sandbox.run(os.getpid))
        # Just after a task a child still ignores SIGTERM, so one may not be enough.
        for _ in range(20):
            child.send_signal(number)
            if psutil.wait_procs([child], timeout=0.5)[0]:
                break
        assert sandbox.run(os.getpid) != child.pid


def idle_children(sandbox, count: int) -> set[int]:
    """The process ids of so many children, all of which wait for a task."""
    seconds = 0.1
    while len(sandbox._children) < count:  # on a busy machine one has done its task before another is asked for
        seconds *= 2
        for task in [sandbox.submit(time.sleep, seconds) for _ in range(count)]:
            task.result()
    found = {child._process.pid for child in sandbox._children}
    assert len(found) == count
    return found


@pytest.mark.parametrize("workers", [1, 3])
def test_children_that_were_all_ended_while_idle_are_replaced(workers):
    """As when memory runs out: whoever comes next is read by a new one."""
    with Sandbox(workers, seconds=5.0, memory_mb=256) as pool:
        ended = idle_children(pool, workers)
        for child in ended:
            os.kill(child, signal.SIGKILL)
        assert pool.run(os.getpid) not in ended


def test_idle_children_whose_ends_are_not_known_yet_cost_a_task_nothing(monkeypatch):
    """Each is handed the task in vain, and there are more of them than new ones would be."""
    looks, is_alive = Counter(), _Child.is_alive

    def late(child):
        looks[child] += 1
        return looks[child] <= 2 or is_alive(child)

    with Sandbox(4, seconds=5.0, memory_mb=256) as pool:
        ended = idle_children(pool, 4)
        for child in ended:
            os.kill(child, signal.SIGKILL)
        monkeypatch.setattr(_Child, "is_alive", late)
        assert pool.run(os.getpid) not in ended


def test_a_child_that_ends_just_before_it_is_given_a_task_is_replaced():
    """Its end is not known yet, and the pipe takes the task all the same; again and again it is nobody's fault."""
    with Sandbox(1, seconds=5.0, memory_mb=256) as pool:
        for _ in range(30):
            child = pool.run(os.getpid)
            os.kill(child, signal.SIGKILL)
            assert pool.run(os.getpid) != child


@pytest.mark.parametrize(
    ("served", "number", "told"),
    [
        (True, signal.SIGKILL, ""),
        (False, signal.SIGTERM, ""),
        (False, signal.SIGKILL, r"cannot be started \(SIGKILL\)"),
    ],
)
def test_a_child_that_ends_once_it_was_chosen_is_replaced_unless_it_cannot_start(monkeypatch, served, number, told):
    """One that has served, or that a service manager tells to stop; one that is killed at its start will be again."""
    with Sandbox(1, seconds=5.0, memory_mb=256) as pool:
        chosen = [pool.run(os.getpid)] if served else []

        def ends(take=pool._take):
            child = take()
            if len(chosen) <= served:
                chosen.append(child._process.pid)
                os.kill(child._process.pid, number)
                child._process.join()
            return child

        monkeypatch.setattr(pool, "_take", ends)
        if told:
            with pytest.raises(ChildrenUnavailableError, match=told):
                pool.run(os.getpid)
        assert pool.run(os.getpid) not in chosen


@pytest.mark.parametrize("size", [10, 10_000_000], ids=["small", "more than the pipe holds"])
def test_a_child_that_stands_still_and_does_not_take_its_task_is_replaced(monkeypatch, size):
    """As one that somebody has stopped with a signal while it was idle: the file took no time at all."""
    monkeypatch.setattr("agcnn_clinic.sandbox.pool.PARENT_GRACE_SECONDS", 0.5)
    with Sandbox(1, seconds=0.5, memory_mb=0) as pool:
        still = pool.run(os.getpid)
        os.kill(still, signal.SIGSTOP)
        assert pool.submit(len, bytes(size)).result(timeout=60) == size
        assert not psutil.pid_exists(still)


class Turns:
    """A lock that tells when somebody has to wait for it."""

    def __init__(self, waiting: threading.Event) -> None:
        self._lock = threading.Lock()
        self._waiting = waiting

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            self._waiting.set()
            self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()


def test_how_a_child_ended_is_known_also_where_another_one_is_started_just_then(monkeypatch):
    """To start one looks after all of them, and how one ended can be read once: its deadline would be a crash."""
    came, read = threading.Event(), forkserver.read_signed
    monkeypatch.setattr("agcnn_clinic.sandbox.pool._LOOKING", Turns(came), raising=False)
    with Sandbox(1, 5.0, 0) as pool, Sandbox(1, 5.0, 0) as other:
        pool.run(os.getpid)

        def start_another(descriptor):
            monkeypatch.setattr(forkserver, "read_signed", read)
            other.submit(divmod, 7, 2).add_done_callback(lambda _: came.set())
            assert came.wait(60)
            return read(descriptor)

        monkeypatch.setattr(forkserver, "read_signed", start_another)
        with pytest.raises(ImageError, match="SIGSEGV"):
            pool.run(ctypes.string_at, 0)
        assert forkserver.read_signed is read


def test_a_child_that_has_ended_is_not_ended_by_its_number(monkeypatch):
    """Something has killed it while it was idle, and by now the number may be another process's."""
    sent, kill = [], os.kill
    with Sandbox(1, seconds=5.0, memory_mb=256) as pool:
        os.kill(pool.run(os.getpid), signal.SIGKILL)
        (child,) = pool._children
        wait([child._process.sentinel])  # so that its number is free, and that is known
        monkeypatch.setattr(os, "kill", lambda pid, number: (sent.append(pid), kill(pid, number)))
    assert sent == []


def test_a_child_is_ended_also_where_the_process_that_forked_it_has_ended(tmp_path):
    """Nobody tells how it ended, nor whether it has."""
    os.mkfifo(tmp_path / "film")
    with Sandbox(1, seconds=60.0, memory_mb=0) as pool:
        child = psutil.Process(pool.run(os.getpid))
        forker = child.parent()
        pool.submit(Path.read_bytes, tmp_path / "film")
        written = os.open(tmp_path / "film", os.O_WRONLY)  # as soon as the child has opened it
        forker.kill()
        os.waitid(os.P_PID, forker.pid, os.WEXITED | os.WNOWAIT)  # multiprocessing wants to bury it itself
    gone, _ = psutil.wait_procs([child], timeout=60)
    os.close(written)
    assert gone or child.status() == psutil.STATUS_ZOMBIE


class _EndsWhoTakesIt:
    """What ends the process that unpickles it: a child that has its task on the way, and has not said so."""

    def __reduce__(self):
        return os._exit, (9,)


def test_children_that_end_again_and_again_before_they_have_a_task_are_no_files_fault(sandbox):
    """Three are tried; then it is the machine's trouble, and no file is called crashing for it."""
    with pytest.raises(ChildrenUnavailableError, match="were ended 3 times before they had read anything"):
        sandbox.run(repr, _EndsWhoTakesIt())
    assert sandbox.run(divmod, 7, 2) == (3, 1)


class _LongToLearn:
    """A niceness that the first child takes a minute to be told of; it is none."""

    def __init__(self):
        self.told = False

    def __reduce__(self):
        told, self.told = self.told, True
        return (int, ()) if told else (time.sleep, (60,))


def test_a_child_that_takes_too_long_to_start_is_no_files_fault(monkeypatch):
    """It is ended, and so is the wait for it."""
    with Sandbox(1, seconds=5.0, memory_mb=256, niceness=_LongToLearn()) as pool:
        with monkeypatch.context() as patch:
            patch.setattr("agcnn_clinic.sandbox.pool.START_SECONDS", 0.0)
            with pytest.raises(ChildrenUnavailableError, match=r"cannot be started \(SIGKILL\)"):
                pool.run(os.getpid)
        assert pool.run(divmod, 7, 2) == (3, 1)
