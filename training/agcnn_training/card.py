"""MODEL_CARD.md: what a model is, in a page that a person reads before using it; filled from the run alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from agcnn_models.labels import LABELS, PATHOLOGIES, display_name
from agcnn_training.card_measured import calibration_part, measured_part, subgroup_part
from agcnn_training.data.splits import TEST, TRAIN, VALIDATION
from agcnn_training.evaluation.results import Measured
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
        split: how the films were divided, in words.
        pretraining: a sentence on the pretraining films, or "none".
        films, patients: how many lie on each side; without a test side 0 there.
        overlap: patients with films both in training and in validation.
        overlap_test: patients with films both in the test side and in one of the others.
        positives: for each label, how many films of each side that has any bear it.
        initial_weights: where the branches began.
        replaced: the stages that did not train, since a trained branch was given in their place.
        cautions: what has to be said of the weights that the run was given, a sentence each.
        not_assessed: the labels that the run did not teach, of which the model says nothing.
    """

    data: str
    split: str
    pretraining: str
    films: Mapping[str, int]
    patients: Mapping[str, int]
    overlap: int
    overlap_test: int
    positives: Mapping[str, Mapping[str, int]]
    initial_weights: str
    replaced: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()
    not_assessed: tuple[str, ...] = ()


def model_card(recipe: Recipe, provenance: Provenance, measured: Measured) -> str:
    """Write the card.

    Args:
        recipe: of the run.
        provenance: what it learnt from.
        measured: the weights as stored, measured.
    """
    result = measured.sets[measured.reported]
    parts = (
        f"# {recipe.name} {recipe.version}",
        f"**{INTENDED_USE}**",
        _what_it_is(recipe, provenance.not_assessed),
        _learnt_from(provenance, recipe),
        measured_part(measured, cautioned=bool(provenance.cautions), not_assessed=provenance.not_assessed),
        calibration_part(measured, provenance.not_assessed),
        subgroup_part(result),
        _bullets("Known limits", (*recipe.card.limits, *_limits(provenance))),
        _bullets("Sources", (_PAPER, *recipe.card.sources)),
    )
    return "\n\n".join(parts) + "\n"


def _what_it_is(recipe: Recipe, not_assessed: tuple[str, ...]) -> str:
    network, images = recipe.network, recipe.images
    return (
        "## What it is\n\n"
        f"{recipe.description} AG-CNN with two {network.backbone} branches ({network.pooling} pooling): the global "
        f"branch reads the film, squashed to {images.resize} x {images.resize} pixels and cut to the central "
        f"{images.crop} x {images.crop}; the local branch reads the region that the global branch attends to "
        f"({network.attention.statistic} over channels, tau {network.attention.tau:g}); the fusion branch weighs both. "
        f"{_says(not_assessed)}"
    )


def _says(not_assessed: tuple[str, ...]) -> str:
    """Of what it gives a probability, and of what it does not."""
    if not not_assessed:
        return "It gives a probability for each of 14 findings and for No Finding."
    assessed = ", ".join(display_name(label) for label in LABELS if label not in not_assessed)
    missing = ", ".join(map(display_name, not_assessed))
    return (
        f"It gives a probability for {assessed}. **Not assessed: {missing}**: they were known of no train film, or of "
        "films of one outcome only, so it has not learnt them, and nothing that it says bears on them."
    )


def _learnt_from(provenance: Provenance, recipe: Recipe) -> str:
    films, patients = provenance.films, provenance.patients
    tested = ""
    if films[TEST]:
        tested = (
            f" {films[TEST]} test films of {patients[TEST]} patients chose nothing; "
            f"{provenance.overlap_test} of those patients have films among the others."
        )
    sides = list(next(iter(provenance.positives.values())))
    rows = "\n".join(
        f"| {display_name(label)} | {' | '.join(str(provenance.positives[label][side]) for side in sides)} |"
        for label in LABELS
    )
    return (
        "## What it learnt from\n\n"
        f"{provenance.data} {films[TRAIN] + films[VALIDATION]} films of "
        f"{patients[TRAIN] + patients[VALIDATION] - provenance.overlap} patients: {films[TRAIN]} films of "
        f"{patients[TRAIN]} patients trained the weights, {films[VALIDATION]} films of "
        f"{patients[VALIDATION]} {'other ' if not provenance.overlap else ''}patients chose epochs, "
        f"thresholds and calibration (split: {provenance.split}). Patients on both sides: {provenance.overlap}."
        f"{tested} Pretraining: {provenance.pretraining}. "
        f"Initial weights: {provenance.initial_weights}.{_given(provenance)} "
        f"Every setting is in the recipe {recipe.name}.\n\n"
        f"| label | {' | '.join(f'films, {side}' for side in sides)} |\n|---|{'---:|' * len(sides)}\n{rows}"
    )


def _given(provenance: Provenance) -> str:
    """What has to be said beside the counts of this run, which know nothing of what happened before it."""
    sentences = [f"Not trained here: the stage {', '.join(provenance.replaced)}."] if provenance.replaced else []
    return "".join(f" {sentence}" for sentence in (*sentences, *provenance.cautions))


def _limits(provenance: Provenance) -> tuple[str, ...]:
    """What holds for every model that this trainer makes."""
    return (
        (
            "Calibrated probabilities and thresholds hold for films like the validation films. Where findings are more "
            "or less frequent, choose thresholds anew on films of your own."
        ),
        f"Of some findings it has seen few films ({_rarest(provenance)} in training): do not rely on those.",
        *(("What it does not assess is not thereby absent.",) if provenance.not_assessed else ()),
        "The attended region shows where the network looked, not where a finding lies.",
        (
            "Lateral views, other parts of the body and other kinds of image are unknown to it: it answers, and the "
            "answer will mean nothing."
        ),
    )


def _bullets(title: str, items: Sequence[str]) -> str:
    return f"## {title}\n\n" + "\n".join(f"- {item}" for item in items)


def _rarest(provenance: Provenance) -> str:
    learnt = {
        label: provenance.positives[label][TRAIN] for label in PATHOLOGIES if label not in provenance.not_assessed
    }
    rare = sorted(learnt, key=lambda label: learnt[label])[:3]
    return ", ".join(f"{display_name(label)}: {learnt[label]}" for label in rare)
