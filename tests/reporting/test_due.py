"""When a report is due, how it is made, and how it is made again."""

import hashlib
from datetime import timedelta

import pytest
from sqlalchemy import event

from agcnn_clinic.database.tables import Report, Study
from agcnn_clinic.domain import ReasonCode
from agcnn_clinic.errors import UsageError
from agcnn_clinic.faults import FaultPoint
from agcnn_clinic.reporting.due import leave_unread, studies_due
from agcnn_clinic.reporting.loop import Reporting
from agcnn_clinic.reporting.remaking import Remade, remake
from agcnn_clinic.sections import Folders


def test_a_complete_study_is_due_until_it_is_reported(clinic, make) -> None:
    """A report is due once, and then no more."""
    study = clinic.add_study()
    clinic.add_file(study)
    assert clinic.due() == [study]
    make(study)
    assert clinic.due() == []


def test_nothing_is_due_while_a_file_is_pending(clinic) -> None:
    """A study with a file that is not decided is not complete."""
    study = clinic.add_study()
    clinic.add_file(study)
    clinic.add_file(study, None)
    assert clinic.due() == []


def test_nothing_is_due_while_files_are_coming(clinic) -> None:
    """A study rests for the quiet time, to the second, before its report is made."""
    study = clinic.add_study()
    clinic.add_file(study, at=clinic.clock.now)
    clinic.clock.forward(seconds=29)
    assert clinic.due() == []
    clinic.clock.forward(seconds=1)
    assert clinic.due() == [study]


def test_a_study_that_came_by_a_clock_that_was_ahead_is_due(clinic) -> None:
    """It is not waited for until that clock's time comes; one a moment ahead, as another machine's, still is."""
    study = clinic.add_study()
    clinic.add_file(study, at=clinic.clock.now + timedelta(days=365))
    assert clinic.due() == [study]
    clinic.clock.forward(days=365, minutes=-5)  # longer than the quiet time
    assert clinic.due() == []
    assert clinic.due(quiet_seconds=0) == [study]


def test_a_study_of_which_nothing_was_read_has_no_report(clinic) -> None:
    """There is nothing to report on when every image was refused."""
    study = clinic.add_study()
    clinic.add_file(study, ReasonCode.WRONG_VIEW)
    clinic.add_study()
    assert clinic.due() == []


def covered(clinic, study: int) -> bool:
    """Whether the reporting loop has nothing more to look at in a study."""
    with clinic.database.session() as session:
        row = session.get_one(Study, study)
        return row.reported_revision == row.revision


def test_a_study_of_which_nothing_was_read_is_left_until_something_is(clinic) -> None:
    """The loop takes note once that there is nothing to report on; an image that is read later is reported."""
    study, waiting = clinic.add_study(), clinic.add_study()
    clinic.add_file(study, ReasonCode.WRONG_VIEW)
    clinic.add_file(waiting, ReasonCode.WRONG_VIEW)
    clinic.add_file(waiting, None)
    assert leave_unread(clinic.database, clinic.clock(), 30) == 1
    assert (covered(clinic, study), covered(clinic, waiting)) == (True, False)
    assert leave_unread(clinic.database, clinic.clock(), 30) == 0
    clinic.add_file(study)
    assert clinic.due() == [study]
    assert leave_unread(clinic.database, clinic.clock(), 30) == 0


@pytest.mark.parametrize("reported", [False, True])
def test_a_study_of_which_something_is_read_meanwhile_is_not_left(clinic, monkeypatch, reported) -> None:
    """Between the look and the note an image is decided: it is reported, and no second time where that was done."""
    study = clinic.add_study()
    clinic.add_file(study, ReasonCode.WRONG_VIEW)
    write = clinic.database.write

    def after_another_reading():
        monkeypatch.setattr(clinic.database, "write", write)
        clinic.add_file(study)
        if reported:
            with write() as session:
                row = session.get_one(Study, study)
                row.reported_revision = row.revision
        return write()

    monkeypatch.setattr(clinic.database, "write", after_another_reading)
    leave_unread(clinic.database, clinic.clock(), 30)
    assert clinic.due() == ([] if reported else [study])


