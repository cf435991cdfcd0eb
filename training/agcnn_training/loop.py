"""The training loop: one phase of one stage, from wherever it was left to the best epoch of its stage."""

import copy
import math
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from agcnn_training.ahead import drawn_beside
from agcnn_training.data.batches import Batch, Batches
from agcnn_training.distributed import ALONE, Ranks
from agcnn_training.errors import TrainingError, TrainingStopped
from agcnn_training.evaluation.metrics import Score
from agcnn_training.optimise import MovingAverage, learning_rate, make_optimiser
from agcnn_training.progress import Journal, StopRequest
from agcnn_training.recipe import ComputeRecipe, PhaseRecipe, Precision
from agcnn_training.run_folder import NOTHING_YET, Best, Checkpoint, RunFolder
from agcnn_training.shards import Shards
from agcnn_training.step import Stepper, memory_is_full

_AHEAD: Final = 16
"""Steps that a GPU may be given before its losses are waited for: each wait leaves it without work for a while."""


@dataclass(frozen=True)
class Task:
    """What a phase trains and how it is judged.

    Attributes:
        name: of the phase, as "global-1".
        trainee: the one module that moves: logits [B, W] of images [B, 3, S, S].
        score: judges a trainee on the validation films at a size.
        batches: the training batches; their loss is a sum over films, as ``shards.Criterion`` wants it.
    """

    name: str
    trainee: nn.Module
    score: Callable[[nn.Module, int], Score]
    batches: Batches


@dataclass(frozen=True)
class Surroundings:
    """What every phase of a run shares.

    Attributes:
        folder: where checkpoints and metrics go.
        journal: where it is said how the run goes.
        stop: whether someone wants it to stop.
        compute: how the arithmetic is done, and how often a checkpoint is due.
        seed: of the run.
        ranks: its processes, and the device of this one.
        clock: seconds of a clock that only goes forward.
    """

    folder: RunFolder
    journal: Journal
    stop: StopRequest
    compute: ComputeRecipe
    seed: int
    ranks: Ranks = ALONE
    clock: Callable[[], float] = time.monotonic

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        return self.ranks.device

    @property
    def precision(self) -> Precision:
        """The number format of the forward pass."""
        return self.compute.precision


@dataclass
class _State:
    """Where a phase stands: between two steps, and with the best epoch of its stage so far."""

    task: Task
    average: nn.Module
    optimiser: torch.optim.Optimizer
    best: Best
    epoch: int = 0
    step: int = 0
    loss: float = 0.0  # summed over the epoch's steps, but for those whose losses are still to come
    coming: list[Tensor] = field(default_factory=list)  # losses of the last steps, which a GPU may not have reached yet
    seconds: float = 0.0  # that the epoch has taken
    saved_at: float = 0.0  # by the run's clock: when the last checkpoint was kept, or the phase begun or gone on with

    def checkpoint(self) -> Checkpoint:
        return Checkpoint(
            phase=self.task.name,
            epoch=self.epoch,
            step=self.step,
            loss=self.loss,
            seconds=self.seconds,
            trainee=self.task.trainee.state_dict(),
            average=self.average.state_dict(),
            optimiser=self.optimiser.state_dict(),
            best=self.best,
        )

    def restore(self, saved: Checkpoint) -> None:
        self.task.trainee.load_state_dict(saved.trainee)
        self.average.load_state_dict(saved.average)
        self.optimiser.load_state_dict(dict(saved.optimiser))
        self.epoch, self.step, self.loss, self.seconds = saved.epoch, saved.step, saved.loss, saved.seconds
        self.best = saved.best

    def await_losses(self, title: str) -> None:
        """Take in the losses of the last steps.

        Raises:
            TrainingError: one of them is no number.
        """
        losses = torch.stack(self.coming).tolist() if self.coming else []
        for step, loss in enumerate(losses, start=self.step - len(losses) + 1):
            if not math.isfinite(loss):
                raise TrainingError(
                    f"The loss is not a number in {title}, step {step}: lower learning_rate, set clip_norm, or use "
                    "precision float32, and start anew."
                )
            self.loss += loss
        self.coming.clear()

    def end_epoch(self) -> None:
        self.epoch, self.step, self.loss, self.seconds = self.epoch + 1, 0, 0.0, 0.0

    def keep_if_best(self, area: float) -> None:
        if area > self.best.area:
            weights = {name: value.detach().cpu().clone() for name, value in self.average.state_dict().items()}
            self.best = Best(weights, area, self.task.name, self.epoch, self.task.batches.size)


