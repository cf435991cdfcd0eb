"""Files become rows: copy into the archive, read the header, write one transaction, let go of the inbox's copy.

Each step can be done again after a crash: staging leaves nothing behind, the archive is addressed by content, and a
row knows the arrival it was made from.
"""

import contextlib
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from agcnn_clinic.database.claims import ALONE, Claims
from agcnn_clinic.database.many import in_parts
from agcnn_clinic.database.session import Database
from agcnn_clinic.database.tables import ReceivedFile
from agcnn_clinic.dicom.media import MediaDirectory, read_media_directory
from agcnn_clinic.domain import MediaType, Outcome
from agcnn_clinic.durable import side_by_side
from agcnn_clinic.errors import ImageError, StorageError
from agcnn_clinic.faults import FaultPoint, reached
from agcnn_clinic.intake import headers
from agcnn_clinic.intake.claimed import claimed, rests_on, still_claimed
from agcnn_clinic.intake.discover import Found
from agcnn_clinic.intake.hindered import Hindered
from agcnn_clinic.intake.identify import media_type
from agcnn_clinic.intake.items import Container, Group, Item
from agcnn_clinic.intake.leave import Leaving
from agcnn_clinic.intake.pngs import describe_pngs
from agcnn_clinic.intake.register import Registration, register
from agcnn_clinic.sandbox.pool import Sandbox
from agcnn_clinic.staging import Staged
from agcnn_clinic.storage import Storage

log = logging.getLogger(__name__)

SMALL_BYTES = 500_000
"""A group below this is copied sooner than another thread takes over."""
_COPIED_AT_ONCE = 4
"""Large files that are copied side by side: a disk that turns would only go to and fro between more."""


class _Kept(NamedTuple):
    """A group whose bytes are safe, and what is to be registered of it: one goes with the other, or neither does."""

    items: list[Item]
    registrations: list[Registration]


@dataclass(frozen=True)
class Intake:
    """What `accept` works with.

    `sandbox` reads headers. It should not be the one that decodes: a header would wait for all films before it.
    `hindered` and `leaving` are told of what cannot be taken, and what cannot go; who looks through the inbox says so.
    """

    storage: Storage
    database: Database
    sandbox: Sandbox
    max_file_bytes: int
    inbox: Path
    claims: Claims = ALONE
    hindered: Hindered = field(default_factory=Hindered)
    leaving: Leaving = field(default_factory=Leaving)


class Taken(NamedTuple):
    """What `accept` did with a batch."""

    files: int
    """Files that have a row now."""
    left: int
    """Files that could not be taken and stay where they are."""
    held: tuple[Item, ...] = ()
    """Zips that have a row and stay where they are until they are unpacked: see `release`."""


def accept(intake: Intake, batches: Iterable[Sequence[Group]], now: Callable[[], datetime]) -> Iterator[Taken]:
    """Take batches of groups, one after another.

    The next batch is copied before one gets its rows: children read the headers of the one while this process writes
    the rows of the other.

    Args:
        intake: the clinic's storage, database and child processes.
        batches: settled files. A group that cannot be taken whole stays where it is and is found again: the images of
            one folder must not become two studies.
        now: gives the time of arrival.

    Yields:
        What was done with each. What another worker has in hand is neither taken nor left.

    Raises:
        DatabaseError: the database cannot be used; of a batch that is not done by then nothing was taken.
    """
    with contextlib.ExitStack() as end_of_last:
        last: _Begun | None = None
        for groups in batches:
            with contextlib.ExitStack() as end_of_this:
                this = end_of_this.enter_context(_begun(intake, groups))
                if last is not None:
                    yield _finished(intake, last, now())
                    end_of_last.close()
                last = this
                end_of_last.callback(end_of_this.pop_all().close)
        if last is not None:
            yield _finished(intake, last, now())


class _Begun(NamedTuple):
    """A batch whose copies are safe, and whose headers are being read."""

    groups: list[Group]
    items: list[list[Item]]
    """Of those groups that are safe as a whole."""
    asked: list[headers.Asked]


@contextlib.contextmanager
def _begun(intake: Intake, groups: Sequence[Group]) -> Iterator[_Begun]:
    """Copy a batch; at the end, what has no place in the archive by then is gone again."""
    with claimed(intake.claims, intake.inbox, groups) as mine:
        batch: list[list[Item]] = [[] for _ in mine]
        try:
            asked, synced = _copied(intake, mine, batch)
            yield _Begun(mine, synced, asked)
        finally:
            for item in (item for items in batch for item in items):
                with contextlib.suppress(OSError):
                    item.staged.path.unlink(missing_ok=True)


