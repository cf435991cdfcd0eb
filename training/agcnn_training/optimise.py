"""How weights move: optimiser, learning rate, moving average."""

import math

import torch
from torch import nn

from agcnn_training.recipe import Optimiser, PhaseRecipe, Schedule


def make_optimiser(module: nn.Module, phase: PhaseRecipe) -> torch.optim.Optimizer:
    """The optimiser of a phase over everything in the module that has a gradient."""
    moving = [parameter for parameter in module.parameters() if parameter.requires_grad]
    vectors = [parameter for parameter in moving if parameter.ndim <= 1]
    matrices = [parameter for parameter in moving if parameter.ndim > 1]
    groups = [
        {"params": matrices, "weight_decay": phase.weight_decay},
        {"params": vectors, "weight_decay": phase.weight_decay if phase.decay_vectors else 0.0},
    ]
    match phase.optimiser:
        case Optimiser.SGD:
            return torch.optim.SGD(groups, lr=phase.learning_rate, momentum=phase.momentum)
        case Optimiser.ADAMW:
            return torch.optim.AdamW(groups, lr=phase.learning_rate, betas=(phase.momentum, 0.99))


def learning_rate(phase: PhaseRecipe, step: int, steps_per_epoch: int) -> float:
    """The learning rate of a step, counted from the phase's beginning."""
    progress = step / (phase.epochs * steps_per_epoch)
    if progress < phase.warmup:
        return phase.learning_rate * (step + 1) / (phase.warmup * phase.epochs * steps_per_epoch + 1)
    match phase.schedule:
        case Schedule.CONSTANT:
            return phase.learning_rate
        case Schedule.STEP:
            drops = step // steps_per_epoch // phase.drop_every
            return float(phase.learning_rate * 0.1**drops)
        case Schedule.COSINE:
            fallen = (progress - phase.warmup) / (1 - phase.warmup)
            return phase.learning_rate * 0.5 * (1 + math.cos(math.pi * fallen))


@torch.no_grad()
def update_average(average: nn.Module, module: nn.Module, decay: float, step: int) -> None:
    """Move an average of the weights, and of BatchNorm's statistics, towards the module's.

    Early on the average follows fast, so that it does not remember the random start.
    """
    share = 1 - min(decay, (1 + step) / (10 + step))
    pairs = zip([*average.parameters(), *average.buffers()], [*module.parameters(), *module.buffers()], strict=True)
    for mean, value in pairs:
        if mean.is_floating_point():
            mean.lerp_(value, share)
        else:
            mean.copy_(value)
