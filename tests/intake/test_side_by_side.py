"""Large files are copied side by side, and what becomes of one is no matter of the others."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from agcnn_clinic.errors import ChildrenUnavailableError, StorageError
from agcnn_clinic.intake import accept
from agcnn_clinic.intake.inbox import Inbox
from agcnn_clinic.storage import Storage

NAMES = ["a.png", "b.png", "c.png", "d.png"]


@pytest.fixture
def dropped(desk, monkeypatch):
    """Four films in the inbox, each of which counts as large."""
    monkeypatch.setattr(accept, "SMALL_BYTES", 500)
    for seed, name in enumerate(NAMES):
        pixels = np.random.default_rng(seed).integers(0, 255, (32, 32), dtype=np.uint8)
        Image.fromarray(pixels).save(desk.config.inbox / name, format="PNG")
    return desk


def in_the_inbox(desk) -> list[str]:
    return sorted(path.name for path in desk.config.inbox.iterdir())


def half_way(desk) -> list[str]:
    """Copies that have no place in the archive yet."""
    return [path.name for path in (desk.config.archive / ".incoming").rglob("*") if path.is_file()]


def test_two_are_copied_at_a_time_also_beside_a_small_file(dropped, monkeypatch):
    """Each copy of a film waits until another one is under way; a small file is copied meanwhile by itself."""
    (dropped.config.inbox / "README.txt").write_text("small")
    meeting, stage = threading.Barrier(2), Storage.stage

    def meet(storage, source, name, seen=None):
        if name in NAMES:
            meeting.wait(60)
        return stage(storage, source, name, seen)

    monkeypatch.setattr(Storage, "stage", meet)
    assert dropped.new_inbox().sweep() == (5, None)
    assert [row.original_name for row in dropped.rows()] == sorted(["README.txt", *NAMES])
    assert (in_the_inbox(dropped), half_way(dropped)) == ([], [])


def test_one_that_cannot_be_copied_stays_and_the_others_are_taken(dropped, monkeypatch):
    """The disk fails one of four copies: it is found again, and taken then."""
    stage = Storage.stage

    def fail(storage, source, name, seen=None):
        if name == "b.png":
            raise StorageError("The disk failed.")
        return stage(storage, source, name, seen)

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "stage", fail)
        inbox = dropped.new_inbox()
        assert (inbox.sweep()[0], inbox.left_behind) == (3, 1)
    assert (in_the_inbox(dropped), half_way(dropped)) == (["b.png"], [])
    assert dropped.new_inbox().sweep() == (1, None)
    assert [row.original_name for row in dropped.rows()] == ["a.png", "c.png", "d.png", "b.png"]


def test_where_no_header_can_be_read_nothing_is_taken_and_nothing_left_half_way(dropped):
    """No child process can be started: that is no file's fault, and all of them stay in the inbox."""

    class Away:
        def submit(self, *_):
            raise ChildrenUnavailableError("no child process can be started")

    with pytest.raises(ChildrenUnavailableError):
        Inbox(dropped.config, replace(dropped.intake, sandbox=Away())).sweep()
    assert (in_the_inbox(dropped), half_way(dropped), dropped.rows()) == (NAMES, [], [])
    assert dropped.new_inbox().sweep() == (4, None)
