"""What compressed streams say of themselves."""

import numpy as np
import pytest
from imagecodecs import jpeg2k_encode, jpeg8_encode, jpegls_encode
from pydicom import uid as uids

from agcnn_clinic.dicom.streams import Coding, coding_of, jpeg_frame
from agcnn_clinic.errors import ImageError

TWELVE = np.random.default_rng(0).integers(0, 4096, (40, 36)).astype(np.uint16)
EIGHT = (TWELVE >> 4).astype(np.uint8)


def _j2k(values, **options):
    return jpeg2k_encode(values, codecformat="j2k", **options)


@pytest.mark.parametrize(
    ("stream", "syntax", "precision", "exact"),
    [
        (jpeg8_encode(EIGHT), uids.JPEGBaseline8Bit, 8, False),
        (jpeg8_encode(TWELVE, lossless=True, bitspersample=12), uids.JPEGLosslessSV1, 12, True),
        # What a stream is it says itself, whatever the transfer syntax calls it.
        (jpeg8_encode(EIGHT), uids.JPEGLosslessSV1, 8, False),
        (jpegls_encode(EIGHT), uids.JPEGLSLossless, 8, True),
        (jpegls_encode(TWELVE), uids.JPEGLSNearLossless, 16, True),
        (jpegls_encode(TWELVE, level=3), uids.JPEGLSNearLossless, 16, False),
        (jpegls_encode(TWELVE, level=3), uids.JPEGLSLossless, 16, False),
        (_j2k(TWELVE, level=0), uids.JPEG2000Lossless, 16, True),
        (_j2k(TWELVE, level=60, reversible=False), uids.JPEG2000Lossless, 16, False),
        # Of a reversible wavelet the rest may have been cut off.
        (_j2k(TWELVE, level=0), uids.JPEG2000, 16, False),
    ],
)
def test_a_stream_says_its_size_its_depth_and_whether_it_is_exact(stream, syntax, precision, exact):
    """The three families of codecs, with loss and without, and under a name that promises another."""
    coding = coding_of(bytes(stream), syntax)
    assert (coding.rows, coding.columns, coding.precision) == (40, 36, precision)
    assert (coding.signed, coding.exact) == (False, exact)


def test_sizes_are_found_behind_other_segments():
    """A JPEG frame header behind a comment and a fill byte, a JPEG 2000 SIZ segment in boxes, with its origin."""
    jpeg = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xff\xc3\x00\x0b\x08\x01\x00\x02\x00\x01\x01\x11\x00"
    assert jpeg_frame(jpeg) == (0xC3, 8, 256, 512)
    siz = b"\xff\x4f\xff\x51\x00\x29\x00\x00" + bytes.fromhex("00000300 00000200 00000100 00000000")
    siz += bytes(18) + b"\x8b\x01\x01"
    assert coding_of(b"box" + siz, uids.JPEG2000) == Coding(
        0x200, 0x200, 12, signed=True, exact=False, knows_signs=True
    )


@pytest.mark.parametrize(
    "broken",
    [b"", b"\xff\xd8", b"\xff\xd8\xff\xe0\x00", b"\xff\xd8\x00\x00\x00\x00\x00\x00\x00\x00\x00", b"\xffO\xffQ"],
)
def test_a_stream_without_a_size_is_an_error_of_the_file(broken):
    """Nothing is decoded that does not say how large it is; RLE says nothing, and its rows are counted."""
    for syntax in (uids.JPEGLosslessSV1, uids.JPEG2000Lossless):
        with pytest.raises(ImageError, match="does not state its size"):
            coding_of(broken, syntax)
    assert coding_of(broken, uids.RLELossless) is None
