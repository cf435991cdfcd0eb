"""DICOM files without their pixels: recognising one, parsing it within limits, describing and comparing it."""

import contextlib
import io
import logging
import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pydicom import dcmread
from pydicom import uid as uids
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filereader import read_dataset as parse
from pydicom.filereader import read_preamble
from pydicom.tag import BaseTag, Tag
from pydicom.valuerep import VR

from agcnn_clinic.dicom.facts import view_of
from agcnn_clinic.dicom.text import iso_date, iso_time, number, text, value, values
from agcnn_clinic.dicom.uid import is_valid_uid
from agcnn_clinic.domain import Header, InstanceDescription, ReasonCode, StudyDescription
from agcnn_clinic.errors import FAULTS_OF_A_FILE, ImageError, StorageError

MAX_INFLATED_BYTES = 512 * 2**20
"""A deflated data set may not become larger than this: the largest radiographs take a quarter of it."""

PREAMBLE_LENGTH = 128
_INFLATE_STEP = 2**20
_LARGE_READ = 2**16
_SMALL_FILE = 2**16
"""Bytes of a file that is read at once: pydicom asks for its place at each element, each time a system call."""
_SYNTAXES = frozenset(uids.AllTransferSyntaxes)
"""Those that say how a data set is encoded; with another one, or without any, pydicom has to guess."""
_FILE_META_GROUP = 0x0002
_PIXEL_GROUP = 0x7FE0
_SILENT = logging.CRITICAL + 1


def looks_like_dicom(head: bytes) -> bool:
    """Tell from its first bytes whether a file is DICOM (PS3.10 7.1).

    Files without preamble and prefix are let in when they begin like a data set: an element of group 0002 or 0008,
    in either byte order, with a Value Representation of the standard or a small implicit length.
    """
    if head[PREAMBLE_LENGTH : PREAMBLE_LENGTH + 4] == b"DICM":
        return True
    if len(head) < 8:
        return False
    group, element = struct.unpack("<HH", head[:4])
    if {group, element} == {0} or group not in (0x0002, 0x0008, 0x0200, 0x0800):
        return False
    if head[4:6].decode("latin-1") in set(VR):
        return True
    (implicit_length,) = struct.unpack("<I", head[4:8])
    # The elements that a data set can begin with: group length, character set, image type, SOP class, dates.
    return group in (0x0002, 0x0008) and element <= 0x0100 and implicit_length <= 1024


def read_dataset(
    path: Path, *, max_bytes_deflated: int = MAX_INFLATED_BYTES, stop_before_pixels: bool = False
) -> FileDataset:
    """Parse a DICOM file.

    Args:
        path: the file.
        max_bytes_deflated: the largest size that a deflated data set may have once it is inflated.
        stop_before_pixels: leave the pixel data out.

    Returns:
        The data set; without pixel data where the end of the file cuts these off.

    Raises:
        ImageError: UNREADABLE_HEADER; the detail holds nothing of the file.
        StorageError: the file cannot be opened or read.
    """
    try:
        with io.FileIO(str(path)) as opened, _held(opened) as file, quiet():
            dataset = _parse(file, max_bytes_deflated, stop_before_pixels)
            if not dataset and not stop_before_pixels:
                # pydicom gives up all that it had read where the end of the file cuts off compressed pixels.
                file.seek(0)
                dataset = _parse(file, max_bytes_deflated, stop_before_pixels=True)
    except (ImageError, MemoryError):
        raise
    except OSError as error:
        if error.errno not in FAULTS_OF_A_FILE:
            raise StorageError(f"{path} cannot be read: {error.strerror}.") from error
        raise _unreadable(error) from error
    except Exception as error:  # a hostile header makes pydicom raise almost anything
        raise _unreadable(error) from error
    if not dataset:
        raise ImageError(ReasonCode.UNREADABLE_HEADER, "the file ends within its header")
    return dataset


def read_dicom_header(path: Path) -> Header:
    """Read what `describe` tells of a file; a module-level function, so that a child process can run it.

    Raises:
        ImageError: UNREADABLE_HEADER or MISSING_ATTRIBUTE.
        StorageError: the file cannot be read.
    """
    return describe(read_dataset(path, stop_before_pixels=True))


def describe(dataset: Dataset) -> Header:
    """Return the study and instance level of a data set as text that can be shown.

    Raises:
        ImageError: MISSING_ATTRIBUTE where a UID that the clinic needs is missing or cannot be one.
    """
    with quiet():
        return Header(_study(dataset), _instance(dataset))


