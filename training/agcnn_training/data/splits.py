"""Patient-wise splits: every film of a patient lies on one side."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agcnn_training.errors import TrainingError


@dataclass(frozen=True)
class Split:
    """Which films train and which validate.

    Attributes:
        train: indices of the training films, ascending.
        validation: indices of the validation films, ascending.
        overlap: how many patients have films on both sides, counted after the split was made.
    """

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    overlap: int


def split_by_patient(patients: Sequence[str], share: float, seed: int) -> Split:
    """Keep a share of the patients out.

    Deviation: the paper splits images at random, 70/10/20, which puts films of most test patients into training.

    Args:
        patients: the patient of each film.
        share: the share of patients (not films) that validates, in (0, 1).
        seed: of the shuffle; the order of the films does not matter, only who the patients are.

    Raises:
        TrainingError: there is one patient only.
    """
    names = np.array(sorted(set(patients)))
    if len(names) < 2:
        raise TrainingError("The label table has one patient only: a split by patient needs two or more.")
    kept_out = min(max(round(share * len(names)), 1), len(names) - 1)
    chosen = np.random.default_rng(seed).permutation(names)[:kept_out]
    validates = np.isin(np.asarray(patients), chosen)
    train, validation = np.flatnonzero(~validates), np.flatnonzero(validates)
    return Split(train, validation, patient_overlap(patients, train, validation))


def patient_overlap(patients: Sequence[str], train: NDArray[np.int64], validation: NDArray[np.int64]) -> int:
    """The number of patients who have films on both sides."""
    return len({patients[index] for index in train} & {patients[index] for index in validation})
