"""Several workers, retention and intake: one whose lock is lost removes and keeps nothing, and rows are waited for."""

import threading
from contextlib import contextmanager
from datetime import timedelta

import pytest

from agcnn_clinic.database.failures import DatabaseUnavailableError
from agcnn_clinic.database.leases import Leases
from agcnn_clinic.database.tables import ReceivedFile
from agcnn_clinic.domain import ReasonCode
from agcnn_clinic.faults import FaultPoint
from agcnn_clinic.storage import Storage
from agcnn_clinic.upkeep.plan import plan
from agcnn_clinic.upkeep.remove import Remover

pytestmark = pytest.mark.postgresql_only

OLD = {"quarantine_days": 30}


def end_connections(ward, server):
    """End every connection to the clinic's database, as a restart of the server does."""
    name = server.name_of(ward.config.database_url)
    server.admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])


@pytest.mark.parametrize("finishing", [False, True])
def test_a_worker_whose_lock_is_lost_removes_nothing(ward, server, finishing):
    """The server was restarted since the rows said so, and another worker has kept the same bytes again."""
    film = ward.file(None, ReasonCode.UNRECOGNISED)

    class CutOff(Leases):
        @contextmanager
        def removing(self):
            with super().removing() as still_held:

                def cut_off():
                    end_connections(ward, server)
                    assert ward.row(film).removed_at == ward.now
                    with ward.database.write() as session:
                        session.get_one(ReceivedFile, film).removed_at = None
                    still_held()

                yield cut_off

    settings = ward.config.retention.model_copy(update=OLD)
    config = ward.config.model_copy(update={"retention": settings})
    with ward.database.session() as session:
        planned = plan(session, config, ward.now, lambda _: ward.disk)
    if finishing:
        with ward.database.write() as session:
            session.get_one(ReceivedFile, film).removed_at = ward.now
    with CutOff(ward.database, 3600, renewing=False) as claims:
        remover = Remover(ward.database, ward.storage, config, claims)
        go = remover.finish if finishing else lambda: remover.remove(planned, ward.now, lambda: False)
        with pytest.raises(DatabaseUnavailableError):
            go()
    assert ward.has(film)


def test_a_worker_whose_lock_is_lost_keeps_nothing(ward, server, take, at_point):
    """The server was restarted since the bytes had their place, and another worker removed them: no row says kept."""
    path = ward.config.inbox / "notes.txt"
    path.write_bytes(b"not an image")
    take(path, ward.now - timedelta(days=100))
    path.write_bytes(b"not an image")

    def cut_off():
        end_connections(ward, server)
        with Leases(ward.database, 3600, renewing=False) as other:
            removals = ward.upkeep(**OLD).planned()
            remover = Remover(ward.database, Storage(ward.config), ward.config, other)
            assert remover.remove(removals, ward.now, lambda: False)

    at_point(FaultPoint.ARCHIVE_SYNCED, cut_off)
    with Leases(ward.database, 3600, renewing=False) as claims, pytest.raises(DatabaseUnavailableError):
        take(path, ward.now, claims)
    assert path.exists()
    assert not ward.has(1)
    take(path, ward.now)
    assert not path.exists()
    assert ward.has(1)


def test_what_is_finished_waits_for_rows_that_are_being_written(ward):
    """A row of the same bytes that is not committed yet is waited for: they are kept again, and stay."""
    film = ward.file(None, ReasonCode.UNRECOGNISED)
    with ward.database.write() as session:
        session.get_one(ReceivedFile, film).removed_at = ward.now
    finishing = threading.Thread(target=ward.upkeep()._remover.finish)
    with ward.database.write() as session:
        session.get_one(ReceivedFile, film).removed_at = None
        session.flush()
        finishing.start()
        # Long enough for one that does not wait to have removed the bytes.
        finishing.join(1)
    finishing.join(60)
    assert ward.has(film)