def differing_attributes(a: Dataset, b: Dataset) -> list[str]:
    """Return which attributes of two data sets differ: their keywords, `(gggg,eeee)` for those without; no values.

    Group lengths and all that belongs to the pixel data's own group are left out.
    """
    with quiet():
        tags = sorted(set(a.keys()) | set(b.keys()))
        return [_name(tag) for tag in tags if _is_compared(tag) and not _equal(a, b, tag)]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence pydicom: its warnings inside the block, its log for good. Both quote values, which are patient data."""
    logger = logging.getLogger("pydicom")
    if logger.level != _SILENT:  # each change of a level empties a cache of every logger
        logger.setLevel(_SILENT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class _BoundedReader(io.BufferedReader):
    """A file that never makes room for more than it holds: a header may claim an element of 4 GB."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to `size` bytes."""
        if size is not None and size > _LARGE_READ:
            left = os.fstat(self.fileno()).st_size - self.tell()
            size = min(size, max(left, 0))
        return super().read(size)


def _held(file: io.FileIO) -> BinaryIO:
    """A file to be parsed: in memory where it is small."""
    small = os.fstat(file.fileno()).st_size <= _SMALL_FILE
    return io.BytesIO(file.readall()) if small else _BoundedReader(file)


def _parse(file: BinaryIO, max_bytes_deflated: int, stop_before_pixels: bool) -> FileDataset:
    if not looks_like_dicom(file.read(PREAMBLE_LENGTH + 4)):
        raise ImageError(ReasonCode.UNREADABLE_HEADER, "it does not begin like a DICOM file")
    file.seek(0)
    preamble = read_preamble(file, force=True)
    file_meta = parse(file, is_implicit_VR=False, is_little_endian=True, stop_when=_after_file_meta)
    syntax = file_meta.get("TransferSyntaxUID")
    stop_when = _at_pixel_data if stop_before_pixels else None
    if syntax == uids.DeflatedExplicitVRLittleEndian:
        # pydicom would inflate without a bound, even for the header alone.
        body: BinaryIO = io.BytesIO(_inflated(file, max_bytes_deflated))
    elif isinstance(syntax, uids.UID) and syntax in _SYNTAXES and not _commands_follow(file):
        body = file
    else:
        file.seek(0)
        dataset = dcmread(file, force=True, stop_before_pixels=stop_before_pixels)
        if not dataset.file_meta.get("TransferSyntaxUID"):
            dataset.file_meta.TransferSyntaxUID = _guessed_syntax(dataset)
        return dataset
    # What `dcmread` does from here on; it would read the file meta information a second time.
    implicit, little = syntax.is_implicit_VR, syntax.is_little_endian
    content = parse(body, implicit, little, stop_when=stop_when)
    dataset = FileDataset(file, content, preamble, FileMetaDataset(file_meta), implicit, little)
    dataset.set_original_encoding(implicit, little, content.original_character_set)
    return dataset


def _commands_follow(file: BinaryIO) -> bool:
    """Whether elements of a network message (group 0000) stand before the data set, as some writers leave them."""
    group = file.read(2)
    file.seek(-len(group), os.SEEK_CUR)
    return group == b"\0\0"


