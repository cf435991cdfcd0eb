"""What senders and other programs do to an inbox: nothing is lost or taken half, and what passes is done again."""

import os
import socket
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from drops import png, text

from agcnn_clinic.database.engine import make_engine, writing
from agcnn_clinic.database.failures import DatabaseUnavailableError
from agcnn_clinic.database.session import Database
from agcnn_clinic.errors import OnError
from agcnn_clinic.faults import FaultPoint
from agcnn_clinic.intake.accept import Group, accept
from agcnn_clinic.intake.discover import Walk, found
from agcnn_clinic.intake.inbox import BATCH, EMPTY_FOLDER_SECONDS

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_file_that_vanished_after_the_listing_is_no_error(desk):
    """It was there when the inbox was listed and is not when it is opened: the others are taken, and none is left."""
    for name in ("a.png", "b.png"):
        png(desk.config.inbox / name, ord(name[0]))
    files = list(Walk(desk.config.inbox, ()))
    files[0].path.unlink()
    (taken,) = accept(desk.intake, [[Group((file,), remove=True) for file in files]], lambda: NOW)
    assert (taken.files, taken.left) == (1, 0)
    assert list(desk.outcomes()) == ["b.png"]


def test_a_file_that_grows_while_it_is_copied_is_taken_later_and_whole(desk, at_point):
    """More bytes come while the first are copied: no row for half a file."""
    path = text(desk.config.inbox / "film.txt", 1000)

    def grow() -> None:
        with path.open("a") as file:
            file.write("the rest")

    at_point(FaultPoint.COPY_WRITTEN, grow)
    inbox = desk.new_inbox()
    assert inbox.sweep()[0] == 0
    assert desk.left_half_copied() == []
    assert inbox.sweep()[0] == 1
    assert [row.size for row in desk.rows()] == [1008]


def test_a_file_that_changed_since_it_settled_has_to_settle_again(desk):
    """Long after the listing its turn comes, and it is another file by then: it is not taken as it is."""
    path = text(desk.config.inbox / "film.txt", 1000)
    listed = found(path)
    text(path, 500)
    (taken,) = accept(desk.intake, [[Group((listed,), remove=True)]], lambda: NOW)
    assert taken.left == 1
    assert desk.rows() == []


def test_a_file_put_in_place_of_one_that_is_being_taken_is_not_lost(desk, at_point, tmp_path):
    """A sender uses a name again before its first file has left: both are taken."""
    path = text(desk.config.inbox / "film.txt", 1000)
    at_point(FaultPoint.ARRIVALS_COMMITTED, lambda: text(tmp_path / "new", 500).replace(path))
    inbox = desk.new_inbox()
    inbox.sweep()
    assert path.exists()
    inbox.sweep()
    assert [row.size for row in desk.rows()] == [1000, 500]
    assert not path.exists()


def test_a_pipe_in_place_of_a_listed_file_does_not_hold_up_the_inbox(desk):
    """After the listing a file of a folder becomes a pipe: nobody waits for its writer."""
    folder = desk.config.inbox / "study"
    png(folder / "a.png", 1)
    files = list(Walk(desk.config.inbox, ()))
    files[0].path.unlink()
    os.mkfifo(files[0].path)
    (taken,) = accept(desk.intake, [[Group(tuple(files), remove=True)]], lambda: NOW)
    assert taken[:2] == (0, 1)
    assert desk.new_inbox().sweep() == (0, None)


def test_odd_names_are_taken_like_any_other(desk):
    """255 bytes, no UTF-8, a line break: each has a row under a name that can be shown."""
    names = [b"n" * 251 + b".txt", b"film\xff\xfe.txt", b"two\nlines.txt", "Ωμέγα.txt".encode()]
    for number, name in enumerate(names):
        Path(os.fsdecode(os.fsencode(desk.config.inbox) + b"/" + name)).write_text(str(number))
    assert desk.new_inbox().sweep()[0] == len(names)
    shown = set(desk.outcomes())
    assert shown == {"n" * 251 + ".txt", "film\\xff\\xfe.txt", "two\nlines.txt", "Ωμέγα.txt"}
    assert desk.waiting() == []


def test_folders_whose_names_look_alike_are_two_studies(desk):
    r"""A byte that is no UTF-8 is shown as \xff; a folder may be called so, and is another."""
    for grey, name in enumerate((b"a\xff", b"a\\xff")):
        png(Path(os.fsdecode(os.fsencode(desk.config.inbox) + b"/" + name)) / "1.png", grey)
    desk.new_inbox().sweep()
    assert len({row.instance.study_id for row in desk.rows()}) == 2


