"""Zips, as PACS exports and people send them: each file in one has one outcome, and nothing is written elsewhere."""

import os
import zipfile
from datetime import UTC, datetime

import numpy as np
import pytest
from sqlalchemy import select
from zips import DONE, IMAGE, by_hand, drop, limited, png_bytes, row, row_count, stored, zipped

from agcnn_clinic.database.outcomes import decide
from agcnn_clinic.database.tables import ReceivedFile
from agcnn_clinic.domain import MediaType, ReasonCode
from agcnn_clinic.errors import StorageError
from agcnn_clinic.intake import open_zip
from agcnn_clinic.intake.identify import media_type
from agcnn_clinic.intake.requeue import requeue_files
from agcnn_clinic.storage import Storage


@pytest.fixture
def film_bytes(tmp_path, write_film) -> bytes:
    """A whole DICOM film."""
    path = tmp_path / "film.dcm"
    write_film(path, np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64), patient_id="P1")
    return path.read_bytes()


def test_each_file_of_a_zip_has_a_row_that_names_the_zip(desk, film_bytes):
    """A DICOM, a PNG folder with its study.toml, and a text: each goes its own way, and the zip leaves the inbox."""
    toml = b'patient_id = "4711"\n[views]\n"2.png" = "LATERAL"\n'
    files = [("DICOM/IM1", film_bytes), ("jane/1.png", png_bytes(1)), ("jane/2.png", png_bytes(2))]
    content = zipped([*files, ("jane/study.toml", toml), ("readme.txt", b"Hello"), ("empty/", b"")])
    drop(desk, content, "export.bin")
    assert desk.new_inbox().sweep() == (5, None)
    assert desk.outcomes() == {
        "export.bin": DONE,
        "export.bin/DICOM/IM1": ("pending", ""),
        "export.bin/jane/1.png": ("pending", ""),
        "export.bin/jane/2.png": ("pending", ""),
        "export.bin/readme.txt": ("quarantined", "unrecognised"),
    }
    container, *inside = desk.rows()
    assert container.media_type == MediaType.ZIP
    assert container.details == {"files": 5, "passed_over": 0}
    assert container.container_id is None
    assert {one.container_id for one in inside} == {container.id}
    jane = [one for one in inside if "jane" in one.original_name]
    assert {one.instance.study.patient_id for one in jane} == {"4711"}
    assert [one.header["view_position"] for one in jane] == ["", "LATERAL"]
    assert desk.storage.archived(row(desk, "export.bin/DICOM/IM1").stored_path).read_bytes() == film_bytes
    assert desk.storage.archived(container.stored_path).read_bytes() == content
    assert desk.waiting() == []
    assert list((desk.config.archive / ".incoming").iterdir()) == []


def test_a_named_zip_stays_where_it_is(desk, tmp_path):
    """`process FILE.zip` takes what is in it; named again it is a duplicate, and its files are not taken twice."""
    path = tmp_path / "export.zip"
    path.write_bytes(zipped([("a.png", png_bytes(1))]))
    assert desk.new_inbox().take([path]) == 2
    assert desk.outcomes()["export.zip"] == DONE
    desk.new_inbox().take([path])
    assert [one.outcome for one in desk.rows()] == ["unpacked", "pending", "duplicate"]
    assert path.exists()


def test_dicom_goes_before_zip():
    """A DICOM file whose preamble looks like a zip is DICOM."""
    assert media_type(b"PK\x03\x04".ljust(128, b"\0") + b"DICM", "x") is MediaType.DICOM
    assert media_type(b"PK\x03\x04".ljust(128, b"\0") + b"DICK", "x.dcm") is MediaType.ZIP


@pytest.mark.parametrize("passages", range(8))
def test_a_killed_intake_goes_on_where_it_was(desk, monkeypatch, passages):
    """Ended at any row or removal, and started again: each file of the zip has one row, and all is in the archive."""
    monkeypatch.setattr("agcnn_clinic.intake.inbox.BATCH", 1)
    names = ["a.png", "b.png", "c.txt", "d.png"]
    contents = [png_bytes(1), png_bytes(2), b"text", png_bytes(1)]
    drop(desk, zipped(zip(names, contents, strict=True)))
    left = passages

    class KilledError(BaseException):
        """What no handler catches."""

    def dies(point):
        nonlocal left
        if point in ("arrivals_written", "arrivals_committed", "inbox_file_removed", "archive_synced"):
            left -= 1
            if left < 0:
                raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr("agcnn_clinic.faults.hook", dies)
        with pytest.raises(KilledError):
            desk.new_inbox().sweep()
    Storage(desk.config).prepare()
    assert row_count(desk) < 5 or (desk.config.inbox / "export.zip").exists()
    desk.new_inbox().sweep()
    assert sorted(one.original_name for one in desk.rows()) == ["export.zip", *(f"export.zip/{one}" for one in names)]
    assert desk.outcomes()["export.zip"] == DONE
    assert [one.outcome for one in desk.rows()].count("duplicate") == 1  # d.png holds a.png's bytes
    assert desk.waiting() == []
    for one in desk.rows():
        assert desk.storage.archived(one.stored_path).exists()


def test_the_zip_stays_in_the_inbox_until_all_in_it_has_rows(desk, monkeypatch):
    """While the disk gives no room for what is in it, the zip is pending and stays; it is not copied again."""
    path = drop(desk, zipped([("a.png", png_bytes(1)), ("b.png", png_bytes(2))]))
    inbox = desk.new_inbox()

    def full(self, reader, arrival):
        raise StorageError("No space left on device.")

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "stage_content", full)
        inbox.sweep()
        assert desk.outcomes() == {"export.zip": ("pending", "")}
        assert inbox.left_behind
        patch.setattr(Storage, "stage", full)
        inbox.sweep()
    assert path.exists()
    inbox.sweep()
    assert desk.outcomes()["export.zip"] == DONE
    assert row_count(desk) == 3
    assert not path.exists()


