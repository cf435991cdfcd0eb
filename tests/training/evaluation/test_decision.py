"""Thresholds from validation films, and what they do on others."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from agcnn_models.bundle import calibrated, open_bundle
from agcnn_models.labels import LABELS
from agcnn_models.manifest import BranchName
from agcnn_training.evaluation.decision import (
    decision_of,
    fit_decision,
    operating_points,
    patient_proportion,
    sensitivity_threshold,
    wilson_interval,
    youden_threshold,
)
from agcnn_training.evaluation.predictions import Predictions

FILMS = st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=2, max_size=40)


def arrays(films: list[tuple[bool, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Truth and probabilities."""
    return np.array([film[0] for film in films]), np.array([film[1] for film in films]) / 20


def some_predictions(count: int = 60, seed: int = 0) -> Predictions:
    """Readings of films whose labels and logits agree somewhat, two films a patient."""
    random = np.random.default_rng(seed)
    truth = (random.random((count, len(LABELS))) < 0.4).astype(np.float32)
    return Predictions(
        images=tuple(f"{index}.png" for index in range(count)),
        patients=tuple(str(index // 2) for index in range(count)),
        truth=truth,
        logits={BranchName.GLOBAL: (truth + random.normal(0, 1, truth.shape)).astype(np.float32)},
        boxes=None,
        heat_maps=None,
        size=64,
    )


@settings(max_examples=60)
@given(FILMS)
def test_youden_is_the_best_of_all_thresholds(films: list[tuple[bool, int]]) -> None:
    """No other cut has a larger sensitivity + specificity."""
    truth, probability = arrays(films)
    cut = youden_threshold(truth, probability)
    if truth.all() or not truth.any():
        assert cut is None
        return
    assert cut is not None
    assert 0 <= cut <= 1

    def youden(at: float) -> float:
        return float(np.mean(probability[truth] >= at) + np.mean(probability[~truth] < at))

    assert youden(cut) >= max(youden(at) for at in np.unique(probability)) - 1e-12


@settings(max_examples=60)
@given(FILMS, st.sampled_from([0.5, 0.8, 0.9, 1.0]))
def test_the_wanted_sensitivity_is_reached_and_no_cut_above_reaches_it(
    films: list[tuple[bool, int]], wanted: float
) -> None:
    """The threshold finds enough films, and the next higher score would not."""
    truth, probability = arrays(films)
    cut = sensitivity_threshold(truth, probability, wanted)
    if truth.all() or not truth.any():
        assert cut is None
        return
    assert cut is not None
    assert np.mean(probability[truth] >= cut) >= wanted - 1e-9
    higher = probability[probability > cut]
    if len(higher):
        stricter = np.nextafter(higher.min(), 2)  # only scores above the next one count
        assert np.mean(probability[truth] >= stricter) < wanted or not (probability >= stricter).any()


@pytest.mark.parametrize(
    ("truth", "probability", "cut"),
    [
        ([1, 0, 1, 0], [0.1, 0.1, 0.2, 0.2], 0.6),
        ([1, 0, 0, 1, 0, 0], [0.1, 0.1, 0.1, 0.3, 0.3, 0.3], 0.65),
        ([1, 0], [0.2, 0.4], 0.7),
    ],
)
def test_where_no_cut_beats_chance_nothing_is_called(truth: list[int], probability: list[float], cut: float) -> None:
    """Ties, and scores that say the opposite, give a threshold above all scores."""
    assert youden_threshold(np.array(truth, float), np.array(probability)) == pytest.approx(cut)


def test_unknown_labels_choose_nothing() -> None:
    """A film whose label nobody knows moves no threshold."""
    truth, probability = np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.1, 0.3, 0.6, 0.8])
    more = np.append(truth, [np.nan, np.nan]), np.append(probability, [0.05, 0.99])
    assert youden_threshold(*more) == youden_threshold(truth, probability)
    assert sensitivity_threshold(*more) == sensitivity_threshold(truth, probability)


@given(st.integers(0, 30), st.integers(1, 30))
def test_wilson_is_scipys(hits: int, more: int) -> None:
    """For independent films the interval is the textbook's."""
    films = hits + more
    expected = binomtest(hits, films).proportion_ci(method="wilson")
    found = wilson_interval(hits / films, films)
    assert (found.low, found.high) == (pytest.approx(expected.low, abs=1e-9), pytest.approx(expected.high, abs=1e-9))


def test_copies_of_a_film_add_no_certainty() -> None:
    """Three equal films a patient have the interval of one, and 50 patients that of 49 independent films."""
    hits = np.random.default_rng(4).random(50) < 0.7
    once = patient_proportion(hits, [str(index) for index in range(50)])
    found, expected = once.interval, wilson_interval(once.value, 49)
    assert (found.low, found.high) == (pytest.approx(expected.low), pytest.approx(expected.high))
    thrice = patient_proportion(np.repeat(hits, 3), [str(index) for index in range(50) for _ in range(3)])
    assert thrice.value == once.value
    assert thrice.interval.high - thrice.interval.low == pytest.approx(once.interval.high - once.interval.low, rel=0.03)


