"""Real files: radiographs of several makers, one slice in fifteen transfer syntaxes, and hostile ones."""

import numpy as np
import pytest

from agcnn_clinic.analysis.normalise import PRELOAD, normalise
from agcnn_clinic.dicom.attributes import read_dataset
from agcnn_clinic.dicom.pixels import render
from agcnn_clinic.domain import REASONS, MediaType, Outcome, ReasonCode, Warn
from agcnn_clinic.errors import ImageError
from agcnn_clinic.sandbox.pool import Sandbox
from agcnn_clinic.sections import Gate

GATE = Gate()
BASELINE = "1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819.dcm"
LOSSY = ("1.2.4.50", "1.2.4.51", "1.2.4.53", "1.2.4.55", "1.2.4.81", "1.2.4.91")


@pytest.fixture(scope="module")
def films(shared_data):
    """The folder of real DICOM radiographs."""
    return shared_data / "dicom-cxr"


def _refused(path, **options):
    with pytest.raises(ImageError) as caught:
        normalise(path, MediaType.DICOM, GATE, **options)
    return caught.value


# Regions by fractions of the picture (top, bottom, left, right), read off each film: a lung and the middle.
@pytest.mark.parametrize(
    ("name", "shape", "spacing", "lung", "middle"),
    [
        (BASELINE, (1024, 1024), (0.168, "PixelSpacing"), (0.3, 0.5, 0.24, 0.36), (0.45, 0.65, 0.48, 0.56)),
        ("966_fixed.dcm", (2128, 2000), (0.16, "ImagerPixelSpacing"), (0.2, 0.35, 0.2, 0.3), (0.6, 0.8, 0.45, 0.6)),
        ("RG1_J2KI.dcm", (1955, 1841), (None, ""), (0.15, 0.4, 0.2, 0.3), (0.6, 0.75, 0.45, 0.6)),
        (
            "cr_mono1_jpegLL_modlut_2140x1760.dcm",
            (2140, 1760),
            (0.2, "ImagerPixelSpacing"),
            (0.3, 0.5, 0.1, 0.25),
            (0.5, 0.7, 0.4, 0.5),
        ),
        ("udacity_test1.dcm", (1024, 1024), (None, ""), (0.3, 0.45, 0.25, 0.38), (0.5, 0.7, 0.5, 0.6)),
        ("udacity_test3.dcm", (1024, 1024), (None, ""), (0.25, 0.4, 0.25, 0.4), (0.6, 0.75, 0.48, 0.6)),
    ],
)
def test_real_films_are_bright_where_the_body_is_dense(films, name, shape, spacing, lung, middle):
    """Of every maker's film the lungs are darker than the heart, and it has its full size and its spacing."""
    result = normalise(films / name, MediaType.DICOM, GATE)
    pixels = result.picture.pixels
    assert pixels.shape == shape
    assert (result.picture.geometry.spacing_mm, result.picture.geometry.spacing_source) == spacing
    assert (Warn.SPACING_UNKNOWN in result.warnings) is (spacing[0] is None)
    assert _mean(pixels, lung) + 0.1 < _mean(pixels, middle)


def _mean(pixels, region):
    top, bottom, left, right = region
    height, width = pixels.shape
    return float(pixels[int(top * height) : int(bottom * height), int(left * width) : int(right * width)].mean())


def test_a_rib_cage_is_refused_and_its_chest_is_not(films):
    """One picture under two headers: the one that says RIBCAGE is not for the model."""
    assert _refused(films / "udacity_test4.dcm").code == ReasonCode.WRONG_BODY_PART
    assert normalise(films / "udacity_test1.dcm", MediaType.DICOM, GATE).quality["contrast"] > 0.5


@pytest.mark.parametrize("name", ["udacity_test4.dcm", "udacity_test6.dcm"])
def test_revisions_with_other_headers_are_the_same_picture(films, name):
    """test4 and test6 carry test1's UID and pixels, and differ in their headers alone."""
    result = normalise(films / name, MediaType.DICOM, GATE, films / "udacity_test1.dcm")
    assert result.same_as_previous is True
    assert result.differing_attributes
    assert all(keyword.isalnum() for keyword in result.differing_attributes)


def test_a_film_relabelled_monochrome1_is_another_picture(films):
    """The JPEG Baseline film under one UID with its inversion is a conflict."""
    result = normalise(films / "Fake_MONOHR1.dcm", MediaType.DICOM, GATE, films / BASELINE)
    assert result.same_as_previous is False
    assert result.differing_attributes == ("PhotometricInterpretation",)


def test_one_slice_in_fifteen_syntaxes_is_one_picture(shared_data):
    """Lossless ones are equal to the bit; lossy ones nearly, in what they state of their own range."""
    paths = sorted((shared_data / "dicom-syntaxes").glob("*.dcm"))
    pictures = {path.name: render(read_dataset(path), max_pixels=GATE.max_pixels) for path in paths}
    first = pictures["CTImage.dcm"]
    assert len(pictures) == 16
    for name, picture in pictures.items():
        if name.endswith(tuple(f"1.2.840.10008.{syntax}.dcm" for syntax in LOSSY)):
            # The 8-bit one has steps of 32 Hounsfield units in a window of 400.
            assert float(np.abs(picture.pixels - first.pixels).mean()) < 0.02
        else:
            assert picture.sha256 == first.sha256


def test_a_ct_slice_is_refused_in_every_syntax(shared_data):
    """It is no chest radiograph, however well it decodes."""
    for path in (shared_data / "dicom-syntaxes").glob("*.dcm"):
        assert _refused(path).code == ReasonCode.WRONG_MODALITY


def test_hostile_files_end_with_a_reason_and_little_memory(shared_data):
    """A claim of 46341 x 46341 pixels and invalid Rows neither crash a child nor fill its memory."""
    with Sandbox(1, 30, 64, PRELOAD) as sandbox:  # of memory beyond the libraries', 64 MB
        for path in sorted((shared_data / "dicom-malformed").glob("*.dcm")):
            with pytest.raises(ImageError) as caught:
                sandbox.run(normalise, path, MediaType.DICOM, GATE)
            assert caught.value.code not in (ReasonCode.CRASHED, ReasonCode.MEMORY, ReasonCode.DEADLINE)
            assert REASONS[ReasonCode(caught.value.code)].outcome in (Outcome.REFUSED, Outcome.QUARANTINED)


def test_published_pngs_pass(shared_data):
    """The 1024 x 1024 films of the NIH are read as they are, value / 255."""
    for path in sorted((shared_data / "nih-cxr-1024").glob("*.png"))[:5]:
        result = normalise(path, MediaType.PNG, GATE)
        assert result.picture.pixels.shape == (1024, 1024)
        assert not {Warn.LOW_RESOLUTION, Warn.NO_VOI} & set(result.warnings)
