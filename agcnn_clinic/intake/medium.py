"""An exchange medium: a folder with a DICOMDIR, as CDs, DVDs and USB sticks hold it (PS3.10 8, PS3.11).

Its images are its DICOM files, found by content. What else lies on it belongs to a viewer: programs, pages, pictures.
What the DICOMDIR lists is believed only as far as it makes one look closer: a listed file that is no DICOM is no
companion but damaged, and a listed file that is not there is told of.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from agcnn_clinic.database.many import in_parts
from agcnn_clinic.database.session import Database
from agcnn_clinic.database.tables import Instance
from agcnn_clinic.dicom.media import MediaDirectory, on_medium
from agcnn_clinic.wording import counted

log = logging.getLogger(__name__)

_NAMED = 100
"""So many missing files are named; the others are counted."""


@dataclass(frozen=True)
class Medium:
    """A medium as it was found."""

    root: str
    """Its folder, as the names of its files begin; empty for a folder that was named itself."""
    listed: frozenset[str]
    """The names that its DICOMDIR lists, as `on_medium` writes them; none where it cannot be read."""
    present: frozenset[str]
    """The names of what lies on it, written so, too."""

    def lists(self, name: str) -> bool:
        """Whether the DICOMDIR lists a file, by its whole name."""
        return below(self.root, name) in self.listed


@dataclass(frozen=True)
class Inventory:
    """What a DICOMDIR lists, compared with what is there."""

    sentence: str
    details: dict[str, Any]


def medium_of(root: str, names: Iterable[str], directory: MediaDirectory | None) -> Medium:
    """The medium in a folder.

    Args:
        root: the folder's name; empty for one whose files' names begin in it.
        names: of all files below it, each with the root.
        directory: what its DICOMDIR says; None where that cannot be read.
    """
    listed = frozenset(file.name for file in directory.files) if directory is not None else frozenset()
    return Medium(root, listed, frozenset(below(root, name) for name in names))


def below(root: str, name: str) -> str:
    """A file's name on its medium, as `on_medium` writes it."""
    return on_medium(name.removeprefix(f"{root}/") if root else name)


def inventory(database: Database, medium: Medium | None, directory: MediaDirectory) -> Inventory:
    """Compare what a DICOMDIR lists with its medium, whose other files have their rows by now.

    A file that is not there any more but whose SOP Instance is known was taken by a run before.

    Args:
        database: the clinic's.
        medium: None for a DICOMDIR that came without the rest.
        directory: what it lists.
    """
    count = len(directory.files)
    lists = f"it lists {counted(count, 'file')}"
    if medium is None:
        return Inventory(f"{lists} and came alone", {"listed": count})
    absent = [file for file in directory.files if file.name not in medium.present]
    known = _known_instances(database, [file.sop_instance_uid for file in absent if file.sop_instance_uid])
    missing = [file.name for file in absent if file.sop_instance_uid not in known]
    if not missing:
        return Inventory(f"{lists}, and all came", {"listed": count})
    log.warning("%d files that a DICOMDIR lists are not on its medium; its row names them", len(missing))
    details = {"listed": count, "missing": len(missing), "missing_files": missing[:_NAMED]}
    return Inventory(f"{lists}, of which {len(missing)} did not come", details)


def _known_instances(database: Database, uids: list[str]) -> set[str]:
    known: set[str] = set()
    with database.session() as session:
        for part in in_parts(uids):
            asked = Instance.sop_instance_uid.in_(part)
            known.update(session.scalars(select(Instance.sop_instance_uid).where(asked)))
    return known
