"""Pixel spacing and square pixels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from agcnn_clinic.dicom.geometry import Spacing, isotropic, spacing_of
from agcnn_clinic.domain import Geometry, ReasonCode
from agcnn_clinic.errors import ImageError

LIMIT = 1_000_000


def _spacing(**attributes):
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return spacing_of(dataset)


def test_the_first_possible_attribute_tells_the_spacing():
    """Pixel Spacing, then Imager Pixel Spacing, then Nominal Scanned Pixel Spacing, each named as the source."""
    a, b, c = [0.1, 0.1], [0.2, 0.2], [0.3, 0.3]
    every = {"PixelSpacing": a, "ImagerPixelSpacing": b, "NominalScannedPixelSpacing": c}
    for keyword, (size, _) in every.items():
        spacing = _spacing(**{k: v for k, v in every.items() if v[0] >= size})
        assert spacing == Spacing(size, size, in_mm=True, source=keyword)


def test_a_repeated_detector_spacing_is_called_the_detectors():
    """Pixel Spacing equal to Imager Pixel Spacing has not been corrected for magnification."""
    assert _spacing(PixelSpacing=[0.2, 0.2], ImagerPixelSpacing=[0.2, 0.2]).source == "ImagerPixelSpacing"


@pytest.mark.parametrize("value", [[0, 0], [-1, 1], [0.2], [1e9999, 1], None, []])
def test_an_impossible_spacing_is_unknown(value):
    """Zeros, negatives, halves and non-numbers tell nothing, and the picture stays as it is."""
    spacing = _spacing(PixelSpacing=value)
    assert not spacing.in_mm
    assert spacing.is_square


def test_an_aspect_ratio_has_no_size():
    """Pixel Aspect Ratio makes pixels square and leaves their size unknown."""
    _, geometry = isotropic(np.zeros((10, 10), np.float32), _spacing(PixelAspectRatio=[2, 1]), LIMIT)
    assert (geometry.spacing_mm, geometry.scale_y) == (None, 0.5)


@given(st.integers(4, 40), st.integers(4, 40), st.sampled_from([(0.1, 0.2), (0.2, 0.1), (0.15, 0.2), (0.3, 0.1)]))
def test_square_pixels_cover_the_same_area(rows, columns, sizes):
    """The finer spacing is kept, sides grow accordingly, and scales lead back to the source's edges."""
    pixels, geometry = isotropic(np.zeros((rows, columns), np.float32), Spacing(*sizes, in_mm=True, source="x"), LIMIT)
    height, width = pixels.shape
    assert (geometry.spacing_mm, geometry.spacing_source) == (min(sizes), "x")
    assert abs(height * min(sizes) - rows * sizes[0]) <= min(sizes) / 2 + 1e-9
    assert abs(width * min(sizes) - columns * sizes[1]) <= min(sizes) / 2 + 1e-9
    assert (height * geometry.scale_y, width * geometry.scale_x) == pytest.approx((rows, columns))


@pytest.mark.parametrize("across", [False, True])
def test_a_ramp_stays_a_ramp(across):
    """From black to white, down or across: bilinear is exact inside, keeps the ends, and moves nothing to a side."""
    ramp = np.repeat(np.linspace(0, 1, 11, dtype=np.float32)[:, None], 7, axis=1)
    turned, spacing = (ramp.T, Spacing(0.1, 0.2, in_mm=True)) if across else (ramp, Spacing(0.2, 0.1, in_mm=True))
    pixels, geometry = isotropic(turned, spacing, LIMIT)
    assert (pixels.shape, (geometry.source_rows, geometry.source_columns)) == (
        ((7, 22), (7, 11)) if across else ((22, 7), (11, 7))
    )
    middle = pixels[3] if across else pixels[:, 3]
    scale = geometry.scale_x if across else geometry.scale_y
    centres = (np.arange(22) + 0.5) * scale - 0.5
    np.testing.assert_allclose(middle, np.interp(centres, np.arange(11), ramp[:, 3]), atol=1e-6)


def test_nearly_square_is_square():
    """A spacing rounded twice is not resampled for; sides of a film that differ by a hundredth are."""
    pixels = np.zeros((200, 300), np.float32)
    same, geometry = isotropic(pixels, Spacing(0.1429, 0.143, in_mm=True, source="PixelSpacing"), LIMIT)
    assert same is pixels
    assert geometry == Geometry(200, 300, spacing_mm=0.1429, spacing_source="PixelSpacing")
    assert isotropic(pixels, Spacing(0.143, 0.1444, in_mm=True), LIMIT)[0].shape == (200, 303)
    assert isotropic(pixels, Spacing(0.1444, 0.143, in_mm=True), LIMIT)[0].shape == (202, 300)


def test_a_hostile_ratio_allocates_nothing():
    """A spacing of 1 to 10000 would make a giant, and is refused by its size."""
    with pytest.raises(ImageError) as caught:
        isotropic(np.zeros((100, 100), np.float32), Spacing(10_000, 1, in_mm=True), LIMIT)
    assert caught.value.code == ReasonCode.TOO_LARGE


def test_square_pixels_may_be_as_many_as_the_limit():
    """What is made square is held against the limit by what it becomes."""
    pixels, double = np.zeros((10, 10), np.float32), Spacing(2, 1, in_mm=True)
    assert isotropic(pixels, double, 200)[0].size == 200
    with pytest.raises(ImageError):
        isotropic(pixels, double, 199)
