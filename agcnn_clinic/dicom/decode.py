"""Pixel data -> an array of stored values, by pydicom's decoders or libjpeg-turbo: the one decode path.

What a header claims is checked before anything is allocated: against a limit of pixels, against the length of native
pixel data, and against what a compressed stream says of itself.
"""

import struct
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
from imagecodecs import jpeg8_decode
from numpy.typing import NDArray
from pydicom import uid as uids
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import generate_fragments, get_frame, parse_basic_offsets
from pydicom.pixels.decoders.base import get_decoder

from agcnn_clinic.dicom.attributes import quiet
from agcnn_clinic.dicom.bits import within_bits_stored
from agcnn_clinic.dicom.codes import DECODED_AS
from agcnn_clinic.dicom.image_pixel import MAX_BITS, REQUIRED, PixelLayout, pixel_layout
from agcnn_clinic.dicom.streams import (
    END_OF_IMAGE,
    LOSSLESS_HUFFMAN,
    RESTART_INTERVAL,
    START_OF_SCAN,
    Coding,
    coding_of,
    ends_at_its_first_marker,
    jpeg_frame,
    marker_segments,
    with_whole_spectrum,
)
from agcnn_clinic.dicom.text import number
from agcnn_clinic.domain import ReasonCode, Warn
from agcnn_clinic.errors import ImageError

_PASSED_ON = (*REQUIRED, "PixelRepresentation", "PlanarConfiguration", "HighBit", "PixelData")
_ITEM = b"\xfe\xff\x00\xe0"


class Stored(NamedTuple):
    """What the pixel data hold.

    Attributes:
        values: int32 [rows, columns] or [rows, columns, 3] (RGB): Bits Stored bits, with their sign.
        layout: what the header says of them.
        remarks: STRAY_BITS, where pixels hold more than that.
    """

    values: NDArray[np.int32]
    layout: PixelLayout
    remarks: tuple[Warn, ...] = ()


def stored_values(dataset: Dataset, max_pixels: int) -> Stored:
    """Decode the first frame.

    Args:
        dataset: with pixel data.
        max_pixels: the largest Rows x Columns that is decoded.

    Raises:
        ImageError: NO_PIXELS, MISSING_ATTRIBUTE, PIXEL_LENGTH, TOO_LARGE, COLOUR, UNSUPPORTED_SYNTAX or
            UNREADABLE_PIXELS.
    """
    with quiet():
        layout = pixel_layout(dataset)
        _check_claims(dataset, layout, max_pixels)
        if layout.syntax.is_encapsulated:
            stream = _stream(dataset)
            coding = coding_of(stream, layout.syntax)
            _check_stream(stream, coding, layout)
            decoded = _decoded(dataset, layout, stream, coding)
        else:
            coding = None
            decoded = _decoded(dataset, layout)
        expected = (layout.rows, layout.columns) if layout.samples == 1 else (layout.rows, layout.columns, 3)
        if decoded.shape != expected:
            raise ImageError(ReasonCode.UNREADABLE_PIXELS, "the decoded image has another size than the header says")
        values, stray = within_bits_stored(decoded, layout, coding, dataset)
    return Stored(values, layout, (Warn.STRAY_BITS,) if stray else ())


def _check_claims(dataset: Dataset, layout: PixelLayout, max_pixels: int) -> None:
    pixels = layout.rows * layout.columns
    if layout.syntax.is_private or not layout.syntax.is_transfer_syntax:
        raise ImageError(ReasonCode.UNSUPPORTED_SYNTAX, _syntax_name(layout.syntax))
    pixel_bytes = _pixel_bytes(dataset)
    if not layout.syntax.is_encapsulated:
        there = len(pixel_bytes)
        claimed = pixels * layout.samples * layout.bits_allocated // 8
        if layout.photometric == "YBR_FULL_422":
            claimed = claimed // 3 * 2  # two pixels share their colour (PS3.3 C.7.6.3.1.2)
        if there < claimed:
            if pixel_bytes.startswith(_ITEM):
                detail = f"the pixel data are compressed, the transfer syntax says {_syntax_name(layout.syntax)}"
                raise ImageError(ReasonCode.MISSING_ATTRIBUTE, detail)
            raise ImageError(ReasonCode.PIXEL_LENGTH, f"{claimed} bytes claimed, {there} there")
    if pixels > max_pixels:
        raise ImageError(ReasonCode.TOO_LARGE, f"{layout.columns} x {layout.rows} pixels")


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
    """Return the first frame's compressed stream."""
    pixels, frames = _pixel_bytes(dataset), number(dataset, "NumberOfFrames")
    try:
        return get_frame(pixels, 0, number_of_frames=frames) if frames > 1 else _joined(pixels)
    except MemoryError:
        raise
    except Exception as error:  # a broken item structure makes pydicom raise almost anything
        raise ImageError(ReasonCode.UNREADABLE_PIXELS, "the fragments of the pixel data do not fit together") from error


