"""Whether a network reads all kinds of patients and films alike: by sex, age band and view."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agcnn_models.labels import PATHOLOGIES
from agcnn_training.data.table import Row
from agcnn_training.errors import TrainingError
from agcnn_training.evaluation.bootstrap import Interval, mean_over_known, percentile_interval
from agcnn_training.evaluation.metrics import label_draws, score_branch, whole_draws
from agcnn_training.evaluation.predictions import Predictions

SMALL: Final = 100
"""Fewer patients than this say little: a mean AUC over 14 findings then moves by some .05 with who happens to be in."""

_AGE_BANDS: Final = ((0, 17), (18, 39), (40, 59), (60, 79), (80, 120))
"""Years, both ends included. NIH has ages above 120, which are typing errors: such films are in no band."""


@dataclass(frozen=True)
class Subgroup:
    """One group of films.

    Attributes:
        attribute: what it is a group of: sex, age or view.
        group: which one, as "F", "18-39" or "AP".
        films: how many.
        patients: how many have them.
        labels: over how many pathologies the mean is: those with both outcomes in the group.
        mean: the mean area of the branch whose word counts; NaN when no pathology has both outcomes.
        interval: of the mean; NaN bounds where ``whole_draws`` has none.
    """

    attribute: str
    group: str
    films: int
    patients: int
    labels: int
    mean: float
    interval: Interval

    @property
    def name(self) -> str:
        """As tables say it: "sex F", or "sex F (small)"."""
        return f"{self.attribute} {self.group}{' (small)' if self.small else ''}"

    @property
    def small(self) -> bool:
        """Whether the group has too few patients to compare it with others."""
        return self.patients < SMALL


def judge_subgroups(predictions: Predictions, rows: Sequence[Row], seed: int) -> tuple[Subgroup, ...]:
    """Judge the branch whose word counts on each group that has films.

    A patient's films may lie in several groups (years pass, views differ), and the mean of a group is over the
    pathologies that it can be judged on, so that groups differ in more than who is in them.

    Args:
        predictions: of a set.
        rows: what is known of its films, in the same order.
        seed: of the draws of patients.
    """
    found: list[Subgroup] = []
    for attribute, group_of in _ATTRIBUTES.items():
        groups = np.array([group_of(row) or "" for row in rows], dtype=np.str_)
        found += [
            _judged(predictions, groups == group, attribute, group, seed)
            for group in _ORDER[attribute]
            if group in groups
        ]
    return tuple(found)


def _judged(predictions: Predictions, chosen: NDArray[np.bool_], attribute: str, group: str, seed: int) -> Subgroup:
    pathologies = slice(len(PATHOLOGIES))
    truth = predictions.truth[chosen, pathologies]
    logits = predictions.logits[predictions.headline][chosen, pathologies]
    patients = np.asarray(predictions.patients, dtype=np.str_)[chosen].tolist()
    draws = whole_draws(truth, patients, seed=seed)
    try:
        score = score_branch(truth, logits)
        labels, mean = len(score.per_label), score.mean
    except TrainingError:
        labels, mean = 0, float("nan")
    interval = percentile_interval(mean_over_known(label_draws(truth, logits, draws)))
    return Subgroup(attribute, group, len(truth), len(set(patients)), labels, mean, interval)


def _age_band(row: Row) -> str | None:
    return next((_band(*ends) for ends in _AGE_BANDS if row.age is not None and ends[0] <= row.age < ends[1] + 1), None)


def _band(first: int, last: int) -> str:
    return f"{first}+" if last == _AGE_BANDS[-1][1] else f"{first}-{last}"


_ATTRIBUTES: Final[Mapping[str, Callable[[Row], str | None]]] = {
    "sex": lambda row: row.sex,
    "age": _age_band,
    "view": lambda row: row.view,
}
_ORDER: Final[Mapping[str, tuple[str, ...]]] = {
    "sex": ("F", "M"),
    "age": tuple(_band(*ends) for ends in _AGE_BANDS),
    "view": ("PA", "AP"),
}
