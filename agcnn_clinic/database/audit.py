r"""The audit trail: an append-only table in which each row's hash covers the row before it.

    sha256 = SHA-256(previous row's sha256 + "\n" + content)

`content` is the JSON array of the row's other columns in the table's order, without spaces and in ASCII. The columns
hold text and integers only, so that what is hashed is exactly what is stored, on every database. The ids count from
1 without a gap. The first row's previous hash is `BEGINNING`.

A row that is changed, added or taken out between others breaks the chain. Rows cut off the end do not: for that the
newest hash must be kept elsewhere, and `verify` be told to expect it. Whoever may write the file could make the whole
chain anew; a hash kept elsewhere shows that, too.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    ScalarSelect,
    Table,
    func,
    insert,
    inspect,
    select,
)

from agcnn_clinic import __version__
from agcnn_clinic.database.audit_events import EVENTS, AuditEvent, EventOutcome
from agcnn_clinic.database.values import Text, storable
from agcnn_clinic.moments import iso
from agcnn_clinic.users import user_name

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

_UserId = Integer().with_variant(BigInteger(), "postgresql")
"""A user's number has 32 bits and no sign; SQLite's INTEGER takes it, PostgreSQL's does not."""

BEGINNING = "0" * 64
"""What stands for the hash of the row before the first."""

audit_event = Table(
    "audit_event",
    MetaData(),
    Column("id", Integer, nullable=False, autoincrement=False, comment="Its place in the trail, from 1 without a gap."),
    Column("recorded_at", Text, nullable=False, comment="ISO 8601, UTC, to the microsecond."),
    Column("event", Text, nullable=False, comment="What happened: a value of AuditEvent."),
    Column("event_id", Text, nullable=False, comment="Its code in PS3.16 CID 400."),
    Column("event_type", Text, nullable=False, comment="Its code in CID 401 or CID 403; empty where it has none."),
    Column("action", Text, nullable=False, comment="C, R, U, D or E (PS3.15 A.5.2)."),
    Column("outcome", Integer, nullable=False, comment="0, 4, 8 or 12 (PS3.15 A.5.2)."),
    Column("user_name", Text, nullable=False, comment="The operating system's user whose process wrote it."),
    Column("user_id", _UserId, nullable=False, comment="That user's number."),
    Column("login_name", Text, nullable=False, comment="Who logged in, also behind sudo; empty for a service."),
    Column("process_id", Integer, nullable=False, comment="The process that wrote it."),
    Column("host", Text, nullable=False, comment="The machine's name."),
    Column("software_version", Text, nullable=False, comment="agcnn-clinic's version."),
    Column("studies", Text, nullable=False, comment="Keys of the studies that it is about: a JSON array."),
    Column("files", Text, nullable=False, comment="Ids of the received files that it is about: a JSON array."),
    Column("details", Text, nullable=False, comment="A JSON object; `audit_events.EVENTS` says what it holds."),
    Column("sha256", Text, nullable=False, comment="The chain's hash at this row."),
    PrimaryKeyConstraint("id", name="pk_audit_event"),
    Index("ix_audit_event_event_id", "event", "id"),
)
"""One row an event. No patient's name, id or date of birth is ever in it: studies are named by our own keys."""

_ROWS_AT_ONCE = 10_000
_NO_LOGIN = 0xFFFFFFFF
"""What the kernel says of a process that no login led to, such as a service."""

_compact = json.JSONEncoder(separators=(",", ":"), sort_keys=True).encode
_canonical = json.JSONEncoder(separators=(",", ":"), default=repr).encode
"""`default` is for what no event ever held: a blob in the place of a text is still hashed, and found to be wrong."""


@dataclass(frozen=True)
class About:
    """What an event is about.

    Attributes:
        studies: the studies' keys.
        files: the ids of received files.
        details: what else there is to say, as JSON. Never patient data.
        outcome: how it went.
    """

    studies: Sequence[str] = ()
    files: Sequence[int] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    outcome: EventOutcome = EventOutcome.SUCCESS


@dataclass(frozen=True)
class Verified:
    """What `verify` found.

    Attributes:
        count: how many rows were looked at.
        head: the hash of the newest row; `BEGINNING` for an empty trail.
        broken: the sentence that names the first row that is not as it was written; empty where the chain holds.
        met: whether the expected hash is in the chain; None where none was expected.
    """

    count: int
    head: str
    broken: str = ""
    met: bool | None = None


def append(transaction: Session | Connection, event: AuditEvent, *abouts: About, now: datetime) -> None:
    """Add events of a kind at the end of the trail, in the caller's transaction: they are there if that is committed.

    Args:
        transaction: the caller's.
        event: what happened.
        abouts: what to; an event each.
        now: when.
    """
    connection = transaction if isinstance(transaction, Connection) else transaction.connection()
    # Writers take turns (`engine.writing`): nobody adds a row between this and the caller's commit. Should another
    # program do so, the primary key refuses one of the two.
    newest, head = head_of(connection)
    rows = []
    for place, about in enumerate(abouts, start=newest + 1):
        row = _row(place, event, about, now)
        head = _chained(head, list(row.values()))
        rows.append(row | {"sha256": head})
    if rows:
        connection.execute(insert(audit_event), rows)


def _row(place: int, event: AuditEvent, about: About, now: datetime) -> dict[str, str | int]:
    """An event as its row, in the order in which it is hashed."""
    coded = EVENTS[event]
    who = _who()
    return {
        "id": place,
        "recorded_at": iso(now),
        "event": event.value,
        "event_id": coded.event_id.value,
        "event_type": coded.event_type.value,
        "action": coded.action.value,
        "outcome": about.outcome.value,
        "user_name": who.user_name,
        "user_id": who.user_id,
        "login_name": who.login_name,
        "process_id": os.getpid(),
        "host": who.host,
        "software_version": __version__,
        "studies": _compact(list(dict.fromkeys(about.studies))),
        "files": _compact(list(about.files)),
        "details": _compact(about.details),
    }