def _joined(pixels: bytes) -> bytes:
    """Return all fragments as one stream. A single frame needs no Basic Offset Table, so that a wrong one is harmless.

    Raises ValueError where there is none, and others for a broken item structure.
    """
    items = BytesIO(pixels)
    parse_basic_offsets(items)
    fragments = list(generate_fragments(items))
    if not fragments:
        raise ValueError("no fragments")
    return fragments[0] if len(fragments) == 1 else b"".join(fragments)


def _check_stream(stream: bytes, coding: Coding | None, layout: PixelLayout) -> None:
    """Check a compressed stream's own size and end: decoders fill what is cut off with grey, and say nothing."""
    if coding is None:
        return
    if (coding.rows, coding.columns) != (layout.rows, layout.columns):
        raise ImageError(
            ReasonCode.UNREADABLE_PIXELS,
            f"the compressed stream has {coding.columns} x {coding.rows} pixels, not as the header says",
        )
    if coding.precision > layout.bits_allocated:
        raise ImageError(
            ReasonCode.UNREADABLE_PIXELS,
            f"the compressed stream has {coding.precision} bits a sample, the header {layout.bits_allocated}",
        )
    if len(stream) < coding.least_length:
        raise ImageError(ReasonCode.PIXEL_LENGTH, "the compressed stream is too short for its size")
    if END_OF_IMAGE not in stream[-4096:]:
        raise ImageError(ReasonCode.PIXEL_LENGTH, "the compressed stream has no end")


def _decoded(
    dataset: Dataset, layout: PixelLayout, stream: bytes = b"", coding: Coding | None = None
) -> NDArray[np.integer]:
    """Return what the pixel data hold: words as they are, a stream's samples with the sign that it says."""
    syntax = uids.UID(DECODED_AS.get(layout.syntax, layout.syntax))
    if layout.samples == 1 and syntax in uids.JPEGTransferSyntaxes:
        lossless = _lossless_jpeg(stream)
        if lossless is not None:
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
        if syntax.is_encapsulated:
            frame.PixelData = _one_item(stream if coding is None or coding.exact else with_whole_spectrum(stream))
        frame.PhotometricInterpretation = layout.photometric
        if coding is not None:
            frame.BitsAllocated = 8 if coding.precision <= 8 else MAX_BITS
            frame.BitsStored, frame.HighBit = coding.precision, coding.precision - 1
        frame.file_meta = FileMetaDataset()
        frame.file_meta.TransferSyntaxUID = syntax
        options: dict[str, Any] = {
            "pixel_representation": int(coding is not None and coding.signed),
            "decoding_plugin": plugin if syntax.is_encapsulated else "",
            "correct_unused_bits": False,  # `within_bits_stored` does it, with the sign and for any High Bit
        }
        array, _ = decoder.as_array(frame, index=0, **options)
    except (MemoryError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a hostile stream makes decoders raise almost anything, a panic of Rust too
        raise ImageError(ReasonCode.UNREADABLE_PIXELS, f"the decoder stopped with {type(error).__name__}") from error
    return array


def _one_item(stream: bytes) -> bytes:
    """Encapsulate a stream (PS3.5 A.4) as one fragment; pydicom's `encapsulate` takes a hundred times as long."""
    padding = b"\0" * (len(stream) % 2)
    head = _ITEM + bytes(4) + _ITEM + struct.pack("<I", len(stream) + len(padding))
    return b"".join((head, stream, padding))


def _lossless_jpeg(stream: bytes) -> NDArray[np.integer] | None:
    """Decode a lossless JPEG of one component by libjpeg-turbo, a quarter of pylibjpeg's time; None where it is none.

    What such a stream means is exact (ITU-T T.81 H), so that all decoders agree. One with restart intervals, and what
    this one gives up, is left to the other.

    Raises:
        ImageError: UNREADABLE_PIXELS, where bytes were lost or changed so that a marker stands among the pixels.
    """
    frame = jpeg_frame(stream)
    ends = {segment.marker: segment.end for segment in marker_segments(stream)}
    if frame is None or frame.marker != LOSSLESS_HUFFMAN or START_OF_SCAN not in ends or RESTART_INTERVAL in ends:
        return None
    # libjpeg-turbo passes over such a marker, fills up what is missing, and says nothing.
    if not ends_at_its_first_marker(stream[ends[START_OF_SCAN] :]):
        raise ImageError(ReasonCode.UNREADABLE_PIXELS, "a marker stands where pixels should be")
    try:
        values: NDArray[np.integer] = jpeg8_decode(stream)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 (of its own class, or of another, by what is wrong)
        return None
    return values if values.ndim == 2 else None


def _syntax_name(syntax: uids.UID) -> str:
    return syntax.name if not syntax.is_private and syntax.is_transfer_syntax else "a private or unknown syntax"
