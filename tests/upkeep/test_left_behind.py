"""What killed workers left half written goes while others go on working."""

import os
import time

import pytest

from agcnn_clinic.database.leases import Leases
from agcnn_clinic.durable import temporary_file
from agcnn_clinic.storage import Storage
from agcnn_clinic.upkeep.loop import LEFT_SECONDS, Upkeep

LONG_AGO = time.time() - 2 * LEFT_SECONDS
NAME = ".agcnn-clinic-abc.part"


def leave(folder, name, when=LONG_AGO):
    """A file as a process leaves it that is killed while it writes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"half")
    os.utime(folder / name, (when, when))
    return folder / name


def test_what_killed_workers_left_goes_and_what_may_be_being_written_stays(ward):
    """Temporary names, and the copies of a worker that is no longer there; nothing else of these folders."""
    left = [leave(folder, NAME) for folder in (ward.config.reports, ward.config.quarantine)]
    left.append(leave(ward.config.archive / ".incoming" / "dead", "copy.part"))
    other = leave(ward.config.reports, "letter.pdf")
    # One whose process has not come to locking it yet, or lies on a share that knows no locks.
    young = leave(ward.config.reports, ".agcnn-clinic-young.part", time.time())
    with temporary_file(ward.config.reports) as (_, locked):
        os.utime(locked, (LONG_AGO, LONG_AGO))
        assert ward.upkeep().step() == []
        assert locked.exists()
    assert other.exists()
    assert young.exists()
    assert not any(path.exists() for path in left)


def test_what_cannot_be_cleared_does_not_keep_retention_from_making_room(ward):
    """A folder under such a name is no file of a worker; it stays, and the film goes."""
    (ward.config.reports / NAME).mkdir()
    _, film, _ = ward.reported_study()
    assert ward.upkeep(archive_days=30).step()
    assert not ward.has(film)


@pytest.mark.postgresql_only
def test_what_a_living_worker_copies_stays(ward):
    """Its own folder is left alone, and that of another one that is at work."""
    with Leases(ward.database, 3600, renewing=False) as mine, Leases(ward.database, 3600, renewing=False) as living:
        workers = (mine.worker, living.worker, "dead")
        copies = [leave(ward.config.archive / ".incoming" / worker, "copy.part") for worker in workers]
        Upkeep(ward.database, Storage(ward.config, mine.worker), ward.config, claims=mine).step()
    assert [path.exists() for path in copies] == [True, True, False]


def test_a_clinic_that_has_taken_nothing_yet_has_nothing_to_clear(ward):
    """`agcnn-clinic retention` looks at a clinic in which no daemon has ever worked."""
    (ward.config.archive / ".incoming").rmdir()
    assert ward.upkeep().step() == []
