"""A lossless JPEG is decoded to what it says, exactly: libjpeg-turbo beside pylibjpeg's decoder, which is another."""

import libjpeg
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from imagecodecs import jpeg8_encode
from numpy.testing import assert_array_equal
from pydicom import dcmread
from pydicom import uid as uids
from pydicom.encaps import encapsulate, get_frame

from agcnn_clinic.dicom import decode
from agcnn_clinic.dicom.attributes import read_dataset
from agcnn_clinic.dicom.decode import stored_values
from agcnn_clinic.errors import ImageError

MAX_PIXELS = 10_000


def noise(bits: int, rows: int = 40, columns: int = 36, seed: int = 0):
    """Values of all sizes and jumps that so many bits allow."""
    kind = np.uint8 if bits <= 8 else np.uint16
    return np.random.default_rng(seed).integers(0, 1 << bits, (rows, columns)).astype(kind)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    bits=st.integers(2, 16),
    predictor=st.integers(1, 7),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_precision_and_predictor_comes_back(bits, predictor, size, seed):
    """Both decoders give what was encoded, for each Selection Value (ITU-T T.81 Table H.1)."""
    values = noise(bits, *size, seed)
    stream = jpeg8_encode(values, lossless=True, predictor=predictor, bitspersample=bits)
    assert_array_equal(decode._lossless_jpeg(stream), values)
    assert_array_equal(libjpeg.decode(stream), values)


@pytest.mark.parametrize("transform", [1, 3])
def test_a_point_transform_is_undone(transform):
    """Values are shifted down before they are coded, and so is what the first one is predicted by (H.1.2.1)."""
    values, bits = noise(12) >> transform, 12
    stream = bytearray(jpeg8_encode(values, lossless=True, predictor=1, bitspersample=bits - transform))
    frame, scan = stream.index(b"\xff\xc3"), stream.index(b"\xff\xda")
    stream[frame + 4], stream[scan + 9] = bits, transform
    assert_array_equal(decode._lossless_jpeg(bytes(stream)), values << transform)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("marker", [b"\xff\xda", b"\xff\xd3", b"\xff\xe1", b"\xff\xff\xc4", b"\xff\xdd"])
def test_a_marker_among_the_pixels_is_an_error_of_the_file(marker, first):
    """It tells that bytes were lost or changed; a decoder may fill up what is missing, and say nothing."""
    stream = jpeg8_encode(noise(12), lossless=True, predictor=1, bitspersample=12)
    at = stream.index(b"\xff\xda") + 10 if first else len(stream) // 2
    with pytest.raises(ImageError) as caught:
        decode._lossless_jpeg(stream[:at] + marker + stream[at + 20 :])
    assert (caught.value.code, caught.value.detail) == ("unreadable_pixels", "a marker stands where pixels should be")


def test_fill_bytes_before_the_end_are_none():
    """Any marker may have some before it (ITU-T T.81 B.1.1.2), and the item of a fragment is padded behind it."""
    stream = jpeg8_encode(noise(12), lossless=True, predictor=1, bitspersample=12)
    assert_array_equal(decode._lossless_jpeg(stream[:-2] + b"\xff\xff\xff\xd9\x00"), noise(12))


def test_restart_intervals_are_left_to_the_other_decoder():
    """Markers among the pixels are what they are made of."""
    stream = jpeg8_encode(noise(12), lossless=True, predictor=1, bitspersample=12)
    frame = stream.index(b"\xff\xc3")
    assert decode._lossless_jpeg(stream[:frame] + b"\xff\xdd\x00\x04\x00\x24" + stream[frame:]) is None


@pytest.mark.parametrize("syntax", [uids.JPEGLossless, uids.JPEGLosslessSV1], ids=lambda syntax: syntax.keyword)
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_a_film_is_decoded_by_libjpeg_turbo(write_dicom, tmp_path, monkeypatch, syntax, bits):
    """And not by pydicom's decoder, which takes four times as long."""
    values = noise(bits)
    path = write_dicom(tmp_path / "film.dcm", values, bits=bits, syntax=syntax)
    monkeypatch.setattr(decode, "get_decoder", lambda _: pytest.fail("another decoder was asked"))
    assert_array_equal(stored_values(read_dataset(path), MAX_PIXELS)[0], values)


