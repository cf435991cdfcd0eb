"""Disks that are full, and folders that are closed or gone: nothing is lost, and it is said once."""

import logging
import os

from drops import png, text


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
    assert desk.left_half_copied() == []
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
    assert desk.left_half_copied() == []


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


def test_a_link_in_the_inbox_is_told_of_once(desk, tmp_path, caplog):
    """What it leads to is never taken: who links a modality's folder there hears of it, without a name."""
    png(tmp_path / "modality" / "film.png", 1)
    (desk.config.inbox / "Doe^Jane").symlink_to(tmp_path / "modality")
    inbox = desk.new_inbox()
    assert [inbox.sweep()[0] for _ in range(2)] == [0, 0]
    (told,) = caplog.messages
    assert told.startswith("1 links, pipes or devices are passed over")
    assert "Doe" not in told
    assert (inbox.take([desk.config.inbox]), len(caplog.messages)) == (0, 2)


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
