"""Where the network looked, in the image as it was sent."""

import numpy as np
import pytest

from agcnn_clinic.analysis.region import SourceRegion, source_region
from agcnn_clinic.dicom.geometry import Spacing, isotropic
from agcnn_clinic.domain import Geometry
from agcnn_clinic.prints import Edges
from agcnn_models.preprocessing import SourceBox


@pytest.mark.parametrize("across", [False, True])
def test_a_region_lies_on_the_film_as_it_was_sent(across):
    """Of pixels that are no squares: its edges are in those pixels, down as across, and its sides in mm as they are."""
    film, spacing = np.zeros((100, 60), np.float32), Spacing(0.3, 0.1, in_mm=True)
    if across:
        film, spacing = film.T, Spacing(0.1, 0.3, in_mm=True)
    picture, geometry = isotropic(film, spacing, 1_000_000)
    assert picture.shape == ((60, 300) if across else (300, 60))
    region = source_region(SourceBox(30, 12, 42, 57) if across else SourceBox(12, 30, 57, 42), geometry)
    if across:
        assert region == SourceRegion(10, 12, 14, 57, width_mm=pytest.approx(1.2), height_mm=pytest.approx(4.5))
        assert region.edges == Edges(10, 12, 14, 57)
    else:
        assert region == SourceRegion(12, 10, 57, 14, width_mm=pytest.approx(4.5), height_mm=pytest.approx(1.2))
        assert region.edges == Edges(12, 10, 57, 14)


def test_a_region_has_no_size_where_that_of_the_pixels_is_unknown():
    """Pixel Aspect Ratio says how its edges lie and not how long they are."""
    _, geometry = isotropic(np.zeros((100, 60), np.float32), Spacing(3, 1, in_mm=False), 1_000_000)
    assert source_region(SourceBox(12, 30, 57, 42), geometry) == SourceRegion(12, 10, 57, 14, None, None)


@pytest.mark.parametrize(
    "wrong",
    [{"source_rows": 0}, {"source_columns": 2**31}, {"scale_x": 0.0}, {"scale_y": float("nan")}, {"spacing_mm": 0.0}],
)
def test_a_film_has_pixels_and_each_of_them_a_size(wrong):
    """What a child that a file has taken over may say of it is no geometry: a region would lie nowhere on it."""
    Geometry(source_rows=1, source_columns=1, spacing_mm=0.1)
    with pytest.raises(ValueError, match="a size"):
        Geometry(**{"source_rows": 1, "source_columns": 1} | wrong)
