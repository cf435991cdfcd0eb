"""How files leave the inbox, what cannot leave it, and which of its folders stay, and for how long."""

import os

import pytest
from drops import png

from agcnn_clinic.intake.inbox import EMPTY_FOLDER_SECONDS, Inbox
from agcnn_clinic.storage import Storage


@pytest.fixture
def time() -> list[float]:
    """The seconds of a clock that stands still until a test moves it."""
    return [0.0]


@pytest.fixture
def new_inbox(desk, time):
    """The inbox of a clinic with these settings of [intake]."""

    def new(**settings: object) -> Inbox:
        intake = desk.config.intake.model_copy(update=settings)
        return Inbox(desk.config.model_copy(update={"intake": intake}), desk.intake, clock=lambda: time[0])

    return new


def folders(desk) -> list[str]:
    """Those of the inbox, by name."""
    inbox = desk.config.inbox
    return sorted(str(path.relative_to(inbox)) for path in inbox.rglob("*") if path.is_dir())


def drop(desk, name: str) -> None:
    """Put a file into a folder that is there."""
    (desk.config.inbox / name).write_text(name)


def test_a_senders_folder_stays_as_it_was_made(desk, new_inbox, time):
    """Its films are taken one by one for days, and whose it is and who may do what in it is never changed."""
    (desk.config.inbox / "modality").mkdir()
    (desk.config.inbox / "modality").chmod(0o2770)
    inbox, before = new_inbox(), (desk.config.inbox / "modality").stat()
    for number in range(3):
        drop(desk, f"modality/{number}.txt")
        assert inbox.sweep()[0] == 1
        time[0] += 2 * EMPTY_FOLDER_SECONDS
        inbox.sweep()
    after = (desk.config.inbox / "modality").stat()
    assert (after.st_ino, after.st_mode, after.st_uid) == (before.st_ino, before.st_mode, before.st_uid)


def test_the_folder_of_a_study_stays_while_more_of_it_may_come(desk, new_inbox, time):
    """It goes when it has been empty for an hour, which begins anew with each film, and with it what it was in."""
    (desk.config.inbox / "modality" / "day" / "study").mkdir(parents=True)
    inbox = new_inbox()
    for number in range(3):
        drop(desk, f"modality/day/study/{number}.txt")
        inbox.sweep()
        inbox.sweep()
        time[0] += EMPTY_FOLDER_SECONDS - 1
        inbox.sweep()
        assert folders(desk) == ["modality", "modality/day", "modality/day/study"]
    time[0] += 1
    inbox.sweep()
    assert folders(desk) == ["modality"]


def test_a_folder_that_was_filled_meanwhile_stays(desk, new_inbox, time):
    """A sender writes into it between the look and the removal, which takes what is empty alone."""
    (desk.config.inbox / "modality" / "study").mkdir(parents=True)
    inbox = new_inbox(settle_seconds=60)
    inbox.sweep()
    time[0] = EMPTY_FOLDER_SECONDS
    drop(desk, "modality/study/film.txt")
    inbox.sweep()
    assert desk.waiting() == ["modality/study/film.txt"]


def test_topmost_folders_go_like_all_others_where_that_is_said(desk, new_inbox, time):
    """For a sender that makes one for each study; not before its time has come."""
    (desk.config.inbox / "study").mkdir()
    drop(desk, "study/film.txt")
    inbox = new_inbox(keep_folders="none")
    inbox.sweep()
    inbox.sweep()
    assert folders(desk) == ["study"]
    time[0] = EMPTY_FOLDER_SECONDS
    inbox.sweep()
    assert folders(desk) == []


def test_a_study_may_be_waited_for_even_longer(desk, new_inbox, time):
    """Where a study counts as complete after two hours, its folder stays for two hours."""
    (desk.config.inbox / "modality" / "study").mkdir(parents=True)
    inbox = new_inbox(study_quiet_seconds=2 * EMPTY_FOLDER_SECONDS)
    inbox.sweep()
    for seconds, kept in ((2 * EMPTY_FOLDER_SECONDS - 1, True), (2 * EMPTY_FOLDER_SECONDS, False)):
        time[0] = seconds
        inbox.sweep()
        assert ("modality/study" in folders(desk)) is kept


@pytest.fixture
def read_only_inbox(desk, mount):
    """A function that makes the inbox read-only, or no longer so."""
    mount(desk.config.inbox, "--bind", str(desk.config.inbox))
    return lambda state: mount(desk.config.inbox, "-o", f"remount,bind,{state}")


@pytest.fixture
def copied(monkeypatch) -> list[str]:
    """The names of the files that were copied into the archive."""
    names: list[str] = []
    stage = Storage.stage

    def noted(storage, source, name, seen=None):
        names.append(name)
        return stage(storage, source, name, seen)

    monkeypatch.setattr(Storage, "stage", noted)
    return names


def test_an_inbox_that_gives_nothing_up_is_copied_once(desk, read_only_inbox, copied, caplog):
    """Files that cannot be removed have one row each, which is said once; later looks try to remove them, and do."""
    for number in range(3):
        png(desk.config.inbox / f"{number}.png", number)
    read_only_inbox("ro")
    inbox = desk.new_inbox()
    assert [inbox.sweep()[0] for _ in range(3)] == [3, 0, 0]
    assert caplog.messages == [
        "3 files are safe in the archive and cannot be removed from the inbox: Read-only file system"
    ]
    assert inbox.left_behind == 0
    read_only_inbox("rw")
    assert (inbox.sweep()[0], desk.waiting(), len(desk.rows()), len(copied)) == (0, [], 3, 3)


def test_a_file_that_could_not_be_removed_and_is_another_one_by_now_is_taken(desk, read_only_inbox, copied):
    """It was written anew, were it in its old size and with its old time: its bytes are looked at again."""
    path = desk.config.inbox / "film.txt"
    path.write_text("a" * 100)
    read_only_inbox("ro")
    inbox = desk.new_inbox()
    inbox.sweep()
    read_only_inbox("rw")
    before = path.stat()
    path.write_text("b" * 100)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (inbox.sweep()[0], desk.waiting(), len(desk.rows()), len(copied)) == (1, [], 2, 2)


def test_a_png_that_comes_beside_those_that_cannot_be_removed_is_described_as_they_are(desk, read_only_inbox):
    """The study.toml was read before and lies there still: it speaks of the new one, too."""
    folder = desk.config.inbox / "jane"
    png(folder / "1.png", 1)
    (folder / "study.toml").write_text('patient_id = "4711"\naccession_number = "A-1"')
    read_only_inbox("ro")
    inbox = desk.new_inbox()
    assert [inbox.sweep()[0] for _ in range(2)] == [1, 0]
    read_only_inbox("rw")
    png(folder / "2.png", 2)
    assert inbox.sweep()[0] == 1
    assert [row.instance.study.patient_id for row in desk.rows()] == ["4711", "4711"]
    assert desk.waiting() == []
