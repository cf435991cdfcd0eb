"""From logits to probabilities that mean what they say, and to a decision: both fitted on validation films."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from agcnn_models.labels import LABELS


@dataclass(frozen=True)
class PlattScale:
    """Calibrated probability = 1 / (1 + exp(-(a z + b))) of a logit z (Platt 1999, with a positive sign)."""

    a: float
    b: float


def fit_platt(truth: NDArray[np.bool_], logits: NDArray[np.float64]) -> PlattScale:
    """Fit Platt's scaling of one label by maximum likelihood with Platt's smoothed targets.

    The slope is kept positive, so that calibration never reorders films; a label without both outcomes keeps its
    logits as they are.

    Args:
        truth: [N].
        logits: [N].
    """
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if positives == 0 or negatives == 0:
        return PlattScale(1.0, 0.0)
    # Platt's targets: (N+ + 1) / (N+ + 2) and 1 / (N- + 2), which keep a separable label finite.
    target = np.where(truth, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def negative_log_likelihood(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        slope = np.exp(parameters[0])
        scaled = slope * logits + parameters[1]
        error = expit(scaled) - target
        gradient = np.array([np.sum(error * slope * logits), np.sum(error)])
        return float(np.sum(np.logaddexp(0, scaled) - target * scaled)), gradient

    # exp(-3) to exp(3): a slope outside says that the label cannot be told at all, or far too few films.
    fitted = minimize(negative_log_likelihood, np.zeros(2), jac=True, method="L-BFGS-B", bounds=[(-3, 3), (-20, 20)])
    return PlattScale(float(np.exp(fitted.x[0])), float(fitted.x[1]))


def fit_calibration(truth: NDArray[np.bool_], logits: NDArray[np.floating]) -> dict[str, PlattScale]:
    """Fit each label's scaling: truth and logits [N, 15]."""
    return {
        label: fit_platt(truth[:, column], logits[:, column].astype(np.float64)) for column, label in enumerate(LABELS)
    }


def youden_threshold(truth: NDArray[np.bool_], probability: NDArray[np.float64]) -> float:
    """The probability at or above which sensitivity + specificity is largest (Youden 1950).

    It lies halfway between two scores that occur, so that rounding does not move a film over it; where no cut beats
    chance it lies above all scores. Without both outcomes there is nothing to choose by, and it is 0.5.

    Args:
        truth: [N].
        probability: [N] in [0, 1].
    """
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if positives == 0 or negatives == 0:
        return 0.5
    values = np.unique(probability)
    # In order of preference among equals: between two scores, above all of them, at the lowest.
    above = [(values[-1] + 1) / 2] if values[-1] < 1 else []
    cuts = np.array([*(values[1:] + values[:-1]) / 2, *above, values[0]])
    sensitivity = np.array([np.sum(probability[truth] >= cut) for cut in cuts]) / positives
    specificity = np.array([np.sum(probability[~truth] < cut) for cut in cuts]) / negatives
    return float(cuts[int(np.argmax(sensitivity + specificity))])


def youden_thresholds(truth: NDArray[np.bool_], probabilities: NDArray[np.floating]) -> dict[str, float]:
    """Choose each label's threshold: truth and probabilities [N, 15]."""
    return {
        label: youden_threshold(truth[:, column], probabilities[:, column].astype(np.float64))
        for column, label in enumerate(LABELS)
    }
