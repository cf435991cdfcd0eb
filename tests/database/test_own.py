"""What one worker has done, told from what the others do at the same time."""

from datetime import UTC, datetime, timedelta

import pytest

from agcnn_clinic.database import trail
from agcnn_clinic.database.own import OwnWork
from agcnn_clinic.database.summary import Summary, beginning, summary_of, summary_since
from agcnn_clinic.database.tables import ReceivedFile, Study
from agcnn_clinic.domain import ReasonCode

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
ME, OTHER = "1" * 32, "2" * 32
"""Two workers, of one host name and one process id, as two containers may have them."""


@pytest.fixture
def register(database, factories):
    """Registers a file of a study as a worker, and tells the trail."""

    def register(number: int, reason: ReasonCode | None, worker: str = ME) -> int:
        with database.write() as session:
            study = factories.make_study(session, number)
            file = factories.make_file(session, study, number, reason)
            factories.make_report(session, study).created_at = NOW
            session.flush()
            trail.imported(session, [trail.Told(file.id, study.key, file.outcome)], NOW, worker=worker)
            return file.id

    return register


def test_own_work_is_told_from_that_of_others(database, register):
    """A run before, and another worker at the same time, are left out; what one analyses of theirs is one's own."""
    register(1, ReasonCode.READ, OTHER)
    own = OwnWork(database, ME)
    assert (own.files(), own.studies()) == ([], [])
    mine, theirs = register(2, None), register(3, None, OTHER)
    broken = register(4, ReasonCode.UNRECOGNISED, OTHER)
    assert (own.files(), own.pending(), own.studies()) == ([mine], {mine}, [2])
    with database.write() as session:
        file = session.get_one(ReceivedFile, theirs)
        file.outcome, file.reason_code = "refused", ReasonCode.WRONG_VIEW
        trail.analysed(session, [file], model_id=1, now=NOW, worker=ME)
    assert (own.files(), own.pending(), own.studies()) == ([mine, theirs], {mine}, [2])
    assert own.reported() == []
    with database.write() as session:
        trail.reported(session, [trail.Delivered(session.get_one(Study, 3).key, 2, "0")], now=NOW, worker=ME)
        trail.reported(session, [trail.Delivered(session.get_one(Study, 4).key, 2, "0")], now=NOW, worker=OTHER)
    assert (own.studies(), own.reported()) == ([2], [3])
    assert broken not in own.files()


def test_a_summary_is_of_what_it_is_asked_about(database, register):
    """Another worker's quarantined file and its report are not in it; its pending one only where nobody else is."""
    with database.session() as session:
        begun = beginning(session, NOW)
    mine, waiting = register(1, ReasonCode.READ), register(2, None)
    register(3, ReasonCode.UNRECOGNISED, OTHER)
    register(4, None, OTHER)
    for all_pending, pending in ((False, 1), (True, 2)):
        with database.session() as session:
            key = session.get_one(Study, 1).key
            summary = summary_of(session, begun, [mine, waiting], [1], all_pending=all_pending)
        assert (summary.files, summary.pending) == (((ReasonCode.READ, 1),), pending)
        assert summary.reports == ((key, f"reports/{key}-v1.pdf"),)


def test_what_a_clock_that_was_ahead_has_dated_is_not_counted_again(database, register):
    """It was a year ahead and was set right: of what was decided and reported then no later run speaks."""
    register(1, ReasonCode.UNRECOGNISED)
    with database.session() as session:
        begun = beginning(session, NOW - timedelta(days=365))
        assert summary_since(session, begun) == Summary((), (), 0)
    register(2, ReasonCode.UNRECOGNISED)
    register(3, None)
    with database.session() as session:
        summary = summary_since(session, begun)
        keys = [session.get_one(Study, study_id).key for study_id in (2, 3)]
    assert (summary.files, summary.pending) == (((ReasonCode.UNRECOGNISED, 1),), 1)
    assert [key for key, _ in summary.reports] == keys
