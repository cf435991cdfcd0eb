"""The loop's step: reports that are due are made together, and one that cannot be made holds up no other."""

import errno
import hashlib
import shutil
from datetime import timedelta
from functools import partial

from sqlalchemy import select, update

from agcnn_clinic import faults
from agcnn_clinic.database.tables import ReceivedFile, Report
from agcnn_clinic.faults import FaultPoint
from agcnn_clinic.reporting import loop
from agcnn_clinic.reporting.due import studies_due
from agcnn_clinic.reporting.loop import Reporting
from agcnn_clinic.reporting.making import make_report
from agcnn_clinic.reporting.remaking import remake


def test_the_loop_makes_all_that_is_due(clinic) -> None:
    """One step makes every due report, and the next finds nothing."""
    for _ in range(3):
        clinic.add_file(clinic.add_study())
    reporting = Reporting(clinic.database, clinic.config, clinic.press, clinic.clock)
    assert reporting.step(quiet_seconds=30) == 3
    assert reporting.step(quiet_seconds=30) == 0
    assert len(list(clinic.config.reports.iterdir())) == 3
    made = remake(clinic.database, 1, clock=clinic.clock, config=clinic.config, press=clinic.press)
    assert made.note == ""


def test_one_that_fails_keeps_none_of_those_beside_it_from_being_made(clinic, monkeypatch) -> None:
    """They are delivered together all the same, and none of them is rendered twice."""
    lost, *_ = [clinic.add_file(clinic.add_study()) for _ in range(3)]
    with clinic.database.write() as session:
        session.execute(update(ReceivedFile).where(ReceivedFile.id == lost).values(stored_path="away.png"))
    passed: list[FaultPoint] = []
    monkeypatch.setattr(faults, "hook", passed.append)
    reporting = Reporting(clinic.database, clinic.config, clinic.press, clinic.clock)
    assert reporting.step(quiet_seconds=0) == 3
    assert (clinic.due(quiet_seconds=0), reporting.unmade) == ([1], 1)
    assert (passed.count(FaultPoint.REPORT_RENDERED), passed.count(FaultPoint.REPORT_COMMITTED)) == (2, 1)


def test_reports_that_are_due_together_share_a_transaction(clinic, monkeypatch) -> None:
    """Three are rendered, their rows written and committed at once; all three PDFs are in place by then."""
    for _ in range(3):
        clinic.add_file(clinic.add_study())
    passed: list[FaultPoint] = []
    monkeypatch.setattr(faults, "hook", passed.append)
    assert Reporting(clinic.database, clinic.config, clinic.press, clinic.clock).step(quiet_seconds=0) == 3
    assert passed.count(FaultPoint.REPORT_RENDERED) == 3
    assert passed.count(FaultPoint.REPORT_ROW_WRITTEN) == passed.count(FaultPoint.REPORT_COMMITTED) == 1
    last_rename = len(passed) - passed[::-1].index(FaultPoint.REPORT_RENAMED)
    assert last_rename <= passed.index(FaultPoint.REPORT_SYNCED) < passed.index(FaultPoint.REPORT_COMMITTED)


def test_reports_that_cannot_be_delivered_together_are_delivered_one_by_one(clinic, monkeypatch) -> None:
    """The disk fails at the second of three names: none of them has a row, and then each is made by itself."""
    for _ in range(3):
        clinic.add_file(clinic.add_study())
    names: list[FaultPoint] = []

    def fail_once(point: FaultPoint) -> None:
        if point is FaultPoint.REPORT_RENAMED:
            names.append(point)
            if len(names) == 2:
                raise OSError(errno.EIO, "the disk failed")

    monkeypatch.setattr(faults, "hook", fail_once)
    assert Reporting(clinic.database, clinic.config, clinic.press, clinic.clock).step(quiet_seconds=0) == 3
    assert len(names) == 2 + 3
    with clinic.database.session() as session:
        rows = session.scalars(select(Report)).all()
    assert [(row.study_id, row.version) for row in rows] == [(1, 1), (2, 1), (3, 1)]
    for row in rows:
        assert hashlib.sha256((clinic.config.root / row.path).read_bytes()).hexdigest() == row.sha256
    assert len(list(clinic.config.reports.iterdir())) == 3


