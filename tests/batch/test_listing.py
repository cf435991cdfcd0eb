"""What a source holds: a folder by its content, a list by its form."""

import os

import pandas as pd
import pytest

from agcnn_clinic.batch.listing import list_files
from agcnn_clinic.errors import UsageError


def names(source, out, ignore=()):
    """The listing's names as text."""
    listing = list_files(source, ignore, out)
    return [os.fsdecode(name) for name in listing.part(0, len(listing))]


def test_a_folder_is_looked_through_in_order_and_no_link_is_followed(archive, tmp_path):
    """Suffixes count for nothing, links are passed over."""
    (found := names(archive, tmp_path / "out")).sort()
    assert found == sorted([*_all_files(archive)])


def _all_files(folder):
    return (str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def test_a_study_toml_and_ignored_names_are_no_films(tmp_path):
    """What describes films, or litters a folder, has no row."""
    for name in ("a.png", "study.toml", ".DS_Store"):
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"x")
    assert names(tmp_path / "in", tmp_path / "out", (".*",)) == ["a.png"]


@pytest.mark.parametrize("form", ["text", "csv", "parquet"])
def test_a_list_may_be_text_csv_or_parquet_under_any_name(tmp_path, form):
    """The same paths come out, in the order of the list, with spaces and letters of any kind."""
    wanted = ["b/two films.dcm", "/abs/ä.dcm", "a.dcm"]
    source, table = tmp_path / "list", pd.DataFrame({"patient": [1, 2, 3], "path": wanted})
    if form == "text":
        source.write_bytes(b"\xef\xbb\xbf" + "\r\n".join([*wanted, "", ""]).encode())
    elif form == "csv":
        table.to_csv(source, index=False)
    else:
        table.to_parquet(source)
    assert names(source, tmp_path / "out") == wanted
    assert list_files(source, (), tmp_path / "out").follow


def test_a_listing_is_known_by_names_and_sizes(tmp_path):
    """A file that is added, or that grows, makes another listing; the same files make the same."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a").write_bytes(b"1")
    hashes = [list_files(folder, (), tmp_path).sha256, list_files(folder, (), tmp_path).sha256]
    (folder / "a").write_bytes(b"12")
    hashes.append(list_files(folder, (), tmp_path).sha256)
    (folder / "b").write_bytes(b"1")
    hashes.append(list_files(folder, (), tmp_path).sha256)
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3


def test_a_listing_is_known_by_what_a_study_toml_says(tmp_path):
    """Of a folder and of a list: it decides what becomes of the PNGs beside it, though it has no row."""
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for name in ("a.png", "sub/b.png", "z.png"):
        (tmp_path / "in" / name).write_bytes(b"1")
    (tmp_path / "list").write_text("in/a.png\nin/sub/b.png\nin/z.png\n")
    hashes = {source: [list_files(tmp_path / source, (), tmp_path / "out").sha256] for source in ("in", "list")}
    for content in ('[views]\n"b.png" = "LL"\n', '[views]\n"b.png" = "PA"\n'):
        (tmp_path / "in" / "sub" / "study.toml").write_text(content)
        for source, known in hashes.items():
            listing = list_files(tmp_path / source, (), tmp_path / "out")
            assert len(listing) == 3
            known.append(listing.sha256)
            assert list_files(tmp_path / source, (), tmp_path / "out").sha256 == listing.sha256
    assert [len(set(known)) for known in hashes.values()] == [3, 3]


def test_a_closed_folder_is_told_of_and_hides_no_other(tmp_path, ordinary_user):
    """What lies in it cannot be known; the rest is listed."""
    for name in ("a.png", "closed/b.png", "open/c.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"x")
    (tmp_path / "in" / "closed").chmod(0)
    with ordinary_user():
        listing = list_files(tmp_path / "in", (), tmp_path / "out")
    (tmp_path / "in" / "closed").chmod(0o700)
    assert (listing.part(0, 9), listing.unlisted) == ([b"a.png", b"open/c.png"], {"closed": "Permission denied"})


def test_names_that_cannot_be_reached_are_listed_all_the_same(tmp_path):
    """Its files are rows that could not be reached; the others are read."""
    (tmp_path / "list").write_text(f"a.png\n{'x' * 300}/b.png\na.png/c.png\n")
    assert len(list_files(tmp_path / "list", (), tmp_path / "out")) == 3


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"", "no file"), (b"a\0b", "no list"), (b"\x89PNG\r\n\x1a\n....", "no list"), (b"PAR1nothing", "no parquet")],
)
def test_what_is_no_list_is_refused(tmp_path, content, sentence):
    """A sentence says so, and nothing is read as paths by mistake."""
    source = tmp_path / "list.txt"
    source.write_bytes(content)
    with pytest.raises(UsageError, match=sentence):
        list_files(source, (), tmp_path / "out")


def test_results_within_the_source_are_refused(archive):
    """They would be a part of the source the next time."""
    with pytest.raises(UsageError, match="lies in"):
        list_files(archive, (), archive / "sub" / "out")


def test_a_source_that_is_not_there_is_named(tmp_path):
    """And so is what it could be."""
    with pytest.raises(UsageError, match="name a folder of films"):
        list_files(tmp_path / "nothing", (), tmp_path / "out")
