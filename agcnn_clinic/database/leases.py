"""Claims of several workers, each on a machine of its own perhaps, that share a clinic through a PostgreSQL server.

A worker has one lease, which it renews while it lives, and a row for each piece of work that it has in hand. All
moments are the server's: the machines' clocks may differ. A worker whose lease ran out is removed by the next one that
claims something, and its claims with it: from then on its work is anybody's, and it can record nothing of it any more.

Every change here is a writing transaction, and those take turns (`postgresql`). So a claim that is seen in a writing
transaction holds until its end, and two workers cannot claim the same at once.
"""

import contextlib
import logging
import os
import socket
import threading
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import timedelta
from typing import Self

from sqlalchemy import Select, delete, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from agcnn_clinic.database.claims import Work
from agcnn_clinic.database.failures import translated
from agcnn_clinic.database.session import Database
from agcnn_clinic.database.tables import Claim, Worker
from agcnn_clinic.database.values import storable
from agcnn_clinic.errors import DatabaseError

BYTES = int.from_bytes(b"agcbytes")
"""The advisory lock that keeps one worker's intake and another's removal of the same bytes apart."""

_RENEWALS = 4
"""So many times in the length of a lease it is renewed: a few may fail."""
# Not the beginning of the transaction, which may have waited for its turn since.
_NOW = func.timezone("utc", func.clock_timestamp())

log = logging.getLogger(__name__)


class Leases:
    """One worker's claims; see `claims.Claims`. The lease is renewed by a thread for the length of a `with` block."""

    def __init__(self, database: Database, seconds: float, *, renewing: bool = True) -> None:
        """Set it up.

        Args:
            database: the clinic's, on a PostgreSQL server.
            seconds: how long a lease runs.
            renewing: False for a worker that goes silent at once, as tests need one.
        """
        self._database = database
        self._seconds = seconds
        self._renewing = renewing
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew_until_ended, name="lease", daemon=True)
        self.worker = uuid.uuid4().hex

    def __enter__(self) -> Self:
        """Begin to be a worker."""
        with self._database.write() as session:
            self._stay(session)
        if self._renewing:
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Give back all that is claimed, and be no worker any more."""
        self._ended.set()
        if self._renewing:
            self._thread.join()
        with contextlib.suppress(DatabaseError), self._database.write() as session:
            session.execute(delete(Worker).where(Worker.id == self.worker))

    def living(self) -> Collection[str]:
        """See `claims.Claims`."""
        with self._database.session() as session:
            return set(session.scalars(select(Worker.id).where(Worker.id != self.worker, Worker.lease_until > _NOW)))

    def others(self, work: Work) -> Collection[int]:
        """See `claims.Claims`."""
        with self._database.session() as session:
            theirs = select(Claim.key).join(Worker).where(Claim.work == work, Claim.worker_id != self.worker)
            return set(session.scalars(theirs.where(Worker.lease_until > _NOW)))

    def take(self, work: Work, keys: Iterable[int], still_due: Select[int] | None = None) -> set[int]:
        """See `claims.Claims`."""
        wanted = set(keys)
        if not wanted:
            return wanted
        with self._database.write() as session:
            self._stay(session)
            if still_due is not None:
                # A row that somebody holds by hand is left for another time, and is not waited for.
                wanted &= set(session.scalars(still_due.with_for_update(skip_locked=True)))
            theirs = select(Claim.key).where(Claim.work == work, Claim.worker_id != self.worker)
            wanted -= set(session.scalars(theirs.where(Claim.key.in_(wanted))))
            if wanted:
                rows = [{"work": work, "key": key, "worker_id": self.worker} for key in sorted(wanted)]
                session.execute(insert(Claim).on_conflict_do_nothing(), rows)
        return wanted

    def kept(self, session: Session, work: Work, keys: Iterable[int]) -> set[int]:
        """See `claims.Claims`."""
        statement = select(Claim.key).where(Claim.work == work, Claim.worker_id == self.worker)
        return set(session.scalars(statement.where(Claim.key.in_(set(keys)))))

    def done(self, session: Session, work: Work, keys: Iterable[int]) -> None:
        """See `claims.Claims`."""
        mine = delete(Claim).where(Claim.work == work, Claim.worker_id == self.worker)
        session.execute(mine.where(Claim.key.in_(set(keys))))

    def release(self, work: Work, keys: Iterable[int]) -> None:
        """See `claims.Claims`."""
        if given := set(keys):
            with contextlib.suppress(DatabaseError), self._database.write() as session:
                self.done(session, work, given)

    def keeping(self) -> contextlib.AbstractContextManager[Callable[[], None]]:
        """See `claims.Claims`."""
        return self._locked("pg_advisory_xact_lock_shared")

    def removing(self) -> contextlib.AbstractContextManager[Callable[[], None]]:
        """See `claims.Claims`."""
        return self._locked("pg_advisory_xact_lock")

    @contextlib.contextmanager
    def _locked(self, function: str) -> Iterator[Callable[[], None]]:
        with self._database.connection() as connection:
            # Files are moved or removed meanwhile, and the server may have a limit for transactions that say nothing.
            connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            connection.execute(text(f"SELECT {function}({BYTES})"))

            def still() -> None:
                # The lock is the session's, which ends with it.
                with translated():
                    connection.execute(text("SELECT 1"))

            yield still

    def _stay(self, session: Session) -> None:
        """Renew the lease, be a worker again where another one has removed this one, and remove those that are gone."""
        until = _NOW + timedelta(seconds=self._seconds)
        me = {"id": self.worker, "host": storable(socket.gethostname()), "process_id": os.getpid()}
        mine = insert(Worker).values(**me, began_at=_NOW, lease_until=until)
        session.execute(mine.on_conflict_do_update(index_elements=[Worker.id], set_={"lease_until": until}))
        silent = delete(Worker).where(Worker.lease_until <= _NOW, Worker.id != self.worker)
        for host, process_id in session.execute(silent.returning(Worker.host, Worker.process_id)):
            log.warning("process %s on %s was silent for too long; its work is taken over", process_id, host)

    def _renew_until_ended(self) -> None:
        while not self._ended.wait(self._seconds / _RENEWALS):
            # The loops say that the database is away; here nothing is lost but the lease.
            with contextlib.suppress(DatabaseError), self._database.write() as session:
                self._stay(session)
