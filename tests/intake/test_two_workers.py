"""Two workers at one inbox: a file is taken by one of them, also where the other one fell asleep over it."""

import dataclasses
import zipfile

import pytest
from sqlalchemy import delete, func, select, text, update

from agcnn_clinic.database.claims import Work
from agcnn_clinic.database.leases import Leases
from agcnn_clinic.database.tables import Claim, Worker
from agcnn_clinic.faults import FaultPoint
from agcnn_clinic.intake.inbox import Inbox
from agcnn_clinic.storage import Storage

pytestmark = pytest.mark.postgresql_only


@pytest.fixture
def workers(desk):
    """Two inboxes on the one folder, and the leases of the first."""
    with Leases(desk.database, 3600, renewing=False) as one, Leases(desk.database, 3600, renewing=False) as other:
        inboxes = []
        for leases in (one, other):
            storage = Storage(desk.config, leases.worker)
            storage.prepare(leases.living())
            intake = dataclasses.replace(desk.intake, storage=storage, claims=leases)
            inboxes.append(Inbox(desk.config, intake))
        yield *inboxes, one


def silence(desk, leases) -> None:
    with desk.database.write() as session:
        past = text("timezone('utc', now()) - interval '1 hour'")
        session.execute(update(Worker).where(Worker.id == leases.worker).values(lease_until=past))


@pytest.mark.parametrize("point", [FaultPoint.COPIES_SYNCED, FaultPoint.ARCHIVE_SYNCED, FaultPoint.ARRIVALS_COMMITTED])
def test_what_one_has_in_hand_the_other_leaves_alone(desk, workers, write_film, film, at_point, point):
    """It counts it neither as taken nor as left."""
    one, other, _ = workers
    write_film(desk.config.inbox / "a.dcm", film.astype("float32"))
    seen = []
    at_point(point, lambda: seen.append((other.sweep()[0], other.left_behind)))
    assert one.sweep()[0] == 1
    assert seen == [(0, 0)]
    assert other.sweep()[0] == 0
    assert desk.outcomes() == {"a.dcm": ("pending", "")}
    assert desk.waiting() == []


@pytest.mark.parametrize("point", [FaultPoint.COPIES_SYNCED, FaultPoint.ARRIVALS_COMMITTED])
def test_one_that_fell_asleep_over_a_file_takes_it_no_second_time(desk, workers, write_film, film, at_point, point):
    """The other one has taken it, or has seen that it has its row: there is one row, and the bytes are kept."""
    one, other, leases = workers
    write_film(desk.config.inbox / "a.dcm", film.astype("float32"))

    def sleep() -> None:
        silence(desk, leases)
        other.sweep()

    at_point(point, sleep)
    one.sweep()
    (row,) = desk.rows()
    assert (desk.config.archive / row.stored_path).is_file()
    assert desk.waiting() == []


def test_of_a_batch_only_what_was_lost_is_not_recorded(desk, workers, write_film, film, at_point):
    """One claim of three is gone: that file has no row and stays, and the others of its batch have theirs."""
    one, _, _ = workers
    for number, name in enumerate(("a.dcm", "b.dcm", "c.dcm")):
        write_film(desk.config.inbox / name, film.astype("float32") + number)

    def lose() -> None:
        with desk.database.write() as session:
            lost = select(func.max(Claim.key)).where(Claim.work == Work.ARRIVAL).scalar_subquery()
            session.execute(delete(Claim).where(Claim.key == lost))

    at_point(FaultPoint.ARCHIVE_SYNCED, lose)
    assert one.sweep()[0] == 2
    (left,) = desk.config.inbox.iterdir()
    assert sorted([*desk.outcomes(), left.name]) == ["a.dcm", "b.dcm", "c.dcm"]


def test_the_files_of_a_zip_that_was_lost_are_not_recorded(desk, workers, write_film, film, at_point, tmp_path):
    """Its claim goes while a file of it is copied: only the zip has a row, and the next look takes the file."""
    one, _, _ = workers
    write_film(tmp_path / "a.dcm", film.astype("float32"))
    with zipfile.ZipFile(desk.config.inbox / "mail.zip", "w") as packed:
        packed.write(tmp_path / "a.dcm", "a.dcm")

    def lose() -> None:
        with desk.database.write() as session:
            session.execute(delete(Claim).where(Claim.work == Work.FILE))

    at_point(FaultPoint.ARRIVALS_COMMITTED, lambda: at_point(FaultPoint.COPIES_SYNCED, lose))
    one.sweep()
    assert desk.outcomes() == {"mail.zip": ("pending", "")}
    one.sweep()
    assert desk.outcomes() == {"mail.zip": ("unpacked", "unpacked"), "mail.zip/a.dcm": ("pending", "")}


def test_no_more_than_two_batches_are_in_hand(desk, workers, at_point, monkeypatch):
    """The one that gets its rows and the next, which is copied already; what is done is given back at once."""
    monkeypatch.setattr("agcnn_clinic.intake.inbox.BATCH", 1)
    for number in range(4):
        (desk.config.inbox / f"{number}.txt").write_text(str(number))
    held = []

    def look() -> None:
        with desk.database.session() as session:
            held.append(session.scalar(select(func.count()).where(Claim.work == Work.ARRIVAL)))

    at_point(FaultPoint.ARRIVALS_COMMITTED, look, passage=None)
    assert workers[0].sweep() == (4, None)
    assert held == [2, 2, 2, 1]
