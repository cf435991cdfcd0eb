"""Which bits of what a decoder gives back are the film's, and what becomes of the others."""

import numpy as np
import pytest
from imagecodecs import jpeg2k_encode, jpeg8_encode, jpegls_encode
from openjpeg.utils import encode_array
from pydicom import uid as uids

from agcnn_clinic.dicom.attributes import read_dataset
from agcnn_clinic.dicom.decode import stored_values
from agcnn_clinic.domain import Warn
from agcnn_clinic.errors import ImageError

LIMIT = 1_000_000
LOSS = 1000
"""More than coding takes from any pixel here, and far less than what cutting off an upper bit does."""


@pytest.fixture
def saturated(film):
    """The film in 12 bits with its brightest part clipped, as an overexposed one is."""
    return np.clip(np.rint(film * 5500), 0, 4095).astype(np.uint16)


def _stored(path):
    return stored_values(read_dataset(path), LIMIT)


def _near_lossless(values):
    return jpegls_encode(values, level=3), uids.JPEGLSNearLossless


def _irreversible(values):
    return jpeg2k_encode(values, level=60, codecformat="j2k", reversible=False), uids.JPEG2000


@pytest.mark.parametrize("encode", [_near_lossless, _irreversible])
def test_what_loss_makes_of_white_stays_white(write_stream, saturated, encode):
    """Streams of 16 bits give back 4096 and more where a film of 12 bits is saturated: that is white, not black."""
    stream, syntax = encode(saturated)
    stored = _stored(write_stream(saturated, stream, syntax))
    assert int(np.abs(stored.values.astype(int) - saturated).max()) < LOSS
    assert (stored.values.max(), stored.remarks) == (4095, ())


def test_what_loss_makes_of_the_least_signed_value_stays_the_least(write_stream, saturated):
    """Signed values are limited at both ends, too."""
    values = np.where(saturated < 1500, 0, saturated).astype(np.int16)[::-1] - 2048
    stream = encode_array(values, bits_stored=16, photometric_interpretation=2, use_mct=False, compression_ratios=[15])
    stored = _stored(write_stream(values, stream, uids.JPEG2000))
    assert int(np.abs(stored.values - values).max()) < LOSS
    assert (stored.values.min(), stored.values.max()) == (-2048, 2047)


@pytest.mark.parametrize("encode", [jpegls_encode, lambda words: jpeg8_encode(words, lossless=True, bitspersample=16)])
def test_a_stream_of_whole_words_is_shifted(write_stream, saturated, encode):
    """Bits Stored 12 below High Bit 15: a lossless stream of 16 bits holds the words, one of 12 bits the values."""
    words = (saturated << 4) | 0x000A
    lossless = uids.JPEGLSLossless if encode is jpegls_encode else uids.JPEGLosslessSV1
    assert (_stored(write_stream(saturated, encode(words), lossless, HighBit=15)).values == saturated).all()
    values = jpeg8_encode(saturated, lossless=True, bitspersample=12)
    assert (_stored(write_stream(saturated, values, uids.JPEGLosslessSV1, HighBit=15)).values == saturated).all()
    # What loss takes here stays below the bits that count.
    assert (_stored(write_stream(saturated, *_near_lossless(words), HighBit=15)).values == saturated).all()


@pytest.mark.parametrize("syntax", [uids.JPEG2000Lossless, uids.JPEG2000])
def test_negative_values_under_an_unsigned_header_are_an_error_of_the_header(write_stream, saturated, syntax):
    """Read modulo 4096, as their bits are, dark and bright would change places; a sign of no value does no harm."""
    for least in (-2048, 0):
        values = (saturated >> (least == 0)).astype(np.int16) + least
        path = write_stream(
            saturated, encode_array(values, bits_stored=12, photometric_interpretation=2, use_mct=False), syntax
        )
        if least:
            with pytest.raises(ImageError) as caught:
                _stored(path)
            assert caught.value.code == "missing_attribute"
        else:
            assert (_stored(path).values == values).all()


@pytest.mark.parametrize("ratio", [None, 15])
def test_a_signed_stream_of_unsigned_values_is_read(write_stream, saturated, ratio):
    """With a bit more than Bits Stored its sign is of no use: what loss makes of black, a little below 0, is black."""
    options = {} if ratio is None else {"compression_ratios": [ratio]}
    values = np.where(saturated < 1500, 0, saturated).astype(np.int16)
    stream = encode_array(values, bits_stored=13, photometric_interpretation=2, use_mct=False, **options)
    stored = _stored(write_stream(saturated, stream, uids.JPEG2000 if ratio else uids.JPEG2000Lossless))
    assert int(np.abs(stored.values - values).max()) < (LOSS if ratio else 1)
    assert stored.values.min() == 0


