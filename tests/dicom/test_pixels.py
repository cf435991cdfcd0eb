"""From stored values to a picture: the whole pipeline over files that hold one film in many ways."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import uid as uids
from pydicom.data import DATA_ROOT
from pydicom.encaps import encapsulate

from agcnn_clinic.dicom.attributes import read_dataset
from agcnn_clinic.dicom.pixels import render
from agcnn_clinic.domain import REASONS, Outcome, ReasonCode, Warn
from agcnn_clinic.errors import ImageError
from agcnn_clinic.picture import picture_of, quantised, same_picture

LIMIT = 1_000_000
WHOLE = {"WindowCenter": 2048, "WindowWidth": 4096}


def _refused(path, max_pixels=LIMIT):
    with pytest.raises(ImageError) as caught:
        render(read_dataset(path), max_pixels=max_pixels)
    return caught.value.code


def test_monochrome1_is_inverted_once_however_often_it_is_said(rendered, film, twelve):
    """MONOCHROME1, INVERSE and both together invert once; only a contradiction is remarked on."""
    for photometric, shape, remark in (
        ("MONOCHROME1", None, False),
        ("MONOCHROME1", "INVERSE", False),
        ("MONOCHROME2", "INVERSE", True),
        ("MONOCHROME1", "IDENTITY", True),
    ):
        options = {} if shape is None else {"PresentationLUTShape": shape}
        picture = rendered(4095 - twelve, photometric=photometric, **WHOLE, **options)
        np.testing.assert_allclose(picture.pixels, film, atol=1 / 4095)
        assert (Warn.MONOCHROME_CONTRADICTION in picture.warnings) is remark
    assert rendered(twelve, PresentationLUTShape="IDENTITY", **WHOLE).warnings == (Warn.SPACING_UNKNOWN,)


def test_a_negative_slope_inverts_like_the_header_says(rendered, film, twelve):
    """Rescale -1 with the window over its output shows the same film as MONOCHROME1 does."""
    picture = rendered(4095 - twelve, RescaleSlope=-1, RescaleIntercept=4095, **WHOLE)
    np.testing.assert_allclose(picture.pixels, film, atol=1 / 4095)


def test_padding_is_background_and_does_not_count(rendered, film, twelve):
    """Padding is black before and after an inversion, and does not stretch the range of a film without window."""
    stored = np.clip(twelve // 4 + 1000, 0, 2100)
    stored[:40], stored[40:60] = 0, 7
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        for ends in ((0, 9), (9, 0)):  # where white is low the limit may lie below the value
            padding = dict(zip(("PixelPaddingValue", "PixelPaddingRangeLimit"), ends, strict=True))
            picture = rendered(stored, photometric=photometric, **padding)
            assert picture.pixels[:60].max() == 0
            assert picture.pixels[60:].min() == 0
            assert picture.pixels[60:].max() == 1
    alone = rendered(stored, PixelPaddingValue=0)
    assert alone.pixels[40:60].max() == 0
    assert alone.pixels[60:].min() > 0.4


def test_padding_among_signed_pixels_is_found_in_either_sign(write_dicom, tmp_path, rendered, film):
    """A padding value written as 63536 means -2000 among signed pixels."""
    stored = np.rint(film * 1000).astype(np.int16)
    stored[:40] = -2000
    picture = rendered(stored, bits=16, PixelPaddingValue=-2000)
    assert picture.pixels[:40].max() == 0
    assert picture.pixels[40:].max() == 1
    path = write_dicom(tmp_path / "us.dcm", stored, bits=16, PixelPaddingValue=-2000)
    path.write_bytes(path.read_bytes().replace(b"\x28\x00\x20\x01SS", b"\x28\x00\x20\x01US"))
    assert picture.sha256 == render(read_dataset(path), max_pixels=LIMIT).sha256


def test_padding_among_unsigned_pixels_is_found_in_either_sign(write_dicom, tmp_path, rendered, film):
    """A padding value written as -1 means 65535 among unsigned pixels of 16 bits."""
    stored = np.rint(film * 1000).astype(np.uint16)
    stored[:40] = 65535
    picture = rendered(stored, bits=16, PixelPaddingValue=65535)
    assert picture.pixels[:40].max() == 0
    assert picture.pixels[40:].max() == 1
    path = write_dicom(tmp_path / "ss.dcm", stored, bits=16, PixelPaddingValue=65535)
    path.write_bytes(path.read_bytes().replace(b"\x28\x00\x20\x01US", b"\x28\x00\x20\x01SS"))
    assert picture.sha256 == render(read_dataset(path), max_pixels=LIMIT).sha256


def test_an_image_of_one_value_or_of_padding_alone_is_black(rendered):
    """A range of nothing is no division by 0: the gate refuses such an image as blank."""
    plate = np.full((8, 8), 5, np.uint16)
    assert rendered(plate).pixels.max() == 0
    assert rendered(plate, PixelPaddingValue=5).pixels.max() == 0


def test_stray_bits_are_masked(rendered, twelve):
    """Bits beyond Bits Stored may hold an overlay or anything; they do not show."""
    clean = rendered(twelve, **WHOLE)
    assert rendered(twelve | 0x5000, **WHOLE).sha256 == clean.sha256
    assert rendered((twelve << 4) | 0x000A, HighBit=15, **WHOLE).sha256 == clean.sha256


def test_signed_values_below_their_bits_keep_their_sign(rendered, film):
    """Twelve signed bits in sixteen, with their upper bits cleared, are still signed."""
    stored = np.rint(film * 4095).astype(np.int16) - 2048
    picture = rendered(stored & 0x0FFF, WindowCenter=0, WindowWidth=4096)
    np.testing.assert_allclose(picture.pixels, film, atol=1 / 4095)


def test_grey_in_three_channels_is_grey_and_colour_is_refused(write_dicom, tmp_path, rendered, film):
    """A secondary capture in RGB is read when its channels agree to a rounding or two, and then green counts."""
    grey = np.rint(film * 255).astype(np.uint8)
    colour = np.repeat(grey[..., None], 3, axis=2)
    picture = rendered(colour, bits=8, photometric="RGB")
    np.testing.assert_allclose(picture.pixels, grey / 255, atol=1e-6)
    assert picture.warnings == (Warn.NO_VOI, Warn.SPACING_UNKNOWN)
    # A window is for grey alone, and says nothing of colour (PS3.3 C.11.2): that there is none would be no true remark.
    windowed = rendered(colour, bits=8, photometric="RGB", WindowCenter=40, WindowWidth=80)
    assert (windowed.sha256, windowed.warnings) == (picture.sha256, (Warn.SPACING_UNKNOWN,))
    level = int(grey[5, 5])
    colour[5, 5] = level - 1, level, level + 1
    assert rendered(colour, bits=8, photometric="RGB").sha256 == picture.sha256
    colour[5, 5, 2] += 1
    assert _refused(write_dicom(tmp_path / "c.dcm", colour, bits=8, photometric="RGB")) == ReasonCode.COLOUR


def test_a_claim_of_size_is_checked_before_anything_is_allocated(write_dicom, tmp_path, twelve):
    """Cut-off pixel data are PIXEL_LENGTH, an honest giant is TOO_LARGE, and no size at all is missing."""
    short = write_dicom(tmp_path / "short.dcm", twelve, Rows=65535, Columns=65535)
    assert _refused(short) == ReasonCode.PIXEL_LENGTH
    assert _refused(write_dicom(tmp_path / "giant.dcm", twelve), max_pixels=twelve.size - 1) == ReasonCode.TOO_LARGE
    assert _refused(write_dicom(tmp_path / "zero.dcm", twelve, Rows=0)) == ReasonCode.MISSING_ATTRIBUTE
    assert _refused(write_dicom(tmp_path / "none.dcm", twelve, Rows=None)) == ReasonCode.MISSING_ATTRIBUTE


@pytest.mark.parametrize("syntax", [uids.JPEG2000Lossless, uids.JPEGLSLossless, uids.RLELossless])
def test_a_compressed_giant_is_refused_by_its_own_claim(write_dicom, tmp_path, twelve, syntax):
    """A header that claims little over a stream that holds much, or the reverse, is no picture."""
    path = write_dicom(tmp_path / "film.dcm", twelve, syntax=syntax, Rows=16, Columns=16)
    assert _refused(path) == ReasonCode.UNREADABLE_PIXELS
    path = write_dicom(tmp_path / "film.dcm", twelve, syntax=syntax, Rows=60000, Columns=60000)
    assert _refused(path) == ReasonCode.TOO_LARGE


@pytest.mark.parametrize(
    "syntax",
    [uids.ExplicitVRLittleEndian, uids.JPEG2000Lossless, uids.JPEGLSLossless, uids.RLELossless],
)
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_a_file_that_is_cut_off_is_never_read(write_dicom, tmp_path, twelve, syntax, kept):
    """However much of a file arrived, a part of it is quarantined, not read and not refused as sound."""
    path = write_dicom(tmp_path / "film.dcm", twelve, syntax=syntax)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    assert _refused(path) in (ReasonCode.PIXEL_LENGTH, ReasonCode.UNREADABLE_PIXELS)


@pytest.mark.parametrize("syntax", [uids.JPEG2000Lossless, uids.JPEGLSLossless])
def test_a_stream_that_is_cut_off_in_a_whole_file_is_noticed(write_dicom, tmp_path, twelve, syntax):
    """Decoders fill in what a stream lacks; its missing end is looked for before they are asked."""
    path = write_dicom(tmp_path / "film.dcm", twelve, syntax=syntax)
    dataset = pydicom.dcmread(path)
    stream = pydicom.encaps.get_frame(dataset.PixelData, 0, number_of_frames=1)
    dataset.PixelData = encapsulate([stream[: len(stream) * 2 // 3]])
    dataset.save_as(path)
    assert _refused(path) == ReasonCode.PIXEL_LENGTH


def test_what_cannot_be_decoded_has_a_reason(write_dicom, tmp_path, twelve):
    """Video, private and unknown syntaxes, palettes, float pixels and 32 bits each end with their code."""
    path = write_dicom(tmp_path / "film.dcm", twelve)

    def changed(**attributes):
        dataset = pydicom.dcmread(path)
        syntax = attributes.pop("syntax", None)
        if syntax is not None:
            dataset.file_meta.TransferSyntaxUID = uids.UID(syntax)
            dataset.PixelData = encapsulate([b"\0" * 100])
            dataset["PixelData"].is_undefined_length = True
        for keyword, value in attributes.items():
            setattr(dataset, keyword, value)
        with pytest.raises(ImageError) as caught:
            render(dataset, max_pixels=LIMIT)
        return caught.value.code

    assert changed(syntax=uids.MPEG2MPML) == ReasonCode.UNSUPPORTED_SYNTAX
    assert changed(syntax="1.2.3.4.5") == ReasonCode.UNSUPPORTED_SYNTAX
    assert changed(syntax=uids.JPEGBaseline8Bit) == ReasonCode.UNREADABLE_PIXELS
    assert changed(PhotometricInterpretation="PALETTE COLOR") == ReasonCode.COLOUR
    assert changed(PhotometricInterpretation="RGB") == ReasonCode.UNREADABLE_PIXELS
    assert changed(BitsAllocated=32, BitsStored=32) == ReasonCode.UNREADABLE_PIXELS
    assert changed(BitsStored=0) == ReasonCode.UNREADABLE_PIXELS


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
def test_a_photometric_interpretation_may_be_in_small_letters(rendered, twelve):
    """It is a code string, in capitals by the standard alone."""
    assert rendered(twelve, photometric="monochrome2", **WHOLE).sha256 == rendered(twelve, **WHOLE).sha256


def test_a_scan_that_says_nothing_of_its_spectrum_has_all_of_it():
    """Two files of pydicom hold one image, one of them with zeros where only 0 to 63 is allowed."""
    usual, zeros = (Path(DATA_ROOT) / "test_files" / name for name in ("JPGExtended.dcm", "JPEG-lossy.dcm"))
    pictures = [render(read_dataset(path), max_pixels=LIMIT) for path in (usual, zeros)]
    assert pictures[0].sha256 == pictures[1].sha256


def test_what_sending_again_cannot_mend_is_called_what_it_is(write_dicom, tmp_path, twelve):
    """A stream under a native syntax is the header's fault; pixels on a server are not cut off."""
    path = write_dicom(tmp_path / "film.dcm", twelve)
    dataset = read_dataset(path)
    dataset.PixelData = encapsulate([b"\0" * 100])
    with pytest.raises(ImageError, match="the pixel data are compressed") as caught:
        render(dataset, max_pixels=LIMIT)
    assert caught.value.code == ReasonCode.MISSING_ATTRIBUTE
    path = write_dicom(tmp_path / "film.dcm", twelve, PixelData=None, PixelDataProviderURL="https://example.org/film")
    assert _refused(path) == ReasonCode.UNSUPPORTED_SYNTAX


