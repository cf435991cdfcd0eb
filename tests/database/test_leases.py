"""Leases: what one worker has claimed is no other's, until it is done, given back or silent for too long."""

import threading
from datetime import timedelta

import pytest
from sqlalchemy import Update, literal, select, text, update

from agcnn_clinic.database.claims import ALONE, EVERYTHING, Work
from agcnn_clinic.database.leases import Leases
from agcnn_clinic.database.session import open_database
from agcnn_clinic.database.tables import ReceivedFile, Worker

pytestmark = pytest.mark.postgresql_only
LONG = 3600.0


@pytest.fixture
def worker(url):
    """Makes workers, each with connections of its own, as on a machine of its own."""
    opened = []

    def worker() -> Leases:
        database = open_database(url, busy_timeout_seconds=5)
        leases = Leases(database, LONG, renewing=False)
        leases.__enter__()
        opened.append((leases, database))
        return leases

    yield worker
    for leases, database in opened:
        leases.__exit__()
        database.close()


def run_out(leases) -> Update:
    """Lets a worker's lease run out, as if it had been stopped for long."""
    past = text("timezone('utc', now()) - interval '1 hour'")
    return update(Worker).where(Worker.id == leases.worker).values(lease_until=past)


def silence(database, leases) -> None:
    """Let it run out."""
    with database.write() as session:
        session.execute(run_out(leases))


def test_what_one_has_claimed_is_not_the_other_s(worker):
    """Of the same keys each is one worker's; the kinds of work are apart, and claiming again changes nothing."""
    one, other = worker(), worker()
    assert one.take(Work.FILE, [1, 2]) == {1, 2}
    assert other.take(Work.FILE, [1, 2, 3]) == {3}
    assert one.take(Work.FILE, [1, 3]) == {1}
    assert other.take(Work.STUDY, [1]) == {1}
    assert (one.others(Work.FILE), other.others(Work.FILE)) == ({3}, {1, 2})
    assert one.living() == {other.worker}


def test_what_is_done_or_given_back_is_free(worker, database):
    """With the transaction that records it, or without one; another worker's claims stay."""
    one, other = worker(), worker()
    one.take(Work.FILE, [1, 2, 3])
    with database.write() as session:
        one.done(session, Work.FILE, [1])
        other.done(session, Work.FILE, [3])
    one.release(Work.FILE, [2])
    other.release(Work.FILE, [3])
    assert other.take(Work.FILE, [1, 2, 3]) == {1, 2}


def test_a_worker_that_ends_leaves_nothing_claimed(worker):
    """Its lease goes with it."""
    one, other = worker(), worker()
    one.take(Work.UPKEEP, [EVERYTHING])
    one.__exit__()
    assert other.living() == set()
    assert other.take(Work.UPKEEP, [EVERYTHING]) == {EVERYTHING}


def test_a_silent_worker_s_work_is_another_s_and_no_longer_its_own(worker, database, caplog):
    """It finds nothing kept, so that it records nothing; it may claim anew what is free."""
    one, other = worker(), worker()
    one.take(Work.FILE, [1, 2])
    silence(database, one)
    assert other.others(Work.FILE) == set()
    assert other.take(Work.FILE, [1]) == {1}
    assert "silent for too long" in caplog.text
    with database.write() as session:
        assert one.kept(session, Work.FILE, [1, 2]) == set()
        assert other.kept(session, Work.FILE, [1, 2]) == {1}
    assert one.take(Work.FILE, [1, 2]) == {2}
    assert other.living() == {one.worker}


def test_a_lease_that_ran_out_and_that_nobody_took_is_still_kept(worker, database):
    """Nobody else has begun on it."""
    one = worker()
    one.take(Work.FILE, [1])
    silence(database, one)
    with database.write() as session:
        assert one.kept(session, Work.FILE, [1]) == {1}


def test_what_one_has_whose_lease_runs_out_just_now_is_not_another_s_yet(worker, database):
    """Its claim stands still: the other one would have it for its own, and could not record what it did."""
    one, other = worker(), worker()
    one.take(Work.FILE, [1])
    meanwhile = select(literal(1)).add_cte(run_out(one).returning(Worker.id).cte())
    assert other.take(Work.FILE, [1], meanwhile) == set()
    with database.write() as session:
        assert one.kept(session, Work.FILE, [1]) == {1}
    assert other.take(Work.FILE, [1]) == {1}


