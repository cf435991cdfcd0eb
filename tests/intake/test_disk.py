"""The watermark: intake stops before a disk is full."""

import logging
from pathlib import Path

import pytest
from drops import png

from agcnn_clinic.config import load_config
from agcnn_clinic.intake.disk import Watermark, free_bytes, watched_folders
from agcnn_clinic.intake.inbox import Inbox


class Disk:
    """A disk whose room is told."""

    def __init__(self, free: int) -> None:
        self.free = free

    def __call__(self, _folder: Path) -> int:
        return self.free


def test_files_wait_while_the_disk_is_low_and_are_taken_when_it_is_not(desk, caplog):
    """One warning when it begins, one line when it ends, however often the inbox is looked through in between."""
    caplog.set_level(logging.INFO, logger="agcnn_clinic.intake.disk")
    disk = Disk(500)
    inbox = Inbox(desk.config, desk.intake, Watermark({"archive": desk.config.archive}, 1000, disk))
    png(desk.config.inbox / "a.png", 1)
    png(desk.config.inbox / "b.png", 2)
    for _ in range(3):
        assert inbox.sweep() == (0, None)
        assert inbox.left_behind == 2
        assert "intake.min_free_mb" in inbox.watermark.low
    assert desk.rows() == []
    disk.free = 10_000
    assert inbox.sweep()[0] == 2
    assert (inbox.left_behind, inbox.watermark.low) == (0, "")
    inbox.sweep()
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "the disk of the archive" in caplog.text


def test_a_small_file_passes_a_large_one(desk):
    """What would fill the disk waits; what fits is taken."""
    size = len(png(desk.config.inbox / "small.png"))
    (desk.config.inbox / "large.bin").write_bytes(b"x" * 10_000)
    inbox = Inbox(desk.config, desk.intake, Watermark({"archive": desk.config.archive}, 1000, Disk(1000 + size)))
    assert inbox.sweep()[0] == 1
    assert (list(desk.outcomes()), inbox.left_behind) == (["small.png"], 1)


def test_a_batch_together_does_not_cross_the_mark():
    """Each file of a batch takes its room from the next."""
    watermark = Watermark({"archive": Path()}, 1000, Disk(1250))
    assert watermark.fitting([100, 100, 100, 50, 1]) == [True, True, False, True, False]
    assert Watermark({"archive": Path()}, 0, Disk(0)).fitting([100]) == [True]


@pytest.mark.sqlite_only("its file grows, too")
def test_every_disk_that_grows_is_watched(desk):
    """Archive, database and reports; the fullest counts; one that cannot be asked is not in the way."""
    assert set(watched_folders(desk.config)) == {"archive", "database", "reports"}

    def free(folder: Path) -> int:
        if folder == desk.config.reports:
            raise OSError
        return 10 if folder == desk.config.root else 5000

    watermark = Watermark.of(load_config(desk.config.root / "config.toml"), free)
    watermark.min_free_bytes = 1000
    assert watermark.fitting([1]) == [False]
    watermark.tell(1, 1)
    assert "the disk of the database" in watermark.low


def test_a_real_disk_is_not_filled_beyond_the_mark(desk, mount):
    """On a disk of one megabyte of which half must stay free, as many files are taken as that allows."""
    mount(desk.config.archive, "-t", "tmpfs", "-o", "size=1m", "tmpfs")
    desk.storage.prepare()
    for letter in "abcd":
        (desk.config.inbox / f"{letter}.txt").write_text(letter * 200_000)
    inbox = Inbox(desk.config, desk.intake, Watermark({"archive": desk.config.archive}, 500_000))
    inbox.sweep()
    assert free_bytes(desk.config.archive) >= 500_000
    assert (len(desk.rows()), inbox.left_behind) == (2, 2)


def test_a_zip_waits_with_all_that_does_not_fit(desk):
    """The zip is in the archive and pending, and its files are taken once there is room."""
    import zipfile

    films = [(f"{number}.png", len(png(desk.config.root / f"{number}.png", number))) for number in range(3)]
    with zipfile.ZipFile(desk.config.inbox / "export.zip", "w") as archive:
        for name, _ in films:
            archive.write(desk.config.root / name, name)
    disk = Disk(1_000_000)
    inbox = Inbox(desk.config, desk.intake, Watermark({"archive": desk.config.archive}, 1000, disk))
    disk.free = 1000 + (desk.config.inbox / "export.zip").stat().st_size
    watermark = inbox.watermark
    inbox._unpacker._take = lambda groups: (setattr(disk, "free", 1000), inbox._take(groups))[1]
    inbox.sweep()
    assert desk.outcomes() == {"export.zip": ("pending", "")}
    assert watermark.low
    assert inbox.left_behind == 1
    inbox._unpacker._take = inbox._take
    disk.free = 1_000_000
    inbox.sweep()
    assert desk.outcomes()["export.zip"] == ("unpacked", "unpacked")
    assert len(desk.rows()) == 4