def test_the_longest_waiting_comes_first(clinic) -> None:
    """Reports are due in the order in which their studies were completed; what is left out takes no place."""
    studies = [clinic.add_study() for _ in range(3)]
    for minutes, study in zip((5, 1, 3), studies, strict=True):
        clinic.add_file(study, at=clinic.clock.now - timedelta(minutes=minutes))
    with clinic.database.session() as session:
        assert studies_due(session, clinic.clock(), 0) == [studies[0], studies[2], studies[1]]
        assert studies_due(session, clinic.clock(), 0, limit=1) == [studies[0]]
        assert studies_due(session, clinic.clock(), 0, limit=1, but_not=[studies[0]]) == [studies[2]]
        assert studies_due(session, clinic.clock(), 0, among=studies[:2]) == studies[:2]


@pytest.mark.sqlite_only("how SQLite tells its plan")
def test_looking_for_what_is_due_reads_no_reported_study_and_no_list_of_outcomes(clinic) -> None:
    """SQLite goes from a study without a report to its files, and not by the index of outcomes to all that have one."""
    asked = []
    event.listen(clinic.database._engine, "before_cursor_execute", lambda *call: asked.append(call[2:4]))
    clinic.due()
    statement, parameters = asked[-1]
    with clinic.database.connection() as connection:
        plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
    assert plan[0] == "SCAN study USING INDEX ix_study_unreported"  # which has those without a report alone
    files = [step for step in plan if "received_file" in step]
    by = {step.partition(" USING ")[2] for step in files}
    assert (len(files), by) == (2, {"INDEX ix_received_file_instance_id (instance_id=?)"})
    assert not [step for step in plan[1:] if step.startswith("SCAN")]


def test_a_report_is_delivered_and_recorded(clinic, make) -> None:
    """The row says where the file lies, what its bytes are, and what it covers."""
    study = clinic.add_study()
    clinic.add_file(study)
    path = make(study)
    with clinic.database.session() as session:
        report = session.query(Report).one()
        key = session.get_one(Study, study).key
        assert report.path == f"reports/{key}-v1.pdf"
        assert [reading.inference_id for reading in report.readings] == [1]
    assert path == clinic.root / report.path
    assert report.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (report.version, report.study_revision, report.model_id) == (1, 1, None)
    assert report.created_at == clinic.clock.now


def test_a_late_image_makes_a_new_version_and_keeps_the_old_one(clinic, make, again, text_of) -> None:
    """Version 2 covers the late image and names what it replaces; version 1 stays, and can still be made again."""
    study = clinic.add_study()
    clinic.add_file(study)
    first = make(study)
    old = first.read_bytes()
    clinic.clock.forward(minutes=10)
    clinic.add_file(study, at=clinic.clock.now)
    clinic.clock.forward(minutes=10)
    assert clinic.due() == [study]
    second = make(study)
    assert clinic.due() == []
    assert second.name.endswith("-v2.pdf")
    assert first.read_bytes() == old
    assert "replaces version 1 of 2026-03-01 14:00 UTC" in text_of(second.read_bytes())[0]
    assert "2 images read" in text_of(second.read_bytes())[0]
    first.unlink()
    made = again(study, 1)
    assert (made.path, made.note) == (first, "")
    assert first.read_bytes() == old


def test_a_crash_before_the_row_is_made_good(clinic, make, at_point) -> None:
    """A delivered file without a row is written over: the same version, one row, no second file."""
    study = clinic.add_study()
    clinic.add_file(study)

    class Killed(BaseException):
        pass

    def killed(*_args: object, **_kwargs: object) -> None:
        raise Killed

    at_point(FaultPoint.REPORT_SYNCED, killed)
    with pytest.raises(Killed):
        make(study)
    (left,) = (clinic.config.reports).iterdir()
    assert clinic.due() == [study]
    clinic.clock.forward(minutes=1)
    assert make(study) == left
    with clinic.database.session() as session:
        assert session.query(Report).one().sha256 == hashlib.sha256(left.read_bytes()).hexdigest()


def test_a_report_made_again_is_the_same(clinic, make, again, at_point) -> None:
    """From rows and archive alone come the same bytes, later and under the same name, safe from a power cut."""
    study = clinic.add_study()
    clinic.add_file(study)
    path = make(study)
    before = path.read_bytes()
    path.unlink()
    clinic.clock.forward(days=400)
    synced = []
    at_point(FaultPoint.REPORT_SYNCED, lambda: synced.append(path.exists()))
    made = again(study)
    assert (made.path, made.note, synced) == (path, "", [True])
    assert path.read_bytes() == before


