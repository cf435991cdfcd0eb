"""The loop keeps the best epoch, and stops with a sentence."""

import io
import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

from agcnn_models.settings import Preprocessing
from agcnn_training.data.batches import Batches
from agcnn_training.data.films import Films
from agcnn_training.errors import TrainingError, TrainingStopped
from agcnn_training.evaluation.metrics import Score
from agcnn_training.loop import Surroundings, Task, run_phase
from agcnn_training.progress import Journal, StopRequest
from agcnn_training.recipe import PhaseRecipe, Precision
from agcnn_training.run_folder import Checkpoint, RunFolder


class Reader(nn.Module):
    """A linear reading of the mean grey: small enough to train in milliseconds."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 15)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits [B, 15]."""
        return self.linear(images.mean(dim=(2, 3)))


class Judge:
    """Scores from a list, and remembers the weights that it was shown."""

    def __init__(self, areas: list[float]) -> None:
        self.areas, self.seen = areas, []

    def __call__(self, trainee: nn.Module, _size: int) -> Score:
        """The next area."""
        self.seen.append(trainee.linear.weight.detach().clone())
        return Score(self.areas[len(self.seen) - 1], {}, ())


def surroundings(folder: Path) -> Surroundings:
    """A quiet run in a folder."""
    folder.mkdir(exist_ok=True)
    journal = Journal(Console(file=io.StringIO()))
    return Surroundings(
        RunFolder(folder), journal, StopRequest(), torch.device("cpu"), Precision.FLOAT32, channels_last=True, shards=1
    )


def a_task(phase: PhaseRecipe, judge: Judge) -> Task:
    """Sixteen random films for the reader."""
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (16, 1, 36, 36), dtype=torch.uint8)
    films = Films(pixels, (torch.rand(16, 15) < 0.3).float(), torch.empty(16, 0), ("x",) * 16)
    batches = Batches(films, np.arange(16), phase, Preprocessing(resize=36, crop=32), (0,))
    return Task("global-1", Reader(), lambda module, images: module(images), judge, batches)


@pytest.mark.parametrize("average", [0.0, 0.5])
def test_the_best_epoch_is_kept_not_the_last(tmp_path: Path, average: float) -> None:
    """Of four epochs the second scores best: its weights are what the phase leaves."""
    phase = PhaseRecipe(epochs=4, batch_size=8, average=average)
    judge, around = Judge([0.6, 0.8, 0.7, 0.8]), surroundings(tmp_path)
    task = a_task(phase, judge)
    run_phase(task, phase, around)
    assert torch.equal(task.trainee.linear.weight, judge.seen[1])
    kept = around.folder.finished("global-1")
    assert kept is not None
    assert torch.equal(kept["linear.weight"], judge.seen[1])
    assert not torch.equal(judge.seen[1], judge.seen[3])


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path) -> None:
    """An absurd learning rate ends in advice, not in a model of NaN."""
    phase = PhaseRecipe(epochs=50, batch_size=8, learning_rate=1e38)
    with pytest.raises(TrainingError, match="lower learning_rate"):
        run_phase(a_task(phase, Judge([0.5] * 50)), phase, surroundings(tmp_path))


def test_a_stopped_phase_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    """Stopped after its first epoch and resumed, a phase leaves the very weights of one that ran through."""
    phase = PhaseRecipe(epochs=3, batch_size=8, average=0.5)
    through, areas = surroundings(tmp_path / "through"), [0.6, 0.7, 0.8]
    whole = a_task(phase, Judge(areas))
    run_phase(whole, phase, through)

    around = surroundings(tmp_path / "stopped")

    class Stopping(Judge):
        def __call__(self, trainee: nn.Module, size: int) -> Score:
            around.stop.made = True
            return super().__call__(trainee, size)

    with pytest.raises(TrainingStopped, match="--resume"):
        run_phase(a_task(phase, Stopping(areas)), phase, around)
    around.stop.made = False
    resumed = a_task(phase, Judge(areas[1:]))
    run_phase(resumed, phase, around)
    assert torch.equal(resumed.trainee.linear.weight, whole.trainee.linear.weight)
    assert not (tmp_path / "stopped" / "checkpoint.pt").exists()


def test_a_full_disk_keeps_the_earlier_checkpoint(tmp_path: Path) -> None:
    """Where the disk takes no more the run is told so in a sentence, and the last whole checkpoint stays."""
    folder = RunFolder(tmp_path)
    weights = {"weight": torch.zeros(100_000)}
    small = Checkpoint("global-1", 1, 0, {}, {}, {}, {}, 0.5, 1)
    folder.save(small)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))  # the kernel refuses what goes beyond
    try:
        with pytest.raises(TrainingError, match="free disk space"):
            folder.save(replace(small, epoch=2, trainee=weights))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    kept = folder.load("global-1")
    assert kept is not None
    assert kept.epoch == 1
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]
