"""Sound films to make hostile ones of: small, quick to read, and full of names that no log may repeat."""

import io
import struct
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread
from pydicom import uid as uids
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info

from agcnn_clinic.demo.dicom_writer import compress

SIDE = 240

CANARIES = {
    "PatientName": "Kanarienvogel^Quetzalcoatl",
    "PatientID": "CANARY-ID-4711",
    "PatientBirthDate": "19010203",
    "StudyDate": "19870605",
    "AccessionNumber": "CANARY-ACC-99",
    "InstitutionName": "Canary Wharf Infirmary",
    "ReferringPhysicianName": "Zeisig^Distelfink",
    "StudyDescription": "Canary thorax follow-up",
    "PatientAddress": "1 Birdcage Walk",
    "PatientComments": "sings at dawn",
}
"""What every seed says of its patient. A birth date is looked for as `19010203` and as `1901-02-03`."""


@cache
def film() -> NDArray[np.float64]:
    """A drawn chest, float64 [240, 240] in [0, 1]: dark lungs on a bright ground, with a little noise."""
    rows, columns = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    drawn = 0.55 + 0.35 * np.exp(-2 * columns**2) + 0.08 * rows
    for side in (-1, 1):
        drawn -= 0.5 * np.exp(-(((columns - side * 0.45) / 0.3) ** 4) - (((rows + 0.1) / 0.6) ** 4))
    drawn += np.random.default_rng(7).normal(size=drawn.shape) * 0.01
    return np.clip(drawn, 0.02, 0.98)


def stored(bits: int = 12, step: int = 1) -> NDArray[np.unsignedinteger[Any]]:
    """The film, or each so many-th of its pixels, as stored values."""
    return (film()[::step, ::step] * (2**bits - 1)).astype(np.uint8 if bits <= 8 else np.uint16)


def derived(name: str, level: str) -> str:
    """A UID of its own for each file."""
    return uids.generate_uid(entropy_srcs=["hostile", name, level])


def dataset(name: str, bits: int = 12, step: int = 1, **attributes: Any) -> Dataset:
    """A DX chest film with unique UIDs; `attributes` are set last, by keyword, and None takes one away."""
    pixels = stored(bits, step)
    made = Dataset()
    made.SpecificCharacterSet = "ISO_IR 192"
    made.SOPClassUID = uids.DigitalXRayImageStorageForPresentation
    made.SOPInstanceUID = derived(name, "instance")
    made.StudyInstanceUID, made.SeriesInstanceUID = derived(name, "study"), derived(name, "series")
    made.Modality, made.BodyPartExamined, made.ViewPosition = "DX", "CHEST", "PA"
    for keyword, value in CANARIES.items():
        setattr(made, keyword, value)
    made.Rows, made.Columns = pixels.shape
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = 8 if bits <= 8 else 16
    made.BitsStored, made.HighBit, made.PixelRepresentation = bits, bits - 1, 0
    made.WindowCenter, made.WindowWidth = 2 ** (bits - 1), 2**bits
    made.PixelData = pixels.tobytes()
    made["PixelData"].VR = "OB" if bits <= 8 else "OW"
    for keyword, value in attributes.items():
        if value is None:
            del made[keyword]
        else:
            setattr(made, keyword, value)
    return made


def file_meta(made: Dataset, syntax: str) -> FileMetaDataset:
    """The File Meta Information of a data set."""
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\0\1"
    meta.MediaStorageSOPClassUID = made.get("SOPClassUID", uids.DigitalXRayImageStorageForPresentation)
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    meta.TransferSyntaxUID = uids.UID(syntax)
    meta.ImplementationClassUID = "1.2.3"
    return meta


def body(made: Dataset, *, implicit: bool = False, little: bool = True, raw: bytes = b"", before: int = 0) -> bytes:
    """A data set as bytes; `raw` is put in before the first element whose tag is not below `before`."""
    pieces = []
    for low, high in ((0, before), (before, 1 << 32)):
        part = Dataset()
        for element in made:
            if low <= element.tag < high:
                part.add(element)
        out = DicomBytesIO()
        out.is_implicit_VR, out.is_little_endian = implicit, little
        write_dataset(out, part, made.get("SpecificCharacterSet", "iso8859"))
        pieces.append(out.getvalue())
    return raw.join(pieces)


def wrapped(content: bytes, meta: FileMetaDataset | bytes, preamble: bytes = bytes(128)) -> bytes:
    """A file of a data set's bytes."""
    if isinstance(meta, FileMetaDataset):
        out = DicomBytesIO()
        write_file_meta_info(out, meta)
        meta = out.getvalue()
    return preamble + b"DICM" + meta + content


def native(name: str, *, raw: bytes = b"", before: int = 0, preamble: bytes = bytes(128), **attributes: Any) -> bytes:
    """A film in Explicit VR Little Endian."""
    made = dataset(name, **attributes)
    return wrapped(body(made, raw=raw, before=before), file_meta(made, uids.ExplicitVRLittleEndian), preamble)


