"""Two workers that send the reports of one clinic: each goes once, whatever becomes of either."""

import itertools

import pytest
from sqlalchemy import text, update

from agcnn_clinic.database.claims import Work
from agcnn_clinic.database.leases import Leases
from agcnn_clinic.database.tables import Worker
from agcnn_clinic.faults import FaultPoint
from agcnn_clinic.sending.loop import REST_SECONDS, TOGETHER, Sending

pytestmark = pytest.mark.postgresql_only

EVENTS = "SELECT studies FROM audit_event WHERE event = 'sent'"


@pytest.fixture
def workers(clinic):
    """Two sendings, and the leases of the first."""
    with Leases(clinic.database, 3600, renewing=False) as one, Leases(clinic.database, 3600, renewing=False) as other:
        made = [
            Sending(clinic.database, clinic.config, claims=leases, elapsed=lambda: clinic.elapsed)
            for leases in (one, other)
        ]
        yield *made, one


def expire(clinic, leases: Leases) -> None:
    """Let a worker's lease run out."""
    with clinic.database.write() as session:
        past = text("timezone('utc', now()) - interval '1 hour'")
        session.execute(update(Worker).where(Worker.id == leases.worker).values(lease_until=past))


def test_what_one_has_in_hand_the_other_leaves_alone(clinic, archive, workers, at_point):
    """It sends what is left, and does not count among what waits what the first has."""
    one, other, _ = workers
    first = clinic.report_id(dicom=False)
    for version in range(2, TOGETHER + 2):
        clinic.later_version(first, version, to_send=True)
    seen = []
    at_point(FaultPoint.REPORT_SENT, lambda: seen.append((other.step(), other.waiting())))
    assert one.step() == TOGETHER
    assert seen[0] == (2, 0)
    assert one.waiting() == 0
    assert len({dataset.SOPInstanceUID for dataset in archive.stored}) == len(archive.heard) == TOGETHER + 3


def test_what_another_claims_at_that_moment_is_left_to_it(clinic, archive, workers):
    """Between the look at what waits and the claim on it."""
    one, _, leases = workers
    assert one.step() == 2
    later = clinic.later_version(clinic.report_id(dicom=False), 2, to_send=True)
    looks = itertools.count()

    def elapsed() -> float:
        if next(looks) == 1:  # after the look at what others have
            leases.take(Work.SENDING, [later])
        return 0.0

    with Leases(clinic.database, 3600, renewing=False) as third:
        assert Sending(clinic.database, clinic.config, claims=third, elapsed=elapsed).step() == 0
    assert next(looks) > 1
    assert archive.heard == ["DOC", "SR", "DOC"]


def test_what_was_in_hand_of_one_that_is_gone_the_other_sends(clinic, archive, workers):
    """Once its lease has run out."""
    _, other, leases = workers
    leases.take(Work.SENDING, [clinic.report_id(dicom=dicom) for dicom in (True, False)])
    assert other.step() == 0
    assert archive.heard == []
    expire(clinic, leases)
    assert other.step() == 2


def test_one_that_sleeps_after_the_archive_has_it_records_nothing(clinic, archive, workers, at_point, select):
    """The other has sent it meanwhile, the same object: the trail says once that it was sent."""
    one, other, leases = workers

    def sleep() -> None:
        expire(clinic, leases)
        other.step()

    at_point(FaultPoint.REPORT_SENT, sleep)
    one.step()
    first, again = archive.of("SR")
    assert first == again
    assert len(select(clinic.config.database_url, EVENTS)) == 2


def test_what_one_could_not_send_the_other_may_try_and_send(clinic, archive, workers):
    """The first forgets it then."""
    one, other, _ = workers
    archive.answers = [0xC000, 0xC000]
    assert one.step() == 2
    assert clinic.rows() == [(True, False), (True, False)]
    assert other.step() == 2
    clinic.elapsed += REST_SECONDS
    assert one.step() == 0
    assert archive.heard == ["DOC", "DOC", "DOC", "SR", "DOC"]
