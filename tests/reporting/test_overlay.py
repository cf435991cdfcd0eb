"""The pictures of a report: what lies where, in which colours, undistorted."""

from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from agcnn_clinic.prints import fitted, grey
from agcnn_clinic.reporting.content import SeenArea
from agcnn_clinic.reporting.overlay import MAX_OPACITY, Plate, colour_scale, colour_table, overlay, plain, spread

WHOLE = SeenArea(0.0, 1.0)
CENTRE = SeenArea(16 / 256, 240 / 256)


def opened(plate: Plate) -> NDArray[np.float64]:
    return np.asarray(Image.open(BytesIO(plate.jpeg)), np.float64)


def test_the_film_is_the_picture(picture) -> None:
    """Bright stays bright and dark stays dark, where they are."""
    plate = plain(fitted(grey(picture().pixels), (400, 400)))
    shown = opened(plate)
    assert (plate.width, plate.height) == (400, 350)
    assert shown[5:20, 5:30].max() < 20
    assert shown[5:20, -30:-5].min() > 235


def test_heat_lies_where_the_network_looked() -> None:
    """A hot cell of the grid heats its place of the centre crop, and nothing outside of the crop."""
    heat_map = np.zeros((7, 7), np.float32)
    heat_map[6, 0] = 1
    heat, covered = spread(heat_map, (256, 512), CENTRE)
    y, x = np.unravel_index(heat.argmax(), heat.shape)
    assert 16 <= x < 16 + 32
    assert 480 - 64 <= y < 480
    assert covered[32:480, 16:240].all()
    assert covered.sum() == 448 * 224
    assert not heat[covered == 0].any()


def test_spreading_is_bilinear() -> None:
    """Between the centres of two cells the heat runs straight."""
    heat, _ = spread(np.array([[0, 1]], np.float32), (200, 10), WHOLE)
    assert heat[5, 50:150] == pytest.approx(np.linspace(0, 1, 100), abs=0.02)
    assert heat[5, :45].max() == 0


def test_a_cold_film_shows_through_unchanged(picture) -> None:
    """Without heat the overlay is the film; with heat it takes the map's colour, and no more of it than allowed."""
    base = fitted(grey(picture().pixels), (200, 200))
    cold = opened(overlay(base, np.zeros((7, 7), np.float32), WHOLE, "inferno"))
    assert np.abs(cold - base.astype(np.float64)[..., None]).max() < 12
    hot = opened(overlay(base, np.ones((7, 7), np.float32), WHOLE, "inferno"))
    expected = base.astype(np.float64)[..., None] * (1 - MAX_OPACITY) + colour_table("inferno")[255] * MAX_OPACITY
    assert np.abs(hot - expected).mean() < 3


def test_the_margin_that_the_network_did_not_see_stays_grey(picture) -> None:
    """Full heat everywhere colours the centre crop alone."""
    shown = opened(overlay(fitted(grey(picture().pixels), (256, 256)), np.ones((7, 7), np.float32), CENTRE, "viridis"))
    colour = shown.max(axis=2) - shown.min(axis=2)
    assert colour[:10].max() < 12
    assert colour[40:180, 40:200].min() > 40


def test_the_scale_runs_from_no_heat_to_full_heat() -> None:
    """The scale begins with bare grey, and ends with the colour that full heat has over grey."""
    shown = opened(colour_scale("inferno"))
    assert np.ptp(shown[6, 2]) < 6
    end = 128 * (1 - MAX_OPACITY) + colour_table("inferno")[255].astype(float) * MAX_OPACITY
    assert np.abs(shown[6, 253] - end).max() < 12


@pytest.mark.parametrize("name", ["inferno", "magma", "viridis", "cividis"])
def test_colour_maps_brighten_steadily(name: str) -> None:
    """More heat is brighter in every map that can be chosen, so that a grey print still tells it."""
    brightness = colour_table(name) @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(brightness) > -0.6).all()
    assert brightness[-1] - brightness[0] > 120
