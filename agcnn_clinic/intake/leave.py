"""How files leave the inbox: once they are safe in the archive; and the folders that have stayed empty since."""

import logging
from collections.abc import Iterable, Sequence

from agcnn_clinic.domain import MediaType
from agcnn_clinic.faults import FaultPoint, reached
from agcnn_clinic.intake.discover import Found
from agcnn_clinic.intake.items import Item
from agcnn_clinic.staging import identity_of

log = logging.getLogger(__name__)


def let_go(items: Sequence[Item]) -> None:
    """Remove files that are safe in the archive from the inbox."""
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
    if failed:
        log.warning("%d files are safe in the archive and cannot be removed from the inbox: %s", len(failed), failed[0])


def remove_empty(folders: Iterable[Found]) -> None:
    """Remove folders that are empty, the innermost first; one that has been filled meanwhile stays."""
    for folder in folders:
        try:
            folder.path.rmdir()
        except OSError:
            continue
        reached(FaultPoint.INBOX_FOLDER_REMOVED)
