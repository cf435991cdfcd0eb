"""What a run can teach is decided by its train films."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from rich.console import Console

from agcnn_models.labels import LABELS, NO_FINDING
from agcnn_training.data.source import open_data
from agcnn_training.errors import TrainingError
from agcnn_training.learnt import never_learnt
from agcnn_training.recipe import load_recipe
from agcnn_training.train import TrainRequest, train

Maker = Callable[[str], TrainRequest]


def test_a_label_is_learnt_from_films_of_both_outcomes() -> None:
    """What is nowhere known, always absent or always present is not, whatever else is unknown of the films."""
    targets = torch.full((4, len(LABELS)), torch.nan)
    targets[0], targets[1] = 1, 0
    targets[:, LABELS.index("Hernia")] = torch.nan
    targets[:, LABELS.index("Mass")] = torch.tensor([0, 0, torch.nan, 0])
    targets[:, LABELS.index(NO_FINDING)] = 1
    assert never_learnt(targets) == ("Mass", "Hernia", NO_FINDING)
    assert never_learnt(targets[:2].flip(0)) == ("Mass", "Hernia", NO_FINDING)


def test_films_that_teach_nothing_are_one_sentence() -> None:
    """No Finding alone is nothing to train a model of findings for."""
    targets = torch.zeros(4, len(LABELS))
    targets[0, LABELS.index(NO_FINDING)] = 1
    with pytest.raises(TrainingError, match="nothing can be learnt"):
        never_learnt(targets)


@pytest.mark.parametrize(
    ("learnt", "judged", "side"),
    [
        ("No Finding", "No Finding", "train films, so nothing can be learnt"),
        ("Mass", "No Finding", "10 validation films, so nothing could choose an epoch"),
        ("Mass", "Nodule", "10 validation films, so nothing could choose an epoch"),
    ],
)
def test_labels_that_cannot_serve_are_refused_before_films_are_read(
    request_for: Maker, tmp_path: Path, learnt: str, judged: str, side: str
) -> None:
    """Nothing to learn, nothing to choose an epoch by, or that only of what no train film bears."""
    request = request_for("model")
    split = open_data(request.data, request.images, load_recipe(str(request.recipe)).split).split
    finding = {index: judged if index in split.validation else learnt for index in range(24)}
    rows = "".join(f"{i}.png,{i // 2},{finding[i] if i % 2 else 'No Finding'}\n" for i in range(24))
    table = tmp_path / "changed.csv"
    table.write_text("image,patient,finding_labels\n" + rows)

    def unread(path: Path) -> NDArray[np.float32]:
        raise AssertionError(path)

    with pytest.raises(TrainingError, match=f"both present and absent among the {side}"):
        train(replace(request, data=table, image_loader=unread), Console(file=io.StringIO()))


def test_what_a_run_does_not_teach_is_said_before_films_are_read(request_for: Maker) -> None:
    """A person who had meant to train a model of it can stop the run there."""
    said = io.StringIO()

    def unreadable(path: Path) -> NDArray[np.float32]:
        raise TrainingError(f"{path.name} is closed.")

    with pytest.raises(TrainingError, match=r"png is closed"):
        train(replace(request_for("model"), image_loader=unreadable), Console(file=said, width=1000))
    assert "WARNING: Not assessed, since no train film or only films of one outcome are known of them: Atel" in (
        said.getvalue()
    )
