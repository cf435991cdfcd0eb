"""The DICOMDIR of an exchange medium: what a CD, a DVD or a USB stick says that it holds (PS3.3 F, PS3.10 8)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import uid as uids
from pydicom.dataset import Dataset

from agcnn_clinic.dicom.attributes import PREAMBLE_LENGTH, quiet, read_dataset
from agcnn_clinic.dicom.text import number, text, values
from agcnn_clinic.dicom.uid import is_valid_uid
from agcnn_clinic.domain import ReasonCode
from agcnn_clinic.errors import ImageError

DICOMDIR = "dicomdir"
"""Its File ID (PS3.10 8.6), in lower case: some systems show the names of a CD so."""
HEAD_BYTES = 512
"""As much of a file tells whether it is one: the SOP class is the second element of the File Meta Information."""
MAX_LISTED = 10_000
"""So many files of a directory are looked at: a DVD of radiographs holds hundreds, one of slices some thousands."""

_ENDING = re.compile(r"(?<=[^.])\.?(;\d+)?$")
"""What a CD writes after a name without an extension, and its version."""
_LONGEST_NAME = 200
"""A File ID has eight components of eight characters (PS3.10 8.2); discs that break the rule have longer ones."""


@dataclass(frozen=True)
class ListedFile:
    """An image, or another object, that a DICOMDIR lists."""

    name: str
    """Its path below the folder of the DICOMDIR, as `on_medium` writes it. For comparison only, never to be opened."""
    sop_instance_uid: str
    """Empty where the directory does not say it."""


@dataclass(frozen=True)
class MediaDirectory:
    """What a DICOMDIR lists: at most `MAX_LISTED` files."""

    files: tuple[ListedFile, ...]


def is_media_directory(head: bytes) -> bool:
    """Tell from its first bytes whether a file is a DICOMDIR, whatever its name.

    That is: it states the SOP class Media Storage Directory in its File Meta Information. Nothing is parsed.
    """
    stated = uids.MediaStorageDirectoryStorage.encode()
    return head[PREAMBLE_LENGTH : PREAMBLE_LENGTH + 4] == b"DICM" and stated in head[:HEAD_BYTES]


def on_medium(name: str) -> str:
    """A path on a medium in the form in which two can be compared: ISO 9660 adds versions, systems change the case."""
    parts = re.split(r"[/\\]", name)
    return "/".join(_ENDING.sub("", part).casefold() for part in parts)


def read_media_directory(path: Path) -> MediaDirectory:
    """Read which files a DICOMDIR lists; a module-level function, so that a child process can run it.

    Raises:
        ImageError: UNREADABLE_HEADER, or MISSING_ATTRIBUTE where it has no records at all.
        StorageError: the file cannot be read.
    """
    dataset = read_dataset(path, stop_before_pixels=True)
    with quiet():
        if "DirectoryRecordSequence" not in dataset:
            raise ImageError(ReasonCode.MISSING_ATTRIBUTE, "DirectoryRecordSequence is missing")
        try:
            records = list(dataset.DirectoryRecordSequence)
            cut_off = _are_cut_off(records, path.stat().st_size)
            listed = [_listed(record) for record in records]
        except MemoryError:
            raise
        except Exception as error:  # a hostile record makes pydicom raise almost anything
            raise ImageError(
                ReasonCode.UNREADABLE_HEADER, f"its records stopped the parser with {type(error).__name__}"
            ) from error
    if cut_off:
        # The parser takes the records before the cut for all of them.
        raise ImageError(ReasonCode.UNREADABLE_HEADER, "it is cut off")
    return MediaDirectory(tuple(file for file in listed if file is not None)[:MAX_LISTED])


def _are_cut_off(records: Sequence[Dataset], size: int) -> bool:
    """Whether a record is unfinished, or points beyond the file's `size` in bytes (PS3.3 F.3.2.2)."""
    if not all(text(record, "DirectoryRecordType") for record in records):
        return True
    keywords = ("OffsetOfTheNextDirectoryRecord", "OffsetOfReferencedLowerLevelDirectoryEntity")
    return any(number(record, keyword) >= size for record in records for keyword in keywords)


def _listed(record: Dataset) -> ListedFile | None:
    """The file that a directory record references (PS3.3 F.3.2.2); patients, studies and series reference none."""
    parts = [part for part in values(record, "ReferencedFileID") if part]
    if not parts:
        return None
    uid = text(record, "ReferencedSOPInstanceUIDInFile")
    return ListedFile(on_medium("/".join(parts))[:_LONGEST_NAME], uid if is_valid_uid(uid) else "")