def test_an_object_without_an_image_is_sound_and_one_that_lost_it_is_not(write_dicom, tmp_path, twelve):
    """A report has no pixels; a radiograph without any was cut off."""
    path = write_dicom(tmp_path / "film.dcm", twelve, PixelData=None)
    assert _refused(path) == ReasonCode.PIXEL_LENGTH
    gone = dict.fromkeys(("PixelData", "Rows", "Columns", "BitsAllocated"))
    path = write_dicom(tmp_path / "sr.dcm", twelve, SOPClassUID=uids.BasicTextSRStorage, **gone)
    assert _refused(path) == ReasonCode.NO_PIXELS


def test_a_hash_speaks_of_pixels_and_shape_alone(rendered, twelve, film):
    """The same pixels have one hash, resampled or not; another pixel or shape has another."""
    assert rendered(twelve, **WHOLE).sha256 == rendered(twelve, PatientID="other", **WHOLE).sha256
    changed = twelve.copy()
    changed[0, 0] ^= 1
    assert rendered(changed, **WHOLE).sha256 != rendered(twelve, **WHOLE).sha256
    resampled = rendered(twelve, PixelSpacing=[0.2, 0.4], **WHOLE)
    assert resampled.pixels.shape != twelve.shape
    alone = picture_of(resampled.pixels, resampled.geometry)
    assert (resampled.sha256, resampled.tones) == (alone.sha256, alone.tones)
    zeros = np.zeros((2, 6), np.float32)
    geometry = rendered(twelve).geometry
    assert picture_of(zeros, geometry).sha256 != picture_of(zeros.reshape(3, 4), geometry).sha256
    with pytest.raises(ValueError, match="float32"):
        picture_of(film, geometry)


