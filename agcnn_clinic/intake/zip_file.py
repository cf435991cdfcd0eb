"""What a child process does with a .zip: says what is in it, and inflates a part of it. It writes nothing.

A zip is judged by its central directory before anything is inflated, and held to it: a file that yields more or less
than it declares, or another checksum, is damaged. So the declared sizes are limits that hold, not claims to believe.
"""

import stat
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from agcnn_clinic.dicom.media import HEAD_BYTES, is_media_directory
from agcnn_clinic.domain import MediaType, ReasonCode
from agcnn_clinic.errors import ImageError, StorageError
from agcnn_clinic.intake.discover import is_ignored
from agcnn_clinic.intake.identify import media_type

PAGE = 1000
"""So many members are told of at a time: an answer of a child has a limit."""
LONGEST_NAME = 400
"""Characters of a member's name that are kept; a zip allows 65,535 bytes."""

_BLOCK = 1 << 20
_LOCAL_HEADER = 30
"""The fixed part of the header before each member's bytes (APPNOTE 4.3.7)."""
_ENCRYPTED = 0x1 | 0x40 | 0x2000
"""General purpose bits 0, 6 and 13: encrypted, strongly encrypted, a hidden directory (APPNOTE 4.4.4)."""
_UNIX = 3
_DOCUMENTS = frozenset({"[Content_Types].xml", "META-INF/MANIFEST.MF", "mimetype", "AndroidManifest.xml"})
"""What lies at the top of Office documents, of Java programs, of OpenDocument and EPUB, of Android programs. The
pictures in them are no films."""
_PROBLEMS = ("", ReasonCode.ZIP_DAMAGED, ReasonCode.ZIP_ENCRYPTED, ReasonCode.ZIP_METHOD, ReasonCode.FILE_TOO_LARGE)


@dataclass(frozen=True)
class ZipLimits:
    """What one zip may hold; see [zip] in config.toml."""

    files: int
    total_bytes: int
    file_bytes: int
    ratio: float
    ignore: tuple[str, ...]


@dataclass(frozen=True)
class Member:
    """A file in a zip, as the central directory and its first bytes show it."""

    index: int
    """Its place in the central directory; names may come twice."""
    name: str
    """For a person, with `/` between folders; cut to `LONGEST_NAME`. Never a path."""
    size: int
    """Declared, and enforced while it is inflated."""
    packed_from: int
    packed_size: int
    """Where its packed bytes lie in the zip."""
    media_type: MediaType
    media_directory: bool
    problem: str = ""
    """A ReasonCode: why it cannot be unpacked; empty where it seems that it can."""
    detail: str = ""

    def __post_init__(self) -> None:
        """Refuse what is of no zip: it may come from a process that a file took over."""
        if self.problem not in _PROBLEMS or min(self.index, self.size, self.packed_from, self.packed_size) < 0:
            raise ValueError("No file of a zip is like that.")


@dataclass(frozen=True)
class Page:
    """A part of a zip's members, in its order."""

    members: tuple[Member, ...]
    entries: int
    """How many entries the central directory has in all."""
    passed_over: int
    """Entries of this page that are links, devices or of an ignored name. Folders do not count."""


@dataclass(frozen=True)
class Unpacked:
    """What a member holds, or why that cannot be had."""

    index: int
    content: bytes
    problem: str = ""
    detail: str = ""

    def __post_init__(self) -> None:
        """Refuse what is no reason; as `Member`."""
        if self.problem not in _PROBLEMS:
            raise ValueError("That is no reason why a file cannot be unpacked.")


class _MemberError(Exception):
    """A member that cannot be unpacked; the arguments are a ReasonCode and a detail."""


def examine(path: Path, first: int, limits: ZipLimits) -> Page:
    """Check a zip as a whole, and look at a page of its entries from `first` on.

    Raises:
        ImageError: ZIP_DAMAGED, ZIP_LIMIT, or ZIP_WITHOUT_IMAGES for a document or a program.
        StorageError: the file cannot be read.
    """
    with _opened(path) as archive:
        entries = archive.infolist()
        _check(entries, path.stat().st_size, limits)
        page = enumerate(entries[first : first + PAGE], start=first)
        files = [(index, info) for index, info in page if not _is_folder(info)]
        wanted = [(index, info) for index, info in files if _is_wanted(info, limits.ignore)]
        members = tuple(_member(archive, info, index, limits) for index, info in wanted)
        return Page(members, len(entries), len(files) - len(wanted))


def unpack(path: Path, indexes: Sequence[int]) -> list[Unpacked]:
    """Inflate members whole.

    Raises:
        ImageError: ZIP_DAMAGED, the zip itself.
        StorageError: the file cannot be read.
    """
    unpacked = []
    with _opened(path) as archive:
        entries = archive.infolist()
        for index in indexes:
            try:
                unpacked.append(Unpacked(index, b"".join(_inflated(archive, entries[index]))))
            except _MemberError as error:
                unpacked.append(Unpacked(index, b"", *error.args))
    return unpacked


