"""Files become rows: copy into the archive, read the header, write one transaction, let go of the inbox's copy.

Each step can be done again after a crash: staging leaves nothing behind, the archive is addressed by content, and a
row knows the arrival it was made from.
"""

import contextlib
import hashlib
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import select

from agcnn_clinic.database.session import Database
from agcnn_clinic.database.tables import ReceivedFile
from agcnn_clinic.dicom.attributes import read_dicom_header
from agcnn_clinic.dicom.uid import derived_uid
from agcnn_clinic.domain import Header, MediaType, ReasonCode, StudyDescription
from agcnn_clinic.errors import ImageError, StorageError
from agcnn_clinic.faults import FaultPoint, reached
from agcnn_clinic.intake.discover import Found
from agcnn_clinic.intake.identify import media_type
from agcnn_clinic.intake.register import Registration, register
from agcnn_clinic.intake.study_toml import StudyToml, read_study_toml
from agcnn_clinic.png import read_png_header
from agcnn_clinic.sandbox import Sandbox
from agcnn_clinic.storage import Staged, Storage, identity_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Group:
    """Files that are taken together: one file, or the PNGs of a folder with their study.toml."""

    files: tuple[Found, ...]
    remove: bool
    """Whether the sources leave their place once they are safe: true in the inbox, false for `process PATH`."""


@dataclass(eq=False)
class _Item:
    """One file on its way through `accept`."""

    found: Found
    staged: Staged
    media_type: MediaType
    remove: bool
    header: Header | None = None
    error: ImageError | None = None
    registration: dict[str, Any] = field(default_factory=dict)


class _Kept(NamedTuple):
    """A group whose bytes are safe, and what is to be registered of it: one goes with the other, or neither does."""

    items: list[_Item]
    registrations: list[Registration]


@dataclass(frozen=True)
class Intake:
    """What `accept` works with."""

    storage: Storage
    database: Database
    sandbox: Sandbox
    max_file_bytes: int
    inbox: Path


class Taken(NamedTuple):
    """What `accept` did with a batch."""

    files: int
    """Files that have a row now."""
    left: int
    """Files that could not be taken and stay where they are."""


def accept(intake: Intake, groups: Sequence[Group], now: datetime) -> Taken:
    """Take a batch of groups.

    Args:
        intake: the clinic's storage, database and child processes.
        groups: settled files. A group that cannot be taken whole stays where it is and is found again: the images of
            one folder must not become two studies.
        now: the time of arrival.

    Raises:
        DatabaseError: the database cannot be used; nothing was taken.
    """
    batch: list[list[_Item]] = []
    try:
        batch.extend(_staged_group(intake, group) for group in groups)
        new = _without_known_arrivals(intake.database, [item for items in batch for item in items])
        _read_headers(intake, new)
        kept = _kept_groups(intake.storage, batch, set(new))
        registered = _registered(intake.database, kept, now)
    finally:
        for item in (item for items in batch for item in items):
            with contextlib.suppress(OSError):
                item.staged.path.unlink(missing_ok=True)
    reached(FaultPoint.ARRIVALS_COMMITTED)
    _let_go([item for group in registered for item in group.items if item.remove], intake.inbox)
    settled = sum(len(group.items) for group in registered)
    return Taken(
        sum(len(group.registrations) for group in registered), sum(len(group.files) for group in groups) - settled
    )


def _kept_groups(storage: Storage, batch: Sequence[list[_Item]], new: Collection[_Item]) -> list[_Kept]:
    """Give the new items of each group their place in the archive; without a group that cannot be kept whole."""
    kept = []
    for items in batch:
        to_do = [item for item in items if item in new and item.media_type is not MediaType.STUDY_TOML]
        try:
            kept.append(_Kept(items, [_kept(storage, item) for item in to_do]))
        except StorageError as error:
            log.warning("left in the inbox for now: %s", error)
    return kept


def _registered(database: Database, kept: Sequence[_Kept], now: datetime) -> list[_Kept]:
    """Write the rows of all groups in one transaction; without a group that cannot be registered whole."""
    registered = []
    with database.write() as session:
        for group in kept:
            try:
                with session.begin_nested():
                    for registration in group.registrations:
                        register(session, registration, now)
            except StorageError as error:
                log.warning("left in the inbox for now: %s", error)
            else:
                registered.append(group)
        reached(FaultPoint.ARRIVALS_WRITTEN)
    return registered


def _staged_group(intake: Intake, group: Group) -> list[_Item]:
    items: list[_Item] = []
    try:
        for found in group.files:
            staged = intake.storage.stage(found.path, found.name, seen=(found.size, found.mtime_ns))
            items.append(_Item(found, staged, media_type(staged.head, found.name), group.remove))
    except StorageError as error:
        log.warning("left in the inbox for now: %s", error)
        for item in items:
            item.staged.path.unlink(missing_ok=True)
        return []
    _describe_pngs(items)
    return items


