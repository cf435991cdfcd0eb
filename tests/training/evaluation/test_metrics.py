"""Areas under the curve and their intervals."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.metrics import roc_curve as slow_roc_curve

from agcnn_models.labels import LABELS, PATHOLOGIES
from agcnn_training.errors import TrainingError
from agcnn_training.evaluation.metrics import (
    area_under_curve,
    average_precision,
    both_outcomes,
    brier_score,
    roc_curve,
    score_branch,
)


@given(st.lists(st.tuples(st.booleans(), st.integers(-5, 5)), min_size=2, max_size=60))
def test_area_equals_scikit_learn(pairs: list[tuple[bool, int]]) -> None:
    """With ties and all, the area is scikit-learn's; without both outcomes there is none."""
    truth = np.array([label for label, _ in pairs])
    score = np.array([value for _, value in pairs], dtype=np.float64)
    area = area_under_curve(truth, score)
    if truth.all() or not truth.any():
        assert np.isnan(area)
    else:
        assert area == pytest.approx(roc_auc_score(truth, score), abs=1e-12)


@given(st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=2, max_size=40))
def test_a_roc_curve_is_that_of_scikit_learn(films: list[tuple[bool, int]]) -> None:
    """With ties and without: the same corners."""
    truth, score = np.array([film[0] for film in films]), np.array([film[1] for film in films], np.float64)
    if truth.all() or not truth.any():
        return
    false, true = roc_curve(truth, score)
    slow_false, slow_true, _ = slow_roc_curve(truth, score, drop_intermediate=False)
    np.testing.assert_allclose(false, slow_false)
    np.testing.assert_allclose(true, slow_true)


@given(st.lists(st.tuples(st.booleans(), st.integers(-5, 5)), min_size=1, max_size=60))
def test_average_precision_equals_scikit_learn(pairs: list[tuple[bool, int]]) -> None:
    """With ties and all, average precision is scikit-learn's; without a positive there is none."""
    truth = np.array([label for label, _ in pairs])
    score = np.array([value for _, value in pairs], dtype=np.float64)
    precision = average_precision(truth, score)
    if not truth.any():
        assert np.isnan(precision)
    else:
        assert precision == pytest.approx(average_precision_score(truth, score), abs=1e-12)


@given(st.lists(st.tuples(st.sampled_from([0.0, 1.0, np.nan]), st.integers(-5, 5)), min_size=1, max_size=40))
def test_unknown_labels_do_not_count(pairs: list[tuple[float, int]]) -> None:
    """Every metric of films of which some are unknown is that of the known ones alone."""
    truth, score = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs], dtype=np.float64)
    known = ~np.isnan(truth)
    for metric in (area_under_curve, average_precision, brier_score):
        np.testing.assert_equal(metric(truth, score), metric(truth[known], score[known]))


def test_the_published_areas_come_out(shared_data: Path) -> None:
    """22,433 real predictions have the areas that were published with them, and their mean over 14."""
    folder = shared_data / "jrzech-predictions"
    said = pd.read_csv(folder / "preds.csv.gz", index_col="Image Index")
    entries = pd.read_csv(shared_data / "chestxray14-labels" / "Data_Entry_2017_v2020.csv.gz", index_col="Image Index")
    findings = entries.loc[said.index, "Finding Labels"].str.split("|")
    truth = np.array([[label in found for label in LABELS] for found in findings])
    score = score_branch(truth, said[[f"prob_{label}" for label in PATHOLOGIES]].to_numpy())
    published = pd.read_csv(folder / "aucs.csv", index_col="label")["auc"]
    assert score.mean == pytest.approx(0.83827, abs=5e-6)
    assert set(score.per_label) == set(published.index)
    for label, area in score.per_label.items():
        assert area == pytest.approx(published[label], abs=1e-6)


def random_films(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and logits that agree somewhat."""
    random = np.random.default_rng(seed)
    truth = random.random((count, len(LABELS))) < 0.3
    return truth, (truth + random.normal(0, 1, truth.shape)).astype(np.float32)


def test_mean_is_over_the_14_and_skips_what_has_one_outcome() -> None:
    """No Finding does not count, and a label that nobody has is named instead of scored."""
    truth, logits = random_films(80, 1)
    truth[:, LABELS.index("Hernia")] = False
    score = score_branch(truth, logits)
    expected = [roc_auc_score(truth[:, i], logits[:, i]) for i, label in enumerate(PATHOLOGIES) if label != "Hernia"]
    assert score.skipped == ("Hernia",)
    assert score.mean == pytest.approx(np.mean(expected), abs=1e-9)
    assert "No Finding" not in score.per_label


def test_scores_of_float32_are_ranked_exactly() -> None:
    """Ranks of a test set have sums that float32 cannot hold."""
    truth, logits = random_films(30_000, 3)
    for of_label, scores in zip(truth.T[:2], logits.T[:2], strict=True):
        exact = scores.astype(np.float64)
        assert area_under_curve(of_label, scores) == area_under_curve(of_label, exact)
        assert average_precision(of_label, scores) == average_precision(of_label, exact)


def test_nothing_to_score_is_one_sentence() -> None:
    """A validation set of healthy films only is refused."""
    with pytest.raises(TrainingError, match="both present and absent"):
        score_branch(np.zeros((5, 15), bool), np.zeros((5, 15)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_training_that_diverged_is_not_taken_for_a_lack_of_films(value: float) -> None:
    """One logit that is no number is enough to say so, also where every label has both outcomes."""
    truth, logits = random_films(40, 2)
    logits[[3, 3, 7], [1, 5, 14]] = value
    with pytest.raises(TrainingError, match=r"training diverged.* of 2 of 40 films.* lower learning_rate"):
        score_branch(truth, logits)


def test_a_label_has_both_outcomes_where_films_bear_and_lack_it() -> None:
    """A group of films for each outcome; unknown films are in neither, and a label with one outcome has no groups."""
    truth = np.array([[1, 1, np.nan], [0, 1, 1], [np.nan, 1, 0]])
    groups = both_outcomes(truth)
    assert groups.T.tolist() == [
        [True, False, False], [False, True, False],
        [False, True, False], [False, False, True],
    ]  # fmt: skip
    assert both_outcomes(np.ones((3, 2))).shape == (3, 0)