def test_a_version_that_was_taken_meanwhile_is_made_anew_and_the_others_are_not(clinic, at_point) -> None:
    """While three reports are rendered together another process makes one of the second study."""
    for _ in range(3):
        clinic.add_file(clinic.add_study())
    by_itself = partial(make_report, clinic.database, clock=clinic.clock, config=clinic.config, press=clinic.press)
    at_point(FaultPoint.REPORT_RENDERED, lambda: by_itself(2))
    assert Reporting(clinic.database, clinic.config, clinic.press, clinic.clock).step(quiet_seconds=0) == 3
    with clinic.database.session() as session:
        rows = session.execute(select(Report.study_id, Report.version).order_by(Report.study_id, Report.version))
        assert [tuple(row) for row in rows] == [(1, 1), (2, 1), (2, 2), (3, 1)]
        assert all((clinic.config.root / report.path).is_file() for report in session.scalars(select(Report)))


def test_studies_that_fail_do_not_keep_the_others_waiting(clinic, monkeypatch) -> None:
    """However many they are, and the oldest: those behind them are reported, and they are tried again after a rest."""
    monkeypatch.setattr(loop, "studies_due", partial(studies_due, limit=2))
    lost = [clinic.add_file(clinic.add_study()) for _ in range(3)]
    with clinic.database.write() as session:
        session.execute(update(ReceivedFile).values(stored_path="away.png"))
    clinic.add_file(clinic.add_study(), at=clinic.clock.now - timedelta(minutes=1))
    seconds = [0.0]
    reporting = Reporting(clinic.database, clinic.config, clinic.press, clinic.clock, elapsed=lambda: seconds[0])

    def tried() -> list[int]:
        """How many reports each step tries, until one finds nothing to do."""
        return list(iter(lambda: reporting.step(quiet_seconds=0), 0))

    assert tried() == [2, 2]
    assert clinic.due(quiet_seconds=0) == [1, 2, 3]
    assert reporting.unmade == len(lost)
    assert tried() == []
    seconds[0] += loop.REST_SECONDS
    assert tried() == [2, 1]
    shutil.copy(next(clinic.config.archive.glob("*/*.png")), clinic.config.archive / "away.png")
    assert tried() == []
    seconds[0] += loop.REST_SECONDS
    assert tried() == [2, 1]
    assert (clinic.due(quiet_seconds=0), reporting.unmade) == ([], 0)


def test_a_report_that_cannot_be_made_is_told_of_once(clinic, caplog) -> None:
    """With a sentence of ours, which names no file; again where it fails for another reason, or anew."""
    ids = [clinic.add_file(clinic.add_study()) for _ in range(3)]
    with clinic.database.write() as session:
        stored = session.get_one(ReceivedFile, ids[0]).stored_path
    seconds = [0.0]
    reporting = Reporting(clinic.database, clinic.config, clinic.press, clinic.clock, elapsed=lambda: seconds[0])

    def told(**stored_paths: str) -> list[str]:
        """What the log says of a try with the rest before it, the images of these studies stored there."""
        caplog.clear()
        with clinic.database.write() as session:
            for study, path in stored_paths.items():
                session.get_one(ReceivedFile, ids[int(study[1:]) - 1]).stored_path = path
        while reporting.step(quiet_seconds=0):
            pass
        seconds[0] += loop.REST_SECONDS
        while reporting.step(quiet_seconds=0):
            pass
        return caplog.messages

    def telling(studies: list[int]) -> list[str]:
        why = (
            "An image in the archive cannot be read; `agcnn-clinic doctor` says whether the archive is there and whole."
        )
        return [f"{len(studies)} reports cannot be made now, of the studies {studies}: {why}"]

    assert told(s1="away.png", s2="away.png") == telling([1, 2])
    assert told() == []
    assert told(s1="gone.png") == []
    assert told(s1=stored) == []
    assert (clinic.due(quiet_seconds=0), reporting.unmade) == ([2], 1)
    clinic.add_file(1)
    assert told(s1="away.png") == telling([1])
