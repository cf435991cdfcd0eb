"""Zips, as PACS exports and attackers send them: each file has one outcome, and nothing is written elsewhere."""

import io
import os
import struct
import zipfile
import zlib
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import select

from agcnn_clinic.database.outcomes import decide
from agcnn_clinic.database.tables import ReceivedFile
from agcnn_clinic.domain import MediaType, ReasonCode
from agcnn_clinic.errors import StorageError
from agcnn_clinic.intake import open_zip, zip_file
from agcnn_clinic.intake.disk import Watermark
from agcnn_clinic.intake.identify import media_type
from agcnn_clinic.intake.inbox import Inbox
from agcnn_clinic.intake.requeue import requeue_files
from agcnn_clinic.storage import Storage

DONE = ("unpacked", "unpacked")


def png_bytes(seed: int, side: int = 32) -> bytes:
    """A small grey PNG of noise."""
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, format="PNG")
    return data.getvalue()


def zipped(files, method=zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of (name or ZipInfo, content) pairs."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", method) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return data.getvalue()


def drop(desk, content: bytes, name: str = "export.zip"):
    path = desk.config.inbox / name
    path.write_bytes(content)
    return path


def limited(desk, **limits) -> Inbox:
    """An inbox with other limits of [zip]."""
    config = desk.config.model_copy(update={"zip": desk.config.zip.model_copy(update=limits)})
    return Inbox(config, desk.intake, Watermark({}, 0))


def row(desk, name: str = "export.zip") -> ReceivedFile:
    return next(one for one in desk.rows() if one.original_name == name)


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
    assert list(desk.config.inbox.iterdir()) == []
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
    assert list(desk.config.inbox.iterdir()) == []
    for one in desk.rows():
        assert desk.storage.archived(one.stored_path).exists()


def row_count(desk) -> int:
    return len(desk.rows())


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


def stored(name: bytes, content: bytes, *, flags: int = 0, method: int = 0, declared=None, crc=None, packed=None):
    """A local header with its bytes, and the entry of the directory without its offset."""
    packed = content if packed is None else packed
    size = len(content) if declared is None else declared
    crc = zlib.crc32(content) if crc is None else crc
    fields = struct.pack("<HHHHHLLL", 20, flags, method, 0, 0x21, crc, len(packed), size)
    local = b"PK\x03\x04" + fields + struct.pack("<HH", len(name), 0) + name + packed
    entry = b"PK\x01\x02" + struct.pack("<H", 20) + fields + struct.pack("<HHHHHL", len(name), 0, 0, 0, 0, 0)
    return local, entry, name


def by_hand(*members, offsets=None, head: bytes = b"") -> bytes:
    """A zip of `stored` members; `offsets` lie about where they are."""
    body, entries = head, b""
    for number, (local, entry, name) in enumerate(members):
        at = len(body) if offsets is None else offsets[number]
        entries += entry + struct.pack("<L", at) + name
        body += local
    end = struct.pack("<HHHHLLH", 0, 0, len(members), len(members), len(entries), len(body), 0)
    return body + entries + b"PK\x05\x06" + end


IMAGE = png_bytes(7)
DEFLATED = zlib.compress(b"\0" * 100_000, wbits=-15)


@pytest.mark.parametrize(
    ("member", "code"),
    [
        (stored(b"x", b"secret", flags=1), "zip_encrypted"),
        (stored(b"x", b"secret", flags=0x41), "zip_encrypted"),
        (stored(b"x", b"bytes", method=9), "zip_method"),
        (stored(b"x", b"bytes", method=93), "zip_method"),
        (stored(b"x", b"bytes", crc=1), "zip_damaged"),
        (stored(b"x", b"garbage", method=8), "zip_damaged"),
        (stored(b"x", b"garbage", method=12), "zip_damaged"),
        (stored(b"x", b"garbage", method=14), "zip_damaged"),
        # It yields more than it declares, or less.
        (stored(b"x", b"\0" * 100, packed=DEFLATED, method=8), "zip_damaged"),
        (stored(b"x", b"\0" * 100_000, packed=DEFLATED, method=8, declared=100_500), "zip_damaged"),
        (stored(b"x", b"\0" * 1_000_001), "file_too_large"),
        (stored(b"x", b""), "empty_file"),
    ],
)
def test_a_file_that_cannot_be_unpacked_is_kept_as_it_is_packed(desk, member, code):
    """It has a row with its reason, and its packed bytes in quarantine; the film beside it is taken."""
    drop(desk, by_hand(stored(b"a.png", IMAGE), member))
    desk.new_inbox().sweep()
    assert desk.outcomes() == {
        "export.zip": DONE,
        "export.zip/a.png": ("pending", ""),
        "export.zip/x": ("quarantined", code),
    }
    local, _, name = member
    broken = row(desk, "export.zip/x")
    assert desk.storage.archived(broken.stored_path).read_bytes() == local[30 + len(name) :]
    assert (desk.config.quarantine / broken.quarantine_path).exists()


