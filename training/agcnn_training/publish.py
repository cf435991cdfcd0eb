"""From a finished run to what a bundle says of it."""

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from agcnn_models.labels import LABELS
from agcnn_models.manifest import (
    BranchMetrics,
    BranchName,
    CalibrationMethod,
    CalibrationSet,
    Draft,
    Metrics,
    Platt,
    Software,
    ThresholdSet,
    Training,
)
from agcnn_training.card import INTENDED_USE, Provenance
from agcnn_training.data.films import Films
from agcnn_training.data.splits import Split
from agcnn_training.data.table import Row, labelled
from agcnn_training.evaluation.calibration import PlattScale, fit_calibration, youden_thresholds
from agcnn_training.evaluation.readings import BranchResult
from agcnn_training.recipe import Recipe


def describe(
    recipe: Recipe, rows: Sequence[Row], split: Split, pretraining: Films | None, initial_weights: str
) -> Provenance:
    """Count what a run learnt from."""
    patients_train = {rows[index].patient for index in split.train}
    patients_validation = {rows[index].patient for index in split.validation}
    return Provenance(
        data=recipe.card.data,
        initial_weights=initial_weights,
        pretraining=(
            f"{len(pretraining)} further films in {pretraining.targets.shape[1]} classes, learnt beside the labels "
            "during stage I"
            if pretraining
            else "none"
        ),
        films_train=len(split.train),
        films_validation=len(split.validation),
        patients_train=len(patients_train),
        patients_validation=len(patients_validation),
        overlap=split.overlap["train", "validation"],
        positives={
            label: (
                sum(label in labelled(rows[index]) for index in split.train),
                sum(label in labelled(rows[index]) for index in split.validation),
            )
            for label in LABELS
        },
    )


def draft_manifest(
    recipe: Recipe,
    provenance: Provenance,
    results: Mapping[BranchName, BranchResult],
    truth: NDArray[np.bool_],
    fusion_logits: NDArray[np.float32],
) -> Draft:
    """Fit calibration and thresholds on the validation films, and say all that a manifest says.

    Args:
        recipe: of the run.
        provenance: what it learnt from.
        results: of each branch on the validation films.
        truth: [N, 15] of those films.
        fusion_logits: [N, 15], of the weights as stored.
    """
    scales = fit_calibration(truth, fusion_logits)
    thresholds = youden_thresholds(truth, calibrated(fusion_logits, scales))
    return Draft(
        name=recipe.name,
        version=recipe.version,
        intended_use=INTENDED_USE,
        backbone=recipe.network.backbone,
        pooling=recipe.network.pooling,
        attention=recipe.network.attention,
        preprocessing=recipe.preprocessing(),
        thresholds=ThresholdSet(
            set_id=f"{recipe.name}-{recipe.version}-youden",
            method="Youden's index on the validation films, over calibrated fusion probabilities",
            values=thresholds,
        ),
        calibration=CalibrationSet(
            method=CalibrationMethod.PLATT,
            coefficients={label: Platt(a=scale.a, b=scale.b) for label, scale in scales.items()},
        ),
        training=Training(
            data=provenance.data,
            recipe=recipe.name,
            split=f"by patient, {recipe.split.validation:g} of them for validation, seed {recipe.split.seed}",
            seed=recipe.seed,
            films_train=provenance.films_train,
            films_validation=provenance.films_validation,
            patients_train=provenance.patients_train,
            patients_validation=provenance.patients_validation,
            epochs={stage.name: sum(phase.epochs for phase in stage.phases) for stage in recipe.stages},
            pretraining=provenance.pretraining,
        ),
        metrics=Metrics(
            evaluated_on="the validation films, which also chose epochs, thresholds and calibration",
            films=provenance.films_validation,
            patients=provenance.patients_validation,
            branches={
                name: BranchMetrics(
                    mean_auc=result.score.mean,
                    ci_low=result.interval.low,
                    ci_high=result.interval.high,
                    auc=result.score.per_label,
                )
                for name, result in results.items()
            },
        ),
        software=Software(
            agcnn=_version("agcnn-clinic"),
            torch=_version("torch"),
            torchvision=_version("torchvision"),
            python=platform.python_version(),
        ),
    )


def calibrated(logits: NDArray[np.floating], scales: Mapping[str, PlattScale]) -> NDArray[np.float64]:
    """Calibrated probabilities of logits [N, 15]."""
    slopes = np.array([scales[label].a for label in LABELS])
    offsets = np.array([scales[label].b for label in LABELS])
    return np.asarray(expit(logits.astype(np.float64) * slopes + offsets))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        # Run from a source tree that was never installed.
        return "unknown"
