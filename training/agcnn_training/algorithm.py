"""Algorithm 1 of the paper, and its variants in Table II: stage after stage, phase after phase."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agcnn_models.backbones import Branch, load_trained
from agcnn_models.importing import read_provenance
from agcnn_models.manifest import BranchName
from agcnn_training.data.batches import Batches, Joint
from agcnn_training.data.films import Films
from agcnn_training.errors import TrainingError
from agcnn_training.evaluation.evaluator import Evaluator
from agcnn_training.loop import Surroundings, Task, run_phase
from agcnn_training.networks import Beginnings, Network, parts_of
from agcnn_training.recipe import PhaseRecipe, Recipe, StageRecipe, stage_key
from agcnn_training.run_folder import NOTHING_YET
from agcnn_training.stage_store import StageStore
from agcnn_training.stages import Trainee, freeze, prepare_stage


@dataclass(frozen=True)
class Course:
    """What a run's stages learn from, and what they may take instead of learning it.

    Attributes:
        recipe: of the run.
        films: all films of the label table.
        chosen: indices of those that train.
        pretraining: further films, when the recipe wants them.
        beginnings: the weights that the parts can begin with.
        evaluator: judges on the validation films.
        data_sha256: of all that the run is given.
        global_weights: a file with a trained global branch, which replaces the first stage.
        store: stages that other runs have finished.
    """

    recipe: Recipe
    films: Films
    chosen: NDArray[np.int64]
    pretraining: Films | None
    beginnings: Beginnings
    evaluator: Evaluator
    data_sha256: str
    global_weights: Path | None = None
    store: StageStore | None = None

    @property
    def joint(self) -> Joint:
        """What the global branch learns beside the labels."""
        return Joint(self.recipe.joint, self.pretraining)


def train_stages(network: Network, course: Course, around: Surroundings) -> None:
    """Train a network's stages in the recipe's order, and leave it fixed, with the best weights of each.

    Raises:
        TrainingStopped: a stop was requested; the run can be resumed.
        TrainingError: a phase cannot go on.
        agcnn_models.errors.ModelError: initial weights or the given global branch do not fit.
    """
    further = course.joint.auxiliary.columns + course.joint.classes.columns
    for number, stage in enumerate(course.recipe.stages, start=1):
        if number == 1 and course.global_weights is not None:
            _take_global(network, course.global_weights, around)
            continue
        trainee = prepare_stage(network, stage, course.beginnings, further)
        trainee.to(around.device)
        key = stage_key(course.recipe, number, course.data_sha256)
        if course.store is not None and (stored := course.store.load(key)) is not None:
            trainee.load_state_dict(stored)
            around.journal.say(f"{stage.name}: taken from a run that trained the same.")
            continue
        _train_stage(trainee, stage, number, course, around)
        if course.store is not None and around.ranks.leads:
            course.store.save(key, trainee.state_dict())
    freeze(network)


def require_replaceable(recipe: Recipe, global_weights: Path | None) -> None:
    """Raise TrainingError when a trained global branch is given that no stage of the recipe makes by itself."""
    if global_weights is not None and recipe.stages[0].trains != (BranchName.GLOBAL,):
        raise TrainingError(
            f"A global branch that is trained already (--init-global) takes the place of a first stage that trains "
            f"global alone, but that of {recipe.name} trains {recipe.stages[0].name}: leave the option out, or use "
            "another recipe."
        )


def _train_stage(trainee: Trainee, stage: StageRecipe, number: int, course: Course, around: Surroundings) -> None:
    """One stage, phase after phase; what a stopped run had finished is taken as it is."""
    best = NOTHING_YET
    for index, phase in enumerate(stage.phases, start=1):
        name = f"{stage.name}-{index}"
        if (kept := around.folder.finished(name)) is not None:
            best = kept
            around.journal.say(f"{name}: finished earlier.")
            continue
        task = Task(
            name=name,
            trainee=trainee,
            score=lambda module, size: course.evaluator.score(module, trainee.judged, size, around.precision),
            batches=_batches(trainee, phase, (course.recipe.seed, number, index), course),
        )
        best = run_phase(task, phase, around, best)
    trainee.load_state_dict(best.weights)


def _batches(trainee: Trainee, phase: PhaseRecipe, seed: tuple[int, ...], course: Course) -> Batches:
    learns_more = phase.joint and BranchName.GLOBAL in trainee.trains
    return Batches(
        course.films,
        course.chosen,
        phase,
        course.recipe.preprocessing(),
        seed,
        course.joint if learns_more else None,
        outputs=trainee.outputs,
        detail=course.recipe.network.attention.detail,
    )


def _take_global(network: Network, path: Path, around: Surroundings) -> None:
    """Put a branch that was trained elsewhere in the place of the first stage."""
    branch = parts_of(network)[BranchName.GLOBAL]
    if not isinstance(branch, Branch):
        raise TypeError("the global part is a branch")
    load_trained(branch, path)
    found = read_provenance(path)
    if found is not None and found.pooling is not branch.pooling:
        around.journal.say(
            f"WARNING: {path.name} was trained with {found.pooling} pooling, the recipe pools by {branch.pooling}: its "
            "classifier reads other numbers than it learnt from."
        )
    around.journal.say(f"global: not trained; its weights are those of {path.name}.")
