"""What intake learns from a file: what can be said at sight, and what child processes read from its header."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from agcnn_clinic.database.session import Database
from agcnn_clinic.dicom.attributes import read_dicom_header
from agcnn_clinic.dicom.media import MediaDirectory, is_media_directory, read_media_directory
from agcnn_clinic.dicom.uid import derived_uid
from agcnn_clinic.domain import Header, MediaType, ReasonCode, StudyDescription
from agcnn_clinic.errors import ImageError
from agcnn_clinic.intake.identify import refused_at_sight
from agcnn_clinic.intake.items import Item
from agcnn_clinic.intake.medium import inventory
from agcnn_clinic.png import read_png_header
from agcnn_clinic.sandbox.pool import Sandbox

_NO_FILMS_OF_A_MEDIUM = (MediaType.UNKNOWN, MediaType.PNG, MediaType.ZIP)
"""A PNG on a CD is a picture of its viewer or a copy for the web, a zip one of its programs; unless a study.toml
describes the PNG, or the DICOMDIR lists the file."""


class Asked(NamedTuple):
    """A file whose header a child process is reading."""

    item: Item
    answer: Future[Header] | Future[MediaDirectory]


def ask(sandbox: Sandbox, max_file_bytes: int, items: Sequence[Item]) -> list[Asked]:
    """Let child processes read the headers of files, without waiting for them; a file's failure is its own.

    What can be said of a file at sight is said, and its header is left alone.
    """
    asked = []
    for item in items:
        if item.error is None:
            item.error = _known_at_sight(item, max_file_bytes)
        if item.error is not None or item.media_type in (MediaType.STUDY_TOML, MediaType.ZIP):
            continue
        path = item.staged.path
        answer: Future[Header] | Future[MediaDirectory]
        if is_media_directory(item.staged.head):
            answer = sandbox.submit(read_media_directory, path)
        elif item.media_type is MediaType.DICOM:
            answer = sandbox.submit(read_dicom_header, path)
        else:
            answer = sandbox.submit(_png_header, path, item.staged.sha256, item.registration)
        asked.append(Asked(item, answer))
    return asked


def note(database: Database, asked: Sequence[Asked]) -> None:
    """Wait for the answers and note in each item what its file says of itself, or why it cannot be read."""
    for item, answer in asked:
        try:
            found = answer.result()
            if isinstance(found, Header):
                item.header = found
            else:
                _compare(database, item, found)
        except ImageError as error:
            item.error = error


def _compare(database: Database, item: Item, directory: MediaDirectory) -> None:
    """Decide a DICOMDIR: it is refused, and its row says whether all came that it lists."""
    found = inventory(database, item.group.medium, directory)
    item.error = ImageError(ReasonCode.MEDIA_DIRECTORY, found.sentence)
    item.registration["details"] = found.details


def _known_at_sight(item: Item, max_file_bytes: int) -> ImageError | None:
    """Why a file is not opened at all; None where it is."""
    medium, kind = item.group.medium, item.media_type
    described = bool(item.registration.get("source"))
    if medium is not None and kind in _NO_FILMS_OF_A_MEDIUM and not described and not medium.lists(item.found.name):
        return ImageError(ReasonCode.MEDIA_COMPANION)
    return refused_at_sight(kind, item.staged.size, max_file_bytes)


def _png_header(path: Path, sha256: str, registration: dict[str, Any]) -> Header:
    """Describe a PNG, which brings no UIDs: its image is its content, of the study that a study.toml says it is of."""
    study: StudyDescription = registration["study"]
    instance = read_png_header(path, sha256, series_instance_uid=_derived("series", study))
    if registration["source"]:
        # Dropped again with the patient corrected, it must not be found under the other one.
        instance = replace(instance, sop_instance_uid=_derived("instance", study, sha256))
    return Header(study, replace(instance, view_position=registration["view_position"]))


def _derived(level: str, study: StudyDescription, *content: str) -> str:
    text = "\n".join([level, study.study_instance_uid, *content])
    return derived_uid(hashlib.sha256(text.encode()).hexdigest())
