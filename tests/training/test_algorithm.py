"""The stages in a row: what is skipped, shared, and kept of several phases."""

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from agcnn_models.agcnn import AGCNN
from agcnn_models.backbones import build_branch
from agcnn_models.errors import ModelError
from agcnn_models.manifest import BranchName
from agcnn_models.settings import Backbone, Pooling
from agcnn_training.algorithm import Course, require_replaceable, train_stages
from agcnn_training.data.films import Films
from agcnn_training.errors import TrainingError
from agcnn_training.evaluation.evaluator import Evaluator
from agcnn_training.loop import Surroundings
from agcnn_training.networks import Beginnings, build_network
from agcnn_training.progress import Journal, StopRequest
from agcnn_training.recipe import ComputeRecipe, Recipe, changed, load_recipe
from agcnn_training.run_folder import Best, RunFolder
from agcnn_training.stage_store import StageStore
from agcnn_training.stages import prepare_stage

pytestmark = pytest.mark.usefixtures("shallow")

RECIPE = """
name = "little"
description = "For tests."
network = { backbone = "densenet121", pooling = "avg", initial_weights = "random" }
images = { resize = 36, crop = 32 }
compute = { channels_last = false }
phase = { epochs = 1, batch_size = 6, learning_rate = 1e-3 }
stages = [{ trains = ["global"] }, { trains = ["local"] }, { trains = ["fusion"] }]
"""


def same(weights: Mapping[str, torch.Tensor], others: Mapping[str, torch.Tensor]) -> bool:
    """Whether all of the first are among the second, bit for bit."""
    return all(torch.equal(value, others[key]) for key, value in weights.items())


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """Three stages of one epoch each."""
    (tmp_path / "little.toml").write_text(RECIPE)
    return load_recipe(str(tmp_path / "little.toml"))


def course(recipe: Recipe, store: Path | None = None) -> Course:
    """Twelve random films of which six train."""
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (12, 1, 36, 36), dtype=torch.uint8, generator=random)
    targets = (torch.rand(12, 15, generator=random) < 0.4).float()
    films = Films(pixels, targets, torch.empty(12, 0))
    return Course(
        recipe=recipe,
        films=films,
        chosen=np.arange(6),
        pretraining=None,
        beginnings=Beginnings(recipe, None, targets.mean(dim=0)),
        evaluator=Evaluator(films, np.arange(6, 12), recipe.preprocessing(), 6, torch.device("cpu")),
        data_sha256="0" * 64,
        store=StageStore(store) if store else None,
    )


def surroundings(folder: Path) -> tuple[Surroundings, io.StringIO]:
    """A run in a folder, and what it says."""
    folder.mkdir(exist_ok=True)
    said = io.StringIO()
    journal = Journal(Console(file=said, width=200))
    return Surroundings(RunFolder(folder), journal, StopRequest(), ComputeRecipe(channels_last=False), seed=0), said


def network_of(recipe: Recipe) -> AGCNN:
    """The recipe's network, untrained."""
    torch.manual_seed(0)
    network = build_network(recipe)
    assert isinstance(network, AGCNN)
    return network


def test_runs_share_the_stages_that_they_have_in_common(recipe: Recipe, tmp_path: Path) -> None:
    """A second tau takes stage I as the first one left it, bit for bit, and trains the others itself."""
    first, second = network_of(recipe), network_of(recipe)
    around, said = surroundings(tmp_path / "first")
    train_stages(first, course(recipe, tmp_path / "stages"), around)
    assert "taken" not in said.getvalue()
    other = changed(recipe, {"network.attention.tau": 0.3})
    around, said = surroundings(tmp_path / "second")
    train_stages(second, course(other, tmp_path / "stages"), around)
    assert said.getvalue().count("taken from a run that trained the same") == 1
    assert "global: taken" in said.getvalue()
    assert same(first.global_branch.state_dict(), second.global_branch.state_dict())
    assert len(list((tmp_path / "stages").iterdir())) == 5
    again = network_of(recipe)
    around, said = surroundings(tmp_path / "third")
    train_stages(again, course(recipe, tmp_path / "stages"), around)
    assert said.getvalue().count("taken") == 3
    assert same(first.state_dict(), again.state_dict())


