"""A PDF takes its place whole or not at all."""

from pathlib import Path

import pytest

from agcnn_clinic.durable import clear_temporaries
from agcnn_clinic.errors import LeaseLostError, StorageError
from agcnn_clinic.reporting.deliver import delivery, report_name, set_aside, take_effect


def deliver(data: bytes, path: Path) -> None:
    """All steps of a delivery, of a PDF that replaces what stands there."""
    with delivery(data, path) as take_place:
        take_place(True)
    take_effect(path.parent)


def test_a_pdf_is_delivered_for_the_owner_alone(tmp_path: Path) -> None:
    """The file is complete, private, and nothing temporary stays beside it."""
    path = tmp_path / "reports" / report_name("abc", 2)
    deliver(b"%PDF-", path)
    assert path.name == "abc-v2.pdf"
    assert path.read_bytes() == b"%PDF-"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_an_interrupted_delivery_leaves_what_stood_there(tmp_path: Path) -> None:
    """Where the bytes cannot be written, the old file is untouched and no part of the new one remains."""
    path = tmp_path / "abc-v1.pdf"
    path.write_bytes(b"old")
    with pytest.raises(TypeError):
        deliver("not bytes", path)  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("links", [True, False])
def test_a_pdf_takes_its_name_at_the_end(tmp_path: Path, monkeypatch, links) -> None:
    """Whole, for the owner alone, and not before it is told to; what a killed process left there is replaced."""
    if not links:
        monkeypatch.setattr(Path, "hardlink_to", _no_links)
    path = tmp_path / "reports" / "abc-v1.pdf"
    for data, replacing in ((b"%PDF-1", False), (b"%PDF-2", True)):
        with delivery(data, path) as take_place:
            assert path.exists() is replacing
            (temporary,) = {*path.parent.iterdir()} - {path}
            assert temporary.read_bytes() == data
            take_place(replacing)
        assert path.read_bytes() == data
        assert path.stat().st_mode & 0o777 == 0o600
        assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("links", [True, False])
def test_what_another_one_delivered_meanwhile_is_left(tmp_path: Path, monkeypatch, links) -> None:
    """The PDF that comes too late leaves nothing, be it on a disk that knows no links."""
    if not links:
        monkeypatch.setattr(Path, "hardlink_to", _no_links)
    path = tmp_path / "abc-v1.pdf"
    with delivery(b"late", path) as take_place:
        path.write_bytes(b"another's")
        with pytest.raises(LeaseLostError):
            take_place(False)
    assert path.read_bytes() == b"another's"
    assert list(tmp_path.iterdir()) == [path]


def test_what_no_row_names_is_set_aside_and_nothing_else(tmp_path: Path) -> None:
    """Neither a known report, nor what was made again beside it, nor a PDF that is none of ours."""
    for name in ("abc-v1.pdf", "abc-v1.remade.pdf", "abc-v2.pdf", "abc-v3-before-1.pdf", "rota.pdf"):
        (tmp_path / name).touch()
    assert set_aside(tmp_path, {"abc-v1.pdf"}, "before-2") == 1
    left = {"abc-v1.pdf", "abc-v1.remade.pdf", "abc-v2-before-2.pdf", "abc-v3-before-1.pdf", "rota.pdf"}
    assert {path.name for path in tmp_path.iterdir()} == left


def _no_links(*_: object) -> None:
    raise PermissionError


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    """The error says what is wrong in a sentence and asks for another try."""
    (tmp_path / "reports").write_text("a file where the folder should be")
    with pytest.raises(StorageError, match="reports folder"):
        deliver(b"%PDF-", tmp_path / "reports" / "abc-v1.pdf")


def test_a_folder_that_cannot_be_asked_within_the_block_is_a_storage_error(tmp_path: Path) -> None:
    """Whoever delivers asks what lies there already; a disk that fails just then is no crash."""
    with pytest.raises(StorageError, match="reports folder"), delivery(b"%PDF-", tmp_path / "abc-v1.pdf"):
        (tmp_path / ("x" * 300)).exists()  # longer than a name may be: an OSError that any disk has
    assert list(tmp_path.iterdir()) == []


def test_a_pdf_that_is_there_is_delivered_though_its_temporary_name_stays(tmp_path: Path, ordinary_user) -> None:
    """The rows are committed by then: an error would have the report made once more, as another version."""
    path = tmp_path / "reports" / "abc-v1.pdf"
    with ordinary_user():
        with delivery(b"%PDF-", path) as take_place:
            take_place(False)
            path.parent.chmod(0o500)
        path.parent.chmod(0o700)
        left = [one for one in path.parent.iterdir() if one != path]
        clear_temporaries(path.parent)
    assert (path.read_bytes(), len(left)) == (b"%PDF-", 1)
    assert list(path.parent.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_report_and_no_part_of_the_new(tmp_path: Path, mount) -> None:
    """What does not fit is a storage error, to be tried again; then it fits."""
    mount(tmp_path, "-t", "tmpfs", "-o", "size=1m", "tmpfs")
    path = tmp_path / "abc-v1.pdf"
    deliver(b"old", path)
    with pytest.raises(StorageError, match="No space left"):
        deliver(b"x" * 2_000_000, path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    deliver(b"new", path)
    assert path.read_bytes() == b"new"


def test_a_new_reports_folder_is_made_with_those_above_it(tmp_path: Path) -> None:
    """The administrator removed it: the next report makes it again, for the clinic's own user alone."""
    path = tmp_path / "far" / "reports" / "abc-v1.pdf"
    deliver(b"%PDF-", path)
    assert path.parent.stat().st_mode & 0o777 == 0o700