def test_a_zip_that_the_archive_does_not_give_up_is_told_of_once_and_unpacked_later(desk, caplog):
    """Its disk is away for some looks, each of which tries it twice."""
    drop(desk, zipped([("a.png", png_bytes(1)), ("b.png", png_bytes(2))]))
    inbox, looks = desk.new_inbox(), iter([False])
    assert inbox.sweep(lambda: next(looks, True))[0] == 1  # stopped before it was unpacked
    path = desk.storage.archived(row(desk, "export.zip").stored_path)
    away = path.rename(path.with_suffix(".away"))
    for _ in range(2):
        assert inbox.sweep() == (0, None)
    (record,) = caplog.records
    assert record.getMessage().startswith("a zip stays packed for now: A zip in the archive cannot be read")
    away.rename(path)
    assert inbox.sweep() == (2, None)
    assert desk.outcomes()["export.zip"] == DONE


def test_the_same_zip_again_is_a_duplicate(desk):
    """Its files are not taken again; a zip that was only beyond a limit is taken when it comes again."""
    content = zipped([("a.png", png_bytes(1)), ("b.png", png_bytes(2))])
    drop(desk, content)
    limited(desk, max_files=1).sweep()
    drop(desk, content, "again.zip")
    desk.new_inbox().sweep()
    drop(desk, content, "thrice.zip")
    desk.new_inbox().sweep()
    found = desk.outcomes()
    assert found["export.zip"] == ("quarantined", "zip_limit")
    assert found["again.zip"] == DONE
    assert found["thrice.zip"] == ("duplicate", "same_bytes")
    assert row_count(desk) == 5


def test_a_large_file_comes_out_in_parts(desk, monkeypatch):
    """A file larger than what a child inflates at a time is whole, and its end is checked with its beginning."""
    monkeypatch.setattr(open_zip, "PART_BYTES", 100_000)
    noise = os.urandom(250_001)
    good = by_hand(stored(b"a.png", IMAGE + noise), stored(b"even", noise[:200_000]), stored(b"bad", noise, crc=5))
    drop(desk, good)
    desk.new_inbox().sweep()
    kept = desk.storage.archived(row(desk, "export.zip/a.png").stored_path).read_bytes()
    assert kept == IMAGE + noise
    assert desk.storage.archived(row(desk, "export.zip/even").stored_path).read_bytes() == noise[:200_000]
    assert desk.outcomes()["export.zip/bad"] == ("quarantined", "zip_damaged")


@pytest.mark.slow
def test_a_hundred_thousand_small_files_are_taken(desk):
    """Beyond the limit as it comes; within a raised one each has its row."""
    files = [("a.png", IMAGE), *((f"{number}.txt", b"%d" % number) for number in range(99_999))]
    drop(desk, zipped(files, zipfile.ZIP_STORED))
    desk.new_inbox().sweep()
    assert desk.outcomes() == {"export.zip": ("quarantined", "zip_limit")}
    list(requeue_files(desk.database, desk.storage, desk.intake.sandbox, [row(desk).id]))
    limited(desk, max_files=100_000).sweep()
    assert desk.outcomes()["export.zip"] == DONE
    assert row_count(desk) == 100_001


def test_of_two_quarantined_files_with_the_same_bytes_one_is_requeued(desk):
    """The other one still lies in the quarantine for a person to look at, until it is requeued, too."""
    content = zipped((f"{number}.png", png_bytes(number)) for number in range(2))
    for name in ("export.zip", "again.zip"):
        drop(desk, content, name)
        limited(desk, max_files=1).sweep()
    first, second = (row(desk, name) for name in ("export.zip", "again.zip"))
    assert first.quarantine_path == second.quarantine_path
    in_quarantine = desk.config.quarantine / second.quarantine_path
    list(requeue_files(desk.database, desk.storage, desk.intake.sandbox, [first.id]))
    assert in_quarantine.read_bytes() == content
    assert in_quarantine.with_name(f"{in_quarantine.name}.reason.json").is_file()
    list(requeue_files(desk.database, desk.storage, desk.intake.sandbox, [second.id]))
    assert list(desk.config.quarantine.iterdir()) == []


@pytest.mark.parametrize("nested", [False, True])
def test_a_zip_with_a_refused_film_is_unpacked_when_it_comes_again(desk, nested):
    """Other settings may let the film pass now; the one that was read is a duplicate, as is a zip of which all was."""
    content = zipped([("a.png", png_bytes(1)), ("b.png", png_bytes(2))])
    if nested:
        content = zipped([("inner.zip", content)])
    ended = []
    for name in ("one.zip", "two.zip", "three.zip"):
        drop(desk, content, name)
        desk.new_inbox().sweep()
        ended.append([row.outcome for row in desk.rows() if row.original_name.startswith(name)])
        with desk.database.write() as session:
            new = select(ReceivedFile).where(ReceivedFile.outcome == "pending").order_by(ReceivedFile.id.desc())
            for number, file in enumerate(session.scalars(new)):
                refused = name == "one.zip" and number == 0
                decide(file, ReasonCode.TOO_LARGE if refused else ReasonCode.READ, now=datetime.now(UTC))
    zips = ["unpacked"] * (1 + nested)
    assert ended == [[*zips, "pending", "pending"], [*zips, "duplicate", "pending"], ["duplicate"]]
