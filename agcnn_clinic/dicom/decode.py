"""Pixel data -> an array of stored values, by pydicom's decoders or libjpeg-turbo: the one decode path.

What a header claims is checked before anything is allocated: against a limit of pixels, against the length of native
pixel data, and against what a compressed stream says of itself.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from imagecodecs import jpeg8_decode
from numpy.typing import NDArray
from pydicom import uid as uids
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder

from agcnn_clinic.dicom.attributes import quiet
from agcnn_clinic.dicom.codes import DECODED_AS, IMAGE_CLASSES
from agcnn_clinic.dicom.facts import PIXEL_KEYWORDS, describes_image
from agcnn_clinic.dicom.text import number, text
from agcnn_clinic.domain import ReasonCode
from agcnn_clinic.errors import ImageError

MAX_BITS = 16
"""Radiographs have at most 16 bits (PS3.3 C.8.11.3.1); dose grids and float maps are not for us."""

_REQUIRED = ("SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "BitsAllocated", "BitsStored")
_PASSED_ON = (*_REQUIRED, "PixelRepresentation", "PlanarConfiguration", "HighBit", "PixelData")
_JPEG_LIKE = (*uids.JPEGTransferSyntaxes, *uids.JPEGLSTransferSyntaxes)
_J2K_LIKE = (*uids.JPEG2000TransferSyntaxes, uids.HTJ2KLossless, uids.HTJ2KLosslessRPCL, uids.HTJ2K)
_END_OF_IMAGE = b"\xff\xd9"
_START_OF_SCAN, _RESTART_INTERVAL = 0xDA, 0xDD
_DCT, _LOSSLESS = (0xC0, 0xC1, 0xC2), 0xC3
"""Start of Frame of the Huffman-coded processes (ITU-T T.81 Table B.1)."""


@dataclass(frozen=True)
class PixelLayout:
    """The Image Pixel Module (PS3.3 C.7.6.3) of one frame, checked."""

    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    photometric: str
    syntax: uids.UID


def stored_values(dataset: Dataset, max_pixels: int) -> tuple[NDArray[np.int32], PixelLayout]:
    """Decode the first frame.

    Args:
        dataset: with pixel data.
        max_pixels: the largest Rows x Columns that is decoded.

    Returns:
        The stored values, int32 [rows, columns] or [rows, columns, 3] (RGB), with all that lies outside of Bits Stored
        taken off and the sign applied; and the layout.

    Raises:
        ImageError: NO_PIXELS, MISSING_ATTRIBUTE, PIXEL_LENGTH, TOO_LARGE, COLOUR, UNSUPPORTED_SYNTAX or
            UNREADABLE_PIXELS.
    """
    with quiet():
        layout = _layout(dataset)
        _check_claims(dataset, layout, max_pixels)
        values = _decoded(dataset, layout)
    expected = (layout.rows, layout.columns) if layout.samples == 1 else (layout.rows, layout.columns, 3)
    if values.shape != expected:
        raise ImageError(ReasonCode.UNREADABLE_PIXELS, "the decoded image has another size than the header says")
    return _within_bits_stored(values, layout), layout


def _layout(dataset: Dataset) -> PixelLayout:
    if "PixelData" not in dataset:
        if any(keyword in dataset for keyword in PIXEL_KEYWORDS):
            raise ImageError(ReasonCode.UNREADABLE_PIXELS, "the pixels are floating-point numbers")
        if describes_image(dataset) or text(dataset, "SOPClassUID") in IMAGE_CLASSES:
            # pydicom drops an element that the end of the file cuts off.
            raise ImageError(ReasonCode.PIXEL_LENGTH, "the file ends before the pixel data do")
        raise ImageError(ReasonCode.NO_PIXELS)
    for keyword in _REQUIRED:
        if not text(dataset, keyword):
            raise ImageError(ReasonCode.MISSING_ATTRIBUTE, f"{keyword} is missing")
    rows, columns = number(dataset, "Rows"), number(dataset, "Columns")
    samples, allocated = number(dataset, "SamplesPerPixel"), number(dataset, "BitsAllocated")
    stored = number(dataset, "BitsStored")
    photometric = text(dataset, "PhotometricInterpretation").upper()
    if rows < 1 or columns < 1:
        raise ImageError(ReasonCode.MISSING_ATTRIBUTE, "Rows or Columns is 0")
    if photometric == "PALETTE COLOR":
        raise ImageError(ReasonCode.COLOUR, "it has a colour palette")
    if samples not in (1, 3) or (samples == 1) != photometric.startswith("MONOCHROME"):
        raise ImageError(ReasonCode.UNREADABLE_PIXELS, "Samples per Pixel contradicts the photometric interpretation")
    if allocated not in (8, MAX_BITS) or not 1 <= stored <= allocated:
        raise ImageError(
            ReasonCode.UNREADABLE_PIXELS, f"{stored} bits stored in {allocated} allocated; it takes 8 or 16"
        )
    high_bit = number(dataset, "HighBit") if text(dataset, "HighBit") else stored - 1
    return PixelLayout(
        rows=rows,
        columns=columns,
        samples=samples,
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=high_bit if stored - 1 <= high_bit < allocated else stored - 1,
        signed=number(dataset, "PixelRepresentation") == 1,
        photometric=photometric,
        syntax=uids.UID(text(dataset.file_meta, "TransferSyntaxUID")),
    )


def _check_claims(dataset: Dataset, layout: PixelLayout, max_pixels: int) -> None:
    pixels = layout.rows * layout.columns
    if layout.syntax.is_private or not layout.syntax.is_transfer_syntax:
        raise ImageError(ReasonCode.UNSUPPORTED_SYNTAX, _syntax_name(layout.syntax))
    there = len(_pixel_bytes(dataset))
    if not layout.syntax.is_encapsulated:
        claimed = pixels * layout.samples * layout.bits_allocated // 8
        if layout.photometric == "YBR_FULL_422":
            claimed = claimed // 3 * 2  # two pixels share their colour (PS3.3 C.7.6.3.1.2)
        if there < claimed:
            raise ImageError(ReasonCode.PIXEL_LENGTH, f"{claimed} bytes claimed, {there} there")
    if pixels > max_pixels:
        raise ImageError(ReasonCode.TOO_LARGE, f"{layout.columns} x {layout.rows} pixels")
    if layout.syntax.is_encapsulated:
        _check_stream(_stream(dataset), layout)


def _pixel_bytes(dataset: Dataset) -> bytes:
    try:
        value = dataset["PixelData"].value
    except MemoryError:
        raise
    except Exception as error:  # pydicom converts on access, and a broken element may raise anything
        raise ImageError(ReasonCode.UNREADABLE_PIXELS, "the pixel data cannot be read") from error
    if not isinstance(value, bytes):
        raise ImageError(ReasonCode.UNREADABLE_PIXELS, "the pixel data are empty or no bytes")
    return value


def _stream(dataset: Dataset) -> bytes:
    try:
        return get_frame(_pixel_bytes(dataset), 0, number_of_frames=1)
    except MemoryError:
        raise
    except Exception as error:  # a broken item structure makes pydicom raise almost anything
        raise ImageError(ReasonCode.UNREADABLE_PIXELS, "the fragments of the pixel data do not fit together") from error


def _check_stream(stream: bytes, layout: PixelLayout) -> None:
    """Check a compressed stream's own size and end: decoders fill what is cut off with grey, and say nothing."""
    if layout.syntax in _JPEG_LIKE or layout.syntax in DECODED_AS:
        size = jpeg_size(stream)
    elif layout.syntax in _J2K_LIKE:
        size = jpeg2000_size(stream)
    else:
        return
    if size is None:
        raise ImageError(ReasonCode.UNREADABLE_PIXELS, "the compressed stream does not state its size")
    if size != (layout.rows, layout.columns):
        raise ImageError(
            ReasonCode.UNREADABLE_PIXELS,
            f"the compressed stream has {size[1]} x {size[0]} pixels, not as the header says",
        )
    if len(stream) < _least_length(stream):
        raise ImageError(ReasonCode.PIXEL_LENGTH, "the compressed stream is too short for its size")
    if _END_OF_IMAGE not in stream[-4096:]:
        raise ImageError(ReasonCode.PIXEL_LENGTH, "the compressed stream has no end")


