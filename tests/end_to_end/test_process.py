"""`process` over what hospitals send: each file ends in one outcome, and the numbers agree wherever one looks."""

import json
import os
import random
from collections import Counter

import pydicom
import pytest
from pydicom.uid import DigitalXRayImageStorageForProcessing
from pypdf import PdfReader

from agcnn_clinic.database.session import open_database
from agcnn_clinic.demo.phantom import draw
from agcnn_clinic.demo.samples import write_samples


def test_the_samples_end_as_they_should_and_leave_the_inbox_empty(clinic):
    """The lateral view is refused, the truncated file quarantined, everything else read and reported."""
    write_samples(clinic.config.inbox)
    done = clinic.run("process", check=False)
    assert done.returncode == 1, done.stderr
    counts = Counter(outcome for outcome, _ in clinic.outcomes().values())
    assert counts["refused"] == 1
    assert counts["quarantined"] == 1
    assert counts["analysed"] >= 4
    assert set(counts) == {"refused", "quarantined", "analysed"}
    assert [path for path in clinic.config.inbox.rglob("*") if path.is_file()] == []
    studies = clinic.select(
        "SELECT DISTINCT study_id FROM instance JOIN received_file f ON f.instance_id = instance.id "
        "WHERE f.outcome = 'analysed'",
    )
    assert len(list(clinic.config.reports.glob("*.pdf"))) == len(studies)


def test_a_film_that_is_lost_stops_nothing_but_its_own_report(clinic, write_film, factories):
    """All else is read, reported and told of; the report that is left makes the exit code 1."""
    with open_database(clinic.config.database_url) as database, database.write() as session:
        lost = factories.make_file(session, factories.make_study(session, 1), 1)
        factories.make_inference(session, lost, factories.make_model(session), random.Random(1))
    (clinic.config.archive / ".incoming").mkdir()  # it is the archive, and one film is not in it
    write_film(clinic.config.inbox / "film.dcm", draw(1, (320, 320)).pixels)
    done = clinic.run("process", check=False)
    assert done.returncode == 1
    assert "1  analysed" in done.stdout
    assert f"report of {clinic.select('SELECT key FROM study WHERE id = 2')[0]['key']}" in done.stdout
    assert "1 report could not be made" in done.stderr
    assert len(list(clinic.config.reports.iterdir())) == 1


def test_findings_as_json_are_the_rows_of_the_view(clinic):
    """The command and a plain SELECT * FROM finding_list agree, row for row and value for value."""
    write_samples(clinic.config.inbox)
    clinic.run("process", check=False)
    printed = json.loads(clinic.run("findings", "--format", "json", "--limit", "0").stdout)
    stored = clinic.select("SELECT * FROM finding_list")
    assert len(printed) == len(stored) > 0

    def comparable(row: dict) -> tuple:
        return tuple(
            sorted(
                (key, bool(value) if key in ("positive", "beside") and value is not None else str(value)[:19])
                for key, value in row.items()
                if key != "created_at"
            )
        )

    assert sorted(map(comparable, printed), key=str) == sorted(map(comparable, stored), key=str)


@pytest.mark.both_databases
def test_a_report_is_made_again_byte_for_byte(clinic, run, write_film):
    """`report STUDY` after the PDF was deleted gives the very same bytes."""
    write_film(clinic.config.inbox / "film.dcm", draw(1, (512, 512)).pixels, accession_number="A1")
    run("process")
    (pdf,) = clinic.config.reports.glob("*.pdf")
    before = pdf.read_bytes()
    pdf.unlink()
    run("report", "A1")
    assert pdf.read_bytes() == before


def test_the_same_bytes_again_are_a_duplicate(clinic, run, write_film):
    """Nothing is analysed twice, under whatever name it comes."""
    for name in ("first.dcm", "second.dcm"):
        write_film(clinic.config.inbox / name, draw(1, (512, 512)).pixels)
    run("process")
    assert clinic.outcomes() == {"first.dcm": ("analysed", "read"), "second.dcm": ("duplicate", "same_bytes")}
    assert len(clinic.select("SELECT * FROM inference")) == 1


@pytest.fixture
def revisions(clinic, write_film):
    """Three files under one SOP Instance UID: the film, with another patient name, and with another picture."""
    inbox = clinic.config.inbox
    write_film(inbox / "1.dcm", draw(1, (512, 512)).pixels, patient_name="Wrong^Name")
    dataset = pydicom.dcmread(inbox / "1.dcm")
    dataset.PatientName = "Right^Name"
    dataset.save_as(inbox / "2.dcm")
    write_film(inbox / "3.dcm", draw(2, (512, 512)).pixels)
    other = pydicom.dcmread(inbox / "3.dcm")
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        setattr(other, keyword, getattr(dataset, keyword))
    other.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    other.save_as(inbox / "3.dcm")
    return clinic


