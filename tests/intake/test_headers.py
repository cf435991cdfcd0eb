"""Headers of small files are read several at a call; each file answers for itself alone."""

import os
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from agcnn_clinic.domain import Header, MediaType
from agcnn_clinic.errors import StorageError
from agcnn_clinic.intake import headers, pngs
from agcnn_clinic.intake.accept import Intake, accept
from agcnn_clinic.intake.discover import Walk
from agcnn_clinic.intake.inbox import Inbox
from agcnn_clinic.intake.items import Group
from agcnn_clinic.intake.reading import dicom_headers
from agcnn_clinic.intake.study_toml import StudyToml
from agcnn_clinic.sandbox.pool import Sandbox

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FATAL = "FATAL"
COUNT = 2 * headers.TOGETHER + 3


@pytest.fixture
def films(desk, write_dicom):
    """Small films in the inbox, each of a patient of its own, in the order of their names."""
    pixels = np.zeros((4, 4), np.uint16)
    return [
        write_dicom(desk.config.inbox / f"{number:02}.dcm", pixels + number, PatientID=f"P{number}")
        for number in range(COUNT)
    ]


def take(intake: Intake, inbox: Path) -> None:
    """Take each file of an inbox as a group of its own, all in one batch."""
    list(accept(intake, [[Group((file,), remove=True) for file in Walk(inbox, ())]], lambda: NOW))


def test_each_file_gets_the_header_that_is_its_own(desk, films):
    """Also where the last call is for fewer files than the others."""
    take(desk.intake, desk.config.inbox)
    assert {row.original_name: row.instance.study.patient_id for row in desk.rows()} == {
        film.name: f"P{number}" for number, film in enumerate(films)
    }


def test_of_files_read_at_one_call_the_broken_ones_alone_are_to_blame(desk, films):
    """A file that is cut off within its header and one without a UID take nobody with them."""
    films[1].write_bytes(films[1].read_bytes()[:300])
    films[4].write_bytes(films[4].read_bytes().replace(b"\x20\x00\x0d\x00UI", b"\x21\x00\x0d\x00UI"))
    take(desk.intake, desk.config.inbox)
    outcomes = desk.outcomes()
    assert {outcomes.pop(films[number].name)[0] for number in (1, 4)} == {"quarantined"}
    assert set(outcomes.values()) == {("pending", "")}


def test_of_files_at_which_a_child_dies_the_fatal_one_alone_is_to_blame(desk, films, write_dicom, monkeypatch):
    """The others of its call are read again, one by one."""
    write_dicom(films[2], np.zeros((4, 4), np.uint16), PatientID=FATAL)
    monkeypatch.setattr(headers, "dicom_headers", mortal)
    take(desk.intake, desk.config.inbox)
    outcomes = desk.outcomes()
    assert outcomes.pop(films[2].name) == ("quarantined", "crashed")
    assert set(outcomes.values()) == {("pending", "")}


def test_a_file_of_which_a_child_says_that_the_disk_fails_alone_waits(desk, films, write_dicom, monkeypatch):
    """Be it a lie, told at each look by a child that the file takes over: all others are taken, and are at once."""
    write_dicom(films[2], np.zeros((4, 4), np.uint16), PatientID=FATAL)
    monkeypatch.setattr(headers, "dicom_headers", lying)
    inbox = desk.new_inbox()
    assert (inbox.sweep()[0], inbox.left_behind, desk.waiting()) == (COUNT - 1, 1, [films[2].name])
    assert list((desk.config.archive / ".incoming").iterdir()) == []


def test_a_study_toml_of_which_a_child_says_so_waits_with_its_folder_alone(desk, films, monkeypatch):
    """The films beside the folder are taken."""
    (desk.config.inbox / "study").mkdir()
    Image.new("L", (32, 32)).save(desk.config.inbox / "study" / "a.png")
    (desk.config.inbox / "study" / "study.toml").touch()
    monkeypatch.setattr(pngs, "read_study_toml", disk_fails)
    inbox = desk.new_inbox()
    assert (inbox.sweep()[0], inbox.left_behind) == (len(films), 2)


def test_a_disk_of_which_no_copy_can_be_read_is_told_of_once(desk, films, monkeypatch, caplog):
    """For all files, and not anew at each look, though each has copies of other names."""
    monkeypatch.setattr(headers, "dicom_headers", first_fails)
    inbox = desk.new_inbox()
    assert [inbox.sweep()[0] for _ in range(3)] == [0, 0, 0]
    why = "A copy in the archive cannot be read; nothing is lost, it is tried again."
    assert caplog.messages == [f"{COUNT} files are left in the inbox for now: {why}"]


def first_fails(paths: list[Path]) -> list[Header]:
    """Say that the first file cannot be read."""
    disk_fails(paths[0])
    return dicom_headers(paths)


def disk_fails(path: Path) -> StudyToml:
    """Say that a file cannot be read."""
    raise StorageError(f"{path} cannot be read: Host is down.")


def lying(paths: list[Path]) -> list[Header]:
    """Read headers, in a process that says of a certain file that the disk fails."""
    for path in paths:
        if FATAL.encode() in path.read_bytes():
            disk_fails(path)
    return dicom_headers(paths)


def mortal(paths: list[Path]) -> list[Header]:
    """Read headers, in a process that does not survive a certain file."""
    if any(FATAL.encode() in path.read_bytes() for path in paths):
        os._exit(1)
    return dicom_headers(paths)


def test_an_answer_for_fewer_files_is_none(desk, films, monkeypatch):
    """A child that a file has taken over could leave files out: then its answer counts for none of them."""
    monkeypatch.setattr(headers, "dicom_headers", first_header)
    take(desk.intake, desk.config.inbox)
    assert set(desk.outcomes().values()) == {("pending", "")}
    assert len({row.instance.study.patient_id for row in desk.rows()}) == len(films)


def first_header(paths: list[Path]) -> list[Header]:
    """Of the first file alone."""
    return dicom_headers(paths[:1])


class Counting(Sandbox):
    """Counts what it is asked."""

    calls = 0

    def submit_all(self, *asked):
        """As any sandbox does."""
        self.calls += 1
        return super().submit_all(*asked)


@pytest.fixture
def reader(desk):
    """A child process that nothing else was read by, and an intake that asks it."""
    with Counting(1, seconds=60, memory_mb=4096) as sandbox:
        yield Intake(desk.storage, desk.database, sandbox, desk.intake.max_file_bytes, desk.config.inbox)


def test_small_files_are_asked_about_together(desk, films, reader):
    """However each of them is taken by itself."""
    take(reader, desk.config.inbox)
    assert reader.sandbox.calls == -(-len(films) // headers.TOGETHER)
    assert len(desk.rows()) == len(films)


def test_what_reads_files_that_come_in_loads_nothing_of_the_database(desk, films, reader):
    """A child that did would take half a second for its first file, and tens of megabytes."""
    Image.new("L", (32, 32)).save(desk.config.inbox / "film.png")
    with zipfile.ZipFile(desk.config.inbox / "films.zip", "w") as file:
        file.write(films[0], "film.dcm")
    Inbox(desk.config, reader).sweep()
    assert {row.media_type for row in desk.rows()} == {MediaType.DICOM, MediaType.PNG, MediaType.ZIP}
    loaded = "'{}' in __import__('sys').modules"
    assert reader.sandbox.run(eval, loaded.format("agcnn_clinic.intake.zip_file"))
    assert not reader.sandbox.run(eval, loaded.format("sqlalchemy"))