def _finished(intake: Intake, batch: _Begun, now: datetime) -> Taken:
    """Give a batch its place in the archive and its rows, and let go of the inbox's copies."""
    new = set(_without_known_arrivals(intake.database, [item for items in batch.items for item in items]))
    asked = [one for one in batch.asked if not new.isdisjoint(one.items)]
    readable = _without_unread(intake, batch.items, headers.note(intake.database, intake.sandbox, asked))
    with intake.storage.changing, intake.claims.keeping() as still_held:
        kept = _kept_groups(intake, readable, new)
        registered = _registered(intake, kept, now, still_held)
    reached(FaultPoint.ARRIVALS_COMMITTED)
    settled = [item for group in registered for item in group.items]
    held = release(intake, [item for item in settled if item.group.remove])
    return Taken(
        files=sum(len(group.registrations) for group in registered),
        left=sum(len(group.files) for group in batch.groups) - len(settled),
        held=tuple(held),
    )


def release(intake: Intake, items: Sequence[Item]) -> list[Item]:
    """Remove from the inbox what has its rows, and return what has not: zips with files that are still to be taken."""
    arrivals = [arrival for item in items if item.media_type is MediaType.ZIP for arrival in item.arrivals]
    packed = select(ReceivedFile.arrival).where(
        ReceivedFile.arrival.in_(arrivals), ReceivedFile.outcome == Outcome.PENDING
    )
    with intake.database.session() as session:
        pending = set(session.scalars(packed)) if arrivals else set()
    held = [item for item in items if pending.intersection(item.arrivals)]
    intake.leaving.let_go([item for item in items if item not in held])
    return held


def _copied(
    intake: Intake, groups: Sequence[Group], batch: Sequence[list[Item]]
) -> tuple[list[headers.Asked], list[list[Item]]]:
    """Copy groups, and make the copies survive a power cut.

    Args:
        intake: what it takes.
        groups: the groups.
        batch: a list for each, which gets its items.

    Returns:
        What children are reading of their headers, and the items of the groups that are safe as a whole.
    """

    def ask(items: Sequence[Item]) -> list[headers.Asked]:
        # The children read these while the next ones are copied.
        return headers.ask(intake.sandbox, intake.max_file_bytes, items)

    def copy(group: Group, items: list[Item]) -> list[headers.Asked]:
        items += _staged_group(intake, group)
        return ask(items)

    asked: list[headers.Asked] = []
    with ThreadPoolExecutor(_COPIED_AT_ONCE, thread_name_prefix="copy") as threads:
        coming: list[Future[list[headers.Asked]]] = []
        waiting: list[Item] = []
        for group, items in zip(groups, batch, strict=True):
            # A zip is unpacked in its own order; to copy a small file is mostly Python's work, which one thread does.
            if group.container is None and group.size >= SMALL_BYTES:
                coming.append(threads.submit(copy, group, items))
                continue
            items.extend(_staged_group(intake, group))
            waiting += items
            if len(waiting) >= headers.TOGETHER:
                asked += ask(waiting)
                waiting = []
        asked += ask(waiting)
        asked += [one for answers in coming for one in answers.result()]
    are_safe = side_by_side(lambda items: _is_synced(intake, items), batch)
    reached(FaultPoint.COPIES_SYNCED)
    return asked, [items for items, is_safe in zip(batch, are_safe, strict=True) if is_safe]


def _without_unread(
    intake: Intake, batch: Sequence[list[Item]], unread: Mapping[Item, StorageError]
) -> list[list[Item]]:
    """Without the groups of which a copy could not be read."""
    for items in batch:
        if error := next((unread[item] for item in items if item in unread), None):
            intake.hindered.by(error, [item.found for item in items])
    return [items for items in batch if unread.keys().isdisjoint(items)]


def _is_synced(intake: Intake, items: Sequence[Item]) -> bool:
    try:
        for item in items:
            item.staged.sync()
    except StorageError as error:
        intake.hindered.by(error, [item.found for item in items])
        return False
    return True


