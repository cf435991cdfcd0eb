"""A clinic whose folders lie on a network file system, and whose share goes away while it works."""

import random
import sys
import threading

import pytest

pytestmark = [
    pytest.mark.sqlite_only("a daemon alone with its file, whose folders lie on a share"),
    pytest.mark.slow,
]

OUTAGES = 5
BEFORE, AWAY = (0.0, 2.0), (1.0, 4.0)
"""Seconds: up to what a daemon takes for a dozen files here, and until after it has tried again."""


@pytest.fixture(params=["glusterfs", "nfs", "smb"])
def share(request, shares, tmp_path):
    """A share of this machine's own."""
    kind = shares.KINDS[request.param]
    if reason := kind.missing():
        pytest.skip(reason)
    share = kind(tmp_path / "share")
    yield share
    share.end()


def test_a_share_that_goes_away_while_films_are_read_costs_none(share, new_trial, new_mail, capsys):
    """Its server is ended at random times; the daemon waits, and once it is back every file has its one end."""
    mount = share.mount("mount")
    trial, mail = new_trial("clinic", "polling", mount), new_mail(mount / "outside")
    chance, pause, hindered = random.Random(1), threading.Event(), 0
    trial.start()
    trial.wait_until_idle()
    for number in range(OUTAGES):
        mail.drop(trial, f"{number:02}", chance)
        pause.wait(chance.uniform(*BEFORE))
        share.away()
        pause.wait(chance.uniform(*AWAY))
        share.back()
        share.wait()
        hindered += sum(trial.said().count(refusal) for refusal in share.refusals)
        trial.wait_until_idle()
        trial.check()
    trial.stop()
    assert hindered or not share.refusals
    with capsys.disabled():
        sys.stdout.write(f"\n{OUTAGES} outages, {len(trial.expected)} files: none lost, none twice\n")
