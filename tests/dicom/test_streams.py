"""What compressed streams say of themselves."""

import numpy as np
import pytest
from imagecodecs import jpeg2k_encode, jpeg8_encode, jpegls_encode
from numpy.testing import assert_array_equal
from pydicom import uid as uids

from agcnn_clinic.dicom.attributes import read_dataset
from agcnn_clinic.dicom.decode import stored_values
from agcnn_clinic.dicom.streams import Coding, coding_of, jpeg_frame
from agcnn_clinic.domain import ReasonCode
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
    """A JPEG frame header behind tables, comment and fill byte, a JPEG 2000 SIZ segment in boxes, with its origin."""
    tables = b"\xff\xc4\x00\x07\0\0\0\0\0\xff\xcc\x00\x07\0\0\0\0\0"
    jpeg = b"\xff\xd8" + tables + b"\xff\xe0\x00\x04ab\xff\xff\xc3\x00\x0b\x08\x01\x00\x02\x00\x01\x01\x11\x00"
    assert jpeg_frame(jpeg) == (0xC3, 8, 256, 512)
    assert jpeg_frame(jpeg[:-4]) == (0xC3, 8, 256, 512)
    siz = b"\xff\x4f\xff\x51\x00\x29\x00\x00" + bytes.fromhex("00000300 00000200 00000100 00000000")
    siz += bytes(18) + b"\x8b\x01\x01"
    assert coding_of(b"box" + siz, uids.JPEG2000) == Coding(
        0x200, 0x200, 12, signed=True, exact=False, knows_signs=True
    )


@pytest.mark.parametrize(
    "broken",
    [
        *(b"", b"\xff\xd8", b"\xff\xd8\xff\xe0\x00", b"\xff\xd8\x00\x00\x00\x00\x00\x00\x00\x00\x00", b"\xffO\xffQ"),
        b"\xff\xd8" + bytes(60),
        b"\xff\xd8\xff\xc3\x00\x0b\x08\x01\x00\x02",
        b"\xff\xd8\x00\xc3\x00\x0b\x08\x01\x00\x02\x00\x01\x01\x11\x00",
        b"\xff\xd8\xff\xda\x00\x02\xff\xc3\x00\x0b\x08\x01\x00\x02\x00\x01\x01\x11\x00",
    ],
)
def test_a_stream_without_a_size_is_an_error_of_the_file(broken):
    """Nothing is decoded that does not say how large it is; RLE says nothing, and its rows are counted."""
    for syntax in (uids.JPEGLosslessSV1, uids.JPEG2000Lossless):
        with pytest.raises(ImageError, match="does not state its size"):
            coding_of(broken, syntax)
    assert coding_of(broken, uids.RLELossless) is None


@pytest.mark.parametrize(("marker", "exact"), [(0xC5, False), (0xC7, True), (0xC9, False), (0xCB, True), (0xCF, True)])
def test_every_process_says_whether_it_is_exact(marker, exact):
    """Hierarchical and arithmetic ones, too (ITU-T T.81 Table B.1); of their length nothing is known."""
    stream = jpeg8_encode(TWELVE, lossless=True, bitspersample=12).replace(b"\xff\xc3", bytes((0xFF, marker)), 1)
    assert coding_of(stream, uids.JPEGLossless) == Coding(40, 36, 12, signed=False, exact=exact)


@pytest.mark.parametrize(
    ("options", "syntax"), [({"lossless": True}, uids.JPEGLosslessSV1), ({"level": 90}, uids.JPEGBaseline8Bit)]
)
def test_a_stream_that_is_too_short_for_its_film_is_none(write_stream, options, syntax):
    """Decoders paint the rest grey, and say nothing where it has an end; an empty film's is as short as may be."""
    blank = np.zeros((512, 512), np.uint8)
    stream = jpeg8_encode(blank, **options)
    assert_array_equal(
        stored_values(read_dataset(write_stream(blank, stream, syntax, bits=8)), blank.size).values, blank
    )
    cut = stream[: coding_of(stream, syntax).least_length - 4] + b"\xff\xd9"
    with pytest.raises(ImageError) as caught:
        stored_values(read_dataset(write_stream(blank, cut, syntax, bits=8)), blank.size)
    assert caught.value.code == ReasonCode.PIXEL_LENGTH


def test_a_scan_that_is_cut_off_is_left_to_the_decoder():
    """What a JPEG-LS stream says of its size stands before its scan, wherever that ends."""
    stream = jpegls_encode(EIGHT)
    scan = stream.index(b"\xff\xda")
    for end in range(scan, scan + 10):
        assert coding_of(stream[:end], uids.JPEGLSLossless) == Coding(40, 36, 8, signed=False, exact=True)
