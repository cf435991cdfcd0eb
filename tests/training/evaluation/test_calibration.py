"""Platt's scaling and Youden's thresholds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from agcnn_training.evaluation.calibration import fit_platt, youden_threshold


def test_platt_finds_the_scale_that_made_the_labels() -> None:
    """From many films drawn with known a and b, those come back."""
    random = np.random.default_rng(0)
    logits = random.normal(-1, 2, 20000)
    truth = random.random(20000) < expit(0.6 * logits - 1.2)
    scale = fit_platt(truth, logits)
    assert scale.a == pytest.approx(0.6, abs=0.05)
    assert scale.b == pytest.approx(-1.2, abs=0.08)


@settings(deadline=None, max_examples=30)  # a busy machine is no failure
@given(st.lists(st.tuples(st.booleans(), st.floats(-8, 8)), min_size=1, max_size=40))
def test_platt_never_reorders_films(pairs: list[tuple[bool, float]]) -> None:
    """The slope is positive, whatever the labels say."""
    scale = fit_platt(np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs]))
    assert scale.a > 0
    assert np.isfinite([scale.a, scale.b]).all()


@settings(deadline=None, max_examples=30)  # a busy machine is no failure
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=2, max_size=40))
def test_youden_is_the_best_of_all_thresholds(pairs: list[tuple[bool, int]]) -> None:
    """No other cut has a larger sensitivity + specificity."""
    truth = np.array([p[0] for p in pairs])
    probability = np.array([p[1] for p in pairs]) / 20
    cut = youden_threshold(truth, probability)
    assert 0 <= cut <= 1
    if truth.all() or not truth.any():
        assert cut == 0.5
        return

    def youden(at: float) -> float:
        return float(np.mean(probability[truth] >= at) + np.mean(probability[~truth] < at))

    assert youden(cut) >= max(youden(at) for at in np.unique(probability)) - 1e-12
