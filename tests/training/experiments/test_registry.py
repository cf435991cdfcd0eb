"""The registry and the shipped recipes: each says what the paper says, and shares what it can."""

from statistics import fmean

import pytest

from agcnn_models.labels import PATHOLOGIES
from agcnn_models.manifest import BranchName
from agcnn_models.settings import Architecture, Backbone, Region
from agcnn_training.errors import TrainingError
from agcnn_training.experiments.registry import EXPERIMENTS, find_experiment, recipe_experiments
from agcnn_training.recipe import load_recipe, recipe_names, stage_key

IN_EXPERIMENTS = sorted({name for experiment in EXPERIMENTS.values() for name in experiment.recipes})


def test_every_recipe_but_the_starter_is_part_of_an_experiment() -> None:
    """Nothing shipped is forgotten, nothing named is missing."""
    assert set(recipe_names()) - set(IN_EXPERIMENTS) == {"starter"}
    assert set(IN_EXPERIMENTS) <= set(recipe_names())


@pytest.mark.parametrize("name", IN_EXPERIMENTS)
def test_a_recipe_bears_its_files_name_and_the_papers_settings(name: str) -> None:
    """The common settings of section IV-B hold wherever an experiment does not say otherwise."""
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.split.method is None  # the official lists, where there are any
    if recipe.network.architecture is Architecture.AGCNN and name != "chexnet":
        assert (recipe.images.resize, recipe.images.crop) == (256, 224)
        assert recipe.network.pooling == "max"
        for stage in recipe.stages:
            (phase,) = stage.phases
            assert (phase.epochs, phase.learning_rate, phase.momentum, phase.weight_decay) == (50, 0.01, 0.9, 1e-4)
            assert (phase.loss, phase.optimiser, phase.schedule, phase.drop_every) == ("bce", "sgd", "step", 20)


@pytest.mark.parametrize(
    "name", ["table1-resnet50", "table1-densenet121", "wang-2017", "yao-2017", "kumar-2017", "chexnet"]
)
def test_table_1s_means_are_those_of_its_columns(name: str) -> None:
    """A digit copied wrongly would move the mean away from the printed one."""
    paper = load_recipe(name).paper
    assert paper is not None
    for branch, printed in paper.mean_auc.items():
        assert tuple(paper.auc[branch]) == PATHOLOGIES
        assert fmean(paper.auc[branch].values()) == pytest.approx(printed, abs=6e-4)


def test_an_experiment_trains_its_common_stages_once() -> None:
    """The sweep of tau, Table III and the controls begin with one and the same stage I."""
    first = {
        stage_key(load_recipe(name), 1, "data")
        for name in ("table1-resnet50", *EXPERIMENTS["fig9"].recipes, *EXPERIMENTS["table3"].recipes)
    }
    assert len(first) == 1
    keys = {
        stage_key(load_recipe(name), 3, "data") for name in ("table1-resnet50", "table2-G_L_F", "table3-max", "tau-0.7")
    }
    assert len(keys) == 1


def test_controls_differ_from_their_counterparts_in_the_region_alone() -> None:
    """So that what differs in the table is what attention does."""
    for control, counterpart in (
        ("control-joint", "table2-GLF"),
        ("control-sequential", "table1-resnet50"),
        ("control-random-box", "table1-resnet50"),
        ("control-centre-box", "table1-resnet50"),
    ):
        one, other = load_recipe(control), load_recipe(counterpart)
        assert one.stages == other.stages
        assert one.images == other.images
        assert one.network.attention.region is not Region.ATTENDED
        assert other.network.attention.region is Region.ATTENDED


def test_table_2_trains_what_its_names_say() -> None:
    """An underscore parts two stages, letters beside each other train together."""
    parts = {"G": BranchName.GLOBAL, "L": BranchName.LOCAL, "F": BranchName.FUSION}
    for name in EXPERIMENTS["table2"].recipes:
        order = name.removeprefix("table2-").removesuffix("_star").split("_")
        expected = [tuple(parts[letter] for letter in stage) for stage in order]
        if name.endswith("star"):
            expected[-1] = tuple(BranchName)
        assert [stage.trains for stage in load_recipe(name).stages] == expected


def test_a_recipe_is_an_experiment_too() -> None:
    """Any recipe that needs no further films can be run and written by its own name."""
    assert [find_experiment(name).recipes for name in recipe_experiments()] == [
        (name,) for name in recipe_experiments()
    ]
    assert load_recipe("table1-densenet121").network.backbone is Backbone.DENSENET121


def test_a_recipe_that_needs_further_films_is_none() -> None:
    """An experiment has no option for them; the sentence names the command that has."""
    assert set(recipe_names()) - set(recipe_experiments()) == {"starter"}
    with pytest.raises(TrainingError, match="train --recipe starter` with --pretrain-data"):
        find_experiment("starter")


def test_an_unknown_experiment_is_one_sentence() -> None:
    """The sentence names those that there are."""
    with pytest.raises(TrainingError, match=r"table1, table2, .*fig9"):
        find_experiment("table4")