def test_the_same_picture_stands_lossy_coding_and_nothing_else(rendered, film, twelve):
    """JPEG 2000 at a ratio of 10 is the same picture; an inversion, a shift, a gain and another shape are not."""
    whole = rendered(twelve, **WHOLE)
    lossy = whole.pixels + np.random.default_rng(1).normal(0, 0.5 / 255, film.shape).astype(np.float32)
    assert same_picture(whole, picture_of(np.clip(lossy, 0, 1), whole.geometry))
    for other in (
        1 - whole.pixels,
        np.roll(whole.pixels, 3, axis=0),
        whole.pixels * np.float32(0.97),
        np.minimum(whole.pixels + np.float32(2 / 255), 1),
        whole.pixels[:, :-1],
        np.where(np.arange(320)[:, None] < 3, np.float32(1), whole.pixels),
    ):
        assert not same_picture(whole, picture_of(np.ascontiguousarray(other), whole.geometry))


def test_levels_survive_their_quantisation():
    """Every one of the 65536 levels is its own nearest."""
    levels = (np.arange(65536) / 65535).astype(np.float32)[None]
    assert (quantised(levels) == np.arange(65536)).all()


def _odd_files():
    """The files of trouble that pydicom brings along; it would download others by the same name."""
    return sorted(path for path in Path(DATA_ROOT).rglob("*") if path.is_file())


@pytest.mark.parametrize("path", _odd_files(), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_pydicoms_odd_files_give_a_picture_or_a_reason(path):
    """Whatever pydicom keeps as an example of trouble, it ends as a picture or as an ImageError."""
    try:
        picture = render(read_dataset(path), max_pixels=LIMIT)
    except ImageError as error:
        outcome = REASONS[ReasonCode(error.code)].outcome
    else:
        outcome = Outcome.ANALYSED
        assert 0 <= picture.pixels.min() <= picture.pixels.max() <= 1
    assert outcome in (Outcome.ANALYSED, Outcome.REFUSED, Outcome.QUARANTINED)
