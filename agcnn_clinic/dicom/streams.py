"""What a compressed stream says of itself: JPEG (ITU-T T.81), JPEG-LS (T.87) and JPEG 2000 (T.800, T.814).

A header may say anything of the pixels. What decodes them follows the stream, and so does what is made of its values.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from pydicom import uid as uids

from agcnn_clinic.dicom.codes import DECODED_AS
from agcnn_clinic.domain import ReasonCode
from agcnn_clinic.errors import ImageError

_JPEG_LIKE = frozenset((*uids.JPEGTransferSyntaxes, *uids.JPEGLSTransferSyntaxes, *DECODED_AS))
_J2K_LOSSLESS = frozenset((uids.JPEG2000Lossless, uids.HTJ2KLossless, uids.HTJ2KLosslessRPCL))
_J2K_LIKE = frozenset((*uids.JPEG2000TransferSyntaxes, *_J2K_LOSSLESS, uids.HTJ2K))

END_OF_IMAGE = b"\xff\xd9"
START_OF_SCAN, RESTART_INTERVAL = 0xDA, 0xDD
LOSSLESS_HUFFMAN = 0xC3
_START_OF_TILE, _CODING_STYLE = 0x90, 0x52
_SEQUENTIAL_DCT = (0xC0, 0xC1)
_DCT_HUFFMAN = (*_SEQUENTIAL_DCT, 0xC2)
_LOSSLESS = (LOSSLESS_HUFFMAN, 0xC7, 0xCB, 0xCF)
_NO_FRAME = (0xC4, 0xC8, 0xCC)
_JPEG_LS = 0xF7
"""Start of Frame markers (ITU-T T.81 Table B.1, T.87 C.1.1), and those among them that are none."""


@dataclass(frozen=True)
class Coding:
    """What a stream says of the image that it holds.

    Attributes:
        rows, columns: its size.
        precision: bits of a sample.
        signed: samples may be negative.
        exact: samples come back as they were. Else they may come back a little beyond what had been the largest, as far
            as `precision` lets them.
        least_length: bytes below which no stream can hold this image; 0 where nothing can be said.
        knows_signs: it could say that samples may be negative, as only JPEG 2000 can.
    """

    rows: int
    columns: int
    precision: int
    signed: bool
    exact: bool
    least_length: int = 0
    knows_signs: bool = False


class JpegFrame(NamedTuple):
    """A frame header (ITU-T T.81 B.2.2, T.87 C.2.2)."""

    marker: int
    precision: int
    rows: int
    columns: int


class Segment(NamedTuple):
    """A marker segment: its marker, and where its parameters begin and end."""

    marker: int
    start: int
    end: int


def coding_of(stream: bytes, syntax: str) -> Coding | None:
    """Return what a stream of this transfer syntax says of itself; None for RLE and others that say nothing.

    Raises:
        ImageError: UNREADABLE_PIXELS where it does not state its size.
    """
    if syntax in _JPEG_LIKE:
        coding = _jpeg_coding(stream)
    elif syntax in _J2K_LIKE:
        coding = _jpeg2000_coding(stream, syntax)
    else:
        return None
    if coding is None:
        raise ImageError(ReasonCode.UNREADABLE_PIXELS, "the compressed stream does not state its size")
    return coding


def jpeg_frame(stream: bytes) -> JpegFrame | None:
    """Return the frame header of a JPEG or JPEG-LS stream."""
    for marker, start, _ in marker_segments(stream):
        if marker == _JPEG_LS or (0xC0 <= marker <= 0xCF and marker not in _NO_FRAME):
            return None if start + 5 > len(stream) else JpegFrame(marker, *struct.unpack_from(">BHH", stream, start))
    return None


def marker_segments(stream: bytes, at: int = 2) -> Iterator[Segment]:
    """Yield the marker segments from `at` to the first scan or tile (ITU-T T.81 B.1.1.4, T.800 A.1)."""
    marker = 0
    while marker not in (START_OF_SCAN, _START_OF_TILE) and at + 4 <= len(stream) and stream[at] == 0xFF:
        marker = stream[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        (length,) = struct.unpack_from(">H", stream, at + 2)
        yield Segment(marker, at + 4, at + 2 + length)
        at += 2 + length


def with_whole_spectrum(stream: bytes) -> bytes:
    """Return a sequential DCT stream of one scan that says of it what alone is allowed (ITU-T T.81 Table B.3).

    All coefficients, 0 to 63, not refined: some writers leave zeros there. libjpeg passes over it with a warning and
    other decoders refuse the stream.
    """
    frame = jpeg_frame(stream)
    scan = next((one for one in marker_segments(stream) if one.marker == START_OF_SCAN), None)
    if frame is None or frame.marker not in _SEQUENTIAL_DCT or scan is None or scan.end > len(stream):
        return stream
    return b"".join((stream[: scan.end - 3], b"\x00\x3f\x00", stream[scan.end :]))


def ends_at_its_first_marker(scan: bytes) -> bool:
    """Whether coded data are followed by the end of the image. FF 00 is data, FF before a marker fills (B.1.1)."""
    data = scan.replace(b"\xff\x00", b"")
    first = data.find(b"\xff")
    return first >= 0 and data[first : first + 64].lstrip(b"\xff")[:1] == END_OF_IMAGE[1:]


def _jpeg_coding(stream: bytes) -> Coding | None:
    frame = jpeg_frame(stream)
    if frame is None:
        return None
    exact = frame.marker in _LOSSLESS or (frame.marker == _JPEG_LS and _near(stream) == 0)
    return Coding(frame.rows, frame.columns, frame.precision, signed=False, exact=exact, least_length=_least(frame))


def _near(stream: bytes) -> int:
    """Return how far a sample of a JPEG-LS stream may come back from what it was (ITU-T T.87 C.2.3)."""
    scan = next((one for one in marker_segments(stream) if one.marker == START_OF_SCAN), None)
    if scan is None or scan.start >= len(stream):
        return 0
    components = stream[scan.start]
    near = stream[scan.start + 1 + 2 * components : scan.end]
    return near[0] if near else 0


def _least(frame: JpegFrame) -> int:
    """Return the bytes below which a stream cannot hold what its frame header says.

    A Huffman code has at least one bit (ITU-T T.81 C): one a block of 64 samples for the DCT processes, one a sample
    for the lossless one. What is missing decoders fill with the last value, and say nothing.
    """
    if frame.marker in _DCT_HUFFMAN:
        return -(-frame.rows // 8) * -(-frame.columns // 8) // 8
    return frame.rows * frame.columns // 8 if frame.marker == LOSSLESS_HUFFMAN else 0


def _jpeg2000_coding(stream: bytes, syntax: str) -> Coding | None:
    """Read the SIZ and COD segments (ITU-T T.800 A.5.1 and A.6.1), in JP2 boxes or bare.

    A reversible wavelet gives back what was coded only where nothing was cut off to make the stream smaller, and that
    is promised by the transfer syntax alone.
    """
    start = stream[:4096].find(b"\xff\x4f\xff\x51")
    if start < 0 or len(stream) < start + 43:
        return None
    right, bottom, left, top = struct.unpack_from(">IIII", stream, start + 8)
    depth = stream[start + 42]
    style = next((one for one in marker_segments(stream, start + 2) if one.marker == _CODING_STYLE), None)
    reversible = style is not None and stream[style.start + 9 : style.start + 10] == b"\x01"
    return Coding(
        rows=bottom - top,
        columns=right - left,
        precision=(depth & 0x7F) + 1,
        signed=depth >= 0x80,
        exact=reversible and syntax in _J2K_LOSSLESS,
        knows_signs=True,
    )
