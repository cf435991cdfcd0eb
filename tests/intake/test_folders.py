"""Which folders of the inbox stay when their files are taken, and for how long."""

import pytest

from agcnn_clinic.intake.inbox import EMPTY_FOLDER_SECONDS, Inbox


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
