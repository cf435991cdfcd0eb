"""A sender who puts links in the place of folders and files, at the worst moment, reaches nothing outside the inbox."""

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.fileset import FileSet

from agcnn_clinic.intake.inbox import EMPTY_FOLDER_SECONDS, Inbox
from agcnn_clinic.sandbox.pool import Sandbox

_moments: list[tuple[str, str, Callable[[], None]]] = []
"""What is to happen right before the interpreter does something: one of these events, the end of the name, the act."""


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    for moment in [*_moments]:
        wanted, name, act = moment
        if event in wanted.split() and isinstance(arguments[0], str | Path) and str(arguments[0]).endswith(name):
            _moments.remove(moment)
            act()


@pytest.fixture(scope="module")
def audited() -> None:
    """Python tells of each call to the system before it makes it (PEP 578), and cannot be told to stop."""
    sys.addaudithook(_hook)


@pytest.fixture
def right_before(audited):
    """A function that lets something happen, once, right before a call: of this event, with a name that ends so."""
    yield lambda event, name, act: _moments.append((event, name, act))
    _moments.clear()


@pytest.fixture
def outside(tmp_path) -> Path:
    """A folder with a file that no sender can reach, and of which one knows size and time."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "clinic.sqlite").write_text("rows")
    os.utime(folder / "clinic.sqlite", (1, 1))
    return folder


@pytest.fixture
def sent(desk) -> Path:
    """A sender's folder, with a file of the same name, size and time."""
    folder = desk.config.inbox / "sender"
    folder.mkdir()
    (folder / "clinic.sqlite").write_text("sent")
    os.utime(folder / "clinic.sqlite", (1, 1))
    return folder


def swap(folder: Path, outside: Path) -> Callable[[], None]:
    """What puts a link in a folder's place."""

    def act() -> None:
        folder.rename(folder.with_name("aside"))
        folder.symlink_to(outside)

    return act


def contents(folder: Path) -> list[str]:
    return [path.read_text() for path in folder.iterdir()]


def test_a_folder_that_becomes_a_link_is_not_walked_through(desk, sent, outside, right_before):
    """Between the listing that shows it and the look into it; what lay in it is found at the next look."""
    right_before("open os.scandir", "/sender", swap(sent, outside))
    inbox = desk.new_inbox()
    inbox.sweep()
    inbox.sweep()
    assert contents(outside) == ["rows"]
    assert [row.original_name for row in desk.rows()] == ["aside/clinic.sqlite"]


def test_a_file_below_what_became_a_link_is_not_taken(desk, sent, outside, right_before):
    """It is not the file that was listed, were its name, its size and its time the same."""
    right_before("open", "/sender/clinic.sqlite", swap(sent, outside))
    inbox = desk.new_inbox()
    assert (inbox.sweep()[0], inbox.left_behind, desk.rows()) == (0, 1, [])
    assert contents(outside) == ["rows"]


def test_a_file_below_what_became_a_link_is_not_removed(desk, sent, outside, right_before):
    """Between the last look at the file that was taken and its removal."""
    right_before("os.remove", "clinic.sqlite", swap(sent, outside))
    desk.new_inbox().sweep()
    assert (len(desk.rows()), contents(outside)) == (1, ["rows"])


def test_a_folder_below_what_became_a_link_is_not_removed(desk, sent, outside, right_before):
    """An empty one outside of the inbox, of the same name, stays."""
    for folder in (sent, outside):
        (folder / "reports").mkdir()
    time = [0.0]
    inbox = Inbox(desk.config, desk.intake, clock=lambda: time[0])
    inbox.sweep()
    time[0] = EMPTY_FOLDER_SECONDS
    right_before("os.rmdir", "reports", swap(sent, outside))
    inbox.sweep()
    assert (outside / "reports").is_dir()


def test_a_pipe_in_the_place_of_a_dicomdir_keeps_no_child_waiting(desk, right_before, tmp_path, write_film):
    """It is put there after the look that shows what the file is: no child is ended for waiting at it."""
    write_film(tmp_path / "film.dcm", np.zeros((8, 8), np.float32))
    files = FileSet()
    dataset = pydicom.dcmread(tmp_path / "film.dcm")
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20260131", "093000", "1"
    dataset.PatientID, dataset.SeriesNumber, dataset.InstanceNumber = "P1", 1, 1
    files.add(dataset)
    files.write(tmp_path / "cd")
    first, second = (desk.config.inbox / name / "DICOMDIR" for name in ("1", "2"))
    for copy in (first, second):
        copy.parent.mkdir()
        shutil.copy(tmp_path / "cd" / "DICOMDIR", copy)

    def pipe() -> None:
        first.unlink()
        os.mkfifo(first)

    right_before("open", "/2/DICOMDIR", pipe)
    with Sandbox(1, seconds=0.3, memory_mb=0) as sandbox:
        before = sandbox.run(os.getpid)
        Inbox(desk.config, replace(desk.intake, sandbox=sandbox)).sweep()
        assert sandbox.run(os.getpid) == before
