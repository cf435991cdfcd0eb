"""How good a reading is: areas under its curves, label by label; a label that is NaN is unknown and left out."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor

from agcnn_models.labels import LABELS, PATHOLOGIES
from agcnn_training.errors import TrainingError
from agcnn_training.evaluation.bootstrap import PatientDraws, area_draws, draw_patients

Truth: TypeAlias = NDArray[np.bool_] | NDArray[np.floating]
"""Whether films bear labels: booleans, or numbers in {0, 1} that are NaN where it is unknown."""


@dataclass(frozen=True)
class Score:
    """The areas under the curve of one branch on one set of films.

    Attributes:
        mean: mean over the labels that have both outcomes.
        per_label: each such label's area; the 14 pathologies only, as in the paper's tables.
        skipped: the pathologies that lack one outcome in this set, so have no area.
    """

    mean: float
    per_label: dict[str, float]
    skipped: tuple[str, ...]


def judged_truth(targets: Tensor, not_assessed: Collection[str]) -> NDArray[np.float32]:
    """Which labels films bear, as far as they are judged: float32 [N, 15] in {0, 1}, else NaN.

    Args:
        targets: [N, 15], NaN where a label is unknown.
        not_assessed: labels that a network never learnt.
    """
    truth = np.array(targets.numpy(), dtype=np.float32)
    truth[:, [LABELS.index(label) for label in not_assessed]] = np.nan
    return truth


def labelled_films(truth: Truth) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which films [N] have a known label, and of those [M] which bear it."""
    values = np.asarray(truth, dtype=np.float64)
    known = ~np.isnan(values)
    return known, values[known] > 0.5


def area_under_curve(truth: Truth, score: NDArray[np.floating]) -> float:
    """The probability that a film with the finding scores above one without it; ties count half.

    Mann-Whitney's U from mid-ranks, so equal to the trapezoid area of the ROC curve.

    Args:
        truth: [N], whether the film shows the finding; NaN where that is unknown.
        score: [N], any monotone score.

    Returns:
        The area, or NaN when one outcome is absent.
    """
    known, bears = labelled_films(truth)
    positives = int(bears.sum())
    negatives = len(bears) - positives
    if positives == 0 or negatives == 0:
        return float("nan")
    ranks = rankdata(score[known].astype(np.float64))  # it ranks in the numbers that it is given
    return float((ranks[bears].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def roc_curve(bears: NDArray[np.bool_], score: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The corners of a ROC curve: 1 - specificity and sensitivity, each [K + 1] for K different scores.

    Args:
        bears: [N], whether the film shows the finding; both outcomes occur.
        score: [N], any monotone score.
    """
    order = np.argsort(-score, kind="stable")
    last = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)  # equal scores cross a threshold together
    hits = np.concatenate(([0], np.cumsum(bears[order])[last]))
    alarms = np.concatenate(([0], last + 1)) - hits
    return alarms / alarms[-1], hits / hits[-1]


def average_precision(truth: Truth, score: NDArray[np.floating]) -> float:
    """The mean over positives of the precision at their score: the step-wise area under precision and recall.

    Unlike the area under the ROC curve it falls with the prevalence, which is what a random score would get.

    Args:
        truth: [N], as for ``area_under_curve``.
        score: [N], any monotone score.

    Returns:
        The average precision, or NaN when no film bears the label.
    """
    known, bears = labelled_films(truth)
    if not bears.any():
        return float("nan")
    # The films that score at least as high as each one: mid-ranks would not do, since ties are cut together.
    falling = -score[known].astype(np.float64)
    at_least = rankdata(falling, method="max")
    positives_at_least = rankdata(falling[bears], method="max")
    return float(np.mean(positives_at_least / at_least[bears]))


def brier_score(truth: Truth, probability: NDArray[np.floating]) -> float:
    """The mean squared distance of a probability [N] from what is true [N]; NaN when nothing is known."""
    known, bears = labelled_films(truth)
    return float(np.mean((probability[known] - bears) ** 2)) if known.any() else float("nan")


def score_branch(truth: Truth, logits: NDArray[np.floating]) -> Score:
    """Score one branch over the 14 pathologies.

    Args:
        truth: [N, 15] or [N, 14], in the order of ``LABELS``; NaN where unknown.
        logits: the same shape.

    Raises:
        TrainingError: the network diverged, so that its logits are no numbers, or no pathology has both outcomes.
    """
    # First: an area of what cannot be ranked is NaN too, and would pass for one of a label that nobody has.
    if lost := int(np.count_nonzero(~np.isfinite(logits).all(axis=1))):
        raise TrainingError(
            f"The training diverged, so that what the network says of {lost} of {len(logits)} films is no number: "
            "lower learning_rate or set clip_norm, and start anew."
        )
    areas = {label: area_under_curve(truth[:, column], logits[:, column]) for column, label in enumerate(PATHOLOGIES)}
    known = {label: area for label, area in areas.items() if not np.isnan(area)}
    if not known:
        raise TrainingError(
            "No pathology is both present and absent among the films to measure on: add films, or keep out a larger "
            "share of the patients."
        )
    return Score(
        mean=float(np.mean(list(known.values()))),
        per_label=known,
        skipped=tuple(label for label in PATHOLOGIES if label not in known),
    )


def both_outcomes(truth: Truth) -> NDArray[np.bool_]:
    """Which films bear each label, and which lack it, of the labels that have both: truth [N, L] -> [N, 2 K].

    A mean over K labels is one over the same K in a draw of patients that has a film of each of these groups.
    """
    groups = []
    for column in range(truth.shape[1]):
        known, bears = labelled_films(truth[:, column])
        if bears.any() and not bears.all():
            bearing = np.zeros(len(truth), bool)
            bearing[known] = bears
            groups += [bearing, known & ~bearing]
    return np.stack(groups, axis=1) if groups else np.empty((len(truth), 0), bool)


def of_several_patients(truth: Truth, patients: Sequence[str]) -> list[int]:
    """The columns of truth [N, L] of labels that two patients or more have, and two or more lack.

    Drawing patients again says nothing of how sure the area of any other label is.
    """
    whose = np.asarray(patients, dtype=np.str_)
    found = []
    for column in range(truth.shape[1]):
        known, bears = labelled_films(truth[:, column])
        if min(len(np.unique(whose[known][side])) for side in (bears, ~bears)) >= 2:
            found.append(column)
    return found


def whole_draws(truth: Truth, patients: Sequence[str], *, seed: int) -> PatientDraws:
    """Draws of patients for a mean over labels [N, L]: in each of them every label that has an area has one still.

    A draw without the one patient who bears a finding would give a mean over fewer labels than the figure beside it.
    There is no draw where none of the labels is of several patients, nor where ``draw_patients`` makes none.
    """
    draws = draw_patients(patients, seed=seed, needed=both_outcomes(truth))
    return draws if of_several_patients(truth, patients) else replace(draws, counts=draws.counts[:, :0], again=0)


def label_draws(truth: Truth, logits: NDArray[np.floating], draws: PatientDraws) -> NDArray[np.float64]:
    """The area of each label in each draw: truth and logits [N, L] -> [D, L], NaN where a draw has none."""
    columns = []
    for column in range(truth.shape[1]):
        known, bears = labelled_films(truth[:, column])
        columns.append(area_draws(bears, logits[known, column], draws.of(known)))
    return np.stack(columns, axis=1)
