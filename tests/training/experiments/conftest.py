"""Drawn chests with nodules whose places are known, in folders shaped as ChestX-ray14 is."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from agcnn_models.labels import LABELS, NO_FINDING, PATHOLOGIES
from agcnn_models.manifest import BranchName
from agcnn_training.evaluation.metrics import score_branch
from agcnn_training.evaluation.predictions import Predictions
from agcnn_training.experiments.outcomes import Outcome, read_run
from agcnn_training.recipe import Recipe, load_recipe

NIH_SIDE = 1024
"""The side of the films that the coordinates of BBox_List_2017.csv belong to."""

Box = tuple[float, float, float, float]
"""x, y, width and height, as shares of the film's side."""


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Small tensors are read faster by one thread than by several that wait for each other."""
    torch.set_num_threads(1)


def draw_chest(side: int, seed: int, *, nodule: bool) -> tuple[NDArray[np.uint8], Box | None]:
    """A bright body with two dark lungs and grain; a small bright disc somewhere in a lung when there is a nodule."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    tilt, width = random.uniform(-0.05, 0.05), random.uniform(0.26, 0.32)
    film = 0.65 * np.ones((side, side))
    for middle in (-0.42, 0.42):
        film -= 0.4 * np.exp(-(((x - middle + tilt * y) / width) ** 4) - (y / 0.68) ** 4)
    box = None
    if nodule:
        radius = random.uniform(0.09, 0.12)
        middle_x = random.choice((-0.42, 0.42)) + random.uniform(-0.14, 0.14)
        middle_y = random.uniform(-0.42, 0.42)
        film += 0.55 / (1 + np.exp((np.hypot(x - middle_x, y - middle_y) - radius) / 0.015))
        box = ((middle_x - radius + 1) / 2, (middle_y - radius + 1) / 2, radius, radius)
    film += random.normal(0, 0.02, film.shape)
    return (film.clip(0, 1) * 255).astype(np.uint8), box


def write_root(root: Path, findings: Sequence[Sequence[str]], tested: int, side: int) -> Path:
    """Write a folder as NIH distributes ChestX-ray14, a patient a film; those with Nodule show one.

    Args:
        root: the folder.
        findings: of each film.
        tested: how many of the last films are on the test list.
        side: of the films in pixels.
    """
    (root / "images").mkdir(parents=True)
    names = [f"{patient + 1:08d}_000.png" for patient in range(len(findings))]
    boxes: list[tuple[str, Box]] = []
    for number, (name, found) in enumerate(zip(names, findings, strict=True)):
        pixels, box = draw_chest(side, number, nodule="Nodule" in found)
        Image.fromarray(pixels).save(root / "images" / name)
        if box is not None:
            boxes.append((name, box))
    with (root / "Data_Entry_2017_v2020.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ("Image Index", "Finding Labels", "Patient ID", "Patient Age", "Patient Gender", "View Position")
        )
        for number, (name, found) in enumerate(zip(names, findings, strict=True)):
            labels = "|".join(found) or NO_FINDING
            writer.writerow(
                (name, labels, number + 1, 20 + number % 60, "MF"[number % 2], ("PA", "AP")[number % 3 == 0])
            )
    with (root / "BBox_List_2017.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("Image Index", "Finding Label", "Bbox [x", "y", "w", "h]", "", "", ""))
        writer.writerows((name, "Nodule", *(NIH_SIDE * edge for edge in box), "", "", "") for name, box in boxes)
    (root / "train_val_list.txt").write_text("\n".join(names[: len(names) - tested]) + "\n")
    (root / "test_list.txt").write_text("\n".join(names[len(names) - tested :]) + "\n")
    return root


@pytest.fixture(scope="session")
def small_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 films of which 4 train, 8 validate and 8 test, with every pathology present and absent on either side."""
    random = np.random.default_rng(3)
    findings = [[label for label in PATHOLOGIES if random.random() < 0.5] for _ in range(20)]
    return write_root(tmp_path_factory.mktemp("small") / "chestxray14", findings, tested=8, side=72)


MakeOutcome = Callable[..., Outcome]


@pytest.fixture
def make_outcome(tmp_path: Path) -> MakeOutcome:
    """Makes the outcome of a recipe's runs that never were: random readings, measured and stored as real ones are."""

    def make(name: str, seeds: int = 1, sets: Sequence[str] = ("validation", "test")) -> Outcome:
        recipe = load_recipe(name)
        folders = [tmp_path / f"{name}-{seed}" for seed in range(seeds)]
        for seed, folder in enumerate(folders):
            _store_run(folder, recipe, seed, sets)
        return Outcome(recipe, recipe, tuple(read_run(folder) for folder in folders), tuple(folders))

    return make


def _store_run(folder: Path, recipe: Recipe, seed: int, sets: Sequence[str]) -> None:
    random = np.random.default_rng((seed, len(recipe.name)))
    folder.mkdir()
    content: dict[str, object] = {}
    for films in sets:
        predictions = _random_predictions(random, recipe.parts)
        predictions.save(folder / f"predictions-{films}.npz")
        scores = {part: score_branch(predictions.truth, logits) for part, logits in predictions.logits.items()}
        content[films] = {
            "films": len(predictions),
            "patients": len(predictions),
            "branches": {
                part: {"mean_auc": score.mean, "ci": [score.mean - 0.02, score.mean + 0.02], "auc": score.per_label}
                for part, score in scores.items()
            },
            "differences": [
                {
                    "first": "global",
                    "second": "fusion",
                    "mean_auc": scores[BranchName.FUSION].mean - scores[BranchName.GLOBAL].mean,
                    "ci": [-0.01, 0.03],
                }
            ]
            if BranchName.FUSION in scores
            else [],
        }
    split = {
        "films": {"train": 1400, "validation": 200, "test": 200},
        "patients": {"train": 900, "validation": 100, "test": 100},
        "overlap": {"train-validation": 0, "train-test": 0, "validation-test": 0},
    }
    (folder / "results.json").write_text(
        json.dumps({"recipe": recipe.name, "seed": seed, "sets": content, "split": split})
    )


def _random_predictions(random: np.random.Generator, parts: Sequence[BranchName]) -> Predictions:
    """200 films whose findings show faintly in what each branch says."""
    count = 200
    truth = (random.random((count, len(LABELS))) < 0.2).astype(np.float32)
    corners = np.sort(random.integers(0, 64, (count, 2, 2)), axis=1)
    return Predictions(
        images=tuple(f"{film:08d}_000.png" for film in range(count)),
        patients=tuple(str(film // 2) for film in range(count)),
        truth=truth,
        logits={part: random.normal(truth, 1).astype(np.float32) for part in parts},
        boxes=corners.reshape(count, 4),
        heat_maps=random.random((count, 2, 2)).astype(np.float16),
        size=64,
    )


@pytest.fixture(scope="session")
def nodules_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """112 films of which every other one shows a nodule and nothing else: 64 train, 16 validate, 32 test."""
    findings = [["Nodule"] if film % 2 else [] for film in range(112)]
    return write_root(tmp_path_factory.mktemp("nodules") / "chestxray14", findings, tested=32, side=216)
