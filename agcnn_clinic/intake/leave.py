"""How files leave the inbox: once they are safe in the archive; and the folders that have stayed empty since."""

import logging
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from agcnn_clinic.domain import MediaType
from agcnn_clinic.faults import FaultPoint, reached
from agcnn_clinic.intake.discover import Found, held_open, is_still
from agcnn_clinic.intake.identify import media_type
from agcnn_clinic.intake.items import Item
from agcnn_clinic.intake.told import Told
from agcnn_clinic.staging import Identity, identity_of

log = logging.getLogger(__name__)


class _Stuck(NamedTuple):
    """A file that could not be removed, as it was then."""

    identity: Identity
    ctime_ns: int
    """It moves whenever the file is written, were its size and time set back."""
    why: str

    def is_still(self, file: Found) -> bool:
        try:
            status = file.path.lstat()
        except OSError:
            return False
        return (identity_of(status), status.st_ctime_ns) == (self.identity, self.ctime_ns)


class Leaving:
    """Removes what is safe from the inbox, and remembers what it could not remove.

    Those files lie there at the next look, too. They need not be copied once more, only to find that they have their
    rows: their removal alone is tried again.

    A study.toml always goes first: found again without its PNGs it would be taken for one that describes nothing.
    """

    def __init__(self) -> None:
        self._stuck: dict[Path, _Stuck] = {}
        self._told = Told()

    def let_go(self, items: Sequence[Item]) -> None:
        """Remove files that are safe in the archive from the inbox."""
        for item in sorted(items, key=lambda item: item.media_type is not MediaType.STUDY_TOML):
            self._remove(item.found.path, item.staged.identity)

    def tried_again(self, files: Sequence[Found]) -> bool:
        """Whether all of these are safe and could not be removed, which was tried again now.

        A group of which one file is new is none of these: what is not new may describe it.
        """
        stuck = [self._stuck.get(file.path) for file in files]
        if not all(one is not None and one.is_still(file) for one, file in zip(stuck, files, strict=True)):
            return False
        for file in sorted(files, key=lambda file: media_type(b"", file.name) is not MediaType.STUDY_TOML):
            self._remove(file.path, self._stuck[file.path].identity)
        return True

    def forget_all_but(self, files: Iterable[Found]) -> None:
        """Forget what has left the inbox in another way."""
        there = {file.path for file in files}
        self._stuck = {path: stuck for path, stuck in self._stuck.items() if path in there}

    def tell(self) -> None:
        """Log how many files cannot be removed."""
        for why, files in self._told.news(Counter(stuck.why for stuck in self._stuck.values())):
            log.warning("%d files are safe in the archive and cannot be removed from the inbox: %s", files, why)

    def _remove(self, path: Path, identity: Identity) -> None:
        self._stuck.pop(path, None)
        status: os.stat_result | None = None
        try:
            # A sender may put a link in the place of the folder between the look and the removal.
            with held_open(path.parent) as folder:
                status = os.stat(path.name, dir_fd=folder, follow_symlinks=False)
                # A sender may have put another file under the name since: that one is taken the next time.
                if identity_of(status) != identity:
                    return
                os.unlink(path.name, dir_fd=folder)
        except FileNotFoundError:
            return
        except OSError as error:
            ctime_ns = 0 if status is None else status.st_ctime_ns
            self._stuck[path] = _Stuck(identity, ctime_ns, error.strerror or str(error))
            return
        reached(FaultPoint.INBOX_FILE_REMOVED)


def remove_empty(folders: Iterable[Found]) -> None:
    """Remove folders that are empty, the innermost first; one that has been filled meanwhile stays."""
    for folder in folders:
        try:
            with held_open(folder.path.parent) as above:
                if not is_still(folder, os.stat(folder.path.name, dir_fd=above, follow_symlinks=False)):
                    continue
                os.rmdir(folder.path.name, dir_fd=above)
        except OSError:
            continue
        reached(FaultPoint.INBOX_FOLDER_REMOVED)
