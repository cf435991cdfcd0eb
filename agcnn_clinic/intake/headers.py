"""What intake learns from a file: what can be said at sight, and what child processes read from its header."""

from collections.abc import Sequence
from concurrent.futures import Future
from typing import NamedTuple

from agcnn_clinic.database.session import Database
from agcnn_clinic.dicom.media import MediaDirectory, is_media_directory, read_media_directory
from agcnn_clinic.domain import Header, MediaType, ReasonCode
from agcnn_clinic.errors import ImageError, StorageError
from agcnn_clinic.intake.identify import refused_at_sight
from agcnn_clinic.intake.items import Item
from agcnn_clinic.intake.medium import inventory
from agcnn_clinic.intake.reading import dicom_headers, png_header
from agcnn_clinic.sandbox.pool import Sandbox

_NO_FILMS_OF_A_MEDIUM = (MediaType.UNKNOWN, MediaType.PNG, MediaType.ZIP)
"""A PNG on a CD is a picture of its viewer or a copy for the web, a zip one of its programs; unless a study.toml
describes the PNG, or the DICOMDIR lists the file."""

_Answer = Future[list[Header]] | Future[Header] | Future[MediaDirectory]

TOGETHER = 16
"""Headers that a child reads at one call: to read one of a small file takes hardly longer than to ask for it."""


class Asked(NamedTuple):
    """Files whose headers a child process is reading, at one call."""

    items: tuple[Item, ...]
    answer: _Answer


def ask(sandbox: Sandbox, max_file_bytes: int, items: Sequence[Item]) -> list[Asked]:
    """Let child processes read the headers of files, without waiting for them; a file's failure is its own.

    What can be said of a file at sight is said, and its header is left alone.
    """
    asked = []
    dicom = []
    for item in items:
        if item.error is None:
            item.error = _known_at_sight(item, max_file_bytes)
        if item.error is not None or item.media_type in (MediaType.STUDY_TOML, MediaType.ZIP):
            continue
        path = item.staged.path
        if is_media_directory(item.staged.head):
            asked.append(Asked((item,), sandbox.submit(read_media_directory, path)))
        elif item.media_type is MediaType.DICOM:
            dicom.append(item)
        else:
            asked.append(Asked((item,), sandbox.submit(png_header, path, item.staged.sha256, item.registration)))
    return asked + [_ask_together(sandbox, dicom[start : start + TOGETHER]) for start in range(0, len(dicom), TOGETHER)]


def note(database: Database, sandbox: Sandbox, asked: Sequence[Asked]) -> dict[Item, StorageError]:
    """Wait for the answers and note in each item what its file says of itself, or why it cannot be read.

    Returns:
        Those whose copy could not be read from the disk, which says nothing of the files, and why: they alone wait.
    """
    again: list[Asked] = []
    unread: dict[Item, StorageError] = {}
    for items, answer in asked:
        try:
            found = answer.result()
        except (ImageError, StorageError) as error:
            if len(items) > 1:  # neither says which of them it was
                again += [_ask_together(sandbox, [item]) for item in items]
            elif isinstance(error, ImageError):
                items[0].error = error
            else:
                # Not the child's sentence: it names the copy, another one at each look, and would be news each time.
                unread[items[0]] = StorageError(_COPY_UNREAD)
            continue
        if isinstance(found, MediaDirectory):
            _compare(database, items[0], found)
            continue
        for item, header in zip(items, [found] if isinstance(found, Header) else found, strict=True):
            item.header = header
    return unread | note(database, sandbox, again) if again else unread


_COPY_UNREAD = "A copy in the archive cannot be read; nothing is lost, it is tried again."


def _ask_together(sandbox: Sandbox, items: Sequence[Item]) -> Asked:
    return Asked(tuple(items), sandbox.submit_all(dicom_headers, [item.staged.path for item in items]))


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
