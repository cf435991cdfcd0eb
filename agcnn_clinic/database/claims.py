"""Who does what: a piece of due work is claimed before it is begun, so that each is done once.

There are two kinds. `WholeClinic`: one process has the clinic's lock and all of its work (SQLite). `leases.Leases`:
several workers share a clinic through a PostgreSQL server, and each piece of work is one worker's for as long as its
lease runs. The loops know only `Claims`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from sqlalchemy import Select
    from sqlalchemy.orm import Session


class Work(StrEnum):
    """What can be claimed, and what the key of a claim is then."""

    ARRIVAL = "arrival"
    """A file of the inbox; a number made from its name there."""
    FILE = "file"
    """A pending file; its row's id."""
    STUDY = "study"
    """A study whose report is due; its row's id."""
    SENDING = "sending"
    """A report that waits to be sent; its row's id."""
    UPKEEP = "upkeep"
    """What retention lets go, all of it; `EVERYTHING`."""


EVERYTHING = 0
"""The key of work that is claimed as a whole."""


class Claims(Protocol):
    """One worker's claims on the work of a clinic.

    A claim can be lost: a worker that was silent for too long (stopped, cut off from the server) finds its work with
    another. So what records work asks for `kept` in the transaction that records it, and records nothing else.
    """

    @property
    def worker(self) -> str:
        """What tells this worker from the others that share its folders; empty where there can be none."""

    def living(self) -> Collection[str]:
        """The other workers that are at work now."""

    def others(self, work: Work) -> Collection[int]:
        """What other workers have claimed."""

    def take(self, work: Work, keys: Iterable[int], still_due: Select[int] | None = None) -> set[int]:
        """Claim work; what is claimed already is kept.

        Args:
            work: of which kind.
            keys: what was found to be due.
            still_due: gives those of the keys that still are: another worker may have done one since it was found.

        Returns:
            What is this worker's now.

        Raises:
            DatabaseError: the database cannot be used.
        """

    def kept(self, session: Session, work: Work, keys: Iterable[int]) -> set[int]:
        """Those that are still this worker's; in a writing transaction they stay so until its end."""

    def done(self, session: Session, work: Work, keys: Iterable[int]) -> None:
        """Give claims back with the transaction that records the work."""

    def release(self, work: Work, keys: Iterable[int]) -> None:
        """Give claims back on what is not done; a database that fails is no error, since leases run out."""

    def keeping(self) -> contextlib.AbstractContextManager[Callable[[], None]]:
        """Held from when bytes get their place in the archive until their row says so. Not while `removing` is.

        Gives what is asked in the transaction of their row: it raises a DatabaseError where this is not held any more.
        """

    def removing(self) -> contextlib.AbstractContextManager[Callable[[], None]]:
        """Held, by one worker at a time, from when rows say that bytes are gone until they are.

        Gives what is asked right before they go: it raises a DatabaseError where this is not held any more.
        """


class WholeClinic:
    """Everything is this process's: it holds the clinic's lock, or nobody else can know of the clinic."""

    worker = ""

    def living(self) -> Collection[str]:
        """There are none."""
        return ()

    def others(self, work: Work) -> Collection[int]:
        """Nobody else has anything."""
        del work
        return ()

    def take(self, work: Work, keys: Iterable[int], still_due: Select[int] | None = None) -> set[int]:
        """All of it; nobody else can have done it meanwhile."""
        del work, still_due
        return set(keys)

    def kept(self, session: Session, work: Work, keys: Iterable[int]) -> set[int]:
        """All of it."""
        del session, work
        return set(keys)

    def done(self, session: Session, work: Work, keys: Iterable[int]) -> None:
        """Nothing is written down."""

    def release(self, work: Work, keys: Iterable[int]) -> None:
        """Nothing is written down."""

    def keeping(self) -> contextlib.AbstractContextManager[Callable[[], None]]:
        """The loops of one process have a lock of their own (`Storage.changing`), which cannot be lost."""
        return contextlib.nullcontext(lambda: None)

    def removing(self) -> contextlib.AbstractContextManager[Callable[[], None]]:
        """As `keeping`."""
        return contextlib.nullcontext(lambda: None)


ALONE = WholeClinic()
"""What the loops work with unless they are told of others."""