def encapsulated(name: str, syntax: str, pixel_data: bytes, **attributes: Any) -> bytes:
    """A film whose Pixel Data are these bytes of items, written without a sequence delimiter."""
    made = dataset(name, **attributes)
    del made.PixelData
    element = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF) + pixel_data
    return wrapped(body(made) + element, file_meta(made, syntax))


def item(data: bytes, length: int | None = None) -> bytes:
    """An item of encapsulated Pixel Data, its length as said."""
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(data) if length is None else length) + data


SEQUENCE_END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


@cache
def stream(syntax: str, step: int = 1) -> bytes:
    """The film as one compressed frame."""
    if syntax == uids.JPEGBaseline8Bit:
        out = io.BytesIO()
        Image.fromarray(stored(8, step)).save(out, "JPEG", quality=90)
        return out.getvalue()
    made = FileDataset("", dataset("stream", step=step), file_meta=FileMetaDataset())
    made.file_meta.TransferSyntaxUID = uids.ExplicitVRLittleEndian
    lossy = {uids.JPEG2000: {"j2k_cr": [8]}, uids.JPEGLSNearLossless: {"jls_error": 2}}
    if syntax in lossy:
        made.compress(syntax, generate_instance_uid=False, **lossy[syntax])
    else:
        compress(made, syntax)
    data = made.PixelData
    start = 8 + struct.unpack("<I", data[4:8])[0]
    return data[start + 8 : start + 8 + struct.unpack("<I", data[start + 4 : start + 8])[0]]


NATIVE = (
    uids.ImplicitVRLittleEndian,
    uids.ExplicitVRLittleEndian,
    uids.ExplicitVRBigEndian,
    uids.DeflatedExplicitVRLittleEndian,
)
WRITTEN_HERE = (
    *NATIVE,
    uids.RLELossless,
    uids.JPEGBaseline8Bit,
    uids.JPEGLSLossless,
    uids.JPEGLSNearLossless,
    uids.JPEG2000Lossless,
    uids.JPEG2000,
    uids.JPEGLossless,
    uids.JPEGLosslessSV1,
)
"""Transfer syntaxes that a film can be written in here."""
FROM_SAMPLES = tuple(f"1.2.840.10008.1.2.4.{number}" for number in (51, 53, 55))
"""Those of which a sample must be at hand."""


def in_syntax(name: str, syntax: str, step: int = 1) -> bytes:
    """The film in one of `WRITTEN_HERE`."""
    if syntax not in NATIVE:
        made = dataset(name, bits=8 if syntax == uids.JPEGBaseline8Bit else 12, step=step)
        made.PixelData = encapsulate([stream(syntax, step)])
        made["PixelData"].VR, made["PixelData"].is_undefined_length = "OB", True
        return wrapped(body(made), file_meta(made, syntax))
    made = dataset(name, step=step)
    little = syntax != uids.ExplicitVRBigEndian
    if not little:
        made.PixelData = stored(step=step).astype(">u2").tobytes()
        made["PixelData"].VR = "OW"
    content = body(made, implicit=syntax == uids.ImplicitVRLittleEndian, little=little)
    if syntax == uids.DeflatedExplicitVRLittleEndian:
        deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        content = deflater.compress(content) + deflater.flush()
    return wrapped(content, file_meta(made, syntax))


def sampled(name: str, syntax: str, samples: Path) -> bytes:
    """One of the samples, said to be a chest film."""
    (path,) = samples.glob(f"*_{syntax}.dcm")
    made = dcmread(path)
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = uids.DigitalXRayImageStorageForPresentation
    made.Modality, made.ViewPosition, made.BodyPartExamined = "DX", "PA", "CHEST"
    made.SOPInstanceUID, made.StudyInstanceUID = derived(name, "instance"), derived(name, "study")
    out = io.BytesIO()
    made.save_as(out)
    return out.getvalue()


def png(pixels: NDArray[Any] | None = None, **options: Any) -> bytes:
    """The film, or other pixels, as a PNG by Pillow."""
    out = io.BytesIO()
    Image.fromarray(stored(8) if pixels is None else pixels).save(out, "PNG", **options)
    return out.getvalue()


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of a PNG: type and content."""
    at = 8
    while at + 8 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        at += 12 + length


def chunk(kind: bytes, content: bytes, crc: int | None = None, length: int | None = None) -> bytes:
    """A chunk of a PNG, its length and checksum as said."""
    checksum = zlib.crc32(kind + content) if crc is None else crc
    return struct.pack(">I", len(content) if length is None else length) + kind + content + struct.pack(">I", checksum)


def png_of(*pieces: bytes) -> bytes:
    """A PNG of chunks."""
    return b"\x89PNG\r\n\x1a\n" + b"".join(pieces)
