"""A zip in the archive whose files are being taken: inflated by a child process, in parts that fit into memory."""

import hashlib
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from agcnn_clinic.domain import ReasonCode
from agcnn_clinic.errors import ImageError
from agcnn_clinic.intake.accept import Intake
from agcnn_clinic.intake.discover import Found
from agcnn_clinic.intake.zip_file import Member, Unpacked, unpack, unpack_part
from agcnn_clinic.staging import Identity, Staged

PART_BYTES = 128_000_000
"""What a child inflates at a time; it is in memory whole, there and here."""
PART_MEMBERS = 1000
_BLOCK = 1 << 20


@dataclass(frozen=True)
class InZip(Found):
    """A file in a zip. Its path is the zip's own; only its place in the directory tells which one it is."""

    member: Member

    @property
    def within(self) -> Hashable:
        """The folder in the zip."""
        return self.folder


@dataclass
class OpenZip:
    """A zip in the archive whose files are being taken, in the order in which they are wanted."""

    intake: Intake
    file_id: int
    path: Path
    wanted: list[Member] = field(default_factory=list)
    _ahead: dict[int, Unpacked] = field(default_factory=dict, init=False, repr=False)
    """Inflated already, by place in the directory."""

    def arrival(self, member: Member) -> str:
        """What tells this file from any other."""
        return hashlib.sha256(repr(("in zip", self.file_id, member.index, member.name)).encode()).hexdigest()

    def stage(self, found: Found) -> tuple[Staged, ImageError | None]:
        """See `accept.Container`."""
        member = as_member(found).member
        arrival = self.arrival(member)
        try:
            return self.intake.storage.stage_content(self._content(member), arrival), None
        except ImageError as error:
            packed = _range(self.path, member.packed_from, member.packed_size)
            return self.intake.storage.stage_content(packed, arrival), error

    def _content(self, member: Member) -> Iterator[bytes]:
        """A member's content in blocks.

        Raises:
            ImageError: it cannot be unpacked.
        """
        if member.problem:
            raise ImageError(member.problem, member.detail)
        if member.size > PART_BYTES:
            yield from self._in_parts(member)
            return
        if member.index not in self._ahead:
            self._look_ahead(member)
        found = self._ahead.pop(member.index, None)
        if found is None or (not found.problem and len(found.content) != member.size):
            raise ImageError(ReasonCode.ZIP_DAMAGED, "what comes out is not what the zip says of it")
        yield _believed(found)

    def _in_parts(self, member: Member) -> Iterator[bytes]:
        """A large member's content, inflated one part after the other."""
        for start in range(0, member.size, PART_BYTES):
            yield _believed(self.intake.sandbox.run(unpack_part, self.path, member.index, start, PART_BYTES))

    def _look_ahead(self, member: Member) -> None:
        """Inflate a member, and those that are wanted after it as far as they fit into a part."""
        part = self._part(member)
        try:
            unpacked = self.intake.sandbox.run(unpack, self.path, part)
        except ImageError:
            if len(part) == 1:
                raise
            # One of them ended the child; alone, this one is blamed for its own doing only.
            unpacked = self.intake.sandbox.run(unpack, self.path, part[:1])
        self._ahead = {one.index: one for one in unpacked}

    def _part(self, member: Member) -> list[int]:
        first = next((at for at, one in enumerate(self.wanted) if one.index == member.index), None)
        following = [member] if first is None else self.wanted[first : first + PART_MEMBERS]
        part: list[int] = []
        size = 0
        for one in following:
            size += one.size
            if part and (size > PART_BYTES or one.problem):
                break
            part.append(one.index)
        return part


def _believed(found: Unpacked) -> bytes:
    if found.problem:
        raise ImageError(found.problem, found.detail)
    return found.content


def _range(path: Path, start: int, size: int) -> Iterator[bytes]:
    """Bytes of a file from a place on: a member as it is packed."""
    with path.open("rb") as file:
        file.seek(start)
        while size and (block := file.read(min(size, _BLOCK))):
            size -= len(block)
            yield block


def in_zip(path: Path, container: str, member: Member) -> InZip:
    """A member as a file to be taken; the zip is a folder of its own name."""
    name = f"{container}/{member.name}"
    return InZip(path, name, name.rpartition("/")[0], Identity(0, 0, member.size, 0), member)


def as_member(file: Found) -> InZip:
    """A file that is known to be a zip's.

    Raises:
        TypeError: it is not.
    """
    if not isinstance(file, InZip):
        raise TypeError("A zip holds its own files only.")
    return file
