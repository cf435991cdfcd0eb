"""System calls that fail, as on a disk that is full or breaks, and where memory, threads or descriptors run out."""

import random
import re
import signal
import sys
import threading
from contextlib import suppress

import pytest

pytestmark = pytest.mark.sqlite_only("a daemon alone with its file")

FAILURES = (
    *(("fsync,fdatasync", "EIO"), ("fsync,fdatasync", "ENOSPC"), ("pwrite64", "ENOSPC"), ("pread64", "EIO")),
    *(("openat", "EMFILE"), ("openat", "EACCES"), ("getdents64", "EIO"), ("newfstatat,statx,fstat", "EIO")),
    *(("rename,renameat,renameat2", "EIO"), ("mkdir,mkdirat", "ENOSPC"), ("unlink,unlinkat", "EACCES")),
    *(("mmap", "ENOMEM"), ("clone3,clone", "EAGAIN"), ("poll,epoll_wait,select", "ENOMEM")),
)
"""System calls, each with the error that it returns. Not read and write: of pipes they never fail so."""
ROUNDS = 4
LATEST = 40
"""The first call of a thread that fails is among so many."""
PATIENCE_SECONDS = 20.0
"""A daemon whose calls go on failing is left to them for so long."""


@pytest.mark.slow
@pytest.mark.parametrize(("calls", "error"), FAILURES)
def test_calls_that_fail_lose_nothing_and_do_nothing_twice(new_trial, mail, traced, tmp_path, capsys, calls, error):
    """One call of each thread fails, or three in a row; what the daemon does not get over, the next one finishes."""
    trial, chance, failed, last_words = new_trial("clinic"), random.Random(f"{calls} {error}"), 0, []
    for number in range(ROUNDS):
        trial.start()
        trial.wait_until_idle()
        first, record = chance.choice((chance.randint(1, 4), chance.randint(1, LATEST))), tmp_path / f"{number}"
        failing = f"inject={calls}:error={error}:when={first}..{first + chance.choice((0, 2))}"
        with traced(trial.pid, record, "-e", f"trace={calls}", "-e", failing):
            mail.drop(trial, f"{number:02}", chance)
            leave_it_alone(trial)
        failed += len(re.findall(r"\(INJECTED\)", record.read_text(errors="replace")))
        if trial.status() is None:
            trial.stop()
        else:
            last_words.append(trial.said().splitlines()[-1])
            assert trial.status() > 0, f"signal {signal.Signals(-trial.status()).name}; {trial.said()}"
        trial.start()
        trial.wait_until_idle()
        either_may_have_come_first(trial, f"{number:02}")
        trial.check()
        trial.stop()
    assert failed, "no call failed"
    with capsys.disabled():
        told = f"{failed} calls failed, the daemon ended {len(last_words)} times of {ROUNDS}"
        sys.stdout.write("\n".join((f"\n{calls}, {error}: {told}", *last_words, "")))


def leave_it_alone(trial) -> None:
    """Wait until the daemon has ended, has got over it, or has had its time."""
    pause = threading.Event()
    for _ in range(round(PATIENCE_SECONDS / 0.2)):
        pause.wait(0.2)
        with suppress(AssertionError):  # it has ended between the two questions
            if trial.status() is not None or trial.is_idle():
                return


def either_may_have_come_first(trial, prefix: str) -> None:
    """Of two files with the same bytes, or of the same UID, the one that did not fail is the first."""
    rows = trial.rows("SELECT original_name, outcome, reason_code FROM received_file")
    ends = {name: (outcome, reason) for name, outcome, reason in rows}
    for pair in (("a.dcm", "c-again.dcm"), ("f-1.dcm", "f-2.dcm"), ("g.txt", "h-link.txt")):
        one, other = (f"{prefix}-{name}" for name in pair)
        if (ends.get(one), ends.get(other)) == (trial.expected[other], trial.expected[one]):
            trial.expected[one], trial.expected[other] = ends[one], ends[other]
