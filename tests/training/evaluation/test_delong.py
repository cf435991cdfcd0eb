"""DeLong's test for two readings of the same films."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from agcnn_training.evaluation.delong import delong_areas, delong_difference

FILM = st.tuples(st.booleans(), st.integers(-4, 4), st.integers(-4, 4))


def slow(truth: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Areas and covariance as DeLong, DeLong and Clarke-Pearson print them, pair by pair."""
    positives, negatives = scores[:, truth], scores[:, ~truth]
    wins = (positives[:, :, None] > negatives[:, None, :]) + 0.5 * (positives[:, :, None] == negatives[:, None, :])
    covariance = np.cov(wins.mean(axis=2)) / positives.shape[1] + np.cov(wins.mean(axis=1)) / negatives.shape[1]
    return wins.mean(axis=(1, 2)), covariance


@settings(max_examples=60)
@given(st.lists(FILM, min_size=4, max_size=40).filter(lambda films: 2 <= sum(f[0] for f in films) <= len(films) - 2))
def test_mid_ranks_give_what_pairs_give(films: list[tuple[bool, int, int]]) -> None:
    """Areas are scikit-learn's, and the covariance that of the definition, ties and all."""
    truth = np.array([film[0] for film in films])
    scores = np.array([[film[1] for film in films], [film[2] for film in films]], dtype=np.float64)
    found = delong_areas(truth, scores)
    areas, covariance = slow(truth, scores)
    np.testing.assert_allclose(found.areas, areas, atol=1e-12)
    np.testing.assert_allclose(found.covariance, covariance, atol=1e-12)
    np.testing.assert_allclose(found.areas, [roc_auc_score(truth, row) for row in scores], atol=1e-12)


def test_a_reading_does_not_differ_from_itself() -> None:
    """Equal ranks give a difference of zero, for certain."""
    truth, score = np.arange(20) < 8, np.random.default_rng(0).normal(size=20)
    found = delong_difference(truth, score, 2 * score + 1)
    assert (found.difference, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)


def test_p_is_uniform_without_a_difference() -> None:
    """Two equally good readings are told apart at the 5 % level in about 5 % of the trials."""
    random = np.random.default_rng(1)
    truth = np.arange(120) < 40
    trials = [
        delong_difference(truth, *(truth + random.normal(size=(2, 120)) + random.normal(size=120))).p < 0.05
        for _ in range(600)
    ]
    assert np.mean(trials) == pytest.approx(0.05, abs=0.03)


def test_a_better_reading_is_found() -> None:
    """The sign says which one, and the interval keeps away from zero."""
    random = np.random.default_rng(2)
    truth = np.arange(300) < 100
    found = delong_difference(truth, random.normal(size=300), truth + random.normal(size=300))
    assert 0.1 < found.low < found.difference < found.high
    assert found.p < 1e-4


def test_one_film_of_an_outcome_has_no_variance() -> None:
    """With a single positive nothing can be said, and that is said."""
    with pytest.raises(ValueError, match="two films of each outcome"):
        delong_areas(np.array([True, False, False]), np.ones((2, 3)))
