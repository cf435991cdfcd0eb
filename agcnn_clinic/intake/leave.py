"""How files leave the inbox: once they are safe in the archive, and with the folders that this leaves empty."""

import logging
from collections.abc import Sequence
from pathlib import Path

from agcnn_clinic.domain import MediaType
from agcnn_clinic.faults import FaultPoint, reached
from agcnn_clinic.intake.items import Item
from agcnn_clinic.staging import identity_of

log = logging.getLogger(__name__)


def let_go(items: Sequence[Item], inbox: Path) -> None:
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
