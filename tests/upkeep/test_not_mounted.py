"""What lies on a disk that is not mounted is not called gone. An empty folder stands for its mount point."""

import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from agcnn_clinic.clinic import Clinic
from agcnn_clinic.errors import StorageError
from agcnn_clinic.service import Rest, _Steps

ALL = {"archive_days": 30, "quarantine_days": 30, "reports_days": 30}


@contextmanager
def unmounted(folder):
    """The disk of a folder is away for the length of a `with` block."""
    away = folder.with_name(f"{folder.name} away")
    folder.rename(away)
    folder.mkdir()
    yield
    folder.rmdir()  # nothing was made below the mount point
    away.rename(folder)


def test_nothing_goes_while_the_archive_is_away(ward):
    """Neither a plan nor a removal; films and reports go once it is back."""
    _, film, report = ward.reported_study()
    upkeep = ward.upkeep(**ALL)
    with unmounted(ward.config.archive):
        for look in (upkeep.planned, upkeep.step):
            with pytest.raises(StorageError, match="should hold 1 file: mount its disk"):
                look()
        assert ward.row(film).removed_at is None
        assert ward.has_report(report)
    assert len(upkeep.step()) == 2
    assert not ward.has(film)
    assert not ward.has_report(report)


def test_reports_stay_while_none_of_them_is_there(ward, caplog):
    """The archive gets its room all the same, a warning says what is amiss, and they go once they are back."""
    _, film, report = ward.reported_study()
    upkeep = ward.upkeep(**ALL)
    with unmounted(ward.config.reports):
        assert [one.candidate.ids for one in upkeep.step()] == [(film,)]
        assert not ward.has(film)
        assert "should hold 1 report, and holds none" in caplog.text
        assert upkeep.step() == []  # nor where nothing but reports is left to go
        assert ward.report_row(report).removed_at is None
    assert [one.candidate.ids for one in upkeep.step()] == [(report,)]
    assert not ward.has_report(report)


def test_a_report_that_a_person_took_away_is_gone_for_its_row(ward):
    """Another one that is there tells that the folder is the right one, though it is too young to go."""
    taken = ward.reported_study()[2]
    young = ward.reported_study(days_ago=1)[2]
    (ward.config.reports / Path(ward.report_row(taken).path).name).unlink()
    assert ward.upkeep(reports_days=30).step() == []
    assert not ward.has_report(taken)
    assert ward.has_report(young)


def test_a_film_that_a_person_took_away_is_gone_for_its_row(ward):
    """An archive that holds anything is the one that the rows speak of."""
    film = ward.reported_study()[1]
    (ward.config.archive / ward.row(film).stored_path).unlink()
    assert ward.upkeep(archive_days=30).step()
    assert not ward.has(film)


def test_a_daemon_whose_disk_goes_says_so_at_each_look(ward, caplog):
    """The loop goes on, and does not fill the log between its looks."""
    ward.reported_study()
    clinic = Clinic(ward.config, ward.database, None, None, None, None, ward.upkeep(**ALL))
    with unmounted(ward.config.archive):
        rest = _Steps(clinic, threading.Event()).tidy()
    assert rest == Rest(ward.config.retention.every_minutes * 60)
    assert caplog.text.count("mount its disk") == 1
