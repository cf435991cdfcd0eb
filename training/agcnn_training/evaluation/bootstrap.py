"""How sure a number is: intervals from drawing patients again, with replacement.

Films of one patient resemble each other, so drawing films would make every interval too narrow. A draw is a count for
each patient (0, 1, 2 ...), which weights all of that patient's films; all draws go through each step together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

SAMPLES: Final = 1000
LEVEL: Final = 0.95
"""The coverage of every interval."""

_ROUNDS: Final = 100
"""How often as many draws are made as are wanted before those that have what is needed count as too few."""

_DRAWS_AT_ONCE: Final = 250
"""Bounds the memory: with 10,000 films of a finding a block takes some 20 MB."""


@dataclass(frozen=True)
class Interval:
    """A 95 % interval."""

    low: float
    high: float

    @property
    def known(self) -> bool:
        """Whether there is one: its bounds are NaN where too few draws have a value, or nothing was there to judge."""
        return not np.isnan(self.low)


NO_INTERVAL: Final = Interval(float("nan"), float("nan"))


@dataclass(frozen=True)
class PatientDraws:
    """How often each patient was drawn.

    Attributes:
        members: [N], which patient (a row of ``counts``) each film is of.
        counts: float32 [P, D], of P patients in D draws; each column sums to P.
        again: how many further draws lacked what was needed of a draw, and were drawn again.
    """

    members: NDArray[np.int64]
    counts: NDArray[np.float32]
    again: int = 0

    def of(self, films: NDArray[np.bool_]) -> "PatientDraws":
        """The same draws, of some of the films only."""
        return PatientDraws(self.members[films], self.counts, self.again)

    def total(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """The sum over drawn films of a value of each film: [N] -> [D]."""
        each = np.bincount(self.members, weights=values, minlength=len(self.counts))
        return np.asarray(each @ self.counts.astype(np.float64))


def draw_patients(
    patients: Sequence[str], *, seed: int, samples: int = SAMPLES, needed: NDArray[np.bool_] | None = None
) -> PatientDraws:
    """Draw as many patients as there are, with replacement, so many times.

    Args:
        patients: the patient of each film.
        seed: of the draws; the order of the films does not matter, only who the patients are.
        samples: how many draws.
        needed: [N, G], groups of films; a draw that has no film of one of them is drawn again.

    Returns:
        No draw, D is 0, where fewer than one in ``_ROUNDS`` has what is needed, of a single patient, and where each
        patient alone has something that is needed: then all draws are the same, which would look as if nothing were
        more certain.
    """
    names, members = np.unique(np.asarray(patients, dtype=np.str_), return_inverse=True)
    members = members.astype(np.int64)
    bearers = None if needed is None else _bearers(needed, members, len(names))
    if len(names) < 2 or (bearers is not None and _all_are_needed(bearers)):
        return PatientDraws(members, np.empty((len(names), 0), np.float32))
    random = np.random.default_rng(seed)
    kept: list[NDArray[np.float32]] = []
    found = again = 0
    for _ in range(_ROUNDS):
        counts = _counts(random, len(names), samples)
        whole = np.ones(samples, bool) if bearers is None else ((bearers @ counts) > 0).all(axis=0)
        places = np.flatnonzero(whole)[: samples - found]
        kept.append(counts[:, places])
        found += len(places)
        again += (samples if found < samples else int(places[-1]) + 1) - len(places)
        if found == samples:
            return PatientDraws(members, np.ascontiguousarray(np.concatenate(kept, axis=1)), again)
    return PatientDraws(members, np.empty((len(names), 0), np.float32), again)


def area_draws(truth: NDArray[np.bool_], score: NDArray[np.floating], draws: PatientDraws) -> NDArray[np.float64]:
    """The area under the ROC curve in each draw: [D], NaN where a draw lacks one outcome.

    Exactly the area of the drawn films, ties counting half. Negatives are counted between the positives' scores, a
    sparse product for all draws at once, so nothing is sorted again.

    Args:
        truth: [N], whether the film shows the finding; of films whose label is known.
        score: [N], any monotone score.
        draws: of these films' patients.
    """
    if truth.sum() > len(truth) / 2:  # the area is symmetric, and the rarer side is the cheaper one to keep
        truth, score = ~truth, -score
    values, positives = np.unique(score[truth], return_inverse=True)
    if not len(values) or truth.all():
        return np.full(draws.counts.shape[1], np.nan)
    level, steps = len(values), np.searchsorted(values, score[~truth], side="right")
    tied = np.isin(score[~truth], values)
    patients = draws.members[~truth]
    # A negative lies below the positives from its step on; one that ties with a positive lies half below that one.
    share = np.where(tied, 0.5, 1.0)
    below = _counting(
        np.concatenate((steps, steps[tied] - 1)),
        np.concatenate((patients, patients[tied])),
        np.concatenate((share, share[tied])),
        (level + 1, len(draws.counts)),
    )
    above = _counting(positives, draws.members[truth], np.ones(len(positives)), (level, len(draws.counts)))
    return np.concatenate(
        [
            _areas(below @ counts, above @ counts)
            for counts in np.split(draws.counts, range(_DRAWS_AT_ONCE, draws.counts.shape[1], _DRAWS_AT_ONCE), axis=1)
        ]
    )


def percentile_interval(draws: NDArray[np.float64]) -> Interval:
    """The middle ``LEVEL`` of the draws [D] that have a value; NaN bounds where none has."""
    known = draws[~np.isnan(draws)]
    if not len(known):
        return NO_INTERVAL
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(known, [tail, 100 - tail])
    return Interval(float(low), float(high))


def mean_over_known(draws: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean over the last axis, of those entries that have a value; NaN where none has."""
    known = ~np.isnan(draws)
    count = known.sum(axis=-1)
    total = np.where(known, draws, 0.0).sum(axis=-1)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


