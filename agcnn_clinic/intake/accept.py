"""Files become rows: copy into the archive, read the header, write one transaction, let go of the inbox's copy.

Each step can be done again after a crash: staging leaves nothing behind, the archive is addressed by content, and a
row knows the arrival it was made from.
"""

import contextlib
import hashlib
import logging
from collections.abc import Sequence
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
from agcnn_clinic.intake.discover import Found
from agcnn_clinic.intake.identify import media_type
from agcnn_clinic.intake.register import Registration, register
from agcnn_clinic.intake.study_toml import StudyToml, read_study_toml
from agcnn_clinic.png import read_png_header
from agcnn_clinic.sandbox import Sandbox
from agcnn_clinic.storage import Staged, Storage

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Group:
    """Files that are taken together: one file, or the PNGs of a folder with their study.toml."""

    files: tuple[Found, ...]
    remove: bool
    """Whether the sources leave their place once they are safe: true in the inbox, false for `process PATH`."""


@dataclass
class _Item:
    """One file on its way through `accept`."""

    found: Found
    staged: Staged
    media_type: MediaType
    remove: bool
    header: Header | None = None
    error: ImageError | None = None
    registration: dict[str, Any] = field(default_factory=dict)


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
    """Files that could not be copied and stay where they are."""


def accept(intake: Intake, groups: Sequence[Group], now: datetime) -> Taken:
    """Take a batch of groups.

    Args:
        intake: the clinic's storage, database and child processes.
        groups: settled files. A file that cannot be copied now stays where it is and is found again.
        now: the time of arrival.
    """
    items = [item for group in groups for item in _staged_group(intake, group)]
    new = _without_known_arrivals(intake.database, items)
    _read_headers(intake, new)
    registrations = [_kept(intake.storage, item) for item in new if item.media_type is not MediaType.STUDY_TOML]
    with intake.database.write() as session:
        for registration in registrations:
            register(session, registration, now)
    for item in items:
        item.staged.path.unlink(missing_ok=True)
        if item.remove:
            _let_go(item.found, intake.inbox)
    return Taken(len(registrations), sum(len(group.files) for group in groups) - len(items))


def _staged_group(intake: Intake, group: Group) -> list[_Item]:
    items: list[_Item] = []
    try:
        for found in group.files:
            staged = intake.storage.stage(found.path, found.name)
            items.append(_Item(found, staged, media_type(staged.head, found.name), group.remove))
    except StorageError as error:
        log.warning("left in the inbox for now: %s", error)
        for item in items:
            item.staged.path.unlink(missing_ok=True)
        return []
    _describe_pngs(items, intake.sandbox)
    return items


def _describe_pngs(items: list[_Item], sandbox: Sandbox) -> None:
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
            study_toml = sandbox.run(read_study_toml, item.staged.path)
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
    arrivals = [item.staged.arrival for item in items if item.remove]
    with database.session() as session:
        known = set(session.scalars(select(ReceivedFile.arrival).where(ReceivedFile.arrival.in_(arrivals))))
    return [item for item in items if not (item.remove and item.staged.arrival in known)]


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


def _let_go(found: Found, inbox: Path) -> None:
    """Remove a file that is safe in the archive, and the folders that this leaves empty."""
    with contextlib.suppress(OSError):
        found.path.unlink()
    for folder in found.path.parents:
        if folder == inbox or inbox not in folder.parents:
            return
        try:
            folder.rmdir()
        except OSError:
            return
