"""Two workers at one database: a study's report is made by one of them."""

import contextlib
import hashlib

import pytest
from sqlalchemy import text, update

from agcnn_clinic.database.failures import DatabaseUnavailableError
from agcnn_clinic.database.leases import Leases
from agcnn_clinic.database.tables import Report, Worker
from agcnn_clinic.faults import FaultPoint
from agcnn_clinic.reporting.loop import TOGETHER, Reporting

pytestmark = pytest.mark.postgresql_only


@pytest.fixture
def workers(clinic):
    """Two reportings, and the leases of the first."""
    with Leases(clinic.database, 3600, renewing=False) as one, Leases(clinic.database, 3600, renewing=False) as other:
        made = [
            Reporting(clinic.database, clinic.config, clinic.press, clinic.clock, claims=leases)
            for leases in (one, other)
        ]
        yield *made, one


def studies(clinic, count: int) -> None:
    for _ in range(count):
        clinic.add_file(clinic.add_study())


def expire(clinic, leases: Leases) -> None:
    """Let a worker's lease run out."""
    with clinic.database.write() as session:
        past = text("timezone('utc', now()) - interval '1 hour'")
        session.execute(update(Worker).where(Worker.id == leases.worker).values(lease_until=past))


def reports(clinic) -> list[int]:
    with clinic.database.session() as session:
        return sorted(report.study_id for report in session.query(Report))


def test_what_one_renders_the_other_leaves_alone(clinic, workers, at_point):
    """The second makes those that the first has not in hand yet."""
    one, other, _ = workers
    studies(clinic, TOGETHER + 2)
    seen = []
    at_point(FaultPoint.REPORT_RENDERED, lambda: seen.append(other.step(quiet_seconds=0)))
    assert one.step(quiet_seconds=0) == TOGETHER
    assert seen == [2]
    assert reports(clinic) == list(range(1, TOGETHER + 3))


def test_a_study_that_one_has_reported_is_anybodys_when_a_late_image_comes(clinic, workers):
    """The first need not be the one that makes version 2, though it is still at work."""
    one, other, _ = workers
    studies(clinic, 1)
    assert one.step(quiet_seconds=0) == 1
    clinic.add_file(1)
    assert other.step(quiet_seconds=0) == 1
    assert reports(clinic) == [1, 1]


@pytest.mark.parametrize("point", [FaultPoint.REPORT_WRITTEN, FaultPoint.REPORT_ROW_WRITTEN])
@pytest.mark.parametrize("count", [1, 3])
def test_one_that_sleeps_before_it_delivers_leaves_what_the_other_has_made(
    clinic, workers, at_point, server, point, count
):
    """Longer than the server waits for it, even in the middle of its transaction: the PDF is the one of the row."""
    one, other, leases = workers
    studies(clinic, count)

    def sleep() -> None:
        name = server.name_of(clinic.database.url)
        server.admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        expire(clinic, leases)
        clinic.clock.forward(seconds=60)
        assert other.step(quiet_seconds=0) == count

    at_point(point, sleep)
    with contextlib.suppress(DatabaseUnavailableError):
        assert one.step(quiet_seconds=0) == 0
    pdfs = {hashlib.sha256(pdf.read_bytes()).hexdigest() for pdf in clinic.config.reports.iterdir()}
    with clinic.database.session() as session:
        assert {report.sha256 for report in session.query(Report)} == pdfs
    assert reports(clinic) == list(range(1, count + 1))


@pytest.mark.parametrize("count", [1, 3])
def test_a_report_that_another_one_has_made_meanwhile_is_forgotten(clinic, workers, at_point, count):
    """The first fell asleep with the PDF in memory: there is one version, and the loop goes on."""
    one, other, leases = workers
    studies(clinic, count)

    def sleep() -> None:
        expire(clinic, leases)
        assert other.step(quiet_seconds=0) == count

    at_point(FaultPoint.REPORT_RENDERED, sleep)
    assert one.step(quiet_seconds=0) == 0
    assert reports(clinic) == list(range(1, count + 1))
