"""doctor's look at a clinic's folders: what is shut or has lain in the inbox for long, and a disk that is full."""

import pytest

from agcnn_clinic.cli import checks_folders
from agcnn_clinic.cli.result import State
from agcnn_clinic.config import Config
from agcnn_clinic.intake import settle


@pytest.fixture
def clinic(tmp_path, new_clinic) -> Config:
    """A fresh clinic."""
    return new_clinic(tmp_path)


def test_files_that_lie_in_the_inbox_for_long_are_remarked_on(clinic, monkeypatch):
    """A file that came a moment ago is none of these."""
    (clinic.inbox / "pacs").mkdir()
    (clinic.inbox / "pacs" / "film.png").touch()
    assert not list(checks_folders.inbox(clinic))
    monkeypatch.setattr(settle, "LONG_WAIT_SECONDS", -1.0)
    (remark,) = checks_folders.inbox(clinic)
    assert remark.found.endswith("minutes: 1")


def test_a_folder_of_the_inbox_that_cannot_be_looked_into_is_a_problem(clinic, ordinary_user):
    """What a sender drops there is never read: the line says which folder it is."""
    shut = clinic.inbox / "pacs" / "private"
    shut.mkdir(parents=True)
    shut.chmod(0)
    with ordinary_user():
        (found,) = checks_folders.inbox(clinic)
    assert found.state is State.PROBLEM
    assert f"the first: {shut} (Permission denied)" in found.found
    assert "SECURITY.md" in found.advice


def test_a_link_in_the_inbox_is_remarked_on(clinic, tmp_path):
    """What it leads to is never taken: the line says which link it is."""
    (clinic.inbox / "pacs").symlink_to(tmp_path)
    (found,) = checks_folders.inbox(clinic)
    assert (found.state, f"the first: {clinic.inbox / 'pacs'}" in found.found) == (State.REMARK, True)


def test_a_folder_that_cannot_be_written_is_a_problem(clinic, ordinary_user):
    """Nothing could be delivered there; the others are told of, too, and looking has left nothing in any."""
    clinic.reports.chmod(0o500)
    with ordinary_user():
        found = {result.check: result for result in checks_folders.folders(clinic)}
    shut = found.pop("reports folder")
    assert (shut.state, shut.found) == (State.PROBLEM, f"{clinic.reports} cannot be written: Permission denied")
    assert {result.state for result in found.values()} == {State.OK}
    assert not [path for folder in clinic.layout.folders.values() for path in folder.iterdir()]


def test_a_quarantine_on_another_disk_than_the_archive_is_remarked_on(clinic, mount):
    """A film cannot have two names on two disks; beside each other, as they are made, nothing is said."""

    def remarks():
        return [result.state for result in checks_folders.disks(clinic) if result.check == "archive and quarantine"]

    assert remarks() == []
    mount(clinic.quarantine, "-t", "tmpfs", "tmpfs")
    assert remarks() == [State.REMARK]


def test_a_full_disk_is_a_problem(clinic, monkeypatch):
    """Below the watermark of intake it is one, and the line says that intake stops; near it there is a remark."""

    def config(min_free_mb: int) -> Config:
        return clinic.model_copy(update={"intake": clinic.intake.model_copy(update={"min_free_mb": min_free_mb})})

    (full,) = checks_folders.disks(config(1 << 42))
    assert full.state is State.PROBLEM
    assert "intake stops" in full.found
    clinic = config(0)
    monkeypatch.setattr(checks_folders, "LOW_DISK_BYTES", 1 << 62)
    assert [result.state for result in checks_folders.disks(clinic)] == [State.REMARK]
    monkeypatch.setattr(checks_folders, "LOW_DISK_BYTES", 0)
    assert [result.state for result in checks_folders.disks(clinic)] == [State.OK]


def test_a_disk_of_the_inbox_alone_is_not_said_to_stop_intake(clinic, mount, monkeypatch):
    """Neither intake nor retention knows of it: its senders do, once it is full. The archive's is another matter."""
    mount(clinic.inbox, "-t", "tmpfs", "tmpfs")
    monkeypatch.setattr(checks_folders, "LOW_DISK_BYTES", 1 << 62)
    advice = {result.found.partition("(")[2]: result.advice for result in checks_folders.disks(clinic)}
    assert advice["inbox)"] == "Make room soon. On a full one, senders cannot drop anything."
    (archive,) = (told for names, told in advice.items() if "archive" in names)
    assert archive == "Make room soon: intake stops below intake.min_free_mb. [retention] can keep room."
