"""MODEL_CARD.md: what a model is, in a page that a person reads before using it; filled from the run alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from agcnn_models.labels import LABELS, PATHOLOGIES, display_name
from agcnn_models.manifest import BranchName
from agcnn_training.evaluation.readings import BranchResult
from agcnn_training.recipe import Recipe

INTENDED_USE: Final = (
    "Research and demonstration of the software only; not a medical device, not for diagnosis, triage or any other "
    "clinical use."
)

_PAPER: Final = (
    "Q. Guan, Y. Huang, Z. Zhong, Z. Zheng, L. Zheng, Y. Yang, *Diagnose like a Radiologist: Attention Guided "
    "Convolutional Neural Network for Thorax Disease Classification*, arXiv:1801.09927, 2018: the network."
)


@dataclass(frozen=True)
class Provenance:
    """What a model learnt from, counted.

    Attributes:
        data: a sentence on the films.
        pretraining: a sentence on the pretraining films, or "none".
        films_train, films_validation, patients_train, patients_validation: counts.
        overlap: patients on both sides.
        positives: how many training films and validation films bear each label.
        initial_weights: where the branches began.
    """

    data: str
    pretraining: str
    films_train: int
    films_validation: int
    patients_train: int
    patients_validation: int
    overlap: int
    positives: Mapping[str, tuple[int, int]]
    initial_weights: str


def model_card(
    recipe: Recipe, provenance: Provenance, results: Mapping[BranchName, BranchResult], skipped: Sequence[str]
) -> str:
    """Write the card.

    Args:
        recipe: of the run.
        provenance: what it learnt from.
        results: of each branch on the validation films.
        skipped: pathologies without both outcomes among them.
    """
    parts = (
        f"# {recipe.name} {recipe.version}",
        f"**{INTENDED_USE}**",
        _what_it_is(recipe),
        _learnt_from(provenance, recipe),
        _measured(provenance, results, skipped),
        _bullets("Known limits", (*recipe.card.limits, *_limits(provenance))),
        _bullets("Sources", (_PAPER, *recipe.card.sources)),
    )
    return "\n\n".join(parts) + "\n"


def _what_it_is(recipe: Recipe) -> str:
    network, images = recipe.network, recipe.images
    return (
        "## What it is\n\n"
        f"{recipe.description} AG-CNN with two {network.backbone} branches ({network.pooling} pooling): the global "
        f"branch reads the film, squashed to {images.resize} x {images.resize} pixels and cut to the central "
        f"{images.crop} x {images.crop}; the local branch reads the region that the global branch attends to "
        f"({network.attention.statistic} over channels, tau {network.attention.tau:g}); the fusion branch weighs both. "
        "It gives a probability for each of 14 findings and for No Finding."
    )


def _learnt_from(provenance: Provenance, recipe: Recipe) -> str:
    together = provenance.films_train + provenance.films_validation
    patients = provenance.patients_train + provenance.patients_validation - provenance.overlap
    rows = "\n".join(
        f"| {display_name(label)} | {provenance.positives[label][0]} | {provenance.positives[label][1]} |"
        for label in LABELS
    )
    return (
        "## What it learnt from\n\n"
        f"{provenance.data} {together} films of {patients} patients: {provenance.films_train} films of "
        f"{provenance.patients_train} patients trained the weights, {provenance.films_validation} films of "
        f"{provenance.patients_validation} other patients chose epochs, thresholds and calibration. Patients on both "
        f"sides: {provenance.overlap}. Pretraining: {provenance.pretraining}. "
        f"Initial weights: {provenance.initial_weights}. Every setting is in the recipe {recipe.name}.\n\n"
        f"| label | films, training | films, validation |\n|---|---:|---:|\n{rows}"
    )


def _measured(provenance: Provenance, results: Mapping[BranchName, BranchResult], skipped: Sequence[str]) -> str:
    means = "\n".join(
        f"| {name} | {result.score.mean:.3f} | {result.interval.low:.3f} to {result.interval.high:.3f} |"
        for name, result in results.items()
    )
    labels = "\n".join(
        f"| {display_name(label)} | " + " | ".join(_area(result, label) for result in results.values()) + " |"
        for label in PATHOLOGIES
    )
    left_out = f" Without both outcomes, so left out: {', '.join(skipped)}." if skipped else ""
    return (
        "## What was measured\n\n"
        f"Area under the ROC curve, mean over the {len(PATHOLOGIES) - len(skipped)} pathologies, on the "
        f"{provenance.films_validation} validation films, read with the weights as stored.{left_out} The intervals are "
        "95 % by bootstrap over patients. These films also chose the epochs, so expect a little less on new ones.\n\n"
        f"| branch | mean AUC | 95 % interval |\n|---|---:|---|\n{means}\n\n"
        f"| finding | {' | '.join(results)} |\n|---|{'---:|' * len(results)}\n{labels}"
    )


def _limits(provenance: Provenance) -> tuple[str, ...]:
    """What holds for every model that this trainer makes."""
    return (
        (
            "Calibrated probabilities and thresholds hold for films like the validation films. Where findings are more "
            "or less frequent, choose thresholds anew on films of your own."
        ),
        f"Of some findings it has seen few films ({_rarest(provenance)} in training): do not rely on those.",
        "The attended region shows where the network looked, not where a finding lies.",
        (
            "Lateral views, other parts of the body and other kinds of image are unknown to it: it answers, and the "
            "answer will mean nothing."
        ),
    )


def _bullets(title: str, items: Sequence[str]) -> str:
    return f"## {title}\n\n" + "\n".join(f"- {item}" for item in items)


def _rarest(provenance: Provenance) -> str:
    rare = sorted(PATHOLOGIES, key=lambda label: provenance.positives[label][0])[:3]
    return ", ".join(f"{display_name(label)}: {provenance.positives[label][0]}" for label in rare)


def _area(result: BranchResult, label: str) -> str:
    area = result.score.per_label.get(label)
    return "-" if area is None else f"{area:.3f}"
