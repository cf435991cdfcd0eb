"""Rows first, then bytes: whatever ends the process, no row claims what is gone, and nothing is left for ever."""

import json
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from agcnn_clinic.database.audit import EventFilter, events
from agcnn_clinic.database.audit_events import AuditEvent
from agcnn_clinic.database.tables import ReceivedFile, Study
from agcnn_clinic.domain import ReasonCode
from agcnn_clinic.errors import StorageError
from agcnn_clinic.intake.accept import accept
from agcnn_clinic.intake.requeue import requeue_files
from agcnn_clinic.moments import iso
from agcnn_clinic.sections import Folders
from agcnn_clinic.storage import Storage
from agcnn_clinic.upkeep import remove
from agcnn_clinic.upkeep.plan import plan
from agcnn_clinic.upkeep.remove import Remover

ALL = {"archive_days": 30, "quarantine_days": 30, "reports_days": 30}


class KilledError(BaseException):
    """What no handler catches."""


def test_bytes_go_and_rows_stay(ward):
    """Film, report and quarantined file with its reason are gone; each row says when; what was found stays."""
    _, film, report = ward.reported_study()
    garbage = ward.file(None, ReasonCode.UNRECOGNISED)
    (ward.config.reports / "000000000001-v1.remade.pdf").write_bytes(b"%PDF")
    kept = ward.reported_study(days_ago=1)
    removed = ward.upkeep(**ALL).step()
    assert len(removed) == 3
    assert not ward.has(film)
    assert not ward.has(garbage)
    assert not ward.has_report(report)
    assert ward.row(film).removed_at == ward.now
    assert ward.row(garbage).quarantine_path == ""
    assert ward.has(kept[1])
    assert ward.has_report(kept[2])
    assert list(ward.config.quarantine.iterdir()) == []
    assert len(list(ward.config.reports.iterdir())) == 1


def test_reports_whose_folder_has_moved_go_from_where_they_lie_now(ward, tmp_path, caplog):
    """Moved with their folder they are removed there; what was left elsewhere is not said to have been removed."""
    moved, left_behind = ward.reported_study()[2], ward.reported_study(days_ago=99)[2]
    new = tmp_path / "other disk"
    new.mkdir()
    name = Path(ward.report_row(moved).path).name
    (ward.config.reports / name).rename(new / name)
    ward.config = ward.config.model_copy(update={"folders": Folders(reports=new)})
    first, second = ward.upkeep(reports_days=30).planned()
    assert (first.candidate.size, second.candidate.size) == (100, 0)
    removed = ward.upkeep(reports_days=30).step()
    assert [one.candidate.ids for one in removed] == [(moved,)]
    assert list(new.iterdir()) == []
    assert Path(ward.report_row(left_behind).path).name in caplog.text
    assert ward.upkeep(reports_days=30).planned() == []


@pytest.mark.parametrize("passages", range(9))
def test_whatever_ends_the_process_the_next_run_finishes(ward, monkeypatch, passages):
    """Ended before or after any commit or removal: rows never claim what is gone, and in the end all is gone."""
    monkeypatch.setattr(remove, "BATCH", 1)
    files = [ward.reported_study()[1:] for _ in range(2)] + [(ward.file(None, ReasonCode.UNRECOGNISED), None)]
    left = passages

    def dies(function):
        def wrapped(*args, **kwargs):
            nonlocal left
            left -= 1
            if left == -1:
                raise KilledError
            result = function(*args, **kwargs)
            left -= 1
            if left == -1:
                raise KilledError
            return result

        return wrapped

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "remove", dies(Storage.remove))
        patch.setattr(Remover, "_unlink_reports", dies(Remover._unlink_reports))
        with pytest.raises(KilledError):
            ward.upkeep(**ALL).step()
    for file, report in files:
        row = ward.row(file)
        assert row.removed_at or (ward.config.archive / row.stored_path).exists()
        if report:
            row = ward.report_row(report)
            assert row.removed_at or (ward.config.root / row.path).exists()
    ward.upkeep(**ALL).step()
    assert [path for path in ward.config.archive.rglob("*") if path.is_file()] == []
    assert list(ward.config.reports.iterdir()) == []
    assert list(ward.config.quarantine.iterdir()) == []
    assert not any(ward.has(file) for file, _ in files)


def test_no_two_batches_are_said_to_be_gone_at_the_same_moment(ward, monkeypatch):
    """So the newest, which a run that was ended may have left, is one batch; also by a clock that was set back."""
    monkeypatch.setattr(remove, "BATCH", 1)
    files = [ward.file(None, ReasonCode.MEDIA_COMPANION, days_ago=days) for days in (100, 90)]
    ward.upkeep(archive_days=30).step()
    files.append(ward.file(None, ReasonCode.MEDIA_COMPANION, days_ago=500))
    began, ward.now = ward.now, ward.now - timedelta(days=200)
    ward.upkeep(archive_days=30).step()
    later = [ward.row(file).removed_at - began for file in files]
    assert later == [timedelta(microseconds=number) for number in range(3)]


def test_what_is_finished_leaves_bytes_that_another_row_still_claims(ward):
    """Whatever said so of one of the rows: no row claims what is not there."""
    first = ward.file(None, ReasonCode.MEDIA_COMPANION, content=b"same")
    second = ward.file(None, ReasonCode.SAME_BYTES, content=b"same")
    with ward.database.write() as session:
        session.get_one(ReceivedFile, first).removed_at = ward.now
    ward.upkeep().step()
    assert ward.has(second)


