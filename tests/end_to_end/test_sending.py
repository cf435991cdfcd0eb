"""Reports in a DICOM archive: by `process`, by `watch`, and after an outage."""

import numpy as np
import pytest

STUDY = {"StudyInstanceUID": "1.2.3.77", "SeriesInstanceUID": "1.2.3.77.1", "PatientID": "P-17"}


@pytest.fixture
def sends(clinic, archive):
    """The clinic with that archive in its settings."""
    text = clinic.config_file.read_text()
    assert 'to = ""' in text
    clinic.config_file.write_text(text.replace('to = ""', f'to = "{archive.address}"'))
    return clinic


@pytest.fixture
def drop(clinic, film, write_dicom, tmp_path):
    """Puts a film of that study into the inbox, whole from its first moment."""

    def drop(number: int) -> None:
        stored = (np.roll(film[:256, :256], 9 * number, axis=1) * 4000).astype(np.uint16)
        made = write_dicom(tmp_path / f"{number}.part", stored, SOPInstanceUID=f"1.2.3.77.1.{number}", **STUDY)
        made.rename(clinic.config.inbox / f"{number}.dcm")

    return drop


def test_process_sends_what_it_reports(sends, archive, drop):
    """Before it ends; with nothing left to do it says nothing of it."""
    drop(1)
    done = sends.run("process")
    assert [dataset.Modality for dataset in archive.stored] == ["DOC", "SR"]
    assert "sent" not in done.stdout + done.stderr


def test_process_ends_with_1_where_the_archive_is_away_and_the_next_one_sends(sends, archive, drop):
    """The report is made all the same."""
    archive.stop()
    drop(1)
    done = sends.run("process", check=False)
    assert done.returncode == 1
    assert f"1 report could not be sent to {archive.address} and waits; the lines above say why" in done.stderr
    assert [path.suffix for path in sends.config.reports.iterdir()] == [".pdf"]
    archive.start()
    sends.run("process")
    assert [dataset.Modality for dataset in archive.stored] == ["DOC", "SR"]


def test_watch_sends_each_version_and_the_later_one_names_the_one_before(sends, archive, drop):
    """A study grows by an image: the archive gets version 2, which replaces version 1."""
    daemon = sends.start("watch")
    try:
        drop(1)
        first = archive.wait_for(2)[1]
        drop(2)
        later = archive.wait_for(4)[3]
    finally:
        daemon.terminate()
        assert daemon.wait(60) == 0
    assert [dataset.InstanceNumber for dataset in archive.stored] == [1, 1, 2, 2]
    (study,) = later.PredecessorDocumentsSequence
    assert study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == first.SOPInstanceUID


def test_what_the_archive_sends_back_is_no_news(sends, archive, drop):
    """One that sends on whatever it receives would else be sent a report of its report, for ever."""
    drop(1)
    sends.run("process")
    for number, dataset in enumerate(list(archive.stored)):
        dataset.save_as(sends.config.inbox / f"back-{number}.dcm", enforce_file_format=True)
    done = sends.run("process")
    assert "2  refused  no_pixels" in done.stdout
    assert "report of" not in done.stdout
    assert len(archive.stored) == 2
    assert sends.select("SELECT version FROM report") == [{"version": 1}]


def test_who_lets_another_model_count_is_told_that_the_archive_gets_the_new_reports(sends, archive, drop, other_bundle):
    """Before anything is read: of a clinic's every study the archive gets another version."""
    drop(1)
    sends.run("process")
    told = f"new reports would be due, each sent to {archive.address}."
    assert told in sends.run("models", "use", other_bundle).stdout
    assert told in sends.run("reanalyse", "--all", "--dry-run").stdout
    assert f"which sends it to {archive.address}." in sends.run("reanalyse", "--all").stdout
    sends.run("process")
    assert [dataset.InstanceNumber for dataset in archive.stored] == [1, 1, 2, 2]


def test_without_an_archive_nothing_waits(clinic, drop):
    """Who names one later does not find years of reports sent there."""
    drop(1)
    clinic.run("process")
    assert clinic.select("SELECT to_send, sent_at FROM report") == [{"to_send": 0, "sent_at": None}]
