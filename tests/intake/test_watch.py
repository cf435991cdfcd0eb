"""Hints that something came: which inbox they are of."""

import shutil
import threading

import pytest

from agcnn_clinic.intake.watch import Hints

TIMEOUT = 30.0


@pytest.mark.parametrize("mode", ["events", "auto"])
def test_an_inbox_made_again_is_watched_again(tmp_path, mode):
    """Events of a new folder under the old name arrive; while there is none, nothing is watched."""
    inbox, arrived = tmp_path / "inbox", threading.Event()
    inbox.mkdir()
    with Hints(inbox, mode, arrived) as hints:
        arrived.clear()
        (inbox / "a").touch()
        assert arrived.wait(TIMEOUT)
        shutil.rmtree(inbox)
        hints.renew()
        assert hints._observer is None
        inbox.mkdir()
        hints.renew()
        assert arrived.is_set()  # what came before the watching began is looked for
        arrived.clear()
        (inbox / "b").touch()
        assert arrived.wait(TIMEOUT)


def test_polling_never_wakes_anyone(tmp_path):
    """Nothing is watched, so that nothing can be missed: the rescan is all."""
    arrived = threading.Event()
    with Hints(tmp_path, "polling", arrived) as hints:
        hints.renew()
        assert hints._observer is None
    assert not arrived.is_set()