def _kept_groups(intake: Intake, batch: Sequence[list[Item]], new: Collection[Item]) -> list[_Kept]:
    """Give the new items of each group their place in the archive; without a group that cannot be kept whole."""
    kept = []
    for items in batch:
        to_do = [item for item in items if item in new and item.media_type is not MediaType.STUDY_TOML]
        try:
            kept.append(_Kept(items, [_kept(intake.storage, item) for item in to_do]))
        except StorageError as error:
            intake.hindered.by(error, [item.found for item in items])
    try:
        intake.storage.make_safe(registration.stored_path for group in kept for registration in group.registrations)
    except StorageError as error:
        intake.hindered.by(error, [item.found for group in kept for item in group.items])
        return []
    return kept


def _registered(intake: Intake, kept: Sequence[_Kept], now: datetime, still_held: Callable[[], None]) -> list[_Kept]:
    """Write the rows of all groups in one transaction; without a group that cannot be registered whole."""
    with intake.database.write() as session:
        mine = _still_claimed(intake, session, kept)
        errors = register(session, [group.registrations for group in mine], now, intake.claims.worker)
        reached(FaultPoint.ARRIVALS_WRITTEN)
        # Where the lock was lost, another worker may have removed the bytes. One that gets it from now on waits for
        # this transaction before it says what goes, and sees the rows.
        still_held()
    taken = []
    for group, error in zip(mine, errors, strict=True):
        if error is None:
            taken.append(group)
        else:
            intake.hindered.by(error, [item.found for item in group.items])
    return taken


def _still_claimed(intake: Intake, session: Session, kept: Sequence[_Kept]) -> list[_Kept]:
    """Without what was lost meanwhile: that is another worker's."""
    # One without items could not be staged: nothing of it rests on a claim.
    wanted = [rests_on(group.items[0].group, intake.inbox) if group.items else set() for group in kept]
    mine = still_claimed(intake.claims, session, wanted)
    return [group for group, is_mine in zip(kept, mine, strict=True) if is_mine]


def _staged_group(intake: Intake, group: Group) -> list[Item]:
    items: list[Item] = []
    try:
        for found in group.files:
            staged, error = _staged(intake.storage, found, group.container)
            items.append(Item(found, staged, media_type(staged.head, found.name), group, error=error))
        describe_pngs(items, intake.sandbox)
    except StorageError as error:
        intake.hindered.by(error, group.files)
        for item in items:
            item.staged.path.unlink(missing_ok=True)
        return []
    return items


def read_directory(intake: Intake, file: Found, container: Container | None = None) -> MediaDirectory | None:
    """Read a DICOMDIR, of the disk or in a zip; None where that cannot be done."""
    # A copy: the child would follow a link, and wait for a pipe, that is put in the file's place meanwhile.
    try:
        staged, error = _staged(intake.storage, file, container)
    except StorageError:
        return None
    try:
        return None if error is not None else intake.sandbox.run(read_media_directory, staged.path)
    except (ImageError, StorageError):
        return None
    finally:
        staged.path.unlink(missing_ok=True)


def _staged(storage: Storage, found: Found, container: Container | None) -> tuple[Staged, ImageError | None]:
    if container is not None:
        return container.stage(found)
    return storage.stage(found.path, found.name, seen=found.identity), None


def _without_known_arrivals(database: Database, items: Sequence[Item]) -> list[Item]:
    """Drop what a run before a crash had already made rows of: only its removal from the inbox is left to do."""
    known = known_arrivals(database, [arrival for item in items for arrival in item.arrivals])
    return [item for item in items if not known.intersection(item.arrivals)]


def known_arrivals(database: Database, arrivals: Sequence[str]) -> set[str | None]:
    """Return those of the arrivals that have a row."""
    known: set[str | None] = set()
    with database.session() as session:
        for part in in_parts(arrivals):
            asked = ReceivedFile.arrival.in_(part)
            known.update(session.scalars(select(ReceivedFile.arrival).where(asked)))
    return known


def _kept(storage: Storage, item: Item) -> Registration:
    staged = item.staged
    stored_path = storage.keep(staged, item.media_type)
    return Registration(
        original_name=item.found.name,
        media_type=item.media_type,
        size=staged.size,
        sha256=staged.sha256,
        arrival=next(iter(item.arrivals), None),
        stored_path=stored_path,
        header=item.header,
        error=item.error,
        source=item.registration.get("source", {}),
        details=item.registration.get("details", {}),
        container_id=None if item.group.container is None else item.group.container.file_id,
        quarantine=storage.quarantine,
    )
