"""Platt's scaling, and how far off a probability is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from agcnn_models.bundle import calibrated
from agcnn_models.labels import LABELS
from agcnn_training.evaluation.calibration import (
    Binning,
    fit_calibration,
    fit_platt,
    judge_calibration,
    reliability,
)
from agcnn_training.evaluation.metrics import brier_score


def test_platt_finds_the_scale_that_made_the_labels() -> None:
    """From many films drawn with known a and b, those come back."""
    random = np.random.default_rng(0)
    logits = random.normal(-1, 2, 20000)
    truth = random.random(20000) < expit(0.6 * logits - 1.2)
    scale = fit_platt(truth, logits)
    assert scale is not None
    assert scale.a == pytest.approx(0.6, abs=0.05)
    assert scale.b == pytest.approx(-1.2, abs=0.08)


def test_platts_targets_are_smoothed() -> None:
    """Of one film with the finding and two without, told apart, the probabilities are 2/3 and 1/4, not 1 and 0."""
    scale = fit_platt(np.array([1, 0, 0]), np.array([1.0, -1.0, -1.0]))
    assert scale is not None
    assert expit(scale.a + scale.b) == pytest.approx(2 / 3, abs=1e-4)
    assert expit(scale.b - scale.a) == pytest.approx(1 / 4, abs=1e-4)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.booleans(), st.floats(-8, 8)), min_size=1, max_size=40))
def test_platt_never_reorders_films(pairs: list[tuple[bool, float]]) -> None:
    """The slope is positive, whatever the labels say; where they say one thing only, there is none."""
    truth = np.array([p[0] for p in pairs])
    scale = fit_platt(truth, np.array([p[1] for p in pairs]))
    if truth.all() or not truth.any():
        assert scale is None
        return
    assert scale is not None
    assert scale.a > 0
    assert np.isfinite([scale.a, scale.b]).all()


@pytest.mark.parametrize(("scale", "offset"), [(1000.0, -4000.0), (0.01, -4.0), (1.0, -60.0), (40.0, 900.0)])
def test_platt_gives_the_same_probabilities_wherever_logits_lie(scale: float, offset: float) -> None:
    """Logits of a branch that overshot, or has hardly learnt yet, are calibrated as well as any others."""
    random = np.random.default_rng(1)
    truth = random.random(2000) < 0.1
    logits = random.normal(0, 1, 2000) + truth
    usual, other = fit_platt(truth, logits), fit_platt(truth, scale * logits + offset)
    assert usual is not None
    assert other is not None
    expected = expit(usual.a * logits + usual.b)
    np.testing.assert_allclose(expit(other.a * (scale * logits + offset) + other.b), expected, atol=1e-3)


def test_platts_slope_has_bounds() -> None:
    """Of logits that say the opposite e^-3 of their spread counts, of such as part films by a hair no more than e^3."""
    truth = np.arange(2000) % 2 == 0
    opposite = fit_platt(truth, np.where(truth, -1.0, 1.0))
    assert opposite is not None
    assert opposite.a == pytest.approx(np.exp(-3))
    parted = np.where(truth, 0.05, -0.05)
    parted[:2] = 10, -10
    hair = fit_platt(truth, parted)
    assert hair is not None
    assert hair.a * parted.std() == pytest.approx(np.exp(3))


@settings(max_examples=60)
@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=80))
def test_brier_and_equal_width_bins_are_scikit_learns(pairs: list[tuple[bool, float]]) -> None:
    """The Brier score is scikit-learn's, and each bin holds the films that scikit-learn puts together."""
    truth, probability = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
    assert brier_score(truth, probability) == pytest.approx(
        brier_score_loss(truth, probability, labels=[False, True]), abs=1e-12
    )
    found = reliability(truth, probability, Binning.EQUAL_WIDTH, bins=8)
    if len(np.unique(truth)) == 2 and not np.isin(probability * 8, np.arange(9)).any():  # edges are shared otherwise
        true, said = calibration_curve(truth, probability, n_bins=8)
        np.testing.assert_allclose(found.true, true)
        np.testing.assert_allclose(found.said, said)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 12)), min_size=1, max_size=80), st.integers(1, 20))
def test_adaptive_bins_hold_all_films_and_part_no_equals(pairs: list[tuple[bool, int]], bins: int) -> None:
    """Films of one probability stay together, bins are in order, and no film is lost."""
    truth, probability = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs]) / 12
    found = reliability(truth, probability, bins=bins)
    assert found.films.sum() == len(pairs)
    assert len(found.films) <= min(bins, len(np.unique(probability)))
    assert (np.diff(found.said) > 0).all()
    assert np.sum(found.films * found.true) == pytest.approx(truth.sum())
    assert 0 <= found.error <= 1


def test_adaptive_bins_are_equally_full() -> None:
    """Without ties every bin holds the same number of films, where equal widths leave most in the first."""
    random = np.random.default_rng(0)
    probability = random.beta(1, 20, 1500)
    adaptive = reliability(random.random(1500) < probability, probability)
    assert (adaptive.films == 100).all()
    assert reliability(probability > 2, probability, Binning.EQUAL_WIDTH).films[0] > 700


def test_a_certain_film_is_in_the_last_bin_of_equal_width() -> None:
    """Probability 1 has no bin of its own."""
    found = reliability(np.array([1, 0, 1]), np.array([0.05, 0.95, 1.0]), Binning.EQUAL_WIDTH, bins=10)
    assert found.films.tolist() == [1, 2]
    assert found.said == pytest.approx([0.05, 0.975])


def test_platt_mends_a_biased_probability() -> None:
    """After scaling the expected calibration error falls to what so few films leave by chance."""
    random = np.random.default_rng(5)
    logits = random.normal(0, 1.5, (4000, len(LABELS)))
    truth = random.random(logits.shape) < expit(0.5 * logits - 2)
    before = judge_calibration(truth, expit(logits))
    after = judge_calibration(truth, calibrated(logits, fit_calibration(truth, logits)))
    for label in LABELS:
        assert before[label].ece > 0.3
        assert after[label].ece < 0.03
        assert after[label].ece_equal_width < 0.03
        assert after[label].brier < before[label].brier


def test_unknown_labels_are_left_out() -> None:
    """A label that is known of no film is not judged, and NaN moves nothing."""
    truth = np.zeros((6, len(LABELS)))
    truth[:, 0], truth[0, 1] = np.nan, np.nan
    truth[3:, 1] = 1
    found = judge_calibration(truth, np.full(truth.shape, 0.5))
    assert LABELS[0] not in found
    assert found[LABELS[1]].ece == pytest.approx(0.1)
    assert fit_platt(truth[:, 1], np.arange(6.0)) == fit_platt(truth[1:, 1], np.arange(1.0, 6.0))
