"""Small drawn films with labels, and a recipe that trains on them in seconds."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from agcnn_models import backbones
from agcnn_training.recipe import Recipe, load_recipe
from agcnn_training.train import TrainRequest

RECIPE = """
name = "tiny"
description = "For tests."
seed = 3
[network]
backbone = "densenet121"
pooling = "avg"
initial_weights = "random"
[images]
resize = 72
crop = 64
[split]
validation = 0.4
[joint]
auxiliary = ["view", "sex", "age"]
auxiliary_weight = 0.5
pretraining_share = 0.25
pretraining_weight = 0.5
[phase]
batch_size = 8
[[stages]]
trains = ["global"]
start = { global = "backbone" }
[[stages.phases]]
epochs = 2
size = 32
optimiser = "adamw"
learning_rate = 1e-3
schedule = "cosine"
warmup = 0.2
average = 0.5
mixup = 0.4
[[stages.phases]]
epochs = 1
joint = false
[[stages]]
trains = ["local"]
start = { local = "global" }
phases = [{ epochs = 1 }]
[[stages]]
trains = ["fusion"]
start = { fusion = "branches" }
phases = [{ epochs = 1 }]
"""


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Small tensors are read faster by one thread than by several that wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture
def quiet() -> Console:
    """A console that nobody reads."""
    return Console(file=io.StringIO())


@pytest.fixture
def shallow(monkeypatch: pytest.MonkeyPatch) -> None:
    """DenseNet-121 with one layer in each of its blocks: for tests of what is done with a network, whichever it is.

    It has every kind of module and an eighth of their number, and what a run does takes a fifth of the time.
    """
    monkeypatch.setattr(backbones, "DENSENET121_LAYERS", (1, 1, 1, 1))


def draw_film(path: Path, *, lesion: bool, seed: int) -> None:
    """Two dark lungs in a bright body, noise, and a bright spot when there is a lesion.

    72 pixels are the tiny recipe's own size, so that its cache holds these films unchanged.
    """
    random = np.random.default_rng(seed)
    y, x = np.mgrid[-1:1:72j, -1:1:72j]
    film = 0.7 - 0.4 * sum(np.exp(-(((x - side) / 0.3) ** 4) - (y / 0.7) ** 4) for side in (-0.45, 0.45))
    if lesion:
        film += 0.5 * np.exp(-((x - 0.45) ** 2 + (y - random.uniform(-0.3, 0.3)) ** 2) / 0.02)
    film += random.normal(0, 0.02, film.shape)
    Image.fromarray((film.clip(0, 1) * 255).astype(np.uint8)).save(path)


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with labels.csv, images/, more.csv and more/: 24 films of 12 patients, and 8 to pretrain on."""
    folder = tmp_path_factory.mktemp("films")
    for name in ("images", "more"):
        (folder / name).mkdir()
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "patient", "age", "sex", "view", "finding_labels"))
        for index in range(24):
            lesion = index % 4 < 2
            draw_film(folder / "images" / f"{index}.png", lesion=lesion, seed=index)
            findings = "Mass|Nodule" if lesion and index % 3 else "Mass" if lesion else "No Finding"
            writer.writerow((f"{index}.png", index // 2, 20 + 3 * index, "MF"[index % 2], "PA", findings))
    with (folder / "more.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "class"))
        for index in range(8):
            draw_film(folder / "more" / f"{index}.png", lesion=index % 2 == 0, seed=100 + index)
            writer.writerow((f"{index}.png", "Spot" if index % 2 == 0 else "Normal"))
    return folder


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    """The tiny recipe as a file, which a test may change."""
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def tiny(recipe_file: Path) -> Recipe:
    """The tiny recipe, read."""
    return load_recipe(str(recipe_file))


@pytest.fixture
def request_for(films: Path, recipe_file: Path, tmp_path: Path) -> Callable[[str], TrainRequest]:
    """Makes a request to train on the drawn films into a bundle of that name."""

    def make(name: str) -> TrainRequest:
        return TrainRequest(
            data=films / "labels.csv",
            images=films / "images",
            recipe=str(recipe_file),
            out=tmp_path / name,
            pretrain_data=films / "more.csv",
            pretrain_images=films / "more",
            device="cpu",
        )

    return make
