"""Zips that are broken, hostile or too large: nothing of them is let in that should not be, and nothing is lost."""

import os
import zipfile
import zlib
from dataclasses import replace

import pytest
from zips import DONE, IMAGE, by_hand, drop, limited, png_bytes, row, row_count, stored, zipped

from agcnn_clinic.intake import open_zip, unpack, zip_file
from agcnn_clinic.intake.requeue import requeue_files

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
    assert desk.waiting() == []


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
    (tried,) = requeue_files(desk.database, desk.storage, desk.intake.sandbox, [row(desk).id])
    assert "taken back" in str(tried)
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
    litter = [("__MACOSX/._a.png", b"x"), (".DS_Store", b"x"), ("a/THUMBS.DB", b"x")]
    drop(desk, zipped([(link, b"/etc/passwd"), (device, b""), ("a.png", IMAGE), *litter]))
    desk.new_inbox().sweep()
    assert desk.outcomes() == {"export.zip": DONE, "export.zip/a.png": ("pending", "")}
    assert row(desk).details == {"files": 1, "passed_over": 5}
    assert "5 links" in row(desk).reason


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


def _lying(page: zip_file.Page, **lies: object) -> zip_file.Page:
    """What is not believed where it is made would not be sent; a child that was taken over makes it all the same."""
    for member in page.members:
        for name, lie in lies.items():
            object.__setattr__(member, name, lie)
    return page


def says_that_all_was_read(path, first, limits) -> zip_file.Page:
    """Nothing needs to be unpacked, it says."""
    return _lying(zip_file.examine(path, first, limits), problem="read")


def says_what_nobody_knows(path, first, limits) -> zip_file.Page:
    """A reason that there is not."""
    return _lying(zip_file.examine(path, first, limits), problem="nonsense")


def lies_before_the_file(path, first, limits) -> zip_file.Page:
    """A place that no file has, of a file that cannot be unpacked."""
    return _lying(zip_file.examine(path, first, limits), problem="zip_damaged", packed_from=-1)


def is_there_twice(path, first, limits) -> zip_file.Page:
    """The same entry again."""
    page = zip_file.examine(path, first, limits)
    return replace(page, members=page.members * 2)


def never_ends(path, first, limits) -> zip_file.Page:
    """There is always more."""
    return replace(zip_file.examine(path, 0, limits), members=(), entries=2**62)


@pytest.mark.parametrize(
    "lie",
    [says_that_all_was_read, says_what_nobody_knows, lies_before_the_file, is_there_twice, never_ends],
)
def test_a_directory_of_a_lying_child_is_not_believed(desk, monkeypatch, lie):
    """The zip goes to quarantine; nothing in it counts as read, and intake goes on."""
    monkeypatch.setattr(unpack, "examine", lie)
    drop(desk, zipped([("a.png", IMAGE)]))
    drop(desk, png_bytes(1), "b.png")
    desk.new_inbox().sweep()
    outcomes = desk.outcomes()
    assert outcomes["export.zip"][0] == "quarantined"
    assert (outcomes["b.png"], len(outcomes), desk.waiting()) == (("pending", ""), 2, [])


def test_a_child_cannot_say_of_a_member_that_it_was_read(desk, monkeypatch):
    """Where it is to inflate it."""
    monkeypatch.setattr(open_zip, "unpack", unpacks_nothing)
    drop(desk, zipped([("a.png", IMAGE)]))
    desk.new_inbox().sweep()
    assert desk.outcomes()["export.zip/a.png"] == ("quarantined", "crashed")


def unpacks_nothing(path, indexes) -> list[zip_file.Unpacked]:
    """A child that was taken over."""
    found = zip_file.unpack(path, indexes)
    for one in found:
        object.__setattr__(one, "problem", "read")
    return found
