"""Hints that something came: which inbox they are of."""

import shutil
import threading

import pytest

from agcnn_clinic.intake import watch
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


def write_anew(inbox, elsewhere):
    del elsewhere
    (inbox / "film.dcm").write_bytes(b"other bytes")


def rename_into(inbox, elsewhere):
    (elsewhere / "new.dcm").touch()
    (elsewhere / "new.dcm").rename(inbox / "new.dcm")


def move_a_folder_into(inbox, elsewhere):
    (elsewhere / "study").mkdir()
    (elsewhere / "study" / "1.dcm").touch()
    (elsewhere / "study").rename(inbox / "study")


def write_into_a_folder(inbox, elsewhere):
    del elsewhere
    (inbox / "folder" / "new.dcm").touch()


@pytest.mark.parametrize("happens", [write_anew, rename_into, move_a_folder_into, write_into_a_folder])
def test_what_comes_wakes_and_what_the_clinic_does_itself_does_not(tmp_path, monkeypatch, happens):
    """To list, open, read and remove is what intake does with each file: told of it, it would look again and again."""
    inbox, elsewhere, arrived = tmp_path / "inbox", tmp_path / "elsewhere", threading.Event()
    elsewhere.mkdir()
    (inbox / "folder").mkdir(parents=True)
    for name in ("film.dcm", "read.dcm"):
        (inbox / name).touch()
    heard = []
    wake = watch._Wake.on_any_event
    monkeypatch.setattr(
        watch._Wake, "on_any_event", lambda self, event: (heard.append(event.src_path), wake(self, event))
    )
    with Hints(inbox, "events", arrived):
        arrived.clear()
        list(inbox.rglob("*"))
        (inbox / "read.dcm").read_bytes()
        (inbox / "read.dcm").unlink()
        happens(inbox, elsewhere)
        assert arrived.wait(TIMEOUT)
        # The kernel tells in order: all that came before was heard before.
        assert [path for path in heard if "read.dcm" in path] == []


def test_polling_never_wakes_anyone(tmp_path):
    """Nothing is watched, so that nothing can be missed: the rescan is all."""
    arrived = threading.Event()
    with Hints(tmp_path, "polling", arrived) as hints:
        hints.renew()
        assert hints._observer is None
    assert not arrived.is_set()