def test_all_hits_still_have_an_interval() -> None:
    """Ten of ten is not certainty; no films at all are no share."""
    found = patient_proportion(np.ones(10, bool), [str(index) for index in range(10)])
    assert found.value == 1.0
    assert found.interval.low == pytest.approx(binomtest(10, 10).proportion_ci(method="wilson").low)
    assert np.isnan(patient_proportion(np.ones(0, bool), []).value)


@pytest.mark.parametrize("hits", [[1, 0], [1, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1]])
@pytest.mark.parametrize("patients", [1, 4])
def test_patients_who_are_alike_count_as_one_film_each(hits: list[int], patients: int) -> None:
    """Where all have the same share nothing is known of how they differ, and no rounding stands in for it."""
    of_each = [str(patient) for patient in range(patients) for _ in hits]
    found = patient_proportion(np.tile(np.array(hits, bool), patients), of_each)
    assert found.interval == wilson_interval(np.mean(hits), patients)


def test_operating_points_count_films() -> None:
    """Sensitivity, specificity and predictive values are those of the four-field table."""
    found = some_predictions()
    decision = fit_decision(found, "model-1.0.0")
    assert [one.set_id for one in decision.threshold_sets] == ["model-1.0.0-youden", "model-1.0.0-sensitivity-90"]
    probabilities = calibrated(found.logits[BranchName.GLOBAL], decision.scales)
    sensitive = decision.threshold_sets[1].values
    for label, point in operating_points(found, probabilities, sensitive).items():
        column = LABELS.index(label)
        bears, called = found.truth[:, column] > 0.5, probabilities[:, column] >= sensitive[label]
        assert point.sensitivity.value == np.sum(bears & called) / bears.sum() >= 0.9
        assert point.specificity.value == np.sum(~bears & ~called) / (~bears).sum()
        assert point.ppv.value == np.sum(bears & called) / called.sum()
        if not called.all():
            assert point.npv.value == np.sum(~bears & ~called) / (~called).sum()


def test_a_film_at_its_threshold_is_called_positive() -> None:
    """As the clinic calls it: a threshold is the first probability that counts."""
    found = some_predictions()
    probabilities = calibrated(found.logits[BranchName.GLOBAL], {})
    column = 3
    bears = found.truth[:, column] > 0.5
    least = float(probabilities[bears, column].min())
    (point,) = operating_points(found, probabilities, {LABELS[column]: least}).values()
    assert point.sensitivity.value == 1


def test_a_label_of_one_outcome_is_neither_calibrated_nor_decided() -> None:
    """Without both outcomes among the validation films it has no scaling, no threshold and no operating point."""
    found = some_predictions()
    found.truth[:, 3] = 1
    found.truth[:, 4] = np.nan
    decision = fit_decision(found, "model-1.0.0")
    left = {label for column, label in enumerate(LABELS) if column not in (3, 4)}
    assert decision.scales.keys() == left
    assert all(one.values.keys() == left for one in decision.threshold_sets)
    logits = found.logits[BranchName.GLOBAL]
    probabilities = calibrated(logits, decision.scales)
    np.testing.assert_allclose(probabilities[:, 3], 1 / (1 + np.exp(-logits[:, 3].astype(np.float64))))
    there = some_predictions()
    assert operating_points(there, probabilities, decision.threshold_sets[0].values).keys() == left


def test_films_of_one_outcome_have_the_shares_that_there_are() -> None:
    """Where no film has a finding its false alarms count all the same; a label that nobody knows is not there."""
    found = some_predictions()
    probabilities = calibrated(found.logits[BranchName.GLOBAL], {})
    thresholds = {LABELS[column]: float(np.quantile(probabilities[:, column], 0.75)) for column in (3, 4, 5)}
    for column, value in ((3, 1), (4, 0), (5, np.nan)):
        found.truth[:, column] = value
    ill, sound = operating_points(found, probabilities, thresholds).values()
    called = [probabilities[:, column] >= thresholds[LABELS[column]] for column in (3, 4)]
    assert (ill.sensitivity.value, sound.specificity.value) == (called[0].mean(), 1 - called[1].mean())
    assert np.isnan([ill.specificity.value, sound.sensitivity.value]).all()
    assert (ill.ppv.value, ill.npv.value, sound.ppv.value, sound.npv.value) == (1, 0, 0, 1)


def test_a_bundles_decision_is_the_one_it_serves_with(small_bundle) -> None:
    """The calibrated probabilities are those of the bundle itself, and its thresholds come along."""
    bundle = open_bundle(small_bundle)
    decision = decision_of(bundle)
    logits = np.random.default_rng(0).normal(size=(5, len(LABELS))).astype(np.float32)
    np.testing.assert_array_equal(calibrated(logits, decision.scales), bundle.calibrate(logits))
    assert decision.threshold_sets[0].values == bundle.thresholds


def test_the_first_threshold_set_is_the_one_that_a_bundle_serves_with(small_bundle) -> None:
    """Its further sets stand behind, in their order."""
    bundle = open_bundle(small_bundle)
    served = bundle.manifest.thresholds
    further = tuple(served.model_copy(update={"set_id": set_id}) for set_id in ("second", "third"))
    more = replace(bundle, manifest=bundle.manifest.model_copy(update={"further_thresholds": further}))
    assert [one.set_id for one in decision_of(more).threshold_sets] == [served.set_id, "second", "third"]
