"""Patients are never divided."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agcnn_training.data.splits import patient_overlap, split_by_patient
from agcnn_training.errors import TrainingError

patients = st.lists(st.integers(0, 30).map(str), min_size=2, max_size=80).filter(lambda names: len(set(names)) > 1)


@settings(deadline=None)  # a busy machine is no failure
@given(patients, st.floats(0.01, 0.89), st.integers(0, 2**32))
def test_no_patient_is_on_both_sides(names: list[str], share: float, seed: int) -> None:
    """Every film is on one side, every patient on one side, and neither side is empty."""
    split = split_by_patient(names, share, seed)
    assert sorted([*split.train, *split.validation]) == list(range(len(names)))
    assert {names[i] for i in split.train}.isdisjoint(names[i] for i in split.validation)
    assert len(split.train) > 0
    assert len(split.validation) > 0
    assert split.overlap == 0


@settings(deadline=None)  # a busy machine is no failure
@given(patients, st.integers(0, 2**32), st.randoms())
def test_a_split_depends_on_the_seed_and_the_patients_alone(names: list[str], seed: int, order: object) -> None:
    """Shuffling the table's rows moves no patient to the other side."""
    shuffled = list(names)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    first, second = split_by_patient(names, 0.3, seed), split_by_patient(shuffled, 0.3, seed)
    assert {names[i] for i in first.validation} == {shuffled[i] for i in second.validation}


def test_overlap_is_counted_in_patients() -> None:
    """Two films of one patient on each side are one patient too many, not four."""
    split = split_by_patient(["a", "a", "b", "b"], 0.5, 0)
    assert patient_overlap(["a", "a", "a", "a"], split.train, split.validation) == 1


def test_one_patient_cannot_be_split() -> None:
    """A table of one patient is refused in a sentence."""
    with pytest.raises(TrainingError, match="one patient only"):
        split_by_patient(["a", "a"], 0.5, 0)