def bomb() -> bytes:
    """A hundred files that share one run of packed zeros, as David Fifield's zip bomb does."""
    packed = zlib.compress(b"\0" * 50_000, wbits=-15)
    members = [stored(b"%d" % number, b"\0" * 50_000, packed=packed, method=8) for number in range(100)]
    return by_hand(*members, offsets=[0] * 100)


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (bomb(), "zip_limit", "times its size"),
        (by_hand(*[stored(b"a.png", IMAGE)] * 3, offsets=[0, 0, 0]), "zip_damaged", "share the same bytes"),
        (zipped([("zeros", b"\0" * 10_000_000)]), "zip_limit", "times its size"),
        (zipped([("a.png", IMAGE)])[:-30], "zip_damaged", "its directory cannot be read"),
        (zipped([("a.png", IMAGE)])[:200], "zip_damaged", "its directory cannot be read"),
        (by_hand(stored(b"a.png", IMAGE), offsets=[90_000]), "zip_damaged", "cut off"),
        (by_hand(stored(b"\xff\xfe.png", IMAGE, flags=0x800)), "zip_damaged", "UnicodeDecodeError"),
        (zipped([]), "zip_without_images", "0 files"),
        (zipped([("a.txt", b"text"), ("b.txt", b"more")]), "zip_without_images", "2 files"),
        (
            zipped([("word/image1.png", IMAGE), ("[Content_Types].xml", b"<x/>")]),
            "zip_without_images",
            "document",
        ),
        (zipped([("META-INF/MANIFEST.MF", b""), ("splash.png", IMAGE)]), "zip_without_images", "program"),
        (by_hand(stored(b"IM1", b"secret", flags=1)), "zip_encrypted", "encrypted"),
    ],
)
def test_a_zip_that_is_broken_or_hostile_is_kept_apart_whole(desk, content, code, said):
    """Nothing of it is taken; it lies in quarantine with the reason, and the next film is read."""
    drop(desk, content)
    (desk.config.inbox / "z.png").write_bytes(png_bytes(3))
    desk.new_inbox().sweep()
    assert desk.outcomes() == {"export.zip": ("quarantined", code), "z.png": ("pending", "")}
    assert said in row(desk).reason
    kept = desk.config.quarantine / row(desk).quarantine_path
    assert kept.read_bytes() == content
    assert list(desk.config.inbox.iterdir()) == []


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"max_files": 3}, "4 files, at most 3"),
        ({"max_depth": 0}, "in 0 others"),
        ({"max_ratio": 1.0}, "times its size"),
        ({"max_seconds": 1e-9}, "not done after"),
    ],
)
def test_a_zip_beyond_a_limit_is_taken_once_the_limit_is_raised(desk, limits, said):
    """It is quarantined, requeued by its id, and then unpacked; nothing was lost and nothing is doubled."""
    drop(desk, zipped((f"{number}.png", png_bytes(number)) for number in range(4)))
    files = [(f"{number}.txt", b"text " * 100) for number in range(4)]
    drop(desk, zipped([*files[:3], ("a.png", IMAGE)]))
    limited(desk, **limits).sweep()
    assert desk.outcomes() == {"export.zip": ("quarantined", "zip_limit")}
    assert said in row(desk).reason
    (line,) = requeue_files(desk.database, desk.storage, desk.intake.sandbox, [row(desk).id])
    assert "taken back" in line
    desk.new_inbox().sweep()
    assert desk.outcomes()["export.zip"] == DONE
    assert row_count(desk) == 5


