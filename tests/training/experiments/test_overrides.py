"""Settings over all recipes: read as a recipe would, and said under the table."""

import pytest

from agcnn_training.errors import TrainingError
from agcnn_training.experiments.overrides import notes_on, parse_settings
from agcnn_training.recipe import load_recipe


def test_values_are_read_as_a_recipe_reads_them() -> None:
    """Numbers, booleans, lists and words."""
    texts = [
        "phase.epochs=2",
        "compute.compile = true",
        "phase.augmentation.scale=[0.5, 1.0]",
        "network.backbone=resnet50",
    ]
    assert parse_settings(texts) == {
        "phase.epochs": 2,
        "compute.compile": True,
        "phase.augmentation.scale": [0.5, 1.0],
        "network.backbone": "resnet50",
    }


@pytest.mark.parametrize("text", ["phase.epochs", "phase.epochs=", "=2"])
def test_a_setting_without_key_or_value_is_one_sentence(text: str) -> None:
    """The sentence shows how one is written."""
    with pytest.raises(TrainingError, match="write key=value"):
        parse_settings([text])


def test_what_was_set_is_said_beside_what_the_recipes_say() -> None:
    """Every value that it takes the place of is named, once."""
    recipes = [load_recipe("table1-resnet50"), load_recipe("table1-densenet121")]
    (note,) = notes_on({"phase.epochs": 2, "phase.batch_size": 4, "network.attention.tau": 0.5}, recipes)
    assert "phase.epochs 2 instead of 50;" in note
    assert "phase.batch_size 4 instead of 128 or 64 or 32;" in note
    assert "network.attention.tau 0.5 instead of 0.7." in note
    assert notes_on({}, recipes) == ()


def test_what_the_recipes_say_themselves_is_no_change() -> None:
    """A setting that every recipe has already is not told of as another one."""
    recipes = [load_recipe("table1-densenet121")]
    (note,) = notes_on({"network.backbone": "densenet121", "phase.epochs": 2}, recipes)
    assert note == "NOT the recipes' settings: phase.epochs 2 instead of 50."
    assert notes_on({"network.backbone": "densenet121"}, recipes) == ()
