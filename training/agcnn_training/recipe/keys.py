"""What decides the weights that a stage ends with, as one key, so that experiments can share what they both train."""

import hashlib
import json

from agcnn_models.manifest import BranchName
from agcnn_training.recipe.choices import ClassifierBias
from agcnn_training.recipe.recipe import Recipe
from agcnn_training.recipe.stages import StageRecipe


def stage_key(recipe: Recipe, count: int, data_sha256: str) -> str:
    """The SHA-256 of all that decides the weights after the first ``count`` stages.

    Recipes that differ in what only later stages heed, as the sweep of tau over one stage I, have the same key.

    Args:
        recipe: of the run.
        count: how many stages, from the first on.
        data_sha256: of the films, label tables and initial weights that the run is given.

    Raises:
        ValueError: the recipe has no such stage.
    """
    if not 1 <= count <= len(recipe.stages):
        raise ValueError(f"{recipe.name} has {len(recipe.stages)} stages, so not {count}")
    content = recipe.resolved()
    stages = recipe.stages[:count]
    network = recipe.network.model_dump(mode="json")
    if recipe.network.classifier_bias is ClassifierBias.PREVALENCE:
        del network["classifier_bias"]  # stages are stored that are older than the setting
    if all(stage.trains == (BranchName.GLOBAL,) for stage in stages):
        # The global branch alone heeds nothing of the attention but how finely its images are read.
        network["attention"] = {"detail": recipe.network.attention.detail}
    compute = recipe.compute.model_dump(mode="json", include={"precision", "channels_last", "compile", "shards"})
    decisive = {
        "data": data_sha256,
        "seed": recipe.seed,
        "network": network,
        "compute": compute,
        "stages": [_decisive(stage) for stage in stages],
        **{table: content[table] for table in ("images", "split", "joint")},
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def _decisive(stage: StageRecipe) -> dict[str, object]:
    """A stage without its name, and without a ``judge_every`` of 1: stages are stored that are older than it."""
    content = stage.model_dump(mode="json", exclude={"name"})
    for phase in content["phases"]:
        if phase["judge_every"] == 1:
            del phase["judge_every"]
    return content