def test_a_report_made_again_knows_nothing_of_studies_that_came_since(clinic, make, again) -> None:
    """Of the same patient, the same day and one before: a report is a function of what there was when it was made."""
    study = clinic.add_study(study_date="2026-03-01")
    clinic.add_file(study)
    path = make(study)
    clinic.clock.forward(hours=1)
    for day in ("2026-03-01", "2025-03-01"):
        other = clinic.add_study(study_date=day)
        clinic.add_file(other)
        make(other)
    assert again(study) == Remade(path, "")


def test_a_report_made_again_lies_where_reports_lie_now(clinic, make) -> None:
    """Where the folder was moved to another disk since, it is made there, and the old one does not come back."""
    study = clinic.add_study()
    clinic.add_file(study)
    old = make(study)
    new = clinic.root.parent / "other disk"
    old.parent.rename(new)
    config = clinic.config.model_copy(update={"folders": Folders(reports=new)})
    before = (new / old.name).read_bytes()
    (new / old.name).unlink()
    made = remake(clinic.database, study, clock=clinic.clock, config=config, press=clinic.press)
    assert (made.path, made.note, made.path.read_bytes()) == (new / old.name, "", before)
    assert not old.parent.exists()


def test_a_report_that_comes_out_otherwise_does_not_replace_what_was_delivered(clinic, make, again) -> None:
    """Other settings give another file: it is written beside the delivered one, and a sentence says so, and why."""
    study = clinic.add_study()
    clinic.add_file(study)
    path = make(study)
    before = path.read_bytes()
    settings = clinic.config.reporting.model_copy(update={"page_size": "Letter"})
    root = clinic.config.root
    clinic.config = clinic.config.model_copy(update={"reporting": settings})
    clinic.config._root = root
    made = remake(clinic.database, study, clock=clinic.clock, config=clinic.config, press=clinic.press)
    assert made.path.name == path.stem + ".remade.pdf"
    assert made.path.read_bytes() != before
    assert path.read_bytes() == before
    assert "the program, the settings under [reporting], the archive or an outcome has changed" in made.note
    with clinic.database.write() as session:
        session.query(Report).update({"software_version": "0.0.9"})
    made = remake(clinic.database, study, clock=clinic.clock, config=clinic.config, press=clinic.press)
    assert "it was made by agcnn-clinic 0.0.9 and this is" in made.note


def test_asking_for_a_report_that_is_not_there_says_what_there_is(clinic, make, again) -> None:
    """No report yet, and no such version, are told apart in a sentence."""
    study = clinic.add_study()
    clinic.add_file(study)
    with pytest.raises(UsageError, match="no report yet"):
        again(study)
    make(study)
    with pytest.raises(UsageError, match="no report version 7; the newest is 1"):
        again(study, 7)


def test_a_clock_set_back_loses_no_finding(clinic, make, text_of) -> None:
    """A report is never older than the readings that it prints."""
    study = clinic.add_study()
    clinic.add_file(study, at=clinic.clock.now + timedelta(hours=3))
    clinic.clock.forward(hours=-5)
    assert "Mass 0.81" in text_of(make(study).read_bytes())[0]


def test_a_report_made_again_after_the_clock_was_set_back_tells_of_no_late_film(clinic, make, again) -> None:
    """It is the same file, though an image that it calls blank has been read since, at an earlier hour."""
    study = clinic.add_study()
    clinic.add_file(study)
    clinic.add_file(study, ReasonCode.BLANK, uid="1.2.7")
    first = make(study)
    clinic.clock.forward(minutes=-30)
    clinic.add_file(study, uid="1.2.7", at=clinic.clock.now)
    second = make(study)
    for version, path in enumerate((first, second), start=1):
        assert (again(study, version).path, again(study, version).note) == (path, "")
    with clinic.database.session() as session:
        times = [report.created_at for report in session.query(Report).order_by(Report.version)]
    assert times == sorted(times)


def test_the_loop_leaves_what_there_is_nothing_to_report_on(clinic) -> None:
    """A step that finds nothing due takes note of the studies of which nothing was read."""
    study = clinic.add_study()
    clinic.add_file(study, ReasonCode.WRONG_VIEW)
    assert Reporting(clinic.database, clinic.config, clinic.press, clinic.clock).step(30) == 0
    assert covered(clinic, study)
