"""Films whose only sign is a small nodule: a global branch that has learnt to find it shows the local branch where."""

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from agcnn_training.data.source import open_data
from agcnn_training.evaluation.localisation import Hit, judge_localisation, lesions_on
from agcnn_training.evaluation.predictions import Predictions
from agcnn_training.recipe import load_recipe
from agcnn_training.run_folder import run_path
from agcnn_training.train import TrainRequest, train

pytestmark = pytest.mark.slow

STARTER = Path(__file__).parents[3] / "models/bundles/starter/model.safetensors"

RECIPE = """
name = "nodules"
description = "For this test."
[network]
backbone = "densenet121"
pooling = "avg"
[network.attention]
tau = 0.8
[images]
resize = 216
crop = 192
[split]
validation = 0.2
[phase]
epochs = 4
batch_size = 8
optimiser = "adamw"
learning_rate = 5e-4
schedule = "cosine"
[phase.augmentation]
scale = [0.8, 1.0]
[[stages]]
trains = ["global"]
start = { global = "backbone" }
[[stages]]
trains = ["local"]
start = { local = "global" }
phases = [{ epochs = 1, size = 32, batch_size = 64 }]
[[stages]]
trains = ["fusion"]
start = { fusion = "random" }
phases = [{ epochs = 1, size = 32, batch_size = 64 }]
"""


@pytest.fixture(scope="module")
def hits(nodules_root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Hit]:
    """What the trained network hits on 32 test films, half of which show a nodule; each measure of all lesions."""
    folder = tmp_path_factory.mktemp("nodules")
    weights = load_file(STARTER)
    prefix, classifier = "global_branch.", "global_branch.classifier"
    backbone = {
        name.removeprefix(prefix): value.float() if value.is_floating_point() else value
        for name, value in weights.items()
        if name.startswith(prefix) and not name.startswith(classifier)
    }
    save_file(backbone, folder / "backbone.safetensors")
    (folder / "nodules.toml").write_text(RECIPE)
    recipe = load_recipe(str(folder / "nodules.toml"))
    out = folder / "model"
    train(
        TrainRequest(
            data=nodules_root, images=None, recipe=recipe, out=out, init=folder / "backbone.safetensors", device="cpu"
        )
    )
    dataset = open_data(nodules_root, None, recipe.split)
    predictions = Predictions.load(run_path(out) / "predictions-test.npz")
    found = judge_localisation(predictions, lesions_on(predictions.images, dataset.boxes), recipe.preprocessing(), 0)
    return {hit.measure: hit for hit in found.hits if hit.label == "all"}


@pytest.mark.parametrize("measure", ["iou", "iobb>=0.1", "pointing"])
def test_the_attended_region_hits_nodules_well_above_a_random_box(hits: dict[str, Hit], measure: str) -> None:
    """Three times as often as by chance at the least, and the interval of the difference lies above zero."""
    hit = hits[measure]
    assert hit.lesions == 16
    assert hit.value > 3 * hit.control
    assert hit.interval.low > 0