def test_a_lease_runs_for_its_seconds(worker, database):
    """For longer, the work of a machine that is gone would lie; for less, a sound worker would lose its own."""
    one = worker()
    with database.session() as session:
        row = session.get_one(Worker, one.worker)
        assert row.lease_until - row.began_at == pytest.approx(timedelta(seconds=LONG), abs=timedelta(seconds=1))


def test_a_lease_is_renewed_while_its_worker_lives(database):
    """The moment to which it runs moves on by itself."""

    def until(worker: str):
        with database.session() as session:
            return session.scalar(select(Worker.lease_until).where(Worker.id == worker))

    with Leases(database, 1.0) as one:
        first, pause = until(one.worker), threading.Event()
        for _ in range(200):
            if until(one.worker) != first:
                break
            pause.wait(0.05)
        assert until(one.worker) > first


def test_what_another_worker_has_done_meanwhile_is_not_claimed(worker, database, factories):
    """It was due when it was found, and is not any more."""
    with database.write() as session:
        study = factories.make_study(session, 1)
        decided, pending = factories.make_file(session, study, 1), factories.make_file(session, study, 2)
        pending.outcome = "pending"
        session.flush()
        ids = [decided.id, pending.id]
    still = select(ReceivedFile.id).where(ReceivedFile.id.in_(ids), ReceivedFile.outcome == "pending")
    assert worker().take(Work.FILE, ids, still) == {ids[1]}


def test_a_row_that_somebody_holds_is_not_waited_for(worker, url, database, factories):
    """SKIP LOCKED: an administrator's open transaction holds up one file and no other."""
    with database.write() as session:
        study = factories.make_study(session, 1)
        files = [factories.make_file(session, study, number) for number in (1, 2)]
        session.flush()
        ids = [file.id for file in files]
    import psycopg

    with psycopg.connect(url) as connection:
        connection.execute("SELECT 1 FROM received_file WHERE id = %s FOR UPDATE", [ids[0]])
        assert worker().take(Work.FILE, ids, select(ReceivedFile.id).where(ReceivedFile.id.in_(ids))) == {ids[1]}


def test_many_workers_at_once_share_without_a_piece_twice(worker):
    """Six workers, each after all of sixty pieces in an order of its own, get them all, each piece one of them."""
    workers, got = [worker() for _ in range(6)], []

    def grab(leases, shift):
        mine = set()
        for number in range(60):
            mine |= leases.take(Work.FILE, [(number * 7 + shift) % 60])
        got.append(mine)

    threads = [threading.Thread(target=grab, args=(one, 10 * number)) for number, one in enumerate(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(map(len, got)) == 60
    assert set().union(*got) == set(range(60))


def test_bytes_are_not_removed_while_another_worker_keeps_some(worker):
    """Intakes go side by side; a removal waits for them, and they for it."""
    one, other, third = worker(), worker(), worker()
    removed = threading.Event()

    def remove():
        with third.removing():
            removed.set()

    with one.keeping(), other.keeping():
        thread = threading.Thread(target=remove)
        thread.start()
        assert not removed.wait(0.2)
    assert removed.wait(60)
    thread.join()


def test_a_server_that_ends_silent_transactions_lets_a_worker_keep_bytes(worker, url, server):
    """Files are moved for longer than its limit, and the lock on them is held all the same."""
    name = server.name_of(url)
    server.admin.execute(f"ALTER DATABASE {name} SET idle_in_transaction_session_timeout = '100ms'")
    silent = """
        SELECT 1 FROM pg_stat_activity WHERE datname = %s
            AND state = 'idle in transaction' AND clock_timestamp() - state_change < interval '150 ms'
    """
    with worker().keeping() as still_held:
        while server.admin.execute(silent, [name]).fetchone():
            pass
        still_held()


def test_alone_everything_is_one_s_own():
    """A process that holds the clinic's lock asks nobody."""
    assert ALONE.take(Work.FILE, [1, 2]) == {1, 2} == ALONE.kept(None, Work.FILE, [1, 2])
    assert not ALONE.others(Work.FILE)
    assert not ALONE.living()
