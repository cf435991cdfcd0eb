"""The files of weights that a run is given: what they had met before, and what has to be said of that."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agcnn_models.importing import learnt_from_imagenet
from agcnn_training.data.names import film_key
from agcnn_training.data.splits import TEST, TRAIN, VALIDATION, Split
from agcnn_training.data.table import Row
from agcnn_training.errors import TrainingError
from agcnn_training.met import Met, met_by
from agcnn_training.recipe import InitialWeights, Recipe, Start

_LEAKS: Final = ((TRAIN, VALIDATION), (TRAIN, TEST), (VALIDATION, TEST))
"""A side on which weights have met a film, and the side here on which it then says too much. That the films which
choose here have chosen before is what happens within a run, too."""


@dataclass(frozen=True)
class Given:
    """The weights that a run is given instead of learning them.

    Attributes:
        init: the file with which backbones begin.
        branch: the file of a trained global branch, which takes the place of the first stage.
        known: those of them of which it is known what they have met, by name.
        unknown: the names of those of which it is not, and of the files that the known ones were given themselves.
    """

    init: Path | None = None
    branch: Path | None = None
    known: tuple[tuple[str, Met], ...] = ()
    unknown: tuple[str, ...] = ()


def read_given(init: Path | None, branch: Path | None) -> Given:
    """Find out what the files have met; ImageNet's weights have met no chest film.

    Raises:
        TrainingError: the split beside a file cannot be read.
    """
    known: list[tuple[str, Met]] = []
    unknown: list[str] = []
    for path in (init, branch):
        if path is None or (path == init and learnt_from_imagenet(path)):
            continue
        met = met_by(path)
        if met is None:
            unknown.append(path.name)
        else:
            known.append((path.name, met))
            unknown.extend(met.unknown)
    return Given(init, branch, tuple(known), tuple(unknown))


def require_apart(given: Given, rows: Sequence[Row], split: Split) -> None:
    """Refuse weights that have met films by which this run is to be judged.

    Raises:
        TrainingError: a file has learnt from films that validate or test here, or was chosen by films that test here.
    """
    sides = split.side_of()
    for name, met in given.known:
        shared = [
            row.image
            for index, row in enumerate(rows)
            if (met.images.get(film_key(row.image)), sides.get(index)) in _LEAKS
        ]
        if shared:
            raise TrainingError(
                f"{name} was trained on, or chosen by, {len(shared)} of the films that validate or test here "
                f"({shared[0]} for one), so nothing that is measured on them would hold: use the split that it was "
                "trained with, or give other weights."
            )


def cautions(given: Given, rows: Sequence[Row], split: Split) -> tuple[str, ...]:
    """What a reader of the run's results must know of the weights that it was given: a sentence each."""
    patients = {side: {rows[index].patient for index in split.sides[side]} for side in (VALIDATION, TEST)}
    sentences = []
    for name, met in given.known:
        shared = {patient for before, here in _LEAKS for patient in met.patients[before] & patients[here]}
        if shared:
            sentences.append(
                f"{name} was trained on, or chosen by, other films of {len(shared)} patients who validate or test "
                "here, so the results flatter the network."
            )
    return (*sentences, *unknown_origin(given.unknown))


def unknown_origin(names: Iterable[str]) -> tuple[str, ...]:
    """The sentence on weights of which nobody knows what they have met; none where there are none."""
    listed = ", ".join(names)
    if not listed:
        return ()
    return (
        (
            f"Which films {listed} learnt from is unknown: those that validate or test here, or others of their "
            "patients, may be among them, and the results then flatter the network."
        ),
    )


def initial_weights(given: Given, recipe: Recipe) -> str:
    """Where a run's branches begin, in words."""
    from_imagenet = recipe.network.initial_weights is InitialWeights.IMAGENET
    backbones = "ImageNet, from torchvision" if from_imagenet else "random"
    if given.init is not None:
        backbones = f"the file {given.init.name}"
    if given.branch is None:
        return backbones
    trained = f"a trained global branch, the file {given.branch.name}"
    starts = {start for stage in recipe.stages[1:] for start in stage.start.values()}
    return f"{trained}; elsewhere {backbones}" if starts & {Start.BACKBONE, Start.FILE} else trained
