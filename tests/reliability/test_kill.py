"""SIGKILL, the end that no program can prepare for: at every durable step, and at any time."""

import random
import sys
import threading

import pytest

from agcnn_clinic.faults import FaultPoint

pytestmark = pytest.mark.sqlite_only("a daemon alone with its file, killed at each durable step")

KILLS = [
    *((point, 1) for point in FaultPoint),
    (FaultPoint.INBOX_FILE_REMOVED, 12),  # of 13: the last one's companions are gone
]
"""The durable steps, each with the passage at which the process ends."""
ROUNDS_PER_CLINIC = 20
"""After so many rounds a new clinic is begun, so that what is to be checked does not grow for ever."""
MOST_PASSAGES = 3
LONGEST_LIFE = 2.0
"""Seconds: longer than a daemon takes from its start to the end of all work here."""


def test_a_daemon_killed_at_every_durable_step_loses_nothing_and_does_nothing_twice(new_trial, mail, archive, capsys):
    """Each step in turn ends the process; the next one finishes the work, and takes the next kill."""
    trial, chance = new_trial("clinic", pacs=archive), random.Random(0)
    trial.start()
    for number, (point, passage) in enumerate(KILLS):
        trial.arm(point, passage)
        mail.drop(trial, f"{number:02}", chance)
        trial.wait_for_death()
        trial.arm()
        trial.start()
        trial.wait_until_idle()
        trial.check()
    trial.stop()
    say(
        capsys,
        f"{len(KILLS)} kills at {len(FaultPoint)} durable steps, {len(trial.expected)} files: none lost, none twice",
    )


@pytest.mark.slow
def test_rounds_of_two_kills_at_random_lose_nothing_and_do_nothing_twice(new_trial, mail, new_archive, capsys, request):
    """A daemon is killed at a random step or time, the one that recovers too; the third finishes.

    `pytest tests/reliability -k rounds --slow --rounds 300 --seed 1`
    """
    rounds, seed = request.config.getoption("--rounds"), request.config.getoption("--seed")
    chance, trial, files, at_steps, at_times = random.Random(seed), None, 0, 0, 0
    for number in range(rounds):
        if number % ROUNDS_PER_CLINIC == 0:
            if trial is not None:
                trial.stop()
            trial = new_trial(f"clinic-{number}", pacs=new_archive())
            trial.start()
            trial.wait_until_idle()
        where = f"round {number} of seed {seed}"
        for first in (True, False):
            at_step = chance.random() < 0.5
            if at_step:
                trial.arm(chance.choice(tuple(FaultPoint)), chance.randint(1, MOST_PASSAGES))
            if first:
                mail.drop(trial, f"{number:04}", chance)
            else:
                trial.start()
            if end_life(trial, LONGEST_LIFE if at_step else chance.uniform(0, LONGEST_LIFE)):
                at_steps += 1
            else:
                at_times += 1
            trial.arm()
        trial.start()
        trial.wait_until_idle()
        try:
            trial.check()
        except AssertionError as error:
            error.add_note(where)
            raise
        files += 12
    if trial is not None:
        trial.stop()
    say(capsys, f"{rounds} rounds of seed {seed}: {at_steps} kills at steps, {at_times} at times, {files} files")


def end_life(trial, seconds: float) -> bool:
    """Wait for the daemon to kill itself, and kill it when it has not done so in time; whether it did."""
    pause = threading.Event()
    for _ in range(round(seconds / 0.02) + 1):
        if trial.status() is not None:
            trial.wait_for_death()
            return True
        pause.wait(0.02)
    trial.kill()
    return False


def say(capsys, sentence: str) -> None:
    """Print what was survived, also where pytest hides what tests print."""
    with capsys.disabled():
        sys.stdout.write(f"\n{sentence}\n")