@pytest.mark.parametrize("bits", [8, 12])
def test_the_sign_of_a_stream_without_one_is_in_its_own_bits(write_stream, saturated, bits):
    """An unsigned JPEG 2000 stream of 12 bits holds -1 as 4095, whatever Bits Stored says."""
    values = (saturated >> (12 - bits)).astype(np.int16) - (1 << (bits - 1))
    stream = encode_array(
        (values & ((1 << bits) - 1)).astype(np.uint16), bits_stored=bits, photometric_interpretation=2, use_mct=False
    )
    assert (_stored(write_stream(values, stream, uids.JPEG2000Lossless, bits=16)).values == values).all()


def test_signed_values_in_a_stream_that_knows_no_sign_keep_theirs_under_loss(write_stream, saturated):
    """JPEG-LS holds -1 as 4095: loss may make 4096 of that, which is -1 too, and not 0."""
    values = np.clip(saturated.astype(np.int16) - 2048, -2000, 2000)
    stored = _stored(write_stream(values, *_near_lossless((values & 0x0FFF).astype(np.uint16))))
    assert int(np.abs(stored.values - values).max()) <= 3


@pytest.mark.parametrize("bits", [13, 16])
def test_a_stream_of_fewer_bits_than_are_stored_has_no_negative_values(write_stream, saturated, bits):
    """Where a stream can say nothing of a sign, the header's is that of Bits Stored bits, not of the stream's own."""
    values = saturated.astype(np.int16)
    lossless = jpeg8_encode(saturated, lossless=True, bitspersample=12)
    assert (_stored(write_stream(values, lossless, uids.JPEGLosslessSV1, bits=bits)).values == saturated).all()
    baseline = jpeg8_encode((saturated >> 4).astype(np.uint8), level=100)
    stored = _stored(write_stream(values, baseline, uids.JPEGBaseline8Bit, bits=bits)).values
    assert int(np.abs(stored - (saturated >> 4)).max()) <= 8


def test_overlays_in_the_upper_bits_of_jpeg_2000_are_no_white(write_stream, saturated):
    """Under the syntax that may have lost something, too, they are left out where the header announces them."""
    stream = encode_array(saturated | 0x4000, bits_stored=16, photometric_interpretation=2, use_mct=False)
    path = write_stream(saturated, stream, uids.JPEG2000)
    dataset = read_dataset(path)
    dataset.add_new((0x6000, 0x0102), "US", 14)
    assert (stored_values(dataset, LIMIT).values == saturated).all()


def test_bits_that_nothing_accounts_for_are_remarked_on(write_dicom, write_stream, tmp_path, saturated):
    """A Bits Stored too small for the values takes their upper bits away; the report says so."""
    path = tmp_path / "film.dcm"
    small = {"bits": 10, "WindowCenter": 2048, "WindowWidth": 4096}
    for syntax in (uids.ExplicitVRLittleEndian, uids.RLELossless):
        assert _stored(write_dicom(path, saturated, **small, syntax=syntax)).remarks == (Warn.STRAY_BITS,)
    assert _stored(write_stream(saturated, jpegls_encode(saturated), uids.JPEGLSLossless, **small)).remarks
    assert _stored(write_stream(saturated, *_near_lossless(saturated), **small)).remarks
    assert not _stored(write_dicom(path, saturated)).remarks


def test_overlays_and_extended_signs_are_accounted_for(write_dicom, tmp_path, saturated):
    """An overlay in the upper bits is announced by its Overlay Bit Position, and a sign may be repeated in them."""
    path, overlay = tmp_path / "film.dcm", saturated | 0x4000
    assert _stored(write_dicom(path, overlay)).remarks == (Warn.STRAY_BITS,)
    dataset = read_dataset(path)
    dataset.add_new((0x6000, 0x0102), "US", 14)
    stored = stored_values(dataset, LIMIT)
    assert (stored.remarks, stored.values.max()) == ((), 4095)
    signed = saturated.astype(np.int16) - 2048
    for values in (signed, signed & 0x0FFF):
        stored = _stored(write_dicom(path, values))
        assert stored.remarks == ()
        assert (stored.values == signed).all()
