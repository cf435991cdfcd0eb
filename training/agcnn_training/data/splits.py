"""Splits: which films train, which validate, which test, and which patients lie on two sides of that."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from types import MappingProxyType
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from agcnn_training.data.names import film_key
from agcnn_training.data.table import Row
from agcnn_training.errors import TrainingError

Indices = NDArray[np.int64]

TRAIN: Final = "train"
VALIDATION: Final = "validation"
TEST: Final = "test"
SIDES: Final = (TRAIN, VALIDATION, TEST)

_PAPER_SHARES: Final = {VALIDATION: 0.1, TEST: 0.2}


@dataclass(frozen=True)
class Split:
    """Which films lie on which side; a film that a list leaves out lies on none.

    Attributes:
        train: indices of the training films, int64, ascending.
        validation: indices of the validation films; they choose epochs, thresholds and calibration.
        test: indices of the test films; may be empty.
        overlap: how many patients have films on both sides, for each pair of sides, counted after the split was made.
        description: how it was made, for people.
    """

    train: Indices
    validation: Indices
    test: Indices
    overlap: Mapping[tuple[str, str], int]
    description: str

    @classmethod
    def measured(cls, patients: Sequence[str], sides: Mapping[str, Indices], description: str) -> Self:
        """Make a split of these sides and count the patients that they share.

        Args:
            patients: the patient of each film.
            sides: indices of films by side; a side left out is empty.
            description: how it was made.

        Raises:
            TrainingError: no film trains, or none validates.
        """
        chosen = {side: np.sort(sides.get(side, np.empty(0, np.int64))).astype(np.int64) for side in SIDES}
        for side in (TRAIN, VALIDATION):
            if not len(chosen[side]):
                raise TrainingError(
                    f"The split ({description}) leaves no {side} films: choose another split, or add films to the data."
                )
        whose = {side: {patients[index] for index in indices} for side, indices in chosen.items()}
        overlap = {(one, other): len(whose[one] & whose[other]) for one, other in combinations(SIDES, 2)}
        return cls(**chosen, overlap=MappingProxyType(overlap), description=description)

    @property
    def sides(self) -> dict[str, Indices]:
        """The indices of each side's films, by its name."""
        return {TRAIN: self.train, VALIDATION: self.validation, TEST: self.test}

    def side_of(self) -> dict[int, str]:
        """The side of each film that lies on one, by index."""
        return {int(index): side for side, chosen in self.sides.items() for index in chosen}


def split_by_patient(patients: Sequence[str], share: float, seed: int, *, test: float = 0.0) -> Split:
    """Keep shares of the patients out.

    Deviation: the paper splits images at random, 70/10/20, which puts films of most test patients into training.

    Args:
        patients: the patient of each film.
        share: the share of patients (not films) that validates, in (0, 1).
        seed: of the shuffle; the order of the films does not matter, only who the patients are.
        test: the share of patients that tests, in [0, 1); 0 leaves that side empty.

    Raises:
        TrainingError: there are fewer patients than sides.
    """
    names = np.array(sorted(set(patients)))
    needed = 3 if test else 2
    if len(names) < needed:
        number = "one patient only" if len(names) == 1 else f"{len(names)} patients only"
        raise TrainingError(f"The data have {number}: a split by patient needs {needed} or more.")
    # The validating patients come first, so that adding a test side to a recipe does not exchange them.
    testing = min(max(round(test * len(names)), 1), len(names) - 2) if test else 0
    validating = min(max(round(share * len(names)), 1), len(names) - 1 - testing)
    shuffled = np.random.default_rng(seed).permutation(names)
    side = np.isin(patients, shuffled[:validating]) + 2 * np.isin(patients, shuffled[validating : validating + testing])
    kept = f" and {test:g} for test" if test else ""
    return Split.measured(
        patients,
        {name: np.flatnonzero(side == number) for number, name in enumerate(SIDES)},
        f"by patient, {share:g} of them for validation{kept}, seed {seed}",
    )


def split_by_image(images: Sequence[str], patients: Sequence[str], seed: int) -> Split:
    """Split single images at random, 70/10/20, as the paper does (section IV-A); patients end up on several sides.

    Args:
        images: the name of each film; the split depends on the names and not on their order.
        patients: the patient of each film, for counting the overlap.
        seed: of the shuffle; the paper's own draw is unpublished.

    Raises:
        TrainingError: there are too few films for three sides.
    """
    shuffled = np.random.default_rng(seed).permutation(np.argsort(images))
    testing, validating = (round(_PAPER_SHARES[side] * len(images)) for side in (TEST, VALIDATION))
    return Split.measured(
        patients,
        {
            TEST: shuffled[:testing],
            VALIDATION: shuffled[testing : testing + validating],
            TRAIN: shuffled[testing + validating :],
        },
        f"by image, 70/10/20 as in the paper, seed {seed}: films of one patient train and test",
    )


def split_by_lists(rows: Sequence[Row], lists: Mapping[str, frozenset[str]], description: str) -> Split:
    """Split as lists of film names say.

    Args:
        rows: the films.
        lists: film names by side (see ``read_names``).
        description: where the lists are from.

    Raises:
        TrainingError: a film is in two lists, or a side that a run needs has no films.
    """
    for one, other in combinations(lists, 2):
        if twice := lists[one] & lists[other]:
            raise TrainingError(f"{min(twice)} is in both the {one} and the {other} list: take it out of one of them.")
    sides = {side: _listed(rows, names) for side, names in lists.items()}
    return Split.measured([row.patient for row in rows], sides, description)


def split_officially(
    rows: Sequence[Row], train_val: frozenset[str], test: frozenset[str], share: float, seed: int
) -> Split:
    """Split by NIH's own two lists; a share of the patients of the first is kept out to validate.

    Args:
        rows: the films.
        train_val: the names of the films that train or validate (see ``read_names``).
        test: the names of the films that test.
        share: the share of train_val's patients that validates; the list itself draws no such line.
        seed: of the shuffle of those patients.

    Raises:
        TrainingError: a film is in both lists, or fewer than two patients of train_val are there.
    """
    if twice := train_val & test:
        raise TrainingError(f"{min(twice)} is in both official lists: get them anew, they share no film.")
    patients = [row.patient for row in rows]
    learning, testing = (_listed(rows, names) for names in (train_val, test))
    if not len(learning):
        raise TrainingError(
            "None of the films is in the official train_val list: add films of it, or choose another split."
        )
    parts = split_by_patient([patients[index] for index in learning], share, seed)
    return Split.measured(
        patients,
        {TRAIN: learning[parts.train], VALIDATION: learning[parts.validation], TEST: testing},
        f"the official lists, {share:g} of the train_val patients for validation, seed {seed}",
    )


def leaking_share(patients: Sequence[str], split: Split) -> float:
    """The share of test films whose patient also trains: 0 for a sound split, NaN without test films."""
    training = {patients[index] for index in split.train}
    return float(np.mean([patients[index] in training for index in split.test])) if len(split.test) else float("nan")


def _listed(rows: Sequence[Row], names: frozenset[str]) -> Indices:
    return np.flatnonzero([film_key(row.image) in names for row in rows])