def test_a_revision_is_compared_with_what_was_read(revisions):
    """The same picture under another header is a duplicate that names what differs; another picture is a conflict."""
    done = revisions.run("process", check=False)
    assert done.returncode == 1, done.stderr
    assert revisions.outcomes() == {
        "1.dcm": ("analysed", "read"),
        "2.dcm": ("duplicate", "header_differs"),
        "3.dcm": ("quarantined", "uid_conflict"),
    }
    (row,) = revisions.select("SELECT details FROM received_file WHERE original_name = '2.dcm'")
    # SQLite gives JSON as the text it is stored as.
    details = json.loads(row["details"]) if isinstance(row["details"], str) else row["details"]
    assert details["differing_attributes"] == ["PatientName"]
    assert revisions.select("SELECT patient_name FROM study") == [{"patient_name": "Wrong^Name"}]


def test_a_film_that_went_to_the_wrong_patient_is_told_of_once_it_comes_under_the_right_one(clinic, run, write_film):
    """It is no image of either study, but `show` and the wrong one's next report say so; version 1 stays as it was."""
    inbox = clinic.config.inbox
    write_film(inbox / "1.dcm", draw(1, (512, 512)).pixels, patient_id="WRONG", accession_number="A1")
    dataset = pydicom.dcmread(inbox / "1.dcm")
    run("process")
    dataset.PatientID, dataset.StudyInstanceUID = "RIGHT", "1.2.3.99"
    dataset.save_as(inbox / "2.dcm")
    assert clinic.run("process", check=False).returncode == 1
    assert clinic.outcomes()["2.dcm"] == ("quarantined", "uid_conflict")
    first, second = sorted(clinic.config.reports.iterdir())
    remark = "A later file of it names a patient whom the study does not"
    told = [remark in " ".join(PdfReader(path).pages[0].extract_text().split()) for path in (first, second)]
    assert told == [False, True]
    assert remark in " ".join(run("show", "A1").stdout.split())
    before = first.read_bytes()
    assert clinic.run("report", "A1", "--version", "1").stderr == ""
    assert first.read_bytes() == before


def test_a_corrected_header_takes_the_place_of_a_refused_one(clinic, run, write_film):
    """A lateral film is refused, and so is one that contradicts itself; under the same UID one that says PA is read."""
    inbox = clinic.config.inbox
    write_film(inbox / "1.dcm", draw(1, (512, 512)).pixels, view="LL")
    dataset = pydicom.dcmread(inbox / "1.dcm")
    dataset.ViewPosition = "PA"
    dataset.save_as(inbox / "2.dcm")
    run("process")
    dataset.PatientOrientation = ["L", "F"]
    dataset.save_as(inbox / "3.dcm")
    run("process")
    assert clinic.outcomes() == {
        "1.dcm": ("refused", "wrong_view"),
        "2.dcm": ("refused", "wrong_view"),
        "3.dcm": ("analysed", "read"),
    }
    (row,) = clinic.select("SELECT reason FROM received_file WHERE original_name = '2.dcm'")
    assert "the header contradicts itself: View Position says PA, Patient Orientation says LATERAL" in row["reason"]
    assert len(list(clinic.config.reports.glob("*.pdf"))) == 1


def test_raw_data_beside_the_film_are_no_second_reading(clinic, run, write_film):
    """A detector that sends both: the one for presentation is read, the one for processing refused with its reason."""
    inbox = clinic.config.inbox
    write_film(inbox / "shown.dcm", draw(1, (512, 512)).pixels)
    dataset = pydicom.dcmread(inbox / "shown.dcm")
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{dataset.SOPInstanceUID[:-2]}1"
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForProcessing
    dataset.PresentationIntentType = "FOR PROCESSING"
    dataset.save_as(inbox / "raw.dcm")
    run("process")
    assert clinic.outcomes() == {"shown.dcm": ("analysed", "read"), "raw.dcm": ("refused", "for_processing")}
    assert clinic.select("SELECT count(*) AS n FROM inference") == [{"n": 1}]


def test_an_image_that_comes_late_makes_a_second_version_and_keeps_the_first(clinic, run, write_film):
    """Both PDFs are there, and only the second shows both images."""
    inbox = clinic.config.inbox
    write_film(inbox / "1.dcm", draw(1, (512, 512)).pixels)
    study_uid = pydicom.dcmread(inbox / "1.dcm").StudyInstanceUID
    run("process")
    write_film(inbox / "2.dcm", draw(2, (512, 512)).pixels)
    late = pydicom.dcmread(inbox / "2.dcm")
    late.StudyInstanceUID = study_uid
    late.save_as(inbox / "2.dcm")
    run("process")
    versions = clinic.select("SELECT version FROM report ORDER BY version")
    assert versions == [{"version": 1}, {"version": 2}]
    assert len(list(clinic.config.reports.glob("*.pdf"))) == 2


