"""DeLong's test: whether two readings of the same films differ in their area under the ROC curve."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from agcnn_training.evaluation.bootstrap import LEVEL


@dataclass(frozen=True)
class Areas:
    """The areas of K readings of the same films.

    Attributes:
        areas: [K].
        covariance: [K, K], of their estimates.
    """

    areas: NDArray[np.float64]
    covariance: NDArray[np.float64]


@dataclass(frozen=True)
class AreaDifference:
    """How much a second reading's area exceeds the first one's.

    Attributes:
        difference: second minus first.
        low, high: its normal interval.
        p: two-sided, of there being no difference.
    """

    difference: float
    low: float
    high: float
    p: float


def delong_areas(truth: NDArray[np.bool_], scores: NDArray[np.floating]) -> Areas:
    """Areas and their covariance (DeLong, DeLong and Clarke-Pearson 1988), from mid-ranks (Sun and Xu 2014).

    It takes films to be independent. Where patients have several films, as in ChestX-ray14, the true variance differs,
    mostly upwards: the bootstrap over patients is the one to believe, and this is for comparison with other papers.

    Args:
        truth: [N], whether the film shows the finding; two films or more of each outcome.
        scores: [K, N], of each reading.

    Raises:
        ValueError: there are fewer than two films with, or without, the finding.
    """
    positives, negatives = scores[:, truth].astype(np.float64), scores[:, ~truth].astype(np.float64)
    m, n = positives.shape[1], negatives.shape[1]
    if min(m, n) < 2:
        raise ValueError(f"DeLong's covariance needs two films of each outcome, not {m} and {n}")
    together = rankdata(np.concatenate((positives, negatives), axis=1), axis=1)  # [K, m + n]
    # The share of negatives below each positive, and of positives above each negative: the structural components.
    v_positive = (together[:, :m] - rankdata(positives, axis=1)) / n  # [K, m]
    v_negative = 1 - (together[:, m:] - rankdata(negatives, axis=1)) / m  # [K, n]
    covariance = np.atleast_2d(np.cov(v_positive)) / m + np.atleast_2d(np.cov(v_negative)) / n
    return Areas(v_positive.mean(axis=1), covariance)


def delong_difference(
    truth: NDArray[np.bool_], first: NDArray[np.floating], second: NDArray[np.floating]
) -> AreaDifference:
    """Compare two readings [N] of the same films; see ``delong_areas``."""
    found = delong_areas(truth, np.stack((first, second)))
    contrast = np.array([-1.0, 1.0])
    difference = float(contrast @ found.areas)
    error = float(np.sqrt(max(contrast @ found.covariance @ contrast, 0.0)))
    reach = float(norm.ppf(0.5 + LEVEL / 2)) * error
    # Without any error both readings rank alike, and are equal for certain.
    p = float(2 * norm.sf(abs(difference) / error)) if error > 0 else float(difference == 0)
    return AreaDifference(difference, difference - reach, difference + reach, p)