def _inflated(file: BinaryIO, limit: int) -> bytes:
    """Inflate the rest of a file (RFC 1951, as PS3.5 A.5 wants it), at most `limit` bytes of it."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    pieces: list[bytes] = []
    size = 0
    while not inflater.eof:
        deflated = inflater.unconsumed_tail or file.read(_INFLATE_STEP)
        # Of input that it has wholly taken in, zlib may hold back output, or but the end, once a piece is full.
        pieces.append(inflater.decompress(deflated, _INFLATE_STEP))
        if not deflated and not pieces[-1] and not inflater.eof:
            raise ImageError(ReasonCode.UNREADABLE_HEADER, "the deflated data set is cut off")
        size += len(pieces[-1])
        if size > limit:
            raise ImageError(ReasonCode.UNREADABLE_HEADER, f"the data set inflates to more than {limit} bytes")
    return b"".join(pieces)


def _after_file_meta(tag: BaseTag, vr: str | None, length: int) -> bool:
    del vr, length
    return tag.group != _FILE_META_GROUP


def _at_pixel_data(tag: BaseTag, vr: str | None, length: int) -> bool:
    del vr, length
    return tag.group == _PIXEL_GROUP


def _guessed_syntax(dataset: FileDataset) -> uids.UID:
    """The native transfer syntax that pydicom found a file without one to have."""
    implicit, little = dataset.original_encoding
    if implicit:
        return uids.ImplicitVRLittleEndian
    return uids.ExplicitVRLittleEndian if little else uids.ExplicitVRBigEndian


def _unreadable(error: Exception) -> ImageError:
    # Only the kind: pydicom's sentences may quote values.
    return ImageError(ReasonCode.UNREADABLE_HEADER, f"the parser stopped with {type(error).__name__}")


def _study(dataset: Dataset) -> StudyDescription:
    return StudyDescription(
        study_instance_uid=_required_uid(dataset, "StudyInstanceUID"),
        patient_id=text(dataset, "PatientID"),
        patient_name=_person_name(dataset, "PatientName"),
        patient_sex=text(dataset, "PatientSex").upper(),
        patient_birth_date=iso_date(text(dataset, "PatientBirthDate")),
        study_date=iso_date(text(dataset, "StudyDate")),
        study_time=iso_time(text(dataset, "StudyTime")),
        accession_number=text(dataset, "AccessionNumber"),
        study_description=text(dataset, "StudyDescription"),
        referring_physician_name=_person_name(dataset, "ReferringPhysicianName"),
        institution_name=text(dataset, "InstitutionName"),
    )


def _instance(dataset: Dataset) -> InstanceDescription:
    series = text(dataset, "SeriesInstanceUID")
    file_meta: Dataset | None = getattr(dataset, "file_meta", None)
    return InstanceDescription(
        series_instance_uid=series if is_valid_uid(series) else "",
        sop_instance_uid=_required_uid(dataset, "SOPInstanceUID"),
        sop_class_uid=text(dataset, "SOPClassUID"),
        transfer_syntax_uid="" if file_meta is None else text(file_meta, "TransferSyntaxUID"),
        modality=text(dataset, "Modality"),
        body_part_examined=text(dataset, "BodyPartExamined"),
        view_position=text(dataset, "ViewPosition") or str(view_of(dataset)),
        photometric_interpretation=text(dataset, "PhotometricInterpretation"),
        rows=number(dataset, "Rows"),
        columns=number(dataset, "Columns"),
        bits_stored=number(dataset, "BitsStored"),
        manufacturer=text(dataset, "Manufacturer"),
        manufacturer_model_name=text(dataset, "ManufacturerModelName"),
        acquisition_date_time=_acquired(dataset),
    )


def _required_uid(dataset: Dataset, keyword: str) -> str:
    found = values(dataset, keyword)
    if not found or not found[0]:
        raise ImageError(ReasonCode.MISSING_ATTRIBUTE, f"{keyword} is missing")
    # `values` cleans what people read; a UID that needs more than its padding taken off is another one.
    if len(found) > 1 or not is_valid_uid(found[0]) or str(value(dataset, keyword)).strip(" \0") != found[0]:
        raise ImageError(ReasonCode.MISSING_ATTRIBUTE, f"{keyword} is not a UID")
    return found[0]


def _person_name(dataset: Dataset, keyword: str) -> str:
    name = text(dataset, keyword)
    return name if name.strip("^=\\ ") else ""  # de-identified files leave the delimiters alone


def _acquired(dataset: Dataset) -> str:
    together = text(dataset, "AcquisitionDateTime")
    if iso_date(together):
        date, time = iso_date(together), iso_time(together[8:])
    else:
        kind = "Acquisition" if iso_date(text(dataset, "AcquisitionDate")) else "Content"
        date, time = iso_date(text(dataset, f"{kind}Date")), iso_time(text(dataset, f"{kind}Time"))
    return f"{date}T{time}" if date and time else date


def _is_compared(tag: BaseTag) -> bool:
    return tag.element != 0 and tag.group not in (_FILE_META_GROUP, _PIXEL_GROUP)


def _equal(a: Dataset, b: Dataset, tag: BaseTag) -> bool:
    if (tag in a) != (tag in b):
        return False
    try:
        return bool(a[tag].value == b[tag].value)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 (a value that cannot be converted is compared as the bytes that it is)
        return bool(a.get_item(tag, keep_deferred=True) == b.get_item(tag, keep_deferred=True))


def _name(tag: BaseTag) -> str:
    return keyword_for_tag(tag) or str(Tag(tag))
