"""A phase against the same arithmetic written out: every step, its rate, the average and what is recorded."""

import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from agcnn_models.settings import Preprocessing
from agcnn_training.data.batches import Batches
from agcnn_training.data.films import Films
from agcnn_training.evaluation.metrics import Score
from agcnn_training.loop import Surroundings, Task, run_phase
from agcnn_training.progress import Journal, StopRequest
from agcnn_training.recipe import ComputeRecipe, Optimiser, PhaseRecipe, Schedule
from agcnn_training.run_folder import RunFolder

Weights = list[Tensor]
EPOCHS, STEPS = 3, 4  # sixteen films, four in a batch

PHASES = {
    # The paper's optimiser, with a rate that falls after each epoch.
    "sgd": PhaseRecipe(epochs=EPOCHS, batch_size=4, learning_rate=0.5, weight_decay=0.05, drop_every=1),
    # A gradient is clipped before it meets momentum; vectors do not decay; the rate stays.
    "sgd-clipped": PhaseRecipe(
        epochs=EPOCHS, batch_size=4, learning_rate=0.5, momentum=0.7, weight_decay=0.05, decay_vectors=False,
        clip_norm=0.02, schedule=Schedule.CONSTANT, average=0.8,
    ),
    "adamw": PhaseRecipe(
        epochs=EPOCHS, batch_size=4, optimiser=Optimiser.ADAMW, learning_rate=0.1, momentum=0.8, weight_decay=0.05,
        schedule=Schedule.COSINE, warmup=0.25, average=0.6, label_smoothing=0.1,
    ),
}  # fmt: skip


class Reader(nn.Module):
    """A linear reading of two parts of a film."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.linear = nn.Linear(2, 15)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, 15]."""
        return self.linear(parts(images))


def parts(images: Tensor) -> Tensor:
    """The mean grey of the left and of the right half: [B, 2]."""
    return torch.stack([half.mean(dim=(1, 2, 3)) for half in images.chunk(2, dim=3)], dim=1)


def batches(phase: PhaseRecipe) -> Batches:
    """Of sixteen random films, some of whose labels are unknown."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (16, 1, 36, 36), dtype=torch.uint8, generator=generator)
    targets = (torch.rand(16, 15, generator=generator) < 0.3).float()
    targets[::3, 2] = torch.nan
    films = Films(pixels, targets, torch.empty(16, 0))
    return Batches(films, np.arange(16), phase, Preprocessing(resize=36, crop=32), (7,))


def rate(phase: PhaseRecipe, epoch: int, step: int) -> float:
    """The learning rate: in steps, along half a cosine after a rise over a quarter of the twelve steps, or as it is."""
    if phase.schedule is Schedule.STEP:
        return phase.learning_rate / 10**epoch
    if phase.schedule is Schedule.CONSTANT:
        return phase.learning_rate
    done, rise = epoch * STEPS + step, 3
    if done < rise:
        return phase.learning_rate * (done + 1) / (rise + 1)
    return phase.learning_rate * (1 + math.cos(math.pi * (done - rise) / (EPOCHS * STEPS - rise))) / 2


def loss_and_slopes(weights: Weights, seen: Tensor, targets: Tensor) -> tuple[float, Weights]:
    """Eq. 2 over the known targets, and its derivatives by hand: (p - l) x for a weight, p - l for a bias."""
    weight, bias = weights
    known = ~torch.isnan(targets)
    wanted = torch.where(known, targets, 0.0)
    said = 1 / (1 + torch.exp(-(seen @ weight.T + bias)))
    each = -(wanted * said.log() + (1 - wanted) * (1 - said).log())
    error = (said - wanted) * known / known.sum()
    return float((each * known).sum() / known.sum()), [error.T @ seen, error.sum(dim=0)]


def by_hand(phase: PhaseRecipe, first: Weights) -> tuple[list[Weights], list[float]]:
    """What is judged after each epoch, and the epoch's mean loss: float64 throughout."""
    weights, average = [value.double() for value in first], [value.double() for value in first]
    pace, spread = [torch.zeros_like(value) for value in weights], [torch.zeros_like(value) for value in weights]
    drawn, judged, losses, done = batches(phase), [], [], 0
    for epoch in range(EPOCHS):
        total = 0.0
        for step in range(STEPS):
            images, targets = drawn.batch(epoch, step)
            loss, slopes = loss_and_slopes(weights, parts(images).double(), targets.double())
            total, lr, done = total + loss, rate(phase, epoch, step), done + 1
            length = math.sqrt(sum(float(slope.square().sum()) for slope in slopes))
            if phase.clip_norm and length > phase.clip_norm:
                slopes = [slope * phase.clip_norm / length for slope in slopes]
            for place, slope in enumerate(slopes):
                decay = phase.weight_decay if place == 0 or phase.decay_vectors else 0.0
                if phase.optimiser is Optimiser.SGD:
                    pulled = slope + decay * weights[place]
                    pace[place] = pulled if done == 1 else phase.momentum * pace[place] + pulled
                    weights[place] = weights[place] - lr * pace[place]
                else:
                    pace[place] = phase.momentum * pace[place] + (1 - phase.momentum) * slope
                    spread[place] = 0.99 * spread[place] + 0.01 * slope**2
                    pull = pace[place] / (1 - phase.momentum**done)
                    root = (spread[place] / (1 - 0.99**done)).sqrt() + 1e-8
                    weights[place] = weights[place] * (1 - lr * decay) - lr * pull / root
            kept = min(phase.average, done / (done + 9))  # (1 + t) / (10 + t) for the steps t before
            average = [kept * old + (1 - kept) * new for old, new in zip(average, weights, strict=True)]
        judged.append(average if phase.average else weights.copy())
        losses.append(total / STEPS)
    return judged, losses


@pytest.mark.parametrize("name", PHASES)
def test_a_phase_is_the_arithmetic_written_out(tmp_path: Path, name: str) -> None:
    """Losses, rates and the weights that are judged after each of three epochs, for each optimiser and schedule."""
    phase, reader, seen = PHASES[name], Reader(), []
    first = [value.detach().clone() for value in reader.parameters()]

    def score(trainee: nn.Module, _size: int) -> Score:
        seen.append([value.detach().clone() for value in trainee.parameters()])
        return Score(0.5 + len(seen) / 10, {}, ())

    task = Task("global-1", reader, score, batches(phase))
    journal = Journal(Console(file=io.StringIO()))
    run_phase(task, phase, Surroundings(RunFolder(tmp_path), journal, StopRequest(), ComputeRecipe(), seed=0))
    judged, losses = by_hand(phase, first)
    for found, expected in zip(seen, judged, strict=True):
        for value, wanted in zip(found, expected, strict=True):
            torch.testing.assert_close(value.double(), wanted, rtol=1e-4, atol=1e-5)
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [record["loss"] for record in records] == pytest.approx(losses, rel=1e-5)
    last = [rate(phase, epoch, STEPS - 1) for epoch in range(EPOCHS)]
    assert [record["learning_rate"] for record in records] == pytest.approx(last)
