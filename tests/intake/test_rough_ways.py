"""What disks and senders do to an inbox: nothing is lost, nothing is taken half, and what passes is done again."""

import logging
import os
import socket
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image

from agcnn_clinic.database.engine import make_engine, writing
from agcnn_clinic.database.failures import DatabaseUnavailableError
from agcnn_clinic.database.session import Database
from agcnn_clinic.errors import OnError
from agcnn_clinic.faults import FaultPoint
from agcnn_clinic.intake.accept import Group, accept
from agcnn_clinic.intake.discover import discover, found
from agcnn_clinic.intake.inbox import BATCH, EMPTY_FOLDER_SECONDS

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def png(path: Path, grey: int) -> bytes:
    """A small PNG; returns its bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (32, 32), grey).save(path, format="PNG")
    return path.read_bytes()


def text(path: Path, size: int, letter: str = "x") -> Path:
    """A file that is no image, of many kilobytes."""
    path.write_text(letter * size)
    return path


def left_half_copied(desk) -> list[Path]:
    """Temporary files of the archive, the quarantine and the reports."""
    folders = (desk.config.archive / ".incoming", desk.config.quarantine, desk.config.reports)
    return [path for folder in folders for path in folder.iterdir() if path.name.endswith(".part")]


def test_a_full_archive_leaves_in_the_inbox_what_does_not_fit(desk, mount):
    """One file of three does not fit: it stays, without a row or a half copy, until there is room."""
    mount(desk.config.archive, "-t", "tmpfs", "-o", "size=1m", "tmpfs")
    desk.storage.prepare()
    ballast = text(desk.config.archive / "ballast", 400_000)
    for letter in "abc":
        text(desk.config.inbox / f"{letter}.txt", 250_000, letter)
    inbox = desk.new_inbox()
    taken, _ = inbox.sweep()
    assert (taken, inbox.left_behind) == (2, 1)
    assert [path.name for path in desk.config.inbox.iterdir()] == ["c.txt"]
    assert left_half_copied(desk) == []
    ballast.unlink()
    assert inbox.sweep()[0] == 1
    assert sorted(desk.outcomes()) == ["a.txt", "b.txt", "c.txt"]


def test_a_full_quarantine_does_not_hold_up_what_is_sound(desk, mount):
    """The film beside the broken file is taken; the broken one is laid out, whole, when there is room."""
    mount(desk.config.quarantine, "-t", "tmpfs", "-o", "size=1m", "tmpfs")
    ballast = text(desk.config.quarantine / "ballast", 900_000)
    broken = text(desk.config.inbox / "broken.txt", 300_000).read_bytes()
    png(desk.config.inbox / "film.png", 1)
    inbox = desk.new_inbox()
    assert inbox.sweep()[0] == 1
    assert desk.outcomes() == {"film.png": ("pending", "")}
    assert [path.name for path in desk.config.inbox.iterdir()] == ["broken.txt"]
    assert [path.name for path in desk.config.quarantine.iterdir()] == ["ballast"]
    ballast.unlink()
    inbox.sweep()
    assert desk.outcomes()["broken.txt"] == ("quarantined", "unrecognised")
    (name,) = [row.quarantine_path for row in desk.rows() if row.quarantine_path]
    assert (desk.config.quarantine / name).read_bytes() == broken
    assert left_half_copied(desk) == []


def test_a_study_folder_is_taken_whole_or_not_at_all(desk, mount):
    """One broken image of a folder cannot be quarantined: its sisters wait for it, and all end as one study."""
    mount(desk.config.quarantine, "-t", "tmpfs", "-o", "size=1m", "tmpfs")
    ballast = text(desk.config.quarantine / "ballast", 1_000_000)
    folder = desk.config.inbox / "study"
    for number in (1, 2):
        png(folder / f"{number}.png", number)
    broken = png(folder / "3.png", 3)[:40]
    (folder / "3.png").write_bytes(broken + os.urandom(100_000))
    (folder / "study.toml").write_text('patient_id = "P1"')
    inbox = desk.new_inbox()
    assert inbox.sweep()[0] == 0
    assert (desk.rows(), len(list(folder.iterdir()))) == ([], 4)
    ballast.unlink()
    assert inbox.sweep()[0] == 3
    studies = {row.instance.study.study_instance_uid for row in desk.rows() if row.instance is not None}
    assert len(studies) == 1
    assert desk.waiting() == []


def test_a_read_only_archive_is_waited_for(desk, mount, caplog):
    """Nothing is taken and nothing goes while the archive cannot be written, which is said once; then it is."""
    mount(desk.config.archive, "-t", "tmpfs", "tmpfs")
    desk.storage.prepare()
    mount(desk.config.archive, "-o", "remount,ro")
    for number in range(3):
        png(desk.config.inbox / f"{number}.png", number)
    inbox = desk.new_inbox()
    assert inbox.sweep()[0] == 0
    assert inbox.left_behind == 3
    assert desk.rows() == []
    (told,) = caplog.messages
    assert told.startswith("3 files are left in the inbox for now: ")
    mount(desk.config.archive, "-o", "remount,rw")
    assert inbox.sweep()[0] == 3


def test_a_quarantine_that_cannot_be_written_is_waited_for(desk, mount, caplog):
    """Files that belong there stay in the inbox, which is said once, and a sound film beside them is taken."""
    mount(desk.config.quarantine, "-t", "tmpfs", "tmpfs")
    mount(desk.config.quarantine, "-o", "remount,ro")
    for number in range(3):
        (desk.config.inbox / f"{number}.txt").write_text(f"{number}")
    png(desk.config.inbox / "film.png", 1)
    inbox = desk.new_inbox()
    assert inbox.sweep()[0] == 1
    (told,) = caplog.messages
    assert told.startswith("3 files are left in the inbox for now: The quarantine cannot be written")
    mount(desk.config.quarantine, "-o", "remount,rw")
    assert inbox.sweep()[0] == 3


def test_a_file_without_permission_stays_until_it_may_be_read(desk, ordinary_user, caplog):
    """It is left and told of once, or again when there is another, by number in the log; a person can ask which."""
    paths = [desk.config.inbox / name for name in ("Doe^Jane.png", "Roe^Richard.png")]
    for path in paths:
        png(path, 1)
    paths[0].chmod(0)
    inbox = desk.new_inbox()
    with ordinary_user():
        assert [inbox.sweep()[0] for _ in range(3)] == [1, 0, 0]
        assert inbox.hindered == ["Doe^Jane.png"]
        png(paths[1], 2)
        paths[1].chmod(0)
        assert [inbox.sweep()[0] for _ in range(2)] == [0, 0]
        assert [message.partition(" in the")[0] for message in caplog.messages] == [
            "1 files are left",
            "2 files are left",
        ]
        assert all("Permission denied" in message and "oe" not in message for message in caplog.messages)
        for path in paths:
            path.chmod(0o600)
        assert (inbox.sweep()[0], inbox.hindered) == (2, [])


def test_what_lies_in_a_folder_without_permission_is_told_of(desk, ordinary_user, caplog):
    """Once, and again when there are more, never by their names; the film beside them is taken."""
    folders = [desk.config.inbox / "modality" / name for name in ("Doe^Jane", "Roe^Richard")]
    for folder in folders:
        png(folder / "film.png", 1)
    folders[0].chmod(0)
    inbox = desk.new_inbox()
    with ordinary_user():
        assert [inbox.sweep()[0] for _ in range(2)] == [1, 0]
        (told,) = caplog.messages
        assert told.startswith("1 folders of the inbox cannot be looked into")
        assert "Permission denied" in told
        assert "Doe" not in told
        folders[1].mkdir(mode=0, exist_ok=True)
        folders[1].chmod(0)
        inbox.sweep()
        assert inbox.unlisted == 2
        assert [message[:10] for message in caplog.messages] == ["1 folders ", "2 folders "]
        for folder in folders:
            folder.chmod(0o700)
        assert inbox.sweep()[0] == 1
        assert inbox.unlisted == 0


def test_what_may_be_listed_and_not_looked_at_is_told_of(desk, ordinary_user):
    """A folder of mode 0400 shows the names in it and no more: it counts once, however many there are."""
    for number in range(3):
        png(desk.config.inbox / "modality" / f"{number}.png", number)
    (desk.config.inbox / "modality").chmod(0o400)
    inbox = desk.new_inbox()
    with ordinary_user():
        inbox.sweep()
        assert inbox.unlisted == 1
        (desk.config.inbox / "modality").chmod(0o700)


def test_an_inbox_that_is_gone_is_told_of_until_it_is_there_again(desk, caplog):
    """A share that is not mounted, or a name with a mistake in it: no silence, and no line a look."""
    desk.config.inbox.rmdir()
    inbox = desk.new_inbox()
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            assert (inbox.sweep(), inbox.unlisted) == ((0, None), 1)
        desk.config.inbox.touch()
        inbox.sweep()
        desk.config.inbox.unlink()
        desk.config.inbox.mkdir()
        assert (inbox.sweep(), inbox.unlisted) == ((0, None), 0)
    assert [message.partition(";")[0] for message in caplog.messages] == [
        "the inbox cannot be looked through (No such file or directory)",
        "the inbox cannot be looked through (Not a directory)",
        "the inbox is there again",
    ]


def test_a_file_that_vanished_after_the_listing_is_no_error(desk):
    """It was there when the inbox was listed and is not when it is opened: the others are taken, and none is left."""
    for name in ("a.png", "b.png"):
        png(desk.config.inbox / name, ord(name[0]))
    files = list(discover(desk.config.inbox, ()))
    files[0].path.unlink()
    taken = accept(desk.intake, [Group((file,), remove=True) for file in files], NOW)
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
    assert left_half_copied(desk) == []
    assert inbox.sweep()[0] == 1
    assert [row.size for row in desk.rows()] == [1008]


def test_a_file_that_changed_since_it_settled_has_to_settle_again(desk):
    """Long after the listing its turn comes, and it is another file by then: it is not taken as it is."""
    path = text(desk.config.inbox / "film.txt", 1000)
    listed = found(path)
    text(path, 500)
    assert accept(desk.intake, [Group((listed,), remove=True)], NOW).left == 1
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
    files = list(discover(desk.config.inbox, ()))
    files[0].path.unlink()
    os.mkfifo(files[0].path)
    assert accept(desk.intake, [Group(tuple(files), remove=True)], NOW)[:2] == (0, 1)
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
            assert left_half_copied(desk) == []
    assert inbox.sweep()[0] == 1
    assert len(desk.rows()) == 1
    impatient.close()
    other.dispose()
