"""What goes through intake: groups of files, and each file on its way."""

from dataclasses import dataclass, field
from typing import Any, Protocol

from agcnn_clinic.domain import Header, MediaType
from agcnn_clinic.errors import ImageError
from agcnn_clinic.intake.discover import Found
from agcnn_clinic.intake.medium import Medium
from agcnn_clinic.staging import Staged


@dataclass(frozen=True)
class Group:
    """Files that are taken together: one file, or the PNGs of a folder with their study.toml."""

    files: tuple[Found, ...]
    remove: bool
    """Whether the sources leave their place once they are safe: true in the inbox, false for `process PATH`."""
    medium: Medium | None = None
    """The exchange medium that they are on."""
    container: "Container | None" = None
    """The zip that they are in; None for files of the disk."""
    folder_names: tuple[str, ...] = ()
    """The names of all files of their folder, where they are several: a study.toml may speak of others, too."""

    @property
    def size(self) -> int:
        """Bytes of all of them."""
        return sum(file.size for file in self.files)


class Container(Protocol):
    """A zip whose files are being taken."""

    @property
    def file_id(self) -> int:
        """The id of its row."""

    def stage(self, member: Found) -> tuple[Staged, ImageError | None]:
        """Copy a file out of it to the archive's disk; as it is packed, with the reason, where it cannot be unpacked.

        Raises:
            StorageError: the disk is full, or the zip cannot be read from the archive.
        """


@dataclass(eq=False)
class Item:
    """One file on its way through `accept`."""

    found: Found
    staged: Staged
    media_type: MediaType
    group: Group
    header: Header | None = None
    error: ImageError | None = None
    registration: dict[str, Any] = field(default_factory=dict)

    @property
    def arrivals(self) -> tuple[str, ...]:
        """The arrivals that a row of this file may have; none for a file that may be named again and again."""
        if self.group.container is not None:
            return (self.staged.arrival,)
        return (self.staged.arrival, self.staged.arrival_as_link) if self.group.remove else ()
