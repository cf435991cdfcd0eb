"""What becomes of reports when a clinic is restored from a backup."""

import shutil

import pydicom
import pytest

from agcnn_clinic.demo.phantom import draw


def test_after_a_restore_every_missing_report_is_made_again(clinic, run, write_film):
    """Older versions too, and one that was altered; nothing is missing then, but for one whose film is gone."""
    for number in range(2):
        film = clinic.config.inbox / "film.dcm"
        write_film(film, draw(number, (320, 320)).pixels)
        of_one_study = pydicom.dcmread(film)
        of_one_study.StudyInstanceUID = "2.25.1"
        of_one_study.save_as(film)
        run("process")
    first, second = sorted(clinic.config.reports.iterdir())
    before = first.read_bytes(), second.read_bytes()
    first.unlink()
    second.write_bytes(b"altered")
    made = clinic.run("report", "--missing")
    assert sorted(made.stdout.splitlines()) == [str(first), str(second)]
    assert (first.read_bytes(), second.read_bytes()) == before
    assert clinic.run("report", "--missing").stdout == "No report is missing.\n"
    second.unlink()
    for film in clinic.config.archive.rglob("*.dcm"):
        film.unlink()
    again = clinic.run("report", "--missing", check=False)
    assert again.returncode == 1
    assert again.stderr.startswith(f"{second.name}: ")


@pytest.mark.sqlite_only("a server is restored by its own tool")
def test_a_report_that_was_delivered_after_the_backup_stays_when_it_is_made_anew(
    clinic, run, write_film, tmp_path, monkeypatch
):
    """A physician may have read it: it gets another name, and the one of before the backup keeps its own."""
    first, second, again = (f"film-{number}.dcm" for number in range(3))
    write_film(clinic.config.inbox / first, draw(1, (320, 320)).pixels)
    run("process")
    (kept,) = clinic.config.reports.iterdir()
    run("db", "backup", tmp_path / "backup.sqlite")
    write_film(clinic.config.inbox / second, draw(2, (320, 320)).pixels)
    shutil.copy(clinic.config.inbox / second, tmp_path / again)
    run("process")
    (later,) = set(clinic.config.reports.iterdir()) - {kept}
    read = later.read_bytes()
    told = run("db", "restore", tmp_path / "backup.sqlite").stdout
    assert "Delivered after it was made: 1 report, kept beside as *-before-" in told
    (aside,) = clinic.config.reports.glob(f"{later.stem}-before-*.pdf")
    assert (aside.read_bytes(), kept.exists(), later.exists()) == (read, True, False)
    # Made anew within the same second, and with the same settings, it would be the same file.
    monkeypatch.setenv("AGCNN_CLINIC_REPORTING__INSTITUTION", "Restored Hospital")
    run("process", tmp_path / again)
    assert sorted(clinic.config.reports.iterdir()) == sorted([kept, later, aside])
    assert (aside.read_bytes() == read, later.read_bytes() == read) == (True, False)
