"""Intervals from drawing patients again."""

from itertools import compress

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from agcnn_training.evaluation.bootstrap import area_draws, draw_patients, mean_over_known, percentile_interval

FILM = st.tuples(st.booleans(), st.integers(-3, 3), st.integers(0, 5))


@settings(max_examples=60)
@given(st.lists(FILM, min_size=1, max_size=40), st.integers(0, 9))
def test_each_draw_has_the_area_of_the_drawn_films(films: list[tuple[bool, int, int]], seed: int) -> None:
    """With ties and all, every draw's area is scikit-learn's of its films, each counted as often as it was drawn."""
    truth, score = np.array([film[0] for film in films]), np.array([film[1] for film in films], dtype=np.float32)
    draws = draw_patients([str(film[2]) for film in films], seed=seed, samples=7)
    areas = area_draws(truth, score, draws)
    for draw, area in enumerate(areas):
        weight = draws.counts[draws.members, draw]
        if not weight[truth].sum() or not weight[~truth].sum():
            assert np.isnan(area)
        else:
            assert area == pytest.approx(roc_auc_score(truth, score, sample_weight=weight), abs=1e-9)


def test_many_draws_are_taken_in_blocks_that_join() -> None:
    """More draws than fit into one block are the same draws as one by one."""
    random = np.random.default_rng(0)
    truth, score = random.random(60) < 0.4, random.normal(size=60)
    draws = draw_patients([str(index // 2) for index in range(60)], seed=1, samples=600)
    areas = area_draws(truth, score, draws)
    assert areas.shape == (600,)
    for draw in (0, 249, 250, 599):
        weight = draws.counts[draws.members, draw]
        assert areas[draw] == pytest.approx(roc_auc_score(truth, score, sample_weight=weight), abs=1e-9)


@given(
    st.lists(st.integers(0, 8), min_size=2, max_size=30).filter(lambda whose: len(set(whose)) > 1), st.integers(0, 5)
)
def test_a_draw_has_as_many_patients_as_there_are(patients: list[int], seed: int) -> None:
    """Patients are drawn with replacement, all films of a patient together, whatever the order of the films."""
    names = [str(patient) for patient in patients]
    draws = draw_patients(names, seed=seed, samples=20)
    assert (draws.counts.sum(axis=0) == len(set(names))).all()
    again = draw_patients(names[::-1], seed=seed, samples=20)
    np.testing.assert_array_equal(draws.counts, again.counts)
    np.testing.assert_array_equal(draws.total(np.ones(len(names))), draws.counts[draws.members].sum(axis=0))


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 6)), min_size=2, max_size=30).filter(
        lambda films: len({film[2] for film in films}) > 1
    ),
    st.integers(0, 5),
)
def test_a_draw_that_lacks_what_is_needed_is_drawn_again(films: list[tuple[bool, bool, int]], seed: int) -> None:
    """The draws kept are those, in their order, that have a film of each group, and as many as were asked for."""
    names, needed = [str(film[2]) for film in films], np.array([film[:2] for film in films])
    needed = needed[:, needed.any(axis=0)]
    bearers = [set(compress(names, group)) for group in needed.T]
    assume(set(names) != set().union(*(patients for patients in bearers if len(patients) == 1)))
    draws = draw_patients(names, seed=seed, samples=40, needed=needed)
    free = draw_patients(names, seed=seed, samples=40)
    assert draws.counts.shape == free.counts.shape
    assert all((draws.counts[draws.members[group]].sum(axis=0) > 0).all() for group in needed.T)
    whole = [all(free.counts[free.members[group], draw].any() for group in needed.T) for draw in range(40)]
    np.testing.assert_array_equal(draws.counts[:, : sum(whole)], free.counts[:, whole])
    assert (draws.again == 0) == all(whole)


def test_what_hardly_a_draw_has_gives_no_interval() -> None:
    """Twenty of twenty-one patients, all of whom are needed, come together in a draw in millions."""
    draws = draw_patients([str(index) for index in range(21)], seed=0, samples=10, needed=np.eye(21, 20, dtype=bool))
    assert draws.counts.shape == (21, 0)
    assert draws.again == 1000
    areas = area_draws(np.arange(21) < 5, np.arange(21.0), draws)
    assert not percentile_interval(areas).known


def test_a_single_patient_is_not_drawn_again() -> None:
    """All draws would be that patient, and an interval without width would call the figure certain."""
    draws = draw_patients(["one"] * 6, seed=0, needed=np.eye(6, 2, dtype=bool))
    assert (draws.counts.shape, draws.again) == ((1, 0), 0)
    assert not percentile_interval(area_draws(np.arange(6) < 3, np.arange(6.0), draws)).known


@pytest.mark.parametrize("patients", [2, 3, 4])
def test_patients_none_of_whom_can_be_left_out_are_not_drawn_again(patients: int) -> None:
    """Each draw would be everyone once, and an interval without width would call the figure certain."""
    names = [str(index) for index in range(patients)]
    draws = draw_patients(names, seed=0, needed=np.eye(patients, dtype=bool))
    assert (draws.counts.shape, draws.again) == ((patients, 0), 0)
    one_less = draw_patients([*names, "another"], seed=0, needed=np.eye(patients + 1, patients, dtype=bool))
    assert one_less.counts.shape == (patients + 1, 1000)


def test_the_interval_leaves_out_draws_without_a_value() -> None:
    """A draw without an area says nothing; without any there is no interval."""
    values = np.array([np.nan, *np.linspace(0, 1, 101)])
    interval = percentile_interval(values)
    assert (interval.low, interval.high) == (pytest.approx(0.025), pytest.approx(0.975))
    assert not percentile_interval(np.array([np.nan])).known
    areas = np.array([[1.0, np.nan, 3.0], [np.nan, 0.7, np.nan], [np.nan] * 3])
    np.testing.assert_array_equal(mean_over_known(areas), [2.0, 0.7, np.nan])


def test_the_official_test_list_takes_seconds() -> None:
    """A thousand draws of 2,797 patients keep one label of 25,596 films in a matrix product, not in a loop."""
    random = np.random.default_rng(3)
    truth = random.random(25596) < 0.1
    score = truth + random.normal(size=len(truth))
    draws = draw_patients([str(patient) for patient in random.integers(2797, size=len(truth))], seed=0)
    areas = area_draws(truth, score, draws)
    assert areas.mean() == pytest.approx(roc_auc_score(truth, score), abs=0.002)
    # Films of patients that say nothing of each other: the spread is that of Hanley and McNeil 1982.
    assert 0.8 < areas.std() / 0.0055 < 1.25
