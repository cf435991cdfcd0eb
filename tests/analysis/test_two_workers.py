"""Two workers at one database: a film is read by one of them, and what was lost is not recorded."""

import pytest
from sqlalchemy import text, update

from agcnn_clinic.analysis.loop import Analysis
from agcnn_clinic.database.leases import Leases
from agcnn_clinic.database.tables import Inference, Worker
from agcnn_clinic.faults import FaultPoint

pytestmark = pytest.mark.postgresql_only


@pytest.fixture
def workers(room, reader, sandbox):
    """Two analyses of two films a batch, and the leases of the first."""
    with Leases(room.database, 3600, renewing=False) as one, Leases(room.database, 3600, renewing=False) as other:
        made = [
            Analysis(room.database, room.storage, sandbox, reader, room.config.gate, 2, claims=leases)
            for leases in (one, other)
        ]
        yield *made, one
        for analysis in made:
            analysis.close()


def test_one_reads_what_the_other_has_not_claimed(room, workers, send, at_point):
    """Eight films: the first has two in hand and four ahead when the second comes, which gets the rest."""
    one, other, _ = workers
    send(*range(8))
    seen = []
    at_point(FaultPoint.BATCH_READ, lambda: seen.append((other.step(), other.step())))
    assert [one.step() for _ in range(4)] == [2, 2, 2, 0]
    assert seen == [(2, 0)]
    assert len(room.all(Inference)) == 8
    assert {(file.outcome, file.attempts) for file in room.files().values()} == {("analysed", 1)}


def test_films_that_another_one_has_taken_over_are_not_recorded_again(room, workers, send, at_point, caplog):
    """The first fell asleep with a batch in memory and one ahead; the second reads all; the first reads what is new."""
    one, other, leases = workers
    send(*range(3))

    def sleep() -> None:
        with room.database.write() as session:
            past = text("timezone('utc', now()) - interval '1 hour'")
            session.execute(update(Worker).where(Worker.id == leases.worker).values(lease_until=past))
        while other.step():
            pass

    at_point(FaultPoint.BATCH_READ, sleep)
    one.step()
    assert "2 films were taken over by another worker" in caplog.text
    assert one.step() == 0
    send(7)
    assert one.step() == 1
    files = [inference.file_id for inference in room.all(Inference)]
    assert len(files) == len(set(files)) == 4