def test_what_libjpeg_turbo_gives_up_another_decoder_is_asked_about(write_dicom, tmp_path, monkeypatch):
    """A stream may be sound though one library does not know of it."""

    def gives_up(stream):
        raise RuntimeError("unknown to it")

    path = write_dicom(tmp_path / "film.dcm", noise(12), syntax=uids.JPEGLosslessSV1)
    monkeypatch.setattr(decode, "jpeg8_decode", gives_up)
    assert_array_equal(stored_values(read_dataset(path), MAX_PIXELS)[0], noise(12))


def test_a_lossy_stream_under_a_lossless_name_is_left_to_the_other_decoder(write_dicom, tmp_path):
    """Two libraries round a DCT differently; which one decodes it must not depend on what its header calls it."""
    path = write_dicom(tmp_path / "film.dcm", noise(8), bits=8, syntax=uids.JPEGLosslessSV1)
    dataset = dcmread(path)
    lossy = jpeg8_encode(noise(8), level=90)
    dataset.PixelData = encapsulate([lossy])
    dataset.save_as(path)
    assert decode._lossless_jpeg(lossy) is None
    assert_array_equal(stored_values(read_dataset(path), MAX_PIXELS)[0], libjpeg.decode(lossy))


def test_a_stream_deeper_than_its_header_allows_is_an_error_of_the_file(write_stream):
    """Taken for what the header says, the upper bits of each value would be lost without a word."""
    stream = jpeg8_encode(noise(12), lossless=True, predictor=1, bitspersample=12)
    path = write_stream(noise(8), stream, uids.JPEGLosslessSV1, bits=8)
    with pytest.raises(ImageError) as caught:
        stored_values(read_dataset(path), MAX_PIXELS)
    assert caught.value.code == "unreadable_pixels"


@pytest.mark.parametrize(
    ("stream", "syntax"),
    [
        (jpeg8_encode(noise(8), lossless=True, predictor=1), uids.JPEGLosslessSV1),
        (jpeg8_encode(noise(8), level=90), uids.JPEGBaseline8Bit),
    ],
    ids=["lossless", "baseline"],
)
def test_eight_bits_may_be_allocated_sixteen(write_stream, stream, syntax):
    """A stream of 8 bits a sample holds all that 8 Bits Stored want, whatever the words of an uncompressed one are."""
    path = write_stream(noise(8), stream, syntax, bits=8, BitsAllocated=16)
    assert_array_equal(stored_values(read_dataset(path), MAX_PIXELS).values, libjpeg.decode(stream))


@pytest.mark.parametrize(
    "table", [b"\x10\x00\x00\x00", b"\x00\x00\x00\x00\x08\x01\x00\x00"], ids=["wrong", "of fragments"]
)
@pytest.mark.parametrize("syntax", [uids.JPEGLosslessSV1, uids.JPEGLSLossless], ids=["JPEG", "JPEG-LS"])
def test_a_single_frame_needs_no_offset_table(write_dicom, tmp_path, syntax, table):
    """All fragments are its, wherever the table says that it begins."""
    path = write_dicom(tmp_path / "film.dcm", noise(12), syntax=syntax)
    dataset = dcmread(path)
    stream = get_frame(dataset.PixelData, 0, number_of_frames=1)
    fragments = (table, stream[:256], stream[256:] + bytes(len(stream) % 2))
    dataset.PixelData = b"".join(b"\xfe\xff\x00\xe0" + len(one).to_bytes(4, "little") + one for one in fragments)
    dataset.save_as(path)
    assert_array_equal(stored_values(read_dataset(path), MAX_PIXELS).values, noise(12))


def test_a_broken_stream_is_an_error_of_the_file(write_dicom, tmp_path):
    """Without its Huffman tables nothing can be decoded, by whomever."""
    path = write_dicom(tmp_path / "film.dcm", noise(12), syntax=uids.JPEGLosslessSV1)
    dataset = dcmread(path)
    stream = get_frame(dataset.PixelData, 0, number_of_frames=1)
    dataset.PixelData = encapsulate([stream.replace(b"\xff\xc4", b"\xff\xe4")])
    dataset.save_as(path)
    with pytest.raises(ImageError) as caught:
        stored_values(read_dataset(path), MAX_PIXELS)
    assert caught.value.code == "unreadable_pixels"
