"""Readings of films that nobody has filmed: labels, logits, regions and heat maps that agree somewhat."""

from collections.abc import Callable

import numpy as np
import pytest

from agcnn_models.labels import LABELS
from agcnn_models.manifest import BranchName
from agcnn_training.data.table import Row
from agcnn_training.evaluation.predictions import Predictions


@pytest.fixture(scope="session")
def make_predictions() -> Callable[..., Predictions]:
    """Makes predictions of so many films, two a patient, of an AG-CNN on images of 64 pixels."""

    def make(count: int = 60, seed: int = 0, branches: tuple[BranchName, ...] = tuple(BranchName)) -> Predictions:
        random = np.random.default_rng(seed)
        truth = (random.random((count, len(LABELS))) < 0.4).astype(np.float32)
        truth[0, 0] = np.nan
        corners = random.integers(0, 32, (count, 2))
        return Predictions(
            images=tuple(f"{index}.png" for index in range(count)),
            patients=tuple(str(index // 2) for index in range(count)),
            truth=truth,
            logits={
                name: (np.nan_to_num(truth) + random.normal(0, 1, truth.shape)).astype(np.float32) for name in branches
            },
            boxes=np.concatenate((corners, corners + random.integers(4, 32, (count, 2))), axis=1),
            heat_maps=random.random((count, 2, 2)).astype(np.float16),
            size=64,
        )

    return make


@pytest.fixture(scope="session")
def make_rows() -> Callable[[int], list[Row]]:
    """Makes what a table says of those films."""

    def make(count: int) -> list[Row]:
        return [
            Row(f"{index}.png", str(index // 2), frozenset(), age=index % 90, sex="MF"[index % 2], view="PA")
            for index in range(count)
        ]

    return make
