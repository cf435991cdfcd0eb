"""How good a reading is: areas under the ROC curve, and how sure they are."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from agcnn_models.labels import PATHOLOGIES
from agcnn_training.errors import TrainingError


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


@dataclass(frozen=True)
class Interval:
    """A bootstrap percentile interval of a mean area."""

    low: float
    high: float
    level: float


def area_under_curve(truth: NDArray[np.bool_], score: NDArray[np.float64]) -> float:
    """The probability that a film with the finding scores above one without it; ties count half.

    Mann-Whitney's U from mid-ranks, so equal to the trapezoid area of the ROC curve.

    Args:
        truth: [N], whether the film shows the finding.
        score: [N], any monotone score.

    Returns:
        The area, or NaN when one outcome is absent.
    """
    positives = int(truth.sum())
    negatives = len(truth) - positives
    if positives == 0 or negatives == 0:
        return float("nan")
    ranks = rankdata(score)
    return float((ranks[truth].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def score_branch(truth: NDArray[np.bool_], logits: NDArray[np.floating]) -> Score:
    """Score one branch over the 14 pathologies.

    Args:
        truth: [N, 15] or [N, 14], in the order of ``LABELS``.
        logits: the same shape.

    Raises:
        TrainingError: no pathology has both outcomes.
    """
    areas = {
        label: area_under_curve(truth[:, column], logits[:, column].astype(np.float64))
        for column, label in enumerate(PATHOLOGIES)
    }
    known = {label: area for label, area in areas.items() if not np.isnan(area)}
    if not known:
        raise TrainingError(
            "No pathology is both present and absent among the validation films: add films, or keep out a larger share."
        )
    return Score(
        mean=float(np.mean(list(known.values()))),
        per_label=known,
        skipped=tuple(label for label in PATHOLOGIES if label not in known),
    )


def patient_bootstrap(
    truth: NDArray[np.bool_],
    logits: NDArray[np.floating],
    patients: Sequence[str],
    *,
    seed: int,
    samples: int = 1000,
    level: float = 0.95,
) -> Interval:
    """The interval of the mean area when patients, not films, are drawn again with replacement.

    Films of one patient resemble each other, so drawing films would make the interval too narrow.

    Args:
        truth: [N, 15], as for ``score_branch``.
        logits: [N, 15].
        patients: the patient of each film.
        seed: of the draws.
        samples: how many draws; those without any usable label are drawn again.
        level: the coverage, in (0, 1).

    Raises:
        TrainingError: no pathology has both outcomes.
    """
    members: dict[str, list[int]] = {}
    for index, patient in enumerate(patients):
        members.setdefault(patient, []).append(index)
    groups = [np.array(films) for films in members.values()]
    score_branch(truth, logits)  # raises where no draw can have an area either
    random = np.random.default_rng(seed)
    means: list[float] = []
    while len(means) < samples:
        drawn = np.concatenate([groups[choice] for choice in random.integers(len(groups), size=len(groups))])
        with contextlib.suppress(TrainingError):
            means.append(score_branch(truth[drawn], logits[drawn]).mean)
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    return Interval(float(low), float(high), level)
