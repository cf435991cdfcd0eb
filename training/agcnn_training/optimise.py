"""How weights move: optimiser, learning rate, moving average."""

import math

import torch
from torch import Tensor, nn

from agcnn_training.recipe import Optimiser, PhaseRecipe, Schedule


def make_optimiser(module: nn.Module, phase: PhaseRecipe) -> torch.optim.Optimizer:
    """The optimiser of a phase over everything in the module that has a gradient; on a GPU it is one kernel or two."""
    moving = [parameter for parameter in module.parameters() if parameter.requires_grad]
    vectors = [parameter for parameter in moving if parameter.ndim <= 1]
    matrices = [parameter for parameter in moving if parameter.ndim > 1]
    groups = [
        {"params": matrices, "weight_decay": phase.weight_decay},
        {"params": vectors, "weight_decay": phase.weight_decay if phase.decay_vectors else 0.0},
    ]
    fused = True if all(parameter.is_cuda for parameter in moving) else None
    match phase.optimiser:
        case Optimiser.SGD:
            return torch.optim.SGD(groups, lr=phase.learning_rate, momentum=phase.momentum, fused=fused)
        case Optimiser.ADAMW:
            return torch.optim.AdamW(groups, lr=phase.learning_rate, betas=(phase.momentum, 0.99), fused=fused)


def learning_rate(phase: PhaseRecipe, step: int, steps_per_epoch: int) -> float:
    """The learning rate of a step, counted from the phase's beginning."""
    progress = step / (phase.epochs * steps_per_epoch)
    if progress < phase.warmup:
        return phase.learning_rate * (step + 1) / (phase.warmup * phase.epochs * steps_per_epoch + 1)
    match phase.schedule:
        case Schedule.CONSTANT:
            return phase.learning_rate
        case Schedule.STEP | Schedule.STEP_ONCE:
            drops = step // steps_per_epoch // phase.drop_every
            if phase.schedule is Schedule.STEP_ONCE:
                drops = min(drops, 1)
            return float(phase.learning_rate * 0.1**drops)
        case Schedule.COSINE:
            fallen = (progress - phase.warmup) / (1 - phase.warmup)
            return phase.learning_rate * 0.5 * (1 + math.cos(math.pi * fallen))


class MovingAverage:
    """An average of a module's weights, and of BatchNorm's statistics, that is itself a module of the same kind."""

    def __init__(self, average: nn.Module, module: nn.Module) -> None:
        """Pair what is averaged with what it follows: once, since a walk over all layers costs milliseconds."""
        pairs = list(zip(_tensors(average), _tensors(module), strict=True))
        averaged = [pair for pair in pairs if pair[0].is_floating_point()]
        counted = [pair for pair in pairs if not pair[0].is_floating_point()]
        self._means, self._values = [mean for mean, _ in averaged], [value for _, value in averaged]
        self._counts, self._counters = [count for count, _ in counted], [counter for _, counter in counted]

    @torch.no_grad()
    def update(self, decay: float, step: int) -> None:
        """Move it towards the module's.

        Early on the average follows fast, so that it does not remember the random start.
        """
        share = 1 - min(decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._means, self._values, share)
        if self._counts:
            torch._foreach_copy_(self._counts, self._counters)


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]