def test_what_is_no_file_stays_and_what_a_link_names_is_not_touched(desk, tmp_path):
    """Links to a file, a folder and to the inbox itself, a pipe, a socket and a device are passed over."""
    outside = tmp_path / "outside"
    outside.mkdir()
    text(outside / "secret.txt", 10)
    (desk.config.inbox / "link.txt").symlink_to(outside / "secret.txt")
    (desk.config.inbox / "folder").symlink_to(outside)
    (desk.config.inbox / "round").symlink_to(desk.config.inbox)
    os.mkfifo(desk.config.inbox / "pipe")
    if os.geteuid() == 0:
        os.mknod(desk.config.inbox / "zero", 0o20600, os.makedev(1, 5))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(desk.config.inbox / "socket"))
        before = sorted(desk.config.inbox.iterdir())
        assert desk.new_inbox().sweep() == (0, None)
    assert sorted(desk.config.inbox.iterdir()) == before
    assert (outside / "secret.txt").exists()


def test_two_names_of_one_file_are_two_arrivals_also_after_a_crash_between_them(desk, at_point):
    """Each has one row, though the second one's inode changes when the first name goes."""
    text(desk.config.inbox / "a.txt", 10)
    os.link(desk.config.inbox / "a.txt", desk.config.inbox / "b.txt")

    class KilledError(Exception):
        pass

    def kill() -> None:
        raise KilledError

    at_point(FaultPoint.INBOX_FILE_REMOVED, kill)
    with pytest.raises(KilledError):
        desk.new_inbox().sweep()
    assert len(list(desk.config.inbox.iterdir())) == 1
    desk.new_inbox().sweep()
    assert desk.outcomes() == {"a.txt": ("quarantined", "unrecognised"), "b.txt": ("duplicate", "same_bytes")}
    assert len(desk.rows()) == 2


@pytest.fixture
def deep_folder(desk):
    """The innermost of 1,100 folders in the inbox; they are gone afterwards, since pytest cannot remove so many."""
    folders = [desk.config.inbox]
    for _ in range(1100):
        folders.append(folders[-1] / "d")
        folders[-1].mkdir()
    yield folders[-1]
    for folder in reversed(folders[1:]):
        if folder.exists():
            for file in folder.iterdir():
                file.unlink()
            folder.rmdir()


def test_folders_nested_deeper_than_python_recurses_are_walked(desk, deep_folder):
    """The file at the bottom is taken, and when their time has come the emptied folders go, all but the topmost."""
    text(deep_folder / "film.txt", 10)
    time = [0.0]
    inbox = desk.new_inbox(clock=lambda: time[0])
    assert inbox.sweep()[0] == 1
    inbox.sweep()
    assert deep_folder.exists()
    time[0] = EMPTY_FOLDER_SECONDS
    inbox.sweep()
    assert list(desk.config.inbox.rglob("*")) == [desk.config.inbox / "d"]


def test_an_intake_that_is_told_to_stop_finishes_its_batch_and_leaves_the_rest(desk):
    """Of four batches one is taken; the others are still in the inbox."""
    for number in range(4 * BATCH):
        text(desk.config.inbox / f"{number:03}.txt", 10 + number)
    stop = threading.Event()
    stop.set()
    assert desk.new_inbox().sweep(stop.is_set)[0] == BATCH
    assert len(list(desk.config.inbox.iterdir())) == 3 * BATCH


def test_a_database_that_another_program_keeps_locked_costs_no_file(desk):
    """The batch is left as it was, without half copies, the error asks for another try, and that one succeeds."""
    png(desk.config.inbox / "study" / "film.png", 1)
    (desk.config.inbox / "study" / "study.toml").write_text('patient_id = "P1"')
    impatient = Database(make_engine(desk.config.database_url, busy_timeout_seconds=0.01), desk.config.database_url)
    object.__setattr__(desk.intake, "database", impatient)
    inbox = desk.new_inbox()
    other = writing(make_engine(desk.config.database_url, busy_timeout_seconds=1))
    with other.begin():
        for _ in range(2):
            with pytest.raises(DatabaseUnavailableError, match="locked") as caught:
                inbox.sweep()
            assert caught.value.on_error is OnError.RETRY
            assert desk.left_half_copied() == []
    assert inbox.sweep()[0] == 1
    assert len(desk.rows()) == 1
    impatient.close()
    other.dispose()
