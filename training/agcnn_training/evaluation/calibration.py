"""From logits to probabilities that mean what they say: Platt's scaling, and how far off a probability is."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from agcnn_models.labels import LABELS
from agcnn_models.manifest import Platt
from agcnn_training.evaluation.metrics import Truth, brier_score, labelled_films

BINS: Final = 15
"""As Guo et al. 2017, *On Calibration of Modern Neural Networks*."""

LEAST_SPREAD: Final = 1e-6
"""Logits that lie closer together say the same: float32 holds no more of a number of the size that they have."""


class Binning(StrEnum):
    """How films are put together to compare what was said with what was true."""

    ADAPTIVE = "adaptive"
    """As many films in each bin: what is reported, since most findings are rare and equal widths leave nearly all
    films in the first bin (Nixon et al. 2019)."""
    EQUAL_WIDTH = "equal_width"
    """Equal parts of [0, 1], as Guo et al. 2017 have it."""


@dataclass(frozen=True)
class Reliability:
    """What was said and what was true, bin by bin: each [K] over the K bins that hold films.

    Attributes:
        said: the mean probability.
        true: the share of films that bear the label.
        films: how many there are.
    """

    said: NDArray[np.float64]
    true: NDArray[np.float64]
    films: NDArray[np.int64]

    @property
    def error(self) -> float:
        """The expected calibration error: the mean over films of |said - true|; NaN without films."""
        total = int(self.films.sum())
        return float(np.sum(self.films * np.abs(self.said - self.true)) / total) if total else float("nan")


@dataclass(frozen=True)
class Calibration:
    """How well one label's probabilities were calibrated, in one state (as they are, or after Platt's scaling).

    Attributes:
        brier: the mean squared error.
        ece: the expected calibration error over adaptive bins. It is biased upwards: with F films a bin, even a
            perfectly calibrated label with prevalence p shows about sqrt(2 p (1 - p) / (pi F)).
        ece_equal_width: over bins of equal width.
        reliability: the adaptive bins.
    """

    brier: float
    ece: float
    ece_equal_width: float
    reliability: Reliability


def fit_platt(truth: Truth, logits: NDArray[np.floating]) -> Platt | None:
    """Fit Platt's scaling of one label by maximum likelihood with Platt's smoothed targets.

    The slope is kept positive, so that calibration never reorders films, and the probabilities do not depend on where
    logits lie and how far they spread. Without both outcomes there is nothing to fit to, and it is None: the label
    stays uncalibrated.

    Args:
        truth: [N], NaN where unknown.
        logits: [N].
    """
    known, bears = labelled_films(truth)
    positives, negatives = int(bears.sum()), int((~bears).sum())
    if positives == 0 or negatives == 0:
        return None
    values = logits[known].astype(np.float64)
    # A branch may say -3 of all films but for hundredths, or thousands: what is fitted is a slope over their spread.
    centre, spread = float(values.mean()), max(float(values.std()), LEAST_SPREAD)
    z = (values - centre) / spread
    # Platt's targets: (N+ + 1) / (N+ + 2) and 1 / (N- + 2), which keep a separable label finite.
    target = np.where(bears, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def negative_log_likelihood(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        slope = np.exp(parameters[0])
        scaled = slope * z + parameters[1]
        error = expit(scaled) - target
        gradient = np.array([np.sum(error * slope * z), np.sum(error)])
        return float(np.sum(np.logaddexp(0, scaled) - target * scaled)), gradient

    # exp(-3) to exp(3): a slope outside says that the label cannot be told at all, or far too few films.
    limits = [(-3, 3), (None, None)]
    fitted = minimize(negative_log_likelihood, np.zeros(2), jac=True, method="L-BFGS-B", bounds=limits)
    slope, offset = float(np.exp(fitted.x[0])) / spread, float(fitted.x[1])
    return Platt(a=slope, b=offset - slope * centre)


def fit_calibration(truth: Truth, logits: NDArray[np.floating]) -> dict[str, Platt]:
    """Fit the scaling of each label that has both outcomes: truth and logits [N, 15]."""
    scales = {label: fit_platt(truth[:, column], logits[:, column]) for column, label in enumerate(LABELS)}
    return {label: scale for label, scale in scales.items() if scale is not None}


def reliability(
    truth: Truth,
    probability: NDArray[np.floating],
    binning: Binning = Binning.ADAPTIVE,
    bins: int = BINS,
) -> Reliability:
    """Compare what was said of films with what was true of them, bin by bin.

    Args:
        truth: [N], NaN where unknown.
        probability: [N] in [0, 1].
        binning: how films are put together. Adaptive bins never part films of equal probability.
        bins: at most how many; with fewer films, a film a bin.
    """
    known, bears = labelled_films(truth)
    said = probability[known].astype(np.float64)
    if binning is Binning.EQUAL_WIDTH:
        where = np.minimum((said * bins).astype(np.int64), bins - 1)
    else:
        # The first place that a value has in order decides for all films that have it.
        where = np.searchsorted(np.sort(said), said) * bins // max(len(said), 1)
    films = np.bincount(where, minlength=bins)
    filled = films > 0
    return Reliability(
        said=np.bincount(where, weights=said, minlength=bins)[filled] / films[filled],
        true=np.bincount(where, weights=bears.astype(np.float64), minlength=bins)[filled] / films[filled],
        films=films[filled],
    )


def judge_calibration(truth: Truth, probabilities: NDArray[np.floating]) -> dict[str, Calibration]:
    """Judge each label's probabilities: truth and probabilities [N, 15]; labels that are nowhere known are left out."""
    judged = {}
    for column, label in enumerate(LABELS):
        side, said = truth[:, column], probabilities[:, column]
        if labelled_films(side)[0].any():
            bins = reliability(side, said)
            equal = reliability(side, said, Binning.EQUAL_WIDTH)
            judged[label] = Calibration(brier_score(side, said), bins.error, equal.error, bins)
    return judged
