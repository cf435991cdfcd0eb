"""The gradient of a batch, recorded once on a GPU and then repeated as a whole (a CUDA graph).

A step of DenseNet-121 is some two thousand small kernels. Started one by one from Python they take the processor
several times as long as they take the GPU; recorded, they are started together.
"""

from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor, nn

from agcnn_training.data.batches import Batch
from agcnn_training.errors import TrainingError, first_line

Gradient = Callable[[Batch], Tensor]
"""Leaves the gradient of a batch's loss in the parameters, and returns that loss."""

Record = Callable[[Callable[[], Tensor]], tuple[Callable[[], None], Tensor]]
"""(work) -> what repeats it on the very tensors that it read and made; the tensor that its result then lies in."""

_FIRST: Final = 3
"""Steps before the recording: in them libraries choose their kernels and Triton compiles ours."""


class Recorder:
    """A gradient that records itself at the fourth batch; until then, and for batches of another size, as it was."""

    def __init__(self, gradient: Gradient, parameters: Sequence[nn.Parameter], record: Record) -> None:
        """Take what is to be recorded.

        Args:
            gradient: must do the same operations on the same memory whatever is in a batch.
            parameters: in which it leaves the gradient.
            record: ``on_gpu``.
        """
        self._gradient, self._parameters, self._record = gradient, list(parameters), record
        self._steps = 0
        self._recording: _Recording | None = None

    def __call__(self, batch: Batch) -> Tensor:
        """The same as ``gradient``.

        Raises:
            TrainingError: the gradient cannot be recorded here.
        """
        self._steps += 1
        if self._recording is None and self._steps == _FIRST + 1:
            with torch.cuda.device_of(batch.images):  # type: ignore[no-untyped-call]
                self._recording = _Recording(self._gradient, self._parameters, batch, self._record)
        if self._recording is None or not self._recording.fits(batch):
            return self._gradient(batch)
        return self._recording.repeat(batch)


class _Recording:
    """A recorded gradient, and the tensors that it reads from and leaves its results in."""

    def __init__(self, gradient: Gradient, parameters: Sequence[nn.Parameter], batch: Batch, record: Record) -> None:
        self._batch = Batch(*(tensor.clone() for tensor in batch))
        try:
            self._again, self._loss = record(lambda: gradient(self._batch))
        except RuntimeError as error:
            # A process in which a recording was broken off does not go on: torch 2.11 takes the recording to be still
            # under way, and memory that two streams have used is never given back.
            raise TrainingError(
                f"The steps cannot be recorded here ({first_line(error)}): set compute.graphs = false in the recipe "
                "and resume."
            ) from error
        self._gradients = [(parameter, parameter.grad) for parameter in parameters]

    def fits(self, batch: Batch) -> bool:
        """Whether a batch has the recorded one's shape."""
        return all(kept.shape == given.shape for kept, given in zip(self._batch, batch, strict=True))

    def repeat(self, batch: Batch) -> Tensor:
        """Do again, with another batch, what was recorded."""
        for kept, given in zip(self._batch, batch, strict=True):
            kept.copy_(given)
        self._again()
        for parameter, gradient in self._gradients:
            parameter.grad = gradient
        return self._loss.clone()


def on_gpu(work: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
    """Record work on the current GPU: the work is not done, but written down.

    Raises:
        RuntimeError: it waits for the GPU, or does something else that cannot be recorded.
    """
    graph = torch.cuda.CUDAGraph()
    # The outer context puts this thread's stream back also where the recording fails: the inner one then leaves the
    # thread on the stream that it records. Another thread draws the next batch meanwhile: what it does is no part of
    # the recording and may not spoil it.
    with torch.cuda.stream(torch.cuda.current_stream()), torch.cuda.graph(graph, capture_error_mode="thread_local"):
        loss = work()
    return graph.replay, loss