def test_a_trained_global_branch_takes_the_place_of_stage_one(recipe: Recipe, tmp_path: Path) -> None:
    """Its weights stay as they were given, classifier included; the other stages train."""
    torch.manual_seed(5)
    given = build_branch(Backbone.DENSENET121, pooling=Pooling.AVG).state_dict()
    torch.save(given, tmp_path / "given.pth")
    network = network_of(recipe)
    around, said = surroundings(tmp_path / "run")
    train_stages(network, replace(course(recipe), global_weights=tmp_path / "given.pth"), around)
    assert "global: not trained; its weights are those of given.pth" in said.getvalue()
    assert "local-1 epoch 1/1" in said.getvalue()
    assert same(given, network.global_branch.state_dict())


def test_a_global_branch_that_does_not_fit_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    """Another backbone, or a recipe whose first stage makes more than the global branch."""
    torch.save(build_branch(Backbone.RESNET50).state_dict(), tmp_path / "resnet.pth")
    around, _ = surroundings(tmp_path / "run")
    with pytest.raises(ModelError, match="does not fit"):
        train_stages(network_of(recipe), replace(course(recipe), global_weights=tmp_path / "resnet.pth"), around)
    joint = Recipe.model_validate(recipe.resolved() | {"stages": [{"trains": ["global", "local", "fusion"]}]})
    with pytest.raises(TrainingError, match=r"trains global[+]local[+]fusion: leave the option out"):
        require_replaceable(joint, tmp_path / "resnet.pth")
    require_replaceable(joint, None)


def test_the_best_of_all_phases_is_kept(recipe: Recipe, tmp_path: Path) -> None:
    """What the last finished phase handed on is what the stage leaves, whichever phase it came from."""
    stages = [{"trains": ["global"], "phases": [{"size": 64}, {}]}]
    alone = Recipe.model_validate(recipe.resolved() | {"stages": stages})
    lesson, (around, said) = course(alone), surroundings(tmp_path / "run")
    network = build_network(alone)
    trainee = prepare_stage(network, alone.stages[0], lesson.beginnings)
    for number, kept_from in ((1, "global-1"), (2, "global-1")):
        weights = {name: value.clone() for name, value in trainee.state_dict().items()}
        around.folder.finish(f"global-{number}", Best(weights, 0.7, kept_from, 1, 32))
    train_stages(network, lesson, around)
    assert said.getvalue().count("finished earlier") == 2
    assert same({f"global_branch.{key}": value for key, value in network.state_dict().items()}, weights)


def test_all_parts_can_be_tuned_after_they_were_trained(recipe: Recipe, tmp_path: Path) -> None:
    """Table II's G_L_F*: a last stage goes on with all three; every part moves, and is fixed at the end."""
    stages = [
        {"trains": ["global"]},
        {"trains": ["local"], "start": {"local": "global"}},
        {"trains": ["global", "local", "fusion"]},
    ]
    star = Recipe.model_validate(recipe.resolved() | {"stages": stages})
    network = network_of(star)
    around, said = surroundings(tmp_path / "run")
    train_stages(network, course(star), around)
    assert "global+local+fusion-1 epoch 1/1" in said.getvalue()
    first, last = (around.folder.finished(name) for name in ("global-1", "global+local+fusion-1"))
    assert first is not None
    assert last is not None
    first, last = first.weights, last.weights
    assert {key.split(".")[0] for key in last} == {"global_branch", "local_branch", "fusion"}
    moved = [key for key, value in first.items() if not torch.equal(value, last[key])]
    assert any(key.endswith("conv0.weight") for key in moved)
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert not any(module.training for module in network.modules())
    assert {BranchName(part) for part in star.parts} == set(BranchName)