def unpack_part(path: Path, index: int, start: int, length: int) -> Unpacked:
    """Inflate a part of one large member; the part that reaches its end is checked with all that was before it.

    Raises:
        ImageError: ZIP_DAMAGED, the zip itself.
        StorageError: the file cannot be read.
    """
    kept: list[bytes] = []
    done = 0
    with _opened(path) as archive:
        try:
            for block in _inflated(archive, archive.infolist()[index]):
                kept.append(block[max(start - done, 0) : max(start + length - done, 0)])
                done += len(block)
                # One byte more than the part tells that it is not the last; the last is read to its end.
                if done > start + length:
                    break
        except _MemberError as error:
            return Unpacked(index, b"", *error.args)
    return Unpacked(index, b"".join(kept))


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise StorageError(f"A zip in the archive cannot be read: {error.strerror}.") from error
    with file:
        try:
            archive = zipfile.ZipFile(file)
        except MemoryError:
            raise
        except Exception as error:  # a hostile directory makes zipfile raise almost anything
            raise ImageError(ReasonCode.ZIP_DAMAGED, f"its directory cannot be read: {type(error).__name__}") from error
        with archive:
            yield archive


def _check(entries: Sequence[zipfile.ZipInfo], packed: int, limits: ZipLimits) -> None:
    """Check a zip by its directory alone.

    Raises:
        ImageError: ZIP_DAMAGED, ZIP_LIMIT or ZIP_WITHOUT_IMAGES.
    """
    if len(entries) > limits.files:
        raise ImageError(ReasonCode.ZIP_LIMIT, f"{len(entries)} files, at most {limits.files} may come")
    total = sum(info.file_size for info in entries)
    if total > limits.total_bytes:
        allowed = limits.total_bytes // 1_000_000
        raise ImageError(ReasonCode.ZIP_LIMIT, f"{total // 1_000_000} MB unpacked, at most {allowed} may come")
    if total > limits.ratio * packed:
        raise ImageError(ReasonCode.ZIP_LIMIT, f"it would become {total / packed:.0f} times its size")
    end = 0
    for info in sorted(entries, key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise ImageError(ReasonCode.ZIP_DAMAGED, "files in it share the same bytes")
        end = info.header_offset + _LOCAL_HEADER + info.compress_size
    if end > packed:
        raise ImageError(ReasonCode.ZIP_DAMAGED, "it is cut off")
    if any(info.filename in _DOCUMENTS for info in entries):
        raise ImageError(ReasonCode.ZIP_WITHOUT_IMAGES, "it is a document or a program")


def _is_folder(info: zipfile.ZipInfo) -> bool:
    return info.filename.endswith(("/", "\\"))


def _is_wanted(info: zipfile.ZipInfo, ignore: tuple[str, ...]) -> bool:
    """Whether an entry is a regular file, and no part of its path has an ignored name."""
    mode = info.external_attr >> 16
    if info.create_system == _UNIX and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return False
    parts = [part for part in _path(info).split("/") if part not in ("", ".", "..")]
    return not any(is_ignored(part, ignore) for part in parts)


def _path(info: zipfile.ZipInfo) -> str:
    return info.filename.replace("\\", "/")


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, index: int, limits: ZipLimits) -> Member:
    name = _path(info)
    name = name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME // 2]}...{name[3 - LONGEST_NAME // 2 :]}"
    start = _start(archive, info)
    head, problem, detail = _looked(archive, info)
    if not problem and info.file_size > limits.file_bytes:
        problem, detail = ReasonCode.FILE_TOO_LARGE, f"{info.file_size // 1_000_000} MB unpacked"
    return Member(
        index=index,
        name=name,
        size=info.file_size,
        packed_from=start,
        packed_size=info.compress_size,
        media_type=media_type(head, name),
        media_directory=is_media_directory(head),
        problem=problem,
        detail=detail,
    )


def _looked(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> tuple[bytes, str, str]:
    """A member's first bytes; or the reason code and the detail of why it cannot be unpacked."""
    try:
        with _open(archive, info) as stream, _explained():
            return stream.read(HEAD_BYTES), "", ""
    except _MemberError as error:
        return b"", *error.args


def _start(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> int:
    """Where a member's packed bytes begin: after its local header, whose name and extra field may differ in length."""
    file = archive.fp
    if file is None:
        raise ValueError("the zip is closed")
    file.seek(info.header_offset)
    header = file.read(_LOCAL_HEADER)
    lengths = (int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
    return info.header_offset + _LOCAL_HEADER + sum(lengths)


def _inflated(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """A member's content in blocks, counted: exactly as much as it declares, and of its checksum."""
    size = checksum = 0
    # zipfile would cut off in silence what comes beyond the declared size.
    with _open(archive, _with_room(info)) as stream, _explained():
        while block := stream.read(_BLOCK):
            size += len(block)
            checksum = zlib.crc32(block, checksum)
            if size > info.file_size:
                break
            yield block
    if size != info.file_size or checksum != info.CRC:
        raise _MemberError(ReasonCode.ZIP_DAMAGED, "what comes out is not what the zip says of it")


def _with_room(info: zipfile.ZipInfo) -> zipfile.ZipInfo:
    """The same entry, as if one byte more might come out of it."""
    larger = copy(info)
    larger.file_size += 1
    return larger


def _open(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> BinaryIO:
    if info.flag_bits & _ENCRYPTED:
        raise _MemberError(ReasonCode.ZIP_ENCRYPTED, "")
    try:
        with _explained():
            return archive.open(info)  # type: ignore[return-value]  # typeshed's IO[bytes]
    except NotImplementedError as error:
        raise _MemberError(ReasonCode.ZIP_METHOD, f"method {info.compress_type}") from error


@contextmanager
def _explained() -> Iterator[None]:
    """Turn what zipfile and the decompressors raise over a damaged member into _MemberError."""
    try:
        yield
    except (MemoryError, NotImplementedError, _MemberError):
        raise
    except Exception as error:  # a hostile stream makes them raise almost anything
        raise _MemberError(ReasonCode.ZIP_DAMAGED, f"unpacking it stopped with {type(error).__name__}") from error