def jpeg_size(stream: bytes) -> tuple[int, int] | None:
    """Return (rows, columns) of a JPEG or JPEG-LS stream by its frame header (ITU-T T.81 B.2.2, T.87 C.2.2)."""
    frame = _jpeg_frame(stream)
    return frame[1:] if frame is not None else None


def _least_length(stream: bytes) -> int:
    """Return the bytes below which a stream cannot hold what its frame header says; 0 where nothing can be said.

    A Huffman code has at least one bit (ITU-T T.81 C): one a block of 64 samples for the DCT processes, one a sample
    for the lossless one. What is missing decoders fill with the last value, and say nothing.
    """
    marker, rows, columns = _jpeg_frame(stream) or (0, 0, 0)
    if marker in _DCT:
        return -(-rows // 8) * -(-columns // 8) // 8
    return rows * columns // 8 if marker == _LOSSLESS else 0


def _jpeg_frame(stream: bytes) -> tuple[int, int, int] | None:
    """Return the marker of a frame header, its number of lines and of samples per line."""
    for marker, start, _ in _marker_segments(stream):
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            if start + 5 > len(stream):
                return None
            rows, columns = struct.unpack(">HH", stream[start + 1 : start + 5])
            return marker, rows, columns
    return None


def _marker_segments(stream: bytes) -> Iterator[tuple[int, int, int]]:
    """The marker segments of a JPEG stream up to its first scan: marker, beginning and end (ITU-T T.81 B.1.1.4)."""
    at, marker = 2, 0
    while marker != _START_OF_SCAN and at + 4 <= len(stream) and stream[at] == 0xFF:
        marker = stream[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        (length,) = struct.unpack(">H", stream[at + 2 : at + 4])
        yield marker, at + 4, at + 2 + length
        at += 2 + length


def jpeg2000_size(stream: bytes) -> tuple[int, int] | None:
    """Return (rows, columns) of a JPEG 2000 stream by its SIZ segment (ITU-T T.800 A.5.1), in JP2 boxes or bare."""
    start = stream[:4096].find(b"\xff\x4f\xff\x51")
    if start < 0 or len(stream) < start + 24:
        return None
    right, bottom, left, top = struct.unpack(">IIII", stream[start + 8 : start + 24])
    return bottom - top, right - left


def _decoded(dataset: Dataset, layout: PixelLayout) -> NDArray[np.integer]:
    syntax = uids.UID(DECODED_AS.get(layout.syntax, layout.syntax))
    if layout.samples == 1 and syntax in uids.JPEGTransferSyntaxes:
        lossless = _lossless_jpeg(_stream(dataset))
        # Of another depth than the header allows it is left to the other decoder, which refuses it.
        if lossless is not None and 8 * lossless.itemsize == layout.bits_allocated:
            return lossless
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        raise ImageError(ReasonCode.UNSUPPORTED_SYNTAX, _syntax_name(layout.syntax)) from error
    plugin = "pyjpegls" if syntax in uids.JPEGLSTransferSyntaxes else "pylibjpeg"
    try:
        # Only what decoding needs, under the syntax that pydicom knows: nothing else of the file can interfere.
        frame = Dataset()
        for keyword in _PASSED_ON:
            if keyword in dataset:
                frame[keyword] = dataset[keyword]
        frame.file_meta = FileMetaDataset()
        frame.file_meta.TransferSyntaxUID = syntax
        options: dict[str, Any] = {
            "pixel_representation": int(layout.signed),
            "decoding_plugin": plugin if syntax.is_encapsulated else "",
            "correct_unused_bits": False,  # done below, with the sign and for any High Bit
        }
        array, _ = decoder.as_array(frame, index=0, **options)
    except (MemoryError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a hostile stream makes decoders raise almost anything, a panic of Rust too
        raise ImageError(ReasonCode.UNREADABLE_PIXELS, f"the decoder stopped with {type(error).__name__}") from error
    return array


def _lossless_jpeg(stream: bytes) -> NDArray[np.integer] | None:
    """Decode a lossless JPEG of one component by libjpeg-turbo, a quarter of pylibjpeg's time; None where it is none.

    What such a stream means is exact (ITU-T T.81 H), so that all decoders agree. One with restart intervals, and what
    this one gives up, is left to the other.

    Raises:
        ImageError: UNREADABLE_PIXELS, where bytes were lost or changed so that a marker stands among the pixels.
    """
    frame = _jpeg_frame(stream)
    ends = {marker: end for marker, _, end in _marker_segments(stream)}
    if frame is None or frame[0] != _LOSSLESS or _START_OF_SCAN not in ends or _RESTART_INTERVAL in ends:
        return None
    # libjpeg-turbo passes over such a marker, fills up what is missing, and says nothing.
    if not _ends_at_its_first_marker(stream[ends[_START_OF_SCAN] :]):
        raise ImageError(ReasonCode.UNREADABLE_PIXELS, "a marker stands where pixels should be")
    try:
        values: NDArray[np.integer] = jpeg8_decode(stream)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 (of its own class, or of another, by what is wrong)
        return None
    return values if values.ndim == 2 else None


def _ends_at_its_first_marker(scan: bytes) -> bool:
    """Whether coded data are followed by the end of the image. FF 00 is data, FF before a marker fills (B.1.1)."""
    data = scan.replace(b"\xff\x00", b"")
    first = data.find(b"\xff")
    return first >= 0 and data[first : first + 64].lstrip(b"\xff")[:1] == _END_OF_IMAGE[1:]


def _within_bits_stored(values: NDArray[np.integer], layout: PixelLayout) -> NDArray[np.int32]:
    """Keep Bits Stored bits below High Bit, with their sign: the others may hold anything (PS3.5 8.1.1)."""
    # The other codecs hold a value, these hold the words that it lies in.
    in_words = not layout.syntax.is_encapsulated or layout.syntax == uids.RLELossless
    shift = layout.high_bit + 1 - layout.bits_stored if in_words else 0
    kept = (values.astype(np.int32) >> shift) & ((1 << layout.bits_stored) - 1)
    if layout.signed:
        sign = 1 << (layout.bits_stored - 1)
        kept = (kept ^ sign) - sign
    return kept


def _syntax_name(syntax: uids.UID) -> str:
    return syntax.name if not syntax.is_private and syntax.is_transfer_syntax else "a private or unknown syntax"