def has_trail(connection: Connection) -> bool:
    """Whether the database has a trail: one of before revision 0004 has none, nor has an empty one."""
    return inspect(connection).has_table(audit_event.name)


def head_of(connection: Connection) -> tuple[int, str]:
    """The newest row's id and hash; 0 and `BEGINNING` for an empty trail."""
    newest = select(audit_event.c.id, audit_event.c.sha256).order_by(audit_event.c.id.desc()).limit(1)
    found = connection.execute(newest).first()
    return (0, BEGINNING) if found is None else (found.id, found.sha256)


def last_of(
    connection: Connection, event: AuditEvent, before: ScalarSelect[int] | None = None
) -> dict[str, Any] | None:
    """The details of the newest event of this kind, `before` a place in the trail."""
    columns = audit_event.c
    newest = select(columns.details).where(columns.event == event)
    newest = newest if before is None else newest.where(columns.id < before)
    found = connection.execute(newest.order_by(columns.id.desc()).limit(1)).scalar()
    return None if found is None else json.loads(found)


def by_worker(worker: str) -> ColumnElement[bool]:
    """Of events whose details say that this worker did it (`claims.Claims.worker`).

    Host and process id do not say so: two containers may have one name, and be the first process in each.
    """
    return audit_event.c.details.contains(_compact({"worker": worker})[1:-1], autoescape=True)


def verify(connection: Connection, *, expect: str | None = None, last: int | None = None) -> Verified:
    """Follow the chain from its beginning, and stop at the first row that breaks it.

    Args:
        connection: to read from.
        expect: a hash that an earlier `verify` gave; whether it is still in the chain is told.
        last: only the newest so many rows, of which the first is taken as it stands.
    """
    newest, _ = head_of(connection)
    after = 0 if last is None else max(newest - last, 0)
    previous = (
        BEGINNING
        if not after
        else connection.execute(select(audit_event.c.sha256).where(audit_event.c.id == after)).scalar()
    )
    wanted, met = (None, None) if expect is None else (expect.lower(), False)
    lowest = connection.execute(select(func.min(audit_event.c.id))).scalar()
    if lowest is not None and lowest < 1:  # the first row is 1: one before it was put there, or was the last one
        return Verified(0, str(previous), f"Row {lowest} of the audit trail is not as it was written.", met)
    rows = connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(
        select(audit_event).where(audit_event.c.id > after).order_by(audit_event.c.id)
    )
    count = 0
    for *content, stored in rows:
        place = after + count + 1
        if content[0] != place:
            return Verified(count, str(previous), f"Row {place} of the audit trail is missing.", met)
        if _chained(str(previous), content) != stored:
            return Verified(count, str(previous), f"Row {place} of the audit trail is not as it was written.", met)
        previous, count = stored, count + 1
        met = met or stored == wanted if wanted is not None else None
    return Verified(count, str(previous), met=met)


@dataclass(frozen=True)
class EventFilter:
    """Which events to list; what is None does not limit them."""

    since: datetime | None = None
    """At this moment or later."""
    until: datetime | None = None
    """Before this moment."""
    event: AuditEvent | None = None
    study: str | None = None
    """A study's key, whole."""
    user: str | None = None
    """The name of the user whose process it was, or of who had logged in."""


def events(connection: Connection, wanted: EventFilter, *, limit: int | None = None) -> Iterator[dict[str, Any]]:
    """Rows of the trail, the newest first, as they are asked for."""
    query = select(audit_event).where(*_of_event(wanted)).order_by(audit_event.c.id.desc()).limit(limit)
    for row in connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(query):
        yield row._asdict()


def count_events(connection: Connection, wanted: EventFilter) -> int:
    """How many rows `events` gives without a limit."""
    return connection.execute(select(func.count()).select_from(audit_event).where(*_of_event(wanted))).scalar_one()


def _of_event(wanted: EventFilter) -> list[ColumnElement[bool]]:
    columns = audit_event.c
    conditions: list[ColumnElement[bool]] = []
    if wanted.since is not None:
        conditions.append(columns.recorded_at >= iso(wanted.since))
    if wanted.until is not None:
        conditions.append(columns.recorded_at < iso(wanted.until))
    if wanted.event is not None:
        conditions.append(columns.event == wanted.event.value)
    if wanted.study is not None:
        conditions.append(columns.studies.contains(_compact(wanted.study), autoescape=True))
    if wanted.user is not None:
        conditions.append((columns.user_name == wanted.user) | (columns.login_name == wanted.user))
    return conditions


def _chained(previous: str, content: Sequence[Any]) -> str:
    return sha256(f"{previous}\n{_canonical(content)}".encode()).hexdigest()


@dataclass(frozen=True)
class _Who:
    user_name: str
    user_id: int
    login_name: str
    host: str


@cache
def _who() -> _Who:
    user = os.getuid()
    # What is hashed must be what is stored: a name may be bytes that are no text.
    return _Who(storable(user_name(user)), user, storable(_login_name()), storable(socket.gethostname()))


def _login_name() -> str:
    """Who logged in, as the kernel knows it: `sudo` and `su` do not change it, and no user can."""
    with suppress(OSError, ValueError):
        login = int(Path("/proc/self/loginuid").read_text(encoding="ascii"))
        if login != _NO_LOGIN:
            return user_name(login)
    return ""
