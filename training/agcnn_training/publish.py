"""From a finished run to what a bundle says of it."""

from agcnn_models.labels import LABELS
from agcnn_models.manifest import (
    BranchMetrics,
    CalibrationMethod,
    CalibrationSet,
    Draft,
    Metrics,
    Software,
    Training,
)
from agcnn_training.card import INTENDED_USE, Provenance
from agcnn_training.data.films import Films
from agcnn_training.data.source import Dataset
from agcnn_training.data.splits import TEST, TRAIN, VALIDATION
from agcnn_training.data.table import labelled
from agcnn_training.evaluation.results import Measured
from agcnn_training.given import Given, cautions, initial_weights
from agcnn_training.identity import software
from agcnn_training.recipe import Recipe


def describe(
    recipe: Recipe, dataset: Dataset, pretraining: Films | None, given: Given, not_assessed: tuple[str, ...] = ()
) -> Provenance:
    """Count what a run learnt from.

    Args:
        recipe: of the run.
        dataset: its films, and how they were divided.
        pretraining: further films.
        given: the weights that it was given.
        not_assessed: the labels that the run did not teach (see ``never_learnt``).
    """
    rows, split = dataset.rows, dataset.split
    patients = {name: {rows[index].patient for index in chosen} for name, chosen in split.sides.items()}
    return Provenance(
        data=recipe.card.data or dataset.about,
        split=split.description,
        initial_weights=initial_weights(given, recipe),
        replaced=(recipe.stages[0].name,) if given.branch else (),
        cautions=cautions(given, rows, split),
        not_assessed=not_assessed,
        pretraining=(
            f"{len(pretraining)} further films in {pretraining.targets.shape[1]} classes, learnt beside the labels "
            "during stage I"
            if pretraining
            else "none"
        ),
        films={name: len(chosen) for name, chosen in split.sides.items()},
        patients={name: len(whose) for name, whose in patients.items()},
        overlap=split.overlap[TRAIN, VALIDATION],
        overlap_test=len((patients[TRAIN] | patients[VALIDATION]) & patients[TEST]),
        positives={
            label: {
                name: sum(label in labelled(rows[index]) for index in chosen)
                for name, chosen in split.sides.items()
                if len(chosen)
            }
            for label in LABELS
        },
    )


def draft_manifest(recipe: Recipe, provenance: Provenance, measured: Measured) -> Draft:
    """Say all that a manifest says.

    Args:
        recipe: of the run.
        provenance: what it learnt from.
        measured: the weights as stored, measured; its decision becomes the bundle's calibration and thresholds.
    """
    first, *further = measured.decision.threshold_sets
    versions = software()
    trained = [stage for stage in recipe.stages if stage.name not in provenance.replaced]
    return Draft(
        name=recipe.name,
        version=recipe.version,
        intended_use=INTENDED_USE,
        backbone=recipe.network.backbone,
        pooling=recipe.network.pooling,
        attention=recipe.network.attention,
        preprocessing=recipe.preprocessing(),
        not_assessed=provenance.not_assessed,
        thresholds=first,
        further_thresholds=tuple(further),
        calibration=CalibrationSet(method=CalibrationMethod.PLATT, coefficients=measured.decision.scales),
        training=Training(
            data=provenance.data,
            recipe=recipe.name,
            split=provenance.split,
            seed=recipe.seed,
            films_train=provenance.films[TRAIN],
            films_validation=provenance.films[VALIDATION],
            patients_train=provenance.patients[TRAIN],
            patients_validation=provenance.patients[VALIDATION],
            epochs={stage.name: sum(phase.epochs for phase in stage.phases) for stage in trained},
            pretraining=_before(provenance),
        ),
        metrics=_metrics(measured, provenance),
        software=Software(
            agcnn=versions["agcnn-clinic"],
            torch=versions["torch"],
            torchvision=versions["torchvision"],
            python=versions["python"],
        ),
    )


def _before(provenance: Provenance) -> str:
    """What the weights had learnt from beside the labels' own films, and before them."""
    if not provenance.replaced and not provenance.cautions:
        return provenance.pretraining
    sentences = (f"initial weights: {provenance.initial_weights}.", *provenance.cautions)
    return f"{provenance.pretraining}; {' '.join(sentences)}"


def _metrics(measured: Measured, provenance: Provenance) -> Metrics:
    """The numbers of the set that speaks for the network."""
    result = measured.sets[measured.reported]
    films = (
        "the test films, which chose nothing and were looked at once"
        if measured.reported == TEST
        else "the validation films, which also chose epochs, thresholds and calibration"
    )
    return Metrics(
        evaluated_on=f"{films}; its initial weights may have met them: see its card" if provenance.cautions else films,
        films=result.films,
        patients=result.patients,
        branches={
            name: BranchMetrics(
                mean_auc=branch.score.mean,
                # A manifest always has one: where too few draws say anything the mean may be anything.
                ci_low=branch.interval.low if branch.interval.known else 0.0,
                ci_high=branch.interval.high if branch.interval.known else 1.0,
                auc=branch.score.per_label,
                auc_ci={label: (one.low, one.high) for label, one in branch.label_intervals.items()},
                average_precision=branch.average_precision,
            )
            for name, branch in result.branches.items()
        },
    )
