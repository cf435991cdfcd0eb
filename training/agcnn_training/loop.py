"""The training loop: one phase of one stage, from wherever it was left to its best epoch."""

import copy
import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from agcnn_training.data.batches import Batches
from agcnn_training.errors import TrainingError, TrainingStopped
from agcnn_training.evaluation.metrics import Score
from agcnn_training.optimise import learning_rate, make_optimiser, update_average
from agcnn_training.progress import Journal, StopRequest
from agcnn_training.recipe import PhaseRecipe, Precision
from agcnn_training.run_folder import Checkpoint, RunFolder
from agcnn_training.shards import Shards


@dataclass(frozen=True)
class Task:
    """What a phase trains and how it is judged.

    Attributes:
        name: of the phase, as "global-1".
        trainee: the one module that moves.
        read: gives a trainee's logits [B, W] of images [B, 3, S, S].
        score: judges a trainee on the validation films at a size.
        batches: the training batches.
    """

    name: str
    trainee: nn.Module
    read: Callable[[nn.Module, Tensor], Tensor]
    score: Callable[[nn.Module, int], Score]
    batches: Batches


@dataclass(frozen=True)
class Surroundings:
    """What every phase of a run shares."""

    folder: RunFolder
    journal: Journal
    stop: StopRequest
    device: torch.device
    precision: Precision
    channels_last: bool
    shards: int


@dataclass
class _State:
    """Where a phase stands: between two steps, and with the best epoch so far."""

    task: Task
    average: nn.Module
    optimiser: torch.optim.Optimizer
    epoch: int = 0
    step: int = 0
    best: Mapping[str, Tensor] = field(default_factory=dict)
    best_area: float = -1.0
    best_epoch: int = 0

    def checkpoint(self) -> Checkpoint:
        return Checkpoint(
            phase=self.task.name,
            epoch=self.epoch,
            step=self.step,
            trainee=self.task.trainee.state_dict(),
            average=self.average.state_dict(),
            optimiser=self.optimiser.state_dict(),
            best=self.best,
            best_area=self.best_area,
            best_epoch=self.best_epoch,
        )

    def restore(self, saved: Checkpoint) -> None:
        self.task.trainee.load_state_dict(saved.trainee)
        self.average.load_state_dict(saved.average)
        self.optimiser.load_state_dict(dict(saved.optimiser))
        self.epoch, self.step = saved.epoch, saved.step
        self.best, self.best_area, self.best_epoch = saved.best, saved.best_area, saved.best_epoch

    def end_epoch(self, area: float) -> None:
        self.epoch, self.step = self.epoch + 1, 0
        if area > self.best_area:
            self.best_area, self.best_epoch = area, self.epoch
            self.best = {name: value.detach().cpu().clone() for name, value in self.average.state_dict().items()}


def run_phase(task: Task, phase: PhaseRecipe, around: Surroundings) -> None:
    """Train, and leave the trainee with the weights of its best epoch by validation mean AUC.

    Raises:
        TrainingStopped: a stop was requested; a checkpoint is kept.
        TrainingError: the loss is no longer a number, or a checkpoint cannot be written.
    """
    average = copy.deepcopy(task.trainee) if phase.average else task.trainee
    state = _State(task, average, make_optimiser(task.trainee, phase))
    if saved := around.folder.load(task.name):
        state.restore(saved)
        around.journal.say(f"{task.name}: going on at epoch {state.epoch + 1}, step {state.step + 1}.")
    with Shards(task.trainee, around.shards) as shards:
        while state.epoch < phase.epochs:
            began = time.monotonic()
            loss = _epoch(state, phase, around, shards)
            score = task.score(state.average, task.batches.size)
            state.end_epoch(score.mean)
            _report(state, phase, around, loss, score, time.monotonic() - began)
            around.folder.save(state.checkpoint())
    task.trainee.load_state_dict(state.best)
    around.folder.finish(task.name, state.best)


def _epoch(state: _State, phase: PhaseRecipe, around: Surroundings, shards: Shards) -> float:
    """What is left of one epoch; returns its mean loss."""
    task, total, first = state.task, len(state.task.batches), state.step
    title = f"{task.name} epoch {state.epoch + 1}/{phase.epochs}"
    losses = []
    for step in around.journal.steps(range(first, total), total - first, title):
        state.step = step
        if around.stop.made:
            around.folder.save(state.checkpoint())
            raise TrainingStopped(f"Stopped in {title}: the same command with --resume goes on from there.")
        done = state.epoch * total + step
        for group in state.optimiser.param_groups:
            group["lr"] = learning_rate(phase, done, total)
        losses.append(_step(state, phase, around, shards))
        if not math.isfinite(losses[-1]):
            raise TrainingError(
                f"The loss is not a number in {title}, step {step + 1}: lower learning_rate, set clip_norm, or use "
                "precision float32."
            )
        if state.average is not task.trainee:
            update_average(state.average, task.trainee, phase.average, done)
    return sum(losses) / max(len(losses), 1)


def _step(state: _State, phase: PhaseRecipe, around: Surroundings, shards: Shards) -> float:
    """One batch forward, back, and the weights moved; returns the loss."""
    task = state.task

    def loss(trainee: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        if around.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        with autocast(around.device, around.precision):
            logits = task.read(trainee, images)
        return task.batches.loss(logits, targets)

    batch = task.batches.batch(state.epoch, state.step)
    value = shards.backward(loss, batch.images.to(around.device), batch.targets.to(around.device))
    if phase.clip_norm:
        nn.utils.clip_grad_norm_(task.trainee.parameters(), phase.clip_norm)
    state.optimiser.step()
    return value


def _report(state: _State, phase: PhaseRecipe, around: Surroundings, loss: float, score: Score, seconds: float) -> None:
    """Say how an epoch went, and record it."""
    around.folder.append_metrics(
        {
            "phase": state.task.name,
            "epoch": state.epoch,
            "loss": loss,
            "mean_auc": score.mean,
            "auc": score.per_label,
            "seconds": round(seconds, 1),
        }
    )
    around.journal.say(
        f"{state.task.name} epoch {state.epoch}/{phase.epochs}: loss {loss:.4f}, validation mean AUC {score.mean:.4f} "
        f"(best {state.best_area:.4f}, epoch {state.best_epoch}), {seconds:.0f} s"
    )


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """The context in which forward passes run."""
    if precision is Precision.BFLOAT16:
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()