def _counts(random: np.random.Generator, patients: int, samples: int) -> NDArray[np.float32]:
    """How often each patient is drawn: [P, D]."""
    chosen = random.integers(patients, size=(samples, patients))
    # One count for all draws: each draw's patients are moved into numbers of its own.
    own = chosen + np.arange(samples)[:, None] * patients
    counts = np.bincount(own.ravel(), minlength=samples * patients).reshape(samples, patients)
    return np.ascontiguousarray(counts.T, dtype=np.float32)


def _bearers(needed: NDArray[np.bool_], members: NDArray[np.integer], patients: int) -> NDArray[np.float32]:
    """Which patients have a film of each group: [G, P] in {0, 1}."""
    bearers = np.zeros((needed.shape[1], patients), np.float32)
    films, groups = np.nonzero(needed)
    bearers[groups, members[films]] = 1
    return bearers


def _all_are_needed(bearers: NDArray[np.float32]) -> bool:
    """Whether each patient is the only one with a film of some group: [G, P] as ``_bearers`` gives it."""
    return bool(bearers[bearers.sum(axis=1) == 1].any(axis=0).all())


def _counting(
    rows: NDArray[np.integer], columns: NDArray[np.integer], shares: NDArray[np.float64], shape: tuple[int, int]
) -> csr_array[np.float32, tuple[int, int]]:
    """How many films of each patient (column) fall on each row; equal places add up."""
    return csr_array((shares.astype(np.float32), (rows, columns)), shape=shape)


def _areas(below: NDArray[np.float32], positives: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mann-Whitney's U over pairs, from negatives a step [K + 1, D] and positives a value [K, D]."""
    # Halves up to 2^23 are exact in float32, and no data set has that many films; products are summed in float64.
    pairs = np.einsum("kd,kd->d", np.cumsum(below[:-1], axis=0), positives, dtype=np.float64)
    possible = below.sum(axis=0, dtype=np.float64) * positives.sum(axis=0, dtype=np.float64)
    return np.asarray(np.where(possible > 0, pairs / np.where(possible > 0, possible, 1.0), np.nan))
