"""One step of training: a batch forward and back, and the weights moved."""

import copy
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from agcnn_training.compute import autocast
from agcnn_training.data.batches import Batch
from agcnn_training.distributed import Ranks
from agcnn_training.errors import TrainingError, first_line
from agcnn_training.progress import Journal
from agcnn_training.recipe import ComputeRecipe, PhaseRecipe
from agcnn_training.recorded import Recorder, on_gpu
from agcnn_training.shards import Criterion, Shards


@dataclass
class Stepper:
    """Takes the steps of one phase.

    Attributes:
        trainee: the module that moves: logits [B, W] of images [B, 3, S, S].
        criterion: the loss of a batch.
        phase: how many parts a batch goes in, and where gradients are clipped.
        compute: number format and memory layout.
        ranks: the processes of the run.
        shards: the threads that work on a batch.
        optimiser: what moves the weights.
        journal: where it is said that compilation failed.
    """

    trainee: nn.Module
    criterion: Criterion
    phase: PhaseRecipe
    compute: ComputeRecipe
    ranks: Ranks
    shards: Shards
    optimiser: torch.optim.Optimizer
    journal: Journal

    def __post_init__(self) -> None:
        """Prepare the compiled form of the trainee when the recipe asks for it; else, on a GPU, to record the steps."""
        self._compiled: nn.Module | None = None
        self._moving = [parameter for parameter in self.trainee.parameters() if parameter.requires_grad]
        self._recorder: Recorder | None = None
        if self.compute.compile and self.shards.threads > 1:
            self.journal.say("compile is left out: it works with shards = 1 only.")
        elif self.compute.compile:
            self._compiled = cast("nn.Module", torch.compile(self.trainee))
        elif self.compute.graphs and self.ranks.device.type == "cuda" and self.ranks.count * self.shards.threads == 1:
            self._recorder = Recorder(self._backward, self._moving, on_gpu)

    def __call__(self, batch: Batch) -> Tensor:
        """Move the weights by one batch, which is the same in every process; returns its loss, without waiting for it.

        Raises:
            TrainingError: memory is too small, the step cannot be recorded, or another process has gone.
        """
        try:
            loss = self._gradient(batch)
        except RuntimeError as error:
            if not memory_is_full(error):
                raise
            raise TrainingError(
                f"The memory of {self.ranks.device} is too small for {len(batch.images)} films in "
                f"{self.phase.accumulate} part(s): raise accumulate or lower batch_size, then start anew."
            ) from error
        if self.phase.clip_norm:
            nn.utils.clip_grad_norm_(self._moving, self.phase.clip_norm)
        self.optimiser.step()
        return loss

    def _gradient(self, batch: Batch) -> Tensor:
        """Forward and back; when compilation fails, once more without it."""
        if self._recorder is not None:
            return self._recorder(batch)
        if self._compiled is None:
            return self._backward(batch)
        # Known only where it is imported for: it takes seconds.
        from torch._dynamo.exc import TorchDynamoException  # noqa: PLC0415

        buffers = copy.deepcopy(dict(self.trainee.named_buffers()))
        try:
            return self._backward(batch)
        except TorchDynamoException as error:
            self.journal.say(f"torch.compile does not work here ({first_line(error)}): going on without it.")
            self._compiled = None
            for name, buffer in self.trainee.named_buffers():
                buffer.copy_(buffers[name])
            return self._backward(batch)

    def _backward(self, batch: Batch) -> Tensor:
        return self.shards.backward(
            self._forward, self.criterion, batch.images, batch.targets, accumulate=self.phase.accumulate
        )

    def _forward(self, module: nn.Module, images: Tensor) -> Tensor:
        if self.compute.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        with autocast(self.ranks.device, self.compute.precision):
            logits: Tensor = (module if self._compiled is None else self._compiled)(images)
        return logits.float()


def memory_is_full(error: RuntimeError) -> bool:
    """Whether this is torch's word for a memory that does not suffice."""
    # It has a class of its own for GPUs only; on the CPU its allocator is named in the message.
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)
