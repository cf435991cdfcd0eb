"""What of a film comes on paper: reduced, undistorted, and kept for as long as there is room."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from agcnn_clinic.demo.phantom import draw
from agcnn_clinic.domain import Geometry, Picture
from agcnn_clinic.picture import picture_of
from agcnn_clinic.prints import Box, Edges, RecentPrints, box_of, fitted, grey, prints_of, with_region

SOMEWHERE = Edges(10.0, 20.0, 60.0, 70.0)
ELSEWHERE = Edges(10.0, 20.0, 60.0, 71.0)


@pytest.fixture
def picture() -> Picture:
    """A film that is dark but for a bright corner at the top right."""
    pixels = np.full((700, 800), 0.1, np.float32)
    pixels[:60, 700:] = 1
    return picture_of(pixels, Geometry(700, 800))


@given(st.integers(10, 900), st.integers(10, 900))
def test_proportions_are_kept(width: int, height: int) -> None:
    """Fitting into a field changes the size and never the shape, and enlarges nothing."""
    reduced = fitted(np.zeros((height, width), np.uint8), (200, 240))
    across, down = reduced.shape[1], reduced.shape[0]
    assert across <= min(200, width)
    assert down <= min(240, height)
    assert abs(across * height - down * width) <= max(width, height) / 2 + 1


@pytest.mark.parametrize("side", [1200, 1433, 2048])
def test_a_print_is_the_film_reduced_by_lanczos(side: int) -> None:
    """What is reduced by a whole factor first differs less from Lanczos alone than JPEG changes it in the report."""
    film = grey(draw(0, (side, side)).pixels)
    exact = np.asarray(Image.fromarray(film, "L").resize((396, 396), Image.Resampling.LANCZOS), np.float64)
    error = np.mean((exact - fitted(film, (396, 500))) ** 2)
    assert exact.std() > 20  # there is something to see
    assert 10 * np.log10(255**2 / max(error, 1e-9)) > 50


def test_the_crop_is_what_lies_in_the_box(picture) -> None:
    """A box over the white corner gives a white crop of the box's shape."""
    prints = prints_of(picture, Edges(730, 5, 790, 45), (300, 300))
    assert prints.crop.shape == (40, 60)
    assert prints.crop.min() == 255
    assert (prints.width, prints.height) == (800, 700)


def test_a_crop_is_the_same_whether_the_film_was_made_grey_before_or_after(picture) -> None:
    """What is kept from the reading equals what is made again from the archive."""
    again = prints_of(picture, SOMEWHERE, (20, 20))
    whole = grey(picture.pixels)
    kept = with_region(fitted(whole, (20, 20)), whole, picture.geometry, SOMEWHERE, (20, 20))
    assert np.array_equal(kept.film, again.film)
    assert np.array_equal(kept.crop, again.crop)
    assert np.array_equal(again.crop, fitted(grey(picture.pixels)[20:70, 10:60], (20, 20)))


def test_a_box_of_source_pixels_becomes_one_of_picture_pixels() -> None:
    """Where the picture was resampled, the stored region is scaled back, and clipped to the picture."""
    stretched = Geometry(100, 400, scale_x=2.0, scale_y=1.0)
    assert box_of(Edges(100, 10, 500, 90), stretched, (200, 100)) == Box(50, 10, 200, 90)


def test_prints_are_given_out_once_and_only_for_their_region(picture) -> None:
    """A report of another model's region must not show this one's."""
    recent, prints = RecentPrints(), prints_of(picture, SOMEWHERE, (20, 20))
    recent.put(Path("a"), SOMEWHERE, prints)
    assert recent.take(Path("a"), ELSEWHERE) is None
    assert recent.take(Path("a"), SOMEWHERE) is prints
    assert recent.take(Path("a"), SOMEWHERE) is None


def test_the_oldest_prints_make_room(picture) -> None:
    """However many films are read before their reports are made, no more is kept than was allowed."""
    prints = prints_of(picture, SOMEWHERE, (20, 20))
    recent = RecentPrints(max_bytes=3 * (prints.film.nbytes + prints.crop.nbytes))
    for number in (0, 1, 2, 0, 3):
        recent.put(Path(str(number)), SOMEWHERE, prints)
    assert [recent.take(Path(str(number)), SOMEWHERE) is not None for number in range(4)] == [True, False, True, True]
