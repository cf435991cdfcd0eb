"""A zip of a CD through the real program; what retention then removes; and what stops at the watermark."""

import json
import shutil
import signal
import subprocess
import threading
import time
import zipfile
from collections import Counter

import pydicom
import pytest
from pydicom.fileset import FileSet

from agcnn_clinic.demo.phantom import draw


def change(clinic, *pairs) -> None:
    text = clinic.config_file.read_text()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    clinic.config_file.write_text(text)


@pytest.fixture
def export(tmp_path, write_film):
    """A zip of a CD: two films, their DICOMDIR and a viewer; one file of it is encrypted."""
    cd, files = tmp_path / "cd", FileSet()
    for number in range(2):
        write_film(
            tmp_path / "film.dcm", draw(number, (512, 512)).pixels, patient_id="CANARY-ID", accession_number="A1"
        )
        dataset = pydicom.dcmread(tmp_path / "film.dcm")
        dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20260131", "093000", "1"
        dataset.SeriesNumber, dataset.InstanceNumber = 1, number + 1
        dataset.StudyInstanceUID = "2.25.4711"
        files.add(dataset)
    files.write(cd)
    (cd / "AUTORUN.INF").write_text("[autorun]")
    path = tmp_path / "export.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(cd.rglob("*")):
            archive.write(file, file.relative_to(tmp_path))
        archive.writestr("secret", b"secret")
    content = bytearray(path.read_bytes())
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.rfind(signature) + at] |= 1
    path.write_bytes(content)
    return path


def test_an_export_is_read_reported_shown_and_in_the_end_removed(clinic, export):
    """Dropped into the inbox: two readings, one report, a summary that tells of each part; then retention."""
    shutil.copy(export, clinic.config.inbox)
    done = clinic.run("process", check=False)
    assert done.returncode == 1, done.stderr  # the encrypted file
    outcomes = Counter(clinic.rows("SELECT outcome, reason_code FROM received_file"))
    assert outcomes == {
        ("unpacked", "unpacked"): 1,
        ("analysed", "read"): 2,
        ("refused", "media_directory"): 1,
        ("refused", "media_companion"): 1,
        ("quarantined", "zip_encrypted"): 1,
    }
    for code in ("unpacked", "media_directory", "media_companion", "zip_encrypted"):
        assert code in done.stdout
    assert "export.zip/secret" in clinic.run("quarantine", "list").stdout
    assert "CANARY" not in done.stderr

    nothing = clinic.run("retention")
    assert (nothing.stdout, "Retention is off" in nothing.stderr) == ("Nothing matches.\n", True)
    change(clinic, ("min_free_percent = 0.0", "min_free_percent = 99.99"))
    listed = json.loads(clinic.run("retention", "--dry-run", "--format", "json").stdout)
    assert Counter(one["kind"] for one in listed) == {"archive": 5}  # not the quarantined one
    assert all("of the disk is free" in one["why"] for one in listed)
    assert clinic.rows("SELECT COUNT(*) FROM received_file WHERE removed_at IS NOT NULL") == [(0,)]
    removed = clinic.run("retention")
    assert removed.stderr.startswith("5 removed, ")
    assert len([path for path in clinic.config.archive.rglob("*") if path.is_file()]) == 1

    (pdf,) = clinic.config.reports.glob("*.pdf")
    again = clinic.run("report", "A1", check=False)
    assert again.returncode == 1
    assert "retention removed 2 of its images" in again.stderr
    assert str(pdf) in again.stderr
    assert "retention let go of the image" in clinic.run("show", "A1").stdout
    assert "images of 1 of these studies" in clinic.run("studies").stderr

    shutil.copy(export, clinic.config.inbox)
    change(clinic, ("min_free_percent = 99.99", "min_free_percent = 0.0"))
    clinic.run("process", check=False)
    assert clinic.rows("SELECT outcome FROM received_file ORDER BY id DESC LIMIT 1") == [("duplicate",)]


def test_the_watermark_leaves_files_in_the_inbox_and_says_so(clinic, write_film):
    """`process` reads nothing, names the setting and exits with 1; `doctor` calls it a problem."""
    write_film(clinic.config.inbox / "film.dcm", draw(1, (512, 512)).pixels)
    change(clinic, ("min_free_mb = 2048", "min_free_mb = 900000000"))
    done = clinic.run("process", check=False)
    assert done.returncode == 1
    assert "1 file could not be taken and wait" in done.stderr
    assert done.stderr.count("intake.min_free_mb") == 2  # the warning, and the last line
    assert (clinic.config.inbox / "film.dcm").exists()
    assert clinic.rows("SELECT * FROM received_file") == []
    checked = clinic.run("doctor", check=False)
    assert "intake stops below intake.min_free_mb" in " ".join(checked.stdout.split())


def test_the_daemon_tidies_up_by_itself(clinic, write_film):
    """The fourth loop removes the film once it is reported, and nothing before; SIGTERM ends it as ever."""
    change(
        clinic,
        ("min_free_percent = 0.0", "min_free_percent = 99.99"),
        ("every_minutes = 60.0", "every_minutes = 0.005"),
    )
    write_film(clinic.config.inbox / "film.dcm", draw(1, (512, 512)).pixels)
    process = clinic.start("watch", stderr=subprocess.PIPE)
    try:
        pause, deadline = threading.Event(), time.monotonic() + 120
        while not clinic.rows("SELECT 1 FROM received_file WHERE removed_at IS NOT NULL"):
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline, "it did not happen in time"
            pause.wait(0.05)
        assert clinic.rows("SELECT COUNT(*) FROM report") == [(1,)]
        process.send_signal(signal.SIGTERM)
        log = process.communicate(timeout=120)[1]
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
    assert process.returncode == 0, log
    assert [path for path in clinic.config.archive.rglob("*") if path.is_file()] == []
    assert len(list(clinic.config.reports.glob("*.pdf"))) == 1
