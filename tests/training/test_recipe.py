"""Recipes are typed, complete and shipped."""

from pathlib import Path

import pytest

from agcnn_models.settings import Backbone, Pooling
from agcnn_training.errors import TrainingError
from agcnn_training.recipe import Optimiser, Schedule, Start, load_recipe, recipe_names


def test_every_shipped_recipe_loads() -> None:
    """Each recipe of training/recipes is valid and bears its file's name."""
    names = recipe_names()
    assert {"paper-resnet50", "paper-densenet121", "starter"} <= set(names)
    assert [load_recipe(name).name for name in names] == list(names)


@pytest.mark.parametrize(
    ("name", "backbone", "batches"),
    [("paper-resnet50", Backbone.RESNET50, [128, 64, 64]), ("paper-densenet121", Backbone.DENSENET121, [64, 32, 32])],
)
def test_paper_recipes_hold_the_papers_settings(name: str, backbone: Backbone, batches: list[int]) -> None:
    """SGD 0.01, momentum 0.9, decay 1e-4, 50 epochs, a tenth every 20, and the batch sizes of Table II."""
    recipe = load_recipe(name)
    phases = [stage.phases[0] for stage in (recipe.stages.global_, recipe.stages.local, recipe.stages.fusion)]
    assert (recipe.network.backbone, recipe.network.pooling) == (backbone, Pooling.MAX)
    assert recipe.network.attention.tau == 0.7
    assert [phase.batch_size for phase in phases] == batches
    for phase in phases:
        assert (phase.optimiser, phase.learning_rate, phase.momentum) == (Optimiser.SGD, 0.01, 0.9)
        assert (phase.weight_decay, phase.epochs) == (1e-4, 50)
        assert (phase.schedule, phase.drop_every) == (Schedule.STEP, 20)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("batch_size = 8", "batchsize = 8", "batchsize"),
        ("crop = 64", "crop = 100", "larger than resize"),
        ('start = "branches"', 'start = "global"', "can start from"),
        ("seed = 3", "seed = ", "not valid TOML"),
        ("epochs = 2", "epochs = 0", "stages.global.phases.0.epochs"),
    ],
)
def test_a_wrong_recipe_is_one_sentence(recipe_file: Path, old: str, new: str, said: str) -> None:
    """What is wrong in a recipe is named by its place."""
    recipe_file.write_text(recipe_file.read_text().replace(old, new, 1))
    with pytest.raises(TrainingError, match=said):
        load_recipe(str(recipe_file))


def test_an_unknown_recipe_names_the_known_ones() -> None:
    """Whoever mistypes a recipe's name is told which there are."""
    with pytest.raises(TrainingError, match="paper-densenet121"):
        load_recipe("paper-densenet")


def test_a_stage_may_be_left_no_impossible_start(recipe_file: Path) -> None:
    """The starts that the recipe names are the ones it gets."""
    recipe = load_recipe(str(recipe_file))
    assert recipe.stages.local.start is Start.GLOBAL
    assert recipe.stages.fusion.start is Start.BRANCHES
