"""Measuring a finished network: each set of films read once, judged, and written down.

Calibration and thresholds come from the validation films, so the test films are looked at once and choose nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit
from torch import nn

from agcnn_models.bundle import calibrated
from agcnn_models.labels import LABELS, PATHOLOGIES
from agcnn_models.manifest import BranchName
from agcnn_models.settings import Preprocessing
from agcnn_training.data.boxes import LesionBox
from agcnn_training.data.source import Dataset
from agcnn_training.data.splits import TEST, VALIDATION
from agcnn_training.data.table import Row
from agcnn_training.errors import TrainingError
from agcnn_training.evaluation.bootstrap import draw_patients
from agcnn_training.evaluation.branches import BranchResult, Comparison, judge_branches
from agcnn_training.evaluation.calibration import Calibration, judge_calibration
from agcnn_training.evaluation.decision import Decision, OperatingPoint, fit_decision, operating_points
from agcnn_training.evaluation.localisation import Localisation, judge_localisation, lesions_on
from agcnn_training.evaluation.metrics import labelled_films, whole_draws
from agcnn_training.evaluation.predictions import Predictions
from agcnn_training.evaluation.served import ServedReader
from agcnn_training.evaluation.subgroups import Subgroup, judge_subgroups
from agcnn_training.recipe import Recipe


@dataclass(frozen=True)
class SetResult:
    """All that is measured on one set of films.

    Attributes:
        films: how many.
        patients: how many have them.
        positives: for each label that is known of some film, how many films bear it.
        known: of how many films each label is known.
        branches: each branch by itself.
        comparisons: each later branch against each earlier one.
        drawn_again: how many draws of patients lacked an outcome of a pathology that has an area, so that they say
            nothing of the means and were drawn again.
        before, after: calibration of each label with and without Platt's scaling, of the branch whose word counts.
        operating: by threshold set, what its threshold does for each label.
        subgroups: by sex, age band and view.
        localisation: on the lesions that were drawn on these films; None where there are none, or nothing attends.
    """

    films: int
    patients: int
    positives: Mapping[str, int]
    known: Mapping[str, int]
    branches: Mapping[BranchName, BranchResult]
    comparisons: tuple[Comparison, ...]
    drawn_again: int
    before: Mapping[str, Calibration]
    after: Mapping[str, Calibration]
    operating: Mapping[str, Mapping[str, OperatingPoint]]
    subgroups: tuple[Subgroup, ...]
    localisation: Localisation | None

    @property
    def headline(self) -> BranchName:
        """The branch whose word counts: the fusion where there is one."""
        return BranchName.FUSION if BranchName.FUSION in self.branches else BranchName.GLOBAL

    @property
    def prevalence(self) -> dict[str, float]:
        """The share of films that bear each label, of those of which it is known."""
        return {label: self.positives[label] / films for label, films in self.known.items()}

    @property
    def skipped(self) -> tuple[str, ...]:
        """The pathologies without an area: one outcome is missing in this set, or the network does not assess them."""
        return self.branches[self.headline].score.skipped


@dataclass(frozen=True)
class Measured:
    """A network measured on its validation films, and on test films where the split has them.

    Attributes:
        predictions: of each set, by its name.
        decision: calibration and thresholds, from the validation films.
        sets: the results, by the same names.
    """

    predictions: Mapping[str, Predictions]
    decision: Decision
    sets: Mapping[str, SetResult]

    @property
    def unjudged(self) -> tuple[str, ...]:
        """The sets that were read and have no pathology with both outcomes."""
        return tuple(name for name in self.predictions if name not in self.sets)

    @property
    def reported(self) -> str:
        """The set whose numbers speak for the network: the test films, which chose nothing, where there are any."""
        return TEST if TEST in self.sets else VALIDATION


def measure(network: nn.Module, reader: ServedReader, dataset: Dataset, recipe: Recipe) -> Measured:
    """Read the validation films, and the test films where there are any, once, and judge them.

    Args:
        network: as it will be served: an ``AGCNN``, or a module that gives logits [B, 15].
        reader: reads films as they will be served.
        dataset: films, their split, and the lesions that were drawn on some of them.
        recipe: of the run.

    Raises:
        TrainingError: among the validation films no pathology has both outcomes, or a film cannot be read any more.
            Test films without a pathology that has both outcomes are read and not judged.
        TrainingStopped: someone asked to stop.
    """
    sides = {VALIDATION: dataset.split.validation, TEST: dataset.split.test}
    rows = {name: [dataset.rows[index] for index in chosen] for name, chosen in sides.items() if len(chosen)}
    predictions = {
        name: reader.predict(network, whose, [dataset.paths[index] for index in sides[name]])
        for name, whose in rows.items()
    }
    decision = fit_decision(predictions[VALIDATION], recipe.model)
    results = {}
    for name, found in predictions.items():
        try:
            results[name] = judge(
                found, rows[name], decision, reader.preprocessing, seed=recipe.seed, boxes=dataset.boxes
            )
        except TrainingError:
            # Validation films without any finding stop a run in its first epoch; at its end nothing may be lost.
            if name == VALIDATION:
                raise
    return Measured(predictions, decision, results)


def over_labels(number: int) -> str:
    """Over how many pathologies a mean is, to be said behind it; empty where it is over all 14."""
    if number == len(PATHOLOGIES):
        return ""
    return f" over {number} label{'' if number == 1 else 's'}"


def judge(
    predictions: Predictions,
    rows: Sequence[Row],
    decision: Decision,
    preprocessing: Preprocessing,
    *,
    seed: int,
    boxes: Sequence[LesionBox] = (),
) -> SetResult:
    """Judge one set of films.

    Args:
        predictions: of the set.
        rows: what is known of its films, in the same order.
        decision: calibration and thresholds, from other films than a test set's.
        preprocessing: of the network.
        seed: of the draws of patients.
        boxes: lesions that were drawn on some of the films.

    Raises:
        TrainingError: no pathology has both outcomes.
    """
    truth, logits = predictions.truth, predictions.logits[predictions.headline]
    draws = draw_patients(predictions.patients, seed=seed)
    whole = whole_draws(truth[:, : len(PATHOLOGIES)], predictions.patients, seed=seed)
    branches, comparisons = judge_branches(predictions, draws, whole)
    probabilities = calibrated(logits, decision.scales)
    lesions = lesions_on(predictions.images, boxes)
    localised = len(lesions.film) > 0 and predictions.boxes is not None
    known = {label: labelled_films(truth[:, column]) for column, label in enumerate(LABELS)}
    return SetResult(
        films=len(predictions),
        patients=len(set(predictions.patients)),
        positives={label: int(bears.sum()) for label, (films, bears) in known.items() if films.any()},
        known={label: int(films.sum()) for label, (films, _) in known.items() if films.any()},
        branches=branches,
        comparisons=comparisons,
        drawn_again=whole.again,
        before=judge_calibration(truth, expit(logits.astype(np.float64))),
        after=judge_calibration(truth, probabilities),
        operating={
            chosen.set_id: operating_points(predictions, probabilities, chosen.values)
            for chosen in decision.threshold_sets
        },
        subgroups=judge_subgroups(predictions, rows, seed),
        localisation=judge_localisation(predictions, lesions, preprocessing, seed) if localised else None,
    )


def summary(sets: Mapping[str, SetResult], unjudged: Sequence[str] = ()) -> str:
    """A line for each set and branch, for the person who waits."""
    lines = []
    for name, result in sets.items():
        lines.append(f"{name}: {result.films} films of {result.patients} patients")
        for branch, found in result.branches.items():
            low, high = found.interval.low, found.interval.high
            over = over_labels(len(found.score.per_label))
            span = f" ({low:.4f} to {high:.4f})" if found.interval.known else ""
            lines.append(f"  {branch}: mean AUC{over} {found.score.mean:.4f}{span}")
        if skipped := result.skipped:
            lines.append(f"  Not learnt, or without both outcomes there, so without an AUC: {', '.join(skipped)}.")
    lines += [f"{name}: no pathology is both present and absent there, so nothing can be judged." for name in unjudged]
    return "\n".join(lines)
