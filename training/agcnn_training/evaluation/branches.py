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
from agcnn_training.evaluation.metrics import Score, average_precision, label_draws, labelled_films, score_branch
from agcnn_training.evaluation.predictions import Predictions


@dataclass(frozen=True)
class BranchResult:
    """One branch on one set of films.

    Attributes:
        score: the areas of the 14 pathologies and their mean.
        interval: of the mean.
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


def judge_branches(
    predictions: Predictions, draws: PatientDraws
) -> tuple[dict[BranchName, BranchResult], tuple[Comparison, ...]]:
    """Score each branch, and compare each later branch with each earlier one.

    Args:
        predictions: of the set.
        draws: of the set's patients, the same for all branches, so that differences are paired.

    Raises:
        TrainingError: as ``score_branch`` does.
    """
    pathologies = slice(len(PATHOLOGIES))
    truth = predictions.truth
    areas = {
        name: label_draws(truth[:, pathologies], logits[:, pathologies], draws)
        for name, logits in predictions.logits.items()
    }
    results = {name: _judged(predictions, name, areas[name]) for name in areas}
    comparisons = tuple(
        _compared(predictions, first, second, results, areas[second] - areas[first])
        for first, second in combinations(results, 2)
    )
    return results, comparisons


def _judged(predictions: Predictions, name: BranchName, areas: NDArray[np.float64]) -> BranchResult:
    truth, logits = predictions.truth, predictions.logits[name]
    precisions = {label: average_precision(truth[:, i], logits[:, i]) for i, label in enumerate(LABELS)}
    return BranchResult(
        score=score_branch(truth, logits),
        interval=percentile_interval(mean_over_known(areas)),
        label_intervals=_label_intervals(predictions, areas),
        average_precision={label: value for label, value in precisions.items() if not np.isnan(value)},
    )


def _compared(
    predictions: Predictions,
    first: BranchName,
    second: BranchName,
    results: Mapping[BranchName, BranchResult],
    differences: NDArray[np.float64],
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
        interval=percentile_interval(mean_over_known(differences)),
        per_label=per_label,
        label_intervals=_label_intervals(predictions, differences),
    )


def _label_intervals(predictions: Predictions, draws: NDArray[np.float64]) -> dict[str, Interval]:
    """The interval of each pathology's column of draws [D, 14], where two patients or more are on either side."""
    patients = np.asarray(predictions.patients, dtype=np.str_)
    intervals = {}
    for column, label in enumerate(PATHOLOGIES):
        known, bears = labelled_films(predictions.truth[:, column])
        sides = (patients[known][bears], patients[known][~bears])
        if min(len(np.unique(side)) for side in sides) >= 2:
            intervals[label] = percentile_interval(draws[:, column])
    return intervals
