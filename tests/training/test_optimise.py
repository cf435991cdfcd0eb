"""Learning rates and averages."""

import pytest
import torch
from torch import nn

from agcnn_training.optimise import MovingAverage, learning_rate, make_optimiser
from agcnn_training.recipe import Optimiser, PhaseRecipe, Schedule


def test_the_papers_schedule_drops_every_twenty_epochs() -> None:
    """0.01, then 0.001 from epoch 21, then 0.0001 from epoch 41."""
    rates = [learning_rate(PhaseRecipe(), epoch * 7, 7) for epoch in (0, 19, 20, 39, 40, 49)]
    assert rates == pytest.approx([1e-2, 1e-2, 1e-3, 1e-3, 1e-4, 1e-4])


def test_the_other_reading_of_the_papers_schedule_drops_once() -> None:
    """0.01, and 0.001 from epoch 21 to the last."""
    phase = PhaseRecipe(schedule=Schedule.STEP_ONCE)
    rates = [learning_rate(phase, epoch * 7, 7) for epoch in (0, 19, 20, 39, 40, 49)]
    assert rates == pytest.approx([1e-2, 1e-2, 1e-3, 1e-3, 1e-3, 1e-3])


def test_cosine_rises_and_falls() -> None:
    """A linear warm-up to the rate, then half a cosine to nearly nothing."""
    phase = PhaseRecipe(schedule=Schedule.COSINE, learning_rate=1.0, epochs=10, warmup=0.1)
    rates = [learning_rate(phase, step, 10) for step in range(100)]
    assert rates[0] < 0.1
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] < 0.001


def test_vectors_are_spared_decay_when_asked() -> None:
    """Biases and BatchNorm parameters form a group of their own."""
    module = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    phase = PhaseRecipe(optimiser=Optimiser.ADAMW, weight_decay=0.05, decay_vectors=False)
    groups = make_optimiser(module, phase).param_groups
    assert [(group["weight_decay"], len(group["params"])) for group in groups] == [(0.05, 1), (0.0, 3)]


def test_an_average_forgets_the_start_and_follows_slowly() -> None:
    """Early it follows fast; later a step moves it by 1 - decay."""
    module, average = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    nn.init.zeros_(average.weight)
    nn.init.ones_(module.weight)
    MovingAverage(average, module).update(0.99, step=0)
    assert average.weight.item() == pytest.approx(0.9)
    nn.init.zeros_(average.weight)
    MovingAverage(average, module).update(0.99, step=100_000)
    assert average.weight.item() == pytest.approx(0.01)


def test_an_average_takes_buffers_along() -> None:
    """BatchNorm's statistics are averaged, its counter copied."""
    module, average = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    module(torch.randn(8, 2) + 5)
    MovingAverage(average, module).update(0.5, step=100)
    assert torch.allclose(average.running_mean, module.running_mean / 2)
    assert average.num_batches_tracked == 1