def test_a_quarantined_file_can_be_requeued(clinic, run, write_film):
    """After the limit that put it there is raised, requeue has it read without sending it again."""
    text = clinic.config_file.read_text()
    clinic.config_file.write_text(text.replace("decode_seconds = 60.0", "decode_seconds = 0.000001"))
    write_film(clinic.config.inbox / "film.dcm", draw(1, (512, 512)).pixels)
    clinic.run("process", check=False)
    assert clinic.outcomes() == {"film.dcm": ("quarantined", "deadline")}
    clinic.config_file.write_text(text)
    clinic.run("quarantine", "requeue", "1")
    assert list(clinic.config.quarantine.iterdir()) == []
    assert clinic.select("SELECT files FROM audit_event WHERE event = 'requeued'") == [{"files": "[1]"}]
    run("process")
    assert clinic.outcomes() == {"film.dcm": ("analysed", "read")}


def test_process_tells_that_retention_removed_films(clinic, write_film):
    """It removes what [retention] lets go at its end, as `watch` does, and whoever ran it hears of it."""
    write_film(clinic.config.inbox / "film.dcm", draw(1, (512, 512)).pixels)
    assert "Retention" not in clinic.run("process").stderr
    text = clinic.config_file.read_text()
    clinic.config_file.write_text(text.replace("min_free_percent = 0.0", "min_free_percent = 99.9"))
    told = clinic.run("process").stderr
    assert "Retention removed 1 old file or report; `agcnn-clinic audit list --event removed` says which." in told
    assert clinic.select("SELECT files FROM audit_event WHERE event = 'removed'") == [{"files": "[1]"}]


def test_requeue_ends_with_1_where_a_file_stays_in_quarantine(clinic, write_film):
    """What can be is taken back, once however often it is named; of what stays the exit code tells a script."""
    film = clinic.config.inbox / "film.dcm"
    write_film(film, draw(1, (512, 512)).pixels)
    os.truncate(film, film.stat().st_size // 2)
    (clinic.config.inbox / "note.txt").write_text("no film")
    clinic.run("process", check=False)
    ids = {row["original_name"]: str(row["id"]) for row in clinic.select("SELECT id, original_name FROM received_file")}
    done = clinic.run("quarantine", "requeue", ids["note.txt"], ids["film.dcm"], ids["film.dcm"], check=False)
    assert (done.returncode, done.stderr) == (1, "")
    first, second = done.stdout.splitlines()
    assert first.startswith(f"{ids['note.txt']}: stays in quarantine; it is neither DICOM nor part of a readable study")
    assert second == f"{ids['film.dcm']}: taken back; it is read at the next watch or process"
    assert clinic.select("SELECT files FROM audit_event WHERE event = 'requeued'") == [
        {"files": f"[{ids['film.dcm']}]"}
    ]
    assert clinic.run("quarantine", "requeue", ids["note.txt"], check=False).returncode == 1


def test_a_file_that_cannot_be_copied_stays_and_the_exit_code_says_so(clinic, tmp_path, write_film):
    """A pipe is no file; the film beside it is read, and exit code 1 says that not all was done."""
    write_film(tmp_path / "film.dcm", draw(1, (512, 512)).pixels)
    os.mkfifo(tmp_path / "pipe.dcm")
    done = clinic.run("process", tmp_path / "pipe.dcm", tmp_path / "film.dcm", check=False)
    assert done.returncode == 1
    assert "left" in done.stderr
    assert clinic.outcomes() == {"film.dcm": ("analysed", "read")}


def test_an_inbox_that_is_not_there_is_told_of_and_the_exit_code_says_so(clinic, tmp_path, write_film):
    """A share that is not mounted: what is named besides is read all the same."""
    write_film(tmp_path / "film.dcm", draw(1, (512, 512)).pixels)
    clinic.config.inbox.rmdir()
    done = clinic.run("process", tmp_path / "film.dcm", check=False)
    assert done.returncode == 1
    assert "the inbox cannot be looked through (No such file or directory)" in done.stderr
    assert clinic.outcomes() == {"film.dcm": ("analysed", "read")}


def test_an_archive_whose_disk_is_not_mounted_is_not_begun_anew(clinic, run, tmp_path, write_film):
    """Nothing is taken and nothing made below the mount point; with the disk it goes on where it was."""
    write_film(clinic.config.inbox / "1.dcm", draw(1, (512, 512)).pixels)
    run("process")
    clinic.config.archive.rename(tmp_path / "disk")
    clinic.config.archive.mkdir()
    write_film(clinic.config.inbox / "2.dcm", draw(2, (512, 512)).pixels)
    done = clinic.run("process", check=False)
    assert (done.returncode, "mount its disk" in done.stderr) == (1, True)
    assert list(clinic.config.archive.iterdir()) == []
    clinic.config.archive.rmdir()
    (tmp_path / "disk").rename(clinic.config.archive)
    run("process")
    assert set(clinic.outcomes().values()) == {("analysed", "read")}
    assert len(clinic.outcomes()) == 2


def test_sources_named_on_the_command_line_stay_where_they_are(clinic, run, tmp_path, write_film):
    """`process PATH` reads a film and leaves it to its owner."""
    film = tmp_path / "film.dcm"
    write_film(film, draw(1, (512, 512)).pixels)
    before = film.read_bytes()
    run("process", film)
    assert film.read_bytes() == before
    assert clinic.outcomes() == {"film.dcm": ("analysed", "read")}
