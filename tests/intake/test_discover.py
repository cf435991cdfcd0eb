"""What the walk through the inbox finds, and what it passes over."""

import os
import shutil
import socket
from pathlib import Path

import pytest

from agcnn_clinic.intake.discover import Walk, shown
from agcnn_clinic.sections import Intake

IGNORE = Intake().ignore


def names(root: Path) -> list[str]:
    return [found.name for found in Walk(root, IGNORE)]


def test_files_are_found_in_order_of_name_at_every_depth(tmp_path):
    """Folders are walked, and the order does not depend on the disk."""
    for name in ("b.dcm", "a.dcm", "study/2.png", "study/deep/1.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert names(tmp_path) == ["a.dcm", "b.dcm", "study/2.png", "study/deep/1.png"]
    assert [found.folder for found in Walk(tmp_path, IGNORE)] == ["", "", "study", "study/deep"]


@pytest.mark.parametrize(
    "name",
    [
        ".hidden",
        "film.dcm.part",
        "film.tmp",
        "~lock",
        "x.crdownload",
        "THUMBS.DB",
        "Desktop.ini",
        "a.PART",
        "lost+found",
    ],
)
def test_unfinished_and_hidden_names_stay(tmp_path, name):
    """Names that senders and file managers use for their own purposes are not taken."""
    (tmp_path / name).write_bytes(b"x")
    assert names(tmp_path) == []


def test_links_pipes_and_sockets_are_passed_over(tmp_path):
    """Only regular files count; a link could point anywhere, a pipe would block."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.dcm").write_bytes(b"x")
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    (inbox / "link.dcm").symlink_to(outside / "secret.dcm")
    (inbox / "folder").symlink_to(outside)
    os.mkfifo(inbox / "pipe.dcm")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(inbox / "socket.dcm"))
        assert names(inbox) == []


def test_folders_that_hold_nothing_but_such_folders_are_told_of_the_innermost_first(tmp_path):
    """Not one that holds a file, were it an ignored one or a link, at any depth; and never the root."""
    for name in ("a/b", "a/c", "d/e", "d/f", "g/h", "i"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "d" / "e" / ".hidden").touch()
    (tmp_path / "g" / "h" / "link").symlink_to(tmp_path)
    walk = Walk(tmp_path, IGNORE)
    assert list(walk) == []
    assert [folder.name for folder in walk.empty] == ["a/b", "a/c", "a", "d/f", "i"]


def test_a_missing_inbox_holds_nothing_and_is_not_taken_for_an_empty_one(tmp_path):
    """An inbox that was deleted cannot be listed; when it is made again, the next walk sees it."""
    walk = Walk(tmp_path / "gone", IGNORE)
    assert (list(walk), walk.unlisted) == ([], {"": "No such file or directory"})
    (tmp_path / "gone").mkdir()
    (tmp_path / "gone" / "a.dcm").write_bytes(b"x")
    assert ([found.name for found in walk], walk.unlisted) == (["a.dcm"], {})


def test_a_folder_that_vanishes_during_the_walk_is_passed_over(tmp_path):
    """It was listed, and then taken away: the next walk sees what is true then."""
    for name in ("a.dcm", "study/b.dcm"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    walk = Walk(tmp_path, IGNORE)
    files = iter(walk)
    assert next(files).name == "a.dcm"
    shutil.rmtree(tmp_path / "study")
    assert (list(files), walk.unlisted) == ([], {})


def test_a_name_that_is_no_utf8_is_shown_escaped(tmp_path):
    r"""Bytes that no encoding explains become \xNN, and the file is found all the same."""
    raw = os.fsencode(tmp_path) + b"/film\xff.dcm"
    Path(os.fsdecode(raw)).write_bytes(b"x")
    assert names(tmp_path) == ["film\\xff.dcm"]
    assert shown("Grüße") == "Grüße"