def run_phase(task: Task, phase: PhaseRecipe, around: Surroundings, best: Best = NOTHING_YET) -> Best:
    """Train one phase of a stage, and leave the trainee with the stage's best weights so far.

    Args:
        task: what to train.
        phase: how.
        around: what the phases of a run share.
        best: what the stage's earlier phases kept, by validation mean AUC; this phase begins from it.

    Returns:
        The same, or an epoch of this phase when one is better.

    Raises:
        TrainingStopped: a stop was requested; a checkpoint is kept.
        TrainingError: the loss is no longer a number, memory is too small, the steps cannot be recorded, or a
            checkpoint cannot be written.
    """
    state = _begin(task, phase, around, best)
    if around.ranks.leads:
        around.folder.metrics.rewind(task.name, state.epoch)
    # Several processes take a core or a GPU each.
    threads = around.compute.shards if around.ranks.count == 1 else 1
    with Shards(task.trainee, threads, around.ranks) as shards:
        _check_pieces(task, phase, shards)
        stepper = Stepper(
            task.trainee, task.batches.loss, phase,
            around.compute, around.ranks, shards, state.optimiser, around.journal,
        )  # fmt: skip
        while state.epoch < phase.epochs:
            _epoch(state, phase, around, stepper)
            if (state.epoch + 1) % phase.judge_every and state.epoch + 1 < phase.epochs:
                state.end_epoch()
            else:
                _judge(state, phase, around)
    state.optimiser.zero_grad(set_to_none=True)  # gradients would keep their memory through the phases that follow
    task.trainee.load_state_dict(state.best.weights)
    if around.ranks.leads:
        around.folder.finish(task.name, state.best)
    around.ranks.wait()
    return state.best


def _begin(task: Task, phase: PhaseRecipe, around: Surroundings, best: Best) -> _State:
    """A phase at its beginning, or where its checkpoint left it."""
    if best.weights:
        task.trainee.load_state_dict(best.weights)
    around.ranks.synchronised(task.trainee)
    average = copy.deepcopy(task.trainee) if phase.average else task.trainee
    state = _State(task, average, make_optimiser(task.trainee, phase), best, saved_at=around.clock())
    if saved := around.folder.load(task.name):
        state.restore(saved)
        around.journal.say(f"{task.name}: going on at epoch {state.epoch + 1}, step {state.step + 1}.")
    elif best.weights and best.size != task.batches.size:
        # What an earlier phase reached on smaller images is no measure of what this one does.
        area = around.ranks.told(_score(task, task.trainee, around).mean if around.ranks.leads else 0.0)
        state.best = replace(best, area=area, size=task.batches.size)
    return state