def test_a_disk_that_refuses_is_told_and_tried_again(ward, monkeypatch):
    """The row says gone, the error says why the bytes are not; the next run removes them, also if nothing else goes."""
    _, film, _ = ward.reported_study()

    def refuses(self, stored_paths):
        raise StorageError("Read-only file system.")

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "remove", refuses)
        with pytest.raises(StorageError):
            ward.upkeep(archive_days=30).step()
    assert (ward.config.archive / ward.row(film).stored_path).exists()
    ward.now -= timedelta(days=200)  # and a clock that was set back does not hide it
    ward.upkeep().step()
    assert not ward.has(film)


def test_a_report_that_cannot_be_removed_is_told_and_tried_again(ward):
    """As for films: its row says gone, the error says why the PDF is not, and the next run removes it."""
    _, _, report = ward.reported_study()
    ward.reported_study(days_ago=1)  # whose report shows that the folder is there
    path = ward.config.root / ward.report_row(report).path
    path.unlink()
    path.mkdir()  # which no unlink removes, whoever asks
    with pytest.raises(StorageError, match="A report cannot be removed"):
        ward.upkeep(reports_days=30).step()
    path.rmdir()
    path.write_bytes(b"%PDF")
    ward.upkeep().step()
    assert not ward.has_report(report)


def test_the_audit_trail_is_told_once_for_each_reason(ward):
    """Which files and which reports went for it, though others went for another one between them."""
    study, film, _ = ward.reported_study(days_ago=100)
    garbage = ward.file(None, ReasonCode.UNRECOGNISED, days_ago=99)
    companion = ward.file(None, ReasonCode.MEDIA_COMPANION, days_ago=98)
    assert len(ward.upkeep(archive_days=30, quarantine_days=60, reports_days=30).step()) == 4
    with ward.database.session() as session:
        key = session.get_one(Study, study).key
    with ward.database.connection() as connection:
        told = [
            (json.loads(row["details"]), sorted(json.loads(row["files"])), row["recorded_at"])
            for row in events(connection, EventFilter(event=AuditEvent.REMOVED))
        ]
    moment = iso(ward.now)
    of_thirty = {"outcomes": {"analysed": 1, "refused": 1}, "reports": [[key, 1]], "why": "older than 30 days"}
    of_sixty = {"outcomes": {"quarantined": 1}, "reports": [], "why": "older than 60 days"}
    assert told == [(of_sixty, [garbage], moment), (of_thirty, [film, companion], moment)]


def test_what_changed_since_the_plan_stays(ward):
    """A late image reopens the study, or the same bytes come again, between plan and removal: nothing goes."""
    study, film, report = ward.reported_study()
    shared = ward.file(None, ReasonCode.MEDIA_COMPANION, content=b"same")
    upkeep = ward.upkeep(**ALL)
    removals = upkeep.planned()
    assert len(removals) == 3
    ward.file(study, None)
    ward.file(None, ReasonCode.SAME_BYTES, content=b"same")
    assert upkeep._remover.remove(removals, ward.now, lambda: False) == []
    assert ward.has(film)
    assert ward.has(shared)
    assert ward.has_report(report)


def test_the_same_bytes_again_bring_them_back(ward, intake, take):
    """They are a duplicate still, and kept: the earlier row says so, and can be requeued again."""
    path = ward.config.inbox / "notes.txt"
    content = b"not an image"
    path.write_bytes(content)
    take(path, ward.now - timedelta(days=100))
    assert json.loads(next(ward.config.quarantine.glob("*.json")).read_text())
    ward.upkeep(**ALL).step()
    assert not ward.has(1)
    (tried,) = requeue_files(ward.database, ward.storage, intake.sandbox, [1])
    assert "drop the file into the inbox again" in str(tried)
    path.write_bytes(content)
    take(path, ward.now)
    assert ward.row(2).reason_code == "same_bytes"
    assert ward.has(1)
    assert ward.has(2)


def test_intake_and_retention_do_not_take_the_same_bytes_for_kept_and_gone(ward, take, monkeypatch):
    """While a file's bytes are kept and its row is not written yet, retention waits; then it sees the new row."""
    content = b"not an image"
    path = ward.config.inbox / "notes.txt"
    path.write_bytes(content)
    take(path, ward.now - timedelta(days=100))
    path.write_bytes(content)
    in_between, began = threading.Event(), threading.Event()
    register = accept.__globals__["_registered"]

    def slow(*args):
        in_between.set()
        assert began.wait(30)
        # Long enough for a retention that does not wait to have removed the bytes.
        tidying.join(1)
        return register(*args)

    monkeypatch.setitem(accept.__globals__, "_registered", slow)

    def tidy():
        began.set()
        ward.upkeep(**ALL).step()

    tidying = threading.Thread(target=tidy)
    taking = threading.Thread(target=take, args=(path, ward.now))
    taking.start()
    assert in_between.wait(30)
    tidying.start()
    taking.join(60)
    tidying.join(60)
    assert ward.has(1)
    assert ward.has(2)


def test_a_stop_is_heard_between_batches(ward, monkeypatch):
    """SIGTERM does not wait until a year's films are gone."""
    monkeypatch.setattr(remove, "BATCH", 1)
    for _ in range(3):
        ward.file(None, ReasonCode.MEDIA_COMPANION)
    upkeep = ward.upkeep(archive_days=30)
    answers = iter([False, True])
    assert len(upkeep.step(lambda: next(answers))) == 1
    with ward.database.session() as session:
        assert len(plan(session, upkeep._config, ward.now, lambda _: ward.disk)) == 2