def _describe_pngs(items: list[_Item]) -> None:
    """Give the PNGs of a group their study: from study.toml, else derived from their content."""
    pngs = [item for item in items if item.media_type is MediaType.PNG]
    tomls = [item for item in items if item.media_type is MediaType.STUDY_TOML]
    if not pngs:
        for item in tomls:
            # Without its PNGs it describes nothing; it is kept for a person to look at.
            item.media_type = MediaType.UNKNOWN
            item.error = ImageError(ReasonCode.STUDY_TOML, "no PNG lies beside it")
        return
    study_toml = StudyToml()
    for item in tomls:
        try:
            study_toml = read_study_toml(item.staged.path)
        except ImageError as error:
            item.media_type, item.error = MediaType.UNKNOWN, error
            for png in pngs:
                png.error = error
            return
    content = study_toml.identity or "\n".join(sorted(item.staged.sha256 for item in pngs))
    study = study_toml.describe(derived_uid(hashlib.sha256(f"study\n{content}".encode()).hexdigest()))
    source = {"study_toml": tomls[0].staged.sha256} if tomls else {}
    for item in pngs:
        item.registration = {
            "study": study,
            "view_position": study_toml.views.get(item.found.path.name, ""),
            "source": source,
        }


def _without_known_arrivals(database: Database, items: Sequence[_Item]) -> list[_Item]:
    """Drop what a run before a crash had already made rows of: only its removal from the inbox is left to do."""
    arrivals = [arrival for item in items if item.remove for arrival in _arrivals(item)]
    with database.session() as session:
        known = set(session.scalars(select(ReceivedFile.arrival).where(ReceivedFile.arrival.in_(arrivals))))
    return [item for item in items if not (item.remove and known.intersection(_arrivals(item)))]


def _arrivals(item: _Item) -> tuple[str, str]:
    return item.staged.arrival, item.staged.arrival_as_link


def _read_headers(intake: Intake, items: Sequence[_Item]) -> None:
    """Read all headers side by side in the child processes; a file's failure is its own."""
    waiting = []
    for item in items:
        if item.error is not None or item.media_type is MediaType.STUDY_TOML:
            continue
        if item.staged.size == 0:
            item.error = ImageError(ReasonCode.EMPTY_FILE)
        elif item.staged.size > intake.max_file_bytes:
            item.error = ImageError(ReasonCode.FILE_TOO_LARGE)
        elif item.media_type is MediaType.UNKNOWN:
            item.error = ImageError(ReasonCode.UNRECOGNISED)
        elif item.media_type is MediaType.DICOM:
            waiting.append((item, intake.sandbox.submit(read_dicom_header, item.staged.path)))
        else:
            waiting.append(
                (item, intake.sandbox.submit(_png_header, item.staged.path, item.staged.sha256, item.registration))
            )
    for item, future in waiting:
        try:
            item.header = future.result()
        except ImageError as error:
            item.error = error


def _png_header(path: Path, sha256: str, registration: dict[str, Any]) -> Header:
    study: StudyDescription = registration["study"]
    instance = read_png_header(
        path,
        sha256,
        series_instance_uid=derived_uid(hashlib.sha256(f"series\n{study.study_instance_uid}".encode()).hexdigest()),
    )
    return Header(study, replace(instance, view_position=registration["view_position"]))


def _kept(storage: Storage, item: _Item) -> Registration:
    staged = item.staged
    stored_path = storage.keep(staged, item.media_type)
    return Registration(
        original_name=item.found.name,
        media_type=item.media_type,
        size=staged.size,
        sha256=staged.sha256,
        arrival=staged.arrival if item.remove else None,
        stored_path=stored_path,
        header=item.header,
        error=item.error,
        source=item.registration.get("source", {}),
        quarantine=storage.quarantine,
    )


def _let_go(items: Sequence[_Item], inbox: Path) -> None:
    """Remove files that are safe in the archive from the inbox, and the folders that this leaves empty."""
    failed: list[str] = []
    # A study.toml goes first: found again without its PNGs it would be taken for one that describes nothing.
    for item in sorted(items, key=lambda item: item.media_type is not MediaType.STUDY_TOML):
        try:
            # A sender may have put another file under the name since: that one is taken the next time.
            if identity_of(item.found.path.lstat()) != item.staged.identity:
                continue
            item.found.path.unlink()
        except FileNotFoundError:
            continue
        except OSError as error:
            failed.append(error.strerror or str(error))
            continue
        reached(FaultPoint.INBOX_FILE_REMOVED)
        _remove_empty_folders(item.found.path, inbox)
    if failed:
        log.warning("%d files are safe in the archive and cannot be removed from the inbox: %s", len(failed), failed[0])


def _remove_empty_folders(path: Path, inbox: Path) -> None:
    """Remove the folders that a file's removal has left empty, up to the inbox itself, from the innermost."""
    folder = path.parent
    while folder != inbox and folder.is_relative_to(inbox):
        try:
            folder.rmdir()
        except OSError:
            return
        reached(FaultPoint.INBOX_FOLDER_REMOVED)
        folder = folder.parent
