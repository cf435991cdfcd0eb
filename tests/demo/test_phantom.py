"""Drawn films: the same for the same seed, films in every respect that the gate looks at, lesions that show."""

import hashlib
import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agcnn_clinic.demo.lesions import Lesion
from agcnn_clinic.demo.phantom import Phantom, PhantomSpec, View, draw

SIZE = (256, 224)

seeds = st.integers(0, 2**32 - 1)
frontal = st.sampled_from([View.PA, View.AP])


def _digest(phantom: Phantom) -> str:
    return hashlib.sha256(phantom.pixels.tobytes()).hexdigest()


def _mean(phantom: Phantom, rows: tuple[float, float], columns: tuple[float, float]) -> float:
    """The mean of a part of the film, given in fractions of its height and width."""
    height, width = phantom.pixels.shape
    part = phantom.pixels[
        int(rows[0] * height) : int(rows[1] * height), int(columns[0] * width) : int(columns[1] * width)
    ]
    return float(part.mean())


@settings(max_examples=12)
@given(seed=seeds, view=st.sampled_from(View), collimated=st.booleans())
def test_a_film_is_a_grey_picture_with_contrast(seed, view, collimated):
    """float32 in [0, 1], of the size asked for, neither blank nor clipped, whatever the seed."""
    phantom = draw(PhantomSpec(seed, view, collimated=collimated), SIZE)
    assert phantom.pixels.dtype == np.float32
    assert phantom.pixels.shape == SIZE
    assert phantom.pixels.min() >= 0
    assert phantom.pixels.max() <= 1
    low, high = np.percentile(phantom.pixels, [1, 99])
    assert high - low > 0.6
    assert np.mean((phantom.pixels < 0.002) | (phantom.pixels > 0.998)) < 0.3


@settings(max_examples=6)
@given(seed=seeds)
def test_the_same_seed_draws_the_same_pixels(seed):
    """Nothing but the spec and the size decides about the film; a number stands for a healthy PA film."""
    assert _digest(draw(PhantomSpec(seed), SIZE)) == _digest(draw(seed, SIZE))


def test_another_seed_draws_another_patient():
    """Ten seeds give ten films, and their anatomy differs, not their grain alone."""
    films = [draw(seed, SIZE) for seed in range(10)]
    assert len({_digest(film) for film in films}) == 10
    smooth = [film.pixels.reshape(32, 8, 28, 8).mean(axis=(1, 3)) for film in films]
    for first, second in pairwise(smooth):
        assert np.abs(first - second).max() > 0.1


@settings(max_examples=10)
@given(seed=seeds, view=frontal)
def test_a_frontal_film_has_dark_lungs_around_a_bright_middle(seed, view):
    """Bright is dense: mediastinum and abdomen are brighter than both lungs, and the air beside the neck is darkest."""
    film = draw(PhantomSpec(seed, view), SIZE)
    middle = _mean(film, (0.45, 0.6), (0.46, 0.54))
    abdomen = _mean(film, (0.88, 0.98), (0.3, 0.5))
    for lung in (_mean(film, (0.3, 0.55), (0.24, 0.34)), _mean(film, (0.3, 0.5), (0.68, 0.76))):
        assert lung + 0.2 < min(middle, abdomen)
        assert _mean(film, (0.0, 0.03), (0.02, 0.1)) < lung


def test_the_heart_lies_on_the_patients_left():
    """Its apex is on the right of the film, in every patient."""
    for seed in range(5):
        film = draw(PhantomSpec(seed), SIZE)
        assert _mean(film, (0.58, 0.64), (0.6, 0.66)) > _mean(film, (0.58, 0.64), (0.34, 0.40)) + 0.1


def test_an_enlarged_heart_is_wider():
    """The bright span at the height of the heart grows with it, in every patient."""
    for seed in range(5):
        healthy, enlarged = (
            int((draw(PhantomSpec(seed, lesion=lesion), SIZE).pixels[155] > 0.7).sum())
            for lesion in (None, Lesion.CARDIOMEGALY)
        )
        assert healthy < enlarged


