"""From a probability to a yes or no: thresholds chosen on validation films, and what they do on others."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from agcnn_models.bundle import Bundle, calibrated
from agcnn_models.labels import LABELS
from agcnn_models.manifest import Platt, ThresholdSet
from agcnn_training.evaluation.bootstrap import LEVEL, NO_INTERVAL, Interval
from agcnn_training.evaluation.calibration import fit_calibration
from agcnn_training.evaluation.metrics import Truth, labelled_films
from agcnn_training.evaluation.predictions import Predictions
from agcnn_training.recipe import Aim

SENSITIVITY: Final = 0.9


@dataclass(frozen=True)
class Decision:
    """How logits become probabilities and decisions, settled before the films to judge on are looked at.

    Attributes:
        scales: Platt's scaling of each label that is calibrated.
        threshold_sets: from which calibrated probability on a label is positive, of each that has a threshold; the
            first set is the one in use.
    """

    scales: Mapping[str, Platt]
    threshold_sets: tuple[ThresholdSet, ...]


@dataclass(frozen=True)
class Proportion:
    """A share of films and its interval; NaN throughout when there are no films to have a share of."""

    value: float
    interval: Interval


@dataclass(frozen=True)
class OperatingPoint:
    """What one threshold does on a set of films.

    Attributes:
        threshold: the calibrated probability.
        sensitivity: of the films with the finding, the share called positive.
        specificity: of the films without it, the share called negative.
        ppv, npv: of the films called positive (negative), the share that is; both hold at this set's prevalence only.
    """

    threshold: float
    sensitivity: Proportion
    specificity: Proportion
    ppv: Proportion
    npv: Proportion

    @property
    def shares(self) -> dict[str, Proportion]:
        """What it does, by name."""
        return {"sensitivity": self.sensitivity, "specificity": self.specificity, "ppv": self.ppv, "npv": self.npv}


def fit_decision(validation: Predictions, model: str) -> Decision:
    """Fit calibration and choose two threshold sets on the validation films, for the branch whose word counts.

    A label without both outcomes among them gets neither: any number would be one that nothing was chosen by.

    Args:
        validation: predictions of those films; test films must never come in here.
        model: its name and version, which begin the sets' names.
    """
    truth, branch = validation.truth, validation.headline
    scales = fit_calibration(truth, validation.logits[branch])
    probabilities = calibrated(validation.logits[branch], scales)
    where = f"on the validation films, over calibrated {branch} probabilities"

    def chosen(aim: Aim, method: str, choose: Callable[[Truth, NDArray[np.float64]], float | None]) -> ThresholdSet:
        found = {label: choose(truth[:, column], probabilities[:, column]) for column, label in enumerate(LABELS)}
        values = {label: threshold for label, threshold in found.items() if threshold is not None}
        return ThresholdSet(set_id=aim.set_id(model), method=f"{method} {where}", values=values)

    return Decision(
        scales,
        (
            chosen(Aim.YOUDEN, "Youden's index", youden_threshold),
            chosen(Aim.SENSITIVITY, f"A sensitivity of {SENSITIVITY:g}", sensitivity_threshold),
        ),
    )


def decision_of(bundle: Bundle) -> Decision:
    """The calibration and the thresholds that a bundle carries."""
    manifest = bundle.manifest
    return Decision(manifest.calibration.coefficients, (manifest.thresholds, *manifest.further_thresholds))


def youden_threshold(truth: Truth, probability: NDArray[np.float64]) -> float | None:
    """The probability at or above which sensitivity + specificity is largest (Youden 1950).

    It lies halfway between two scores that occur, as far from both as can be; where no cut beats chance it lies above
    all scores, or as high as chance allows where one of them is 1. Without both outcomes there is nothing to choose by,
    and it is None.

    Args:
        truth: [N], NaN where unknown.
        probability: [N] in [0, 1].
    """
    known, bears = labelled_films(truth)
    if bears.all() or not bears.any():
        return None
    cuts, sensitivity, specificity = _cuts(bears, probability[known])
    gain = sensitivity + specificity - 1
    if gain.max() <= 1e-9:  # not quite 0 where 1/3 and 2/3 are added
        return float(cuts[gain >= -1e-9].max())
    return float(cuts[int(np.argmax(gain))])


def sensitivity_threshold(truth: Truth, probability: NDArray[np.float64], wanted: float = SENSITIVITY) -> float | None:
    """The highest threshold, halfway between two scores, that still finds this share of the films with the finding.

    Without both outcomes there is nothing to choose by, and it is None.

    Args:
        truth: [N], NaN where unknown.
        probability: [N] in [0, 1].
        wanted: the sensitivity, in (0, 1].
    """
    known, bears = labelled_films(truth)
    if bears.all() or not bears.any():
        return None
    cuts, sensitivity, _ = _cuts(bears, probability[known])
    # The lowest cut finds all, so there is one; 1e-9 since 9 of 10 is not quite 0.9.
    return float(cuts[sensitivity >= wanted - 1e-9].max())


def operating_points(
    predictions: Predictions, probabilities: NDArray[np.float64], thresholds: Mapping[str, float]
) -> dict[str, OperatingPoint]:
    """What a threshold set does on a set of films, for each label that has a threshold, and is known of some of them.

    Where no film has a label, what is called positive is a false alarm: its specificity is worth knowing by itself.

    Args:
        predictions: of the set.
        probabilities: [N, 15], calibrated.
        thresholds: of labels, chosen on other films.
    """
    patients = np.asarray(predictions.patients, dtype=np.str_)
    points = {}
    for column, label in enumerate(LABELS):
        known, bears = labelled_films(predictions.truth[:, column])
        if label not in thresholds or not known.any():
            continue
        called, whose = probabilities[known, column] >= thresholds[label], patients[known]
        points[label] = OperatingPoint(
            threshold=thresholds[label],
            sensitivity=patient_proportion(called[bears], whose[bears]),
            specificity=patient_proportion(~called[~bears], whose[~bears]),
            ppv=patient_proportion(bears[called], whose[called]),
            npv=patient_proportion(~bears[~called], whose[~called]),
        )
    return points


def patient_proportion(hits: NDArray[np.bool_], patients: Sequence[str] | NDArray[np.str_]) -> Proportion:
    """A share of films and Wilson's interval at the effective number of films (Korn and Graubard 1998).

    Films of one patient resemble each other, so N films are worth fewer independent ones: as many as give the variance
    of the share between patients. Unlike a bootstrap it has a width when all films, or none, are hits; then, and
    wherever patients do not differ in their share, each patient counts as one film.

    Args:
        hits: [N].
        patients: [N].
    """
    films = len(hits)
    if not films:
        return Proportion(float("nan"), NO_INTERVAL)
    share = float(hits.mean())
    _, members = np.unique(np.asarray(patients, dtype=np.str_), return_inverse=True)
    clusters = int(members.max()) + 1
    # Each patient's sum of residuals, from whole numbers: rounding must not make a variance where there is none.
    spread = (films * np.bincount(members[hits], minlength=clusters) - hits.sum() * np.bincount(members)) / films
    variance = float(np.sum(spread**2)) * clusters / max(clusters - 1, 1) / films**2
    effective = min(share * (1 - share) / variance, films) if variance > 0 else clusters
    return Proportion(share, wilson_interval(share, effective))


def wilson_interval(share: float, number: float) -> Interval:
    """Wilson's score interval of a share of so many independent films."""
    z = float(norm.ppf(0.5 + LEVEL / 2))
    middle = (share + z**2 / (2 * number)) / (1 + z**2 / number)
    reach = z / (1 + z**2 / number) * float(np.sqrt(share * (1 - share) / number + z**2 / (4 * number**2)))
    return Interval(max(middle - reach, 0.0), min(middle + reach, 1.0))


def _cuts(
    bears: NDArray[np.bool_], probability: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Every cut that matters, in order of preference among equals, with its sensitivity and specificity."""
    values = np.unique(probability)
    # Between two scores first, then above all of them, then at the lowest.
    above = [(values[-1] + 1) / 2] if values[-1] < 1 else []
    cuts = np.array([*(values[1:] + values[:-1]) / 2, *above, values[0]])
    positives, negatives = np.sort(probability[bears]), np.sort(probability[~bears])
    sensitivity = 1 - np.searchsorted(positives, cuts) / len(positives)
    specificity = np.searchsorted(negatives, cuts) / len(negatives)
    return cuts, sensitivity, specificity