def _epoch(state: _State, phase: PhaseRecipe, around: Surroundings, stepper: Stepper) -> None:
    """What is left of one epoch; a checkpoint is written when one is due."""
    task, total = state.task, len(state.task.batches)
    title = f"{task.name} epoch {state.epoch + 1}/{phase.epochs}"
    left = range(state.step, total)
    on_gpu = around.device.type == "cuda"
    average = MovingAverage(state.average, task.trainee) if state.average is not task.trainee else None
    resumed_at = around.clock() - state.seconds

    def draw(step: int) -> Batch:
        return task.batches.batch(state.epoch, step, around.device)

    # On the CPU the next batch would take its time from the network's own cores.
    batches = drawn_beside(left, draw, around.device) if on_gpu else ((step, draw(step)) for step in left)
    for step, batch in around.journal.steps(batches, len(left), title):
        _stop_if_asked(state, around, title)
        done = state.epoch * total + step
        for group in state.optimiser.param_groups:
            group["lr"] = learning_rate(phase, done, total)
        torch.manual_seed(_step_seed(around, task.name, state.epoch, step))
        state.coming.append(stepper(batch))
        if average is not None:
            average.update(phase.average, done)
        state.step = step + 1
        save = around.clock() - state.saved_at >= 60 * around.compute.checkpoint_minutes
        if save or not on_gpu or len(state.coming) == _AHEAD:
            state.await_losses(title)
        state.seconds = around.clock() - resumed_at
        if save:
            _save(state, around)
    state.await_losses(title)
    state.seconds = around.clock() - resumed_at  # a GPU may have had steps left
    _stop_if_asked(state, around, title)


def _judge(state: _State, phase: PhaseRecipe, around: Surroundings) -> None:
    """End an epoch: judge its weights, record how it went, and keep a checkpoint."""
    task, ranks, steps = state.task, around.ranks, max(len(state.task.batches), 1)
    began = around.clock()
    score = _score(task, state.average, around) if ranks.leads else None
    area = ranks.told(score.mean if score else 0.0)
    loss, seconds = state.loss / steps, state.seconds + around.clock() - began
    state.end_epoch()
    state.keep_if_best(area)
    if score is None:
        return
    around.folder.metrics.append(
        {
            "phase": task.name,
            "epoch": state.epoch,
            "loss": loss,
            "mean_auc": score.mean,
            "auc": score.per_label,
            "learning_rate": state.optimiser.param_groups[0]["lr"],
            "seconds": round(seconds, 1),
        }
    )
    around.journal.say(
        f"{task.name} epoch {state.epoch}/{phase.epochs}: loss {loss:.4f}, validation mean AUC {score.mean:.4f} "
        f"(best {state.best.area:.4f}, {state.best.phase} epoch {state.best.epoch}), {seconds:.0f} s"
    )
    _save(state, around)


def _score(task: Task, trainee: nn.Module, around: Surroundings) -> Score:
    """Judge a trainee at the phase's size.

    Raises:
        TrainingError: memory is too small.
    """
    try:
        return task.score(trainee, task.batches.size)
    except RuntimeError as error:
        if not memory_is_full(error):
            raise
        raise TrainingError(
            f"The memory of {around.device} is too small to judge {task.name} with {around.compute.evaluation_batch} "
            "films at a time: lower compute.evaluation_batch in the recipe, or set compute.graphs = false, and resume."
        ) from error


def _stop_if_asked(state: _State, around: Surroundings, title: str) -> None:
    """Keep a checkpoint and leave, all processes together, when one of them was asked to."""
    if not around.ranks.any(around.stop.made):
        return
    state.await_losses(title)
    _save(state, around)
    around.ranks.wait()  # the first process to end takes the others with it: not before the checkpoint is whole
    raise TrainingStopped(f"Stopped in {title}: the same command with --resume goes on from there.")


def _save(state: _State, around: Surroundings) -> None:
    state.saved_at = around.clock()
    if around.ranks.leads:
        around.folder.save(state.checkpoint())


def _check_pieces(task: Task, phase: PhaseRecipe, shards: Shards) -> None:
    films, pieces = task.batches.films_per_batch, shards.pieces(phase.accumulate)
    if pieces > films:
        raise TrainingError(
            f"In {task.name} a batch of {films} films cannot be cut into {pieces} parts (processes x accumulate x "
            "shards): lower those, or raise batch_size."
        )


def _step_seed(around: Surroundings, phase: str, epoch: int, step: int) -> int:
    """The seed of what a network draws itself, as dropout does: the step's own, so that a resumed run repeats it."""
    key = (around.seed, zlib.crc32(phase.encode()), epoch, step, around.ranks.rank)
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])