def test_zips_in_a_zip_share_its_limits(desk):
    """Two levels are unpacked; a third is not; and what the inner ones hold counts with the outer one's."""
    innermost = zipped([("c.png", png_bytes(3))])
    inner = zipped([("b.png", png_bytes(2)), ("deep.zip", innermost)])
    outer = zipped([("a.png", png_bytes(1)), ("inner.zip", inner)])
    drop(desk, outer)
    desk.new_inbox().sweep()
    assert desk.outcomes() == {
        "export.zip": DONE,
        "export.zip/a.png": ("pending", ""),
        "export.zip/inner.zip": DONE,
        "export.zip/inner.zip/b.png": ("pending", ""),
        "export.zip/inner.zip/deep.zip": ("quarantined", "zip_limit"),
    }
    drop(desk, zipped([("d.png", png_bytes(4)), ("inner.zip", zipped([("x.png", IMAGE), ("y.png", IMAGE)]))]), "2.zip")
    limited(desk, max_files=3).sweep()
    assert desk.outcomes()["2.zip"] == DONE
    assert desk.outcomes()["2.zip/inner.zip"] == ("quarantined", "zip_limit")
    assert "at most 1 may come" in row(desk, "2.zip/inner.zip").reason


def test_names_are_shown_and_never_used(desk, tmp_path):
    """Paths that climb, absolute ones, backslashes, NUL, double and enormous names: all are taken, none is written."""
    names = ["../../evil.png", "/etc/evil.png", "C:\\evil\\a.png", "same.png", "same.png", "n" * 60_000 + ".png"]
    content = by_hand(*(stored(name.encode(), png_bytes(number)) for number, name in enumerate(names)))
    drop(desk, content)
    before = {path for path in tmp_path.rglob("*") if desk.config.archive not in path.parents}
    desk.new_inbox().sweep()
    after = {path for path in tmp_path.rglob("*") if desk.config.archive not in path.parents}
    assert not any("evil" in str(path) for path in tmp_path.rglob("*"))
    assert after < before | {desk.config.root / f"clinic.sqlite{suffix}" for suffix in ("", "-wal", "-shm")}
    shown = [one.original_name for one in desk.rows()[1:]]
    assert [one.outcome for one in desk.rows()[1:]] == ["pending"] * 6
    assert "export.zip/C:/evil/a.png" in shown
    assert shown.count("export.zip/same.png") == 2
    assert max(map(len, shown)) < 420


def test_links_devices_and_litter_in_a_zip_are_passed_over(desk):
    """As in the inbox: only regular files count, and names of file managers do not; the zip's row says how many."""
    link = zipfile.ZipInfo("link.png")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    device = zipfile.ZipInfo("null")
    device.create_system, device.external_attr = 3, 0o020666 << 16
    litter = [("__MACOSX/._a.png", b"x"), (".DS_Store", b"x"), ("a/Thumbs.db", b"x")]
    drop(desk, zipped([(link, b"/etc/passwd"), (device, b""), ("a.png", IMAGE), *litter]))
    desk.new_inbox().sweep()
    assert desk.outcomes() == {"export.zip": DONE, "export.zip/a.png": ("pending", "")}
    assert row(desk).details == {"files": 1, "passed_over": 5}
    assert "5 links" in row(desk).reason


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


def test_a_child_that_dies_of_one_file_does_not_cost_the_others(desk, monkeypatch):
    """The part is taken again without it, and the file has the outcome of what it did to the child."""
    monkeypatch.setattr(open_zip, "unpack", deadly_unpack)
    drop(desk, by_hand(*(stored(name, png_bytes(n)) for n, name in enumerate((b"a.png", b"killer.png", b"z.png")))))
    desk.new_inbox().sweep()
    found = desk.outcomes()
    assert found.pop("export.zip") == DONE
    assert found == {
        "export.zip/a.png": ("pending", ""),
        "export.zip/killer.png": ("quarantined", "crashed"),
        "export.zip/z.png": ("pending", ""),
    }


def deadly_unpack(path, indexes) -> list[zip_file.Unpacked]:
    """A decompressor with a fault: the second file ends the process."""
    if 1 in indexes:
        os.abort()
    return zip_file.unpack(path, indexes)


def test_a_member_of_a_lying_child_is_damaged(desk, monkeypatch):
    """Content that is not as long as the zip says is not taken for the file."""
    monkeypatch.setattr(open_zip, "unpack", lying_unpack)
    drop(desk, zipped([("a.png", IMAGE)]))
    desk.new_inbox().sweep()
    assert desk.outcomes()["export.zip/a.png"] == ("quarantined", "zip_damaged")


def lying_unpack(path, indexes) -> list[zip_file.Unpacked]:
    """A child that was taken over."""
    return [replace(one, content=one.content * 2) for one in zip_file.unpack(path, indexes)]


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