@pytest.mark.parametrize("lesion", Lesion)
@pytest.mark.parametrize("view", [View.PA, View.AP])
def test_a_lesion_shows_in_one_place(lesion, view):
    """Against the same patient without it, a tenth of the film at most has changed, and that can be seen."""
    for seed in range(4):
        change = np.abs(draw(PhantomSpec(seed, view, lesion), SIZE).pixels - draw(PhantomSpec(seed, view), SIZE).pixels)
        assert change.max() > 0.08
        assert (change > 0.02).mean() < 0.1


@pytest.mark.parametrize("lesion", [Lesion.NODULE, Lesion.MASS, Lesion.EFFUSION, Lesion.CONSOLIDATION])
def test_what_takes_the_place_of_air_is_brighter(lesion):
    """Tumour and fluid weaken the beam more than the lung that they replace."""
    for seed in range(4):
        difference = draw(PhantomSpec(seed, lesion=lesion), SIZE).pixels - draw(seed, SIZE).pixels
        assert difference.max() > 4 * -difference.min()


def test_a_pneumothorax_has_no_vessels_and_a_pleural_line():
    """Beyond the line the lung's texture is gone, so the film is darker there on the whole; the line is brighter."""
    size = (512, 448)
    for seed in range(3):
        difference = draw(PhantomSpec(seed, lesion=Lesion.PNEUMOTHORAX), size).pixels - draw(seed, size).pixels
        assert (difference < -0.03).sum() > 3 * (difference > 0.02).sum() > 100


def test_the_anatomy_does_not_depend_on_the_size():
    """A film drawn four times as fine shows the same patient, and the lesion in the same place."""
    sizes = []
    for spec in (PhantomSpec(8), PhantomSpec(8, lesion=Lesion.MASS)):
        coarse, fine = draw(spec, (256, 256)), draw(spec, (1024, 1024))
        reduced = fine.pixels.reshape(256, 4, 256, 4).mean(axis=(1, 3))
        assert np.abs(reduced - coarse.pixels).mean() < 0.02
        assert fine.pixel_spacing_mm == pytest.approx(coarse.pixel_spacing_mm / 4)
        sizes.append((coarse.pixels, reduced))
    coarse_mass, reduced_mass = (ill - healthy for healthy, ill in zip(*sizes, strict=True))
    assert np.abs(coarse_mass - reduced_mass).max() < 0.2 * coarse_mass.max()


def test_a_lateral_film_looks_otherwise():
    """The lung reaches deeper behind than in front, and lateral films resemble each other more than frontal ones."""
    lateral = [draw(PhantomSpec(seed, View.LATERAL), SIZE) for seed in range(4)]
    for film in lateral:
        assert _mean(film, (0.74, 0.78), (0.65, 0.68)) + 0.05 < _mean(film, (0.74, 0.78), (0.3, 0.36))
    for seed, film in enumerate(lateral[1:]):
        alike = np.corrcoef(film.pixels.ravel(), lateral[0].pixels.ravel())[0, 1]
        frontal_film = draw(PhantomSpec(seed + 1), SIZE)
        assert alike > np.corrcoef(film.pixels.ravel(), frontal_film.pixels.ravel())[0, 1] + 0.1


def test_a_collimated_film_has_dark_borders():
    """The shutter covers the outermost pixels and leaves the middle alone."""
    open_film, film = draw(PhantomSpec(5), SIZE), draw(PhantomSpec(5, collimated=True), SIZE)
    assert film.pixels[:, 0].max() == 0
    assert np.array_equal(film.pixels[64:192, 56:168], open_film.pixels[64:192, 56:168])


def test_a_lesion_in_a_lateral_film_is_refused():
    """Lesions are drawn in frontal views only, and the spec says so at once."""
    with pytest.raises(ValueError, match="frontal"):
        PhantomSpec(1, View.LATERAL, Lesion.MASS)


def test_a_film_too_small_is_refused():
    """No anatomy fits into a thumbnail."""
    with pytest.raises(ValueError, match="too small"):
        draw(1, (32, 512))


def test_small_films_are_quick():
    """Dozens of them are drawn in tests: the best of five takes far less than a quarter of a second."""
    times = []
    for seed in range(5):
        begin = time.process_time()
        draw(PhantomSpec(seed, lesion=Lesion.EFFUSION), (256, 256))
        times.append(time.process_time() - begin)
    assert min(times) < 0.25
