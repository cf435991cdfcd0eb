"""The branches of a network, judged on one set of films: each by itself, and against each other."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from agcnn_models.labels import LABELS, PATHOLOGIES
from agcnn_models.manifest import BranchName
from agcnn_training.evaluation.bootstrap import (
    Interval,
    PatientDraws,
    mean_over_known,
    percentile_interval,
)
from agcnn_training.evaluation.delong import AreaDifference, delong_difference
from agcnn_training.evaluation.metrics import (
    Score,
    Truth,
    average_precision,
    label_draws,
    labelled_films,
    of_several_patients,
    score_branch,
)
from agcnn_training.evaluation.predictions import Predictions


@dataclass(frozen=True)
class BranchResult:
    """One branch on one set of films.

    Attributes:
        score: the areas of the 14 pathologies and their mean.
        interval: of the mean, unless none of them has one.
        label_intervals: of each area; a label that fewer than two patients have, or lack, has none, since drawing
            patients again says nothing of a single one.
        average_precision: of each of the 15 labels that occurs.
    """

    score: Score
    interval: Interval
    label_intervals: Mapping[str, Interval]
    average_precision: Mapping[str, float]


@dataclass(frozen=True)
class Comparison:
    """How much a second branch exceeds a first one on the same films.

    Attributes:
        first, second: the branches.
        difference: of the mean areas, second minus first.
        interval: of that difference, from the same draws of patients for both branches.
        per_label: DeLong's difference of each area, which takes films to be independent (see ``delong_areas``).
        label_intervals: of each of those differences, by draws of patients.
    """

    first: BranchName
    second: BranchName
    difference: float
    interval: Interval
    per_label: Mapping[str, AreaDifference]
    label_intervals: Mapping[str, Interval]

    @property
    def is_gain(self) -> bool:
        """Whether it says what the fusion adds to the global branch, which is what the paper claims."""
        return (self.first, self.second) == (BranchName.GLOBAL, BranchName.FUSION)


def judge_branches(
    predictions: Predictions, draws: PatientDraws, whole: PatientDraws
) -> tuple[dict[BranchName, BranchResult], tuple[Comparison, ...]]:
    """Score each branch, and compare each later branch with each earlier one.

    Args:
        predictions: of the set.
        draws: of the set's patients, the same for all branches, so that differences are paired.
        whole: draws of the same seed for the means (``whole_draws``).

    Raises:
        TrainingError: as ``score_branch`` does.
    """
    drawn = {name: _drawn(predictions.truth, logits, draws, whole) for name, logits in predictions.logits.items()}
    results = {name: _judged(predictions, name, areas) for name, areas in drawn.items()}
    comparisons = tuple(
        _compared(predictions, first, second, results, drawn[second].minus(drawn[first]))
        for first, second in combinations(results, 2)
    )
    return results, comparisons


@dataclass(frozen=True)
class _Drawn:
    """Areas of one branch, or their differences, in draws of patients: [D, 14] of each label; [D] of their mean."""

    labels: NDArray[np.float64]
    means: NDArray[np.float64]

    def minus(self, other: "_Drawn") -> "_Drawn":
        """How much they exceed those of another branch in the same draws."""
        return _Drawn(self.labels - other.labels, self.means - other.means)


def _drawn(truth: Truth, logits: NDArray[np.floating], draws: PatientDraws, whole: PatientDraws) -> _Drawn:
    pathologies = slice(len(PATHOLOGIES))
    labels = label_draws(truth[:, pathologies], logits[:, pathologies], draws)
    # Where none had to be drawn again these are the same draws, unless there is none.
    other = whole.again or not whole.counts.shape[1]
    means = label_draws(truth[:, pathologies], logits[:, pathologies], whole) if other else labels
    return _Drawn(labels, mean_over_known(means))


def _judged(predictions: Predictions, name: BranchName, drawn: _Drawn) -> BranchResult:
    truth, logits = predictions.truth, predictions.logits[name]
    precisions = {label: average_precision(truth[:, i], logits[:, i]) for i, label in enumerate(LABELS)}
    return BranchResult(
        score=score_branch(truth, logits),
        interval=percentile_interval(drawn.means),
        label_intervals=_label_intervals(predictions, drawn.labels),
        average_precision={label: value for label, value in precisions.items() if not np.isnan(value)},
    )


def _compared(
    predictions: Predictions,
    first: BranchName,
    second: BranchName,
    results: Mapping[BranchName, BranchResult],
    differences: _Drawn,
) -> Comparison:
    per_label = {}
    for column, label in enumerate(PATHOLOGIES):
        known, bears = labelled_films(predictions.truth[:, column])
        if min(int(bears.sum()), int((~bears).sum())) >= 2:
            one, other = (predictions.logits[name][known, column] for name in (first, second))
            per_label[label] = delong_difference(bears, one, other)
    return Comparison(
        first=first,
        second=second,
        difference=results[second].score.mean - results[first].score.mean,
        interval=percentile_interval(differences.means),
        per_label=per_label,
        label_intervals=_label_intervals(predictions, differences.labels),
    )


def _label_intervals(predictions: Predictions, draws: NDArray[np.float64]) -> dict[str, Interval]:
    """The interval of each pathology's column of draws [D, 14], where two patients or more are on either side."""
    several = of_several_patients(predictions.truth[:, : len(PATHOLOGIES)], predictions.patients)
    return {PATHOLOGIES[column]: percentile_interval(draws[:, column]) for column in several}
