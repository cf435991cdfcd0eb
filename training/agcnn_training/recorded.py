"""The gradient of a batch, recorded once on a GPU and then repeated as a whole (a CUDA graph).

A step of DenseNet-121 is some two thousand small kernels. Started one by one from Python they take the processor
several times as long as they take the GPU; recorded, they are started together.
"""

from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor, nn

from agcnn_training.data.batches import Batch

Gradient = Callable[[Batch], Tensor]
"""Leaves the gradient of a batch's loss in the parameters, and returns that loss."""

Record = Callable[[Callable[[], Tensor]], tuple[Callable[[], None], Tensor]]
"""(work) -> what repeats it on the very tensors that it read and made; the tensor that its result then lies in."""

_FIRST: Final = 3
"""Steps before the recording: in them libraries choose their kernels and Triton compiles ours."""


class Recorder:
    """A gradient that records itself at the fourth batch, where that works; until then, and else, as it was."""

    def __init__(
        self, gradient: Gradient, parameters: Sequence[nn.Parameter], say: Callable[[str], None], record: Record
    ) -> None:
        """Take what is to be recorded.

        Args:
            gradient: must do the same operations on the same memory whatever is in a batch.
            parameters: in which it leaves the gradient.
            say: is told, once, that recording does not work here.
            record: ``on_gpu``.
        """
        self._gradient, self._parameters, self._say, self._record = gradient, list(parameters), say, record
        self._steps = 0
        self._recording: _Recording | None = None

    def __call__(self, batch: Batch) -> Tensor:
        """The same as ``gradient``."""
        self._steps += 1
        if self._recording is None and self._steps == _FIRST + 1:
            self._begin(batch)
        if self._recording is None or not self._recording.fits(batch):
            return self._gradient(batch)
        return self._recording.repeat(batch)

    def _begin(self, batch: Batch) -> None:
        try:
            with torch.cuda.device_of(batch.images):  # type: ignore[no-untyped-call]
                self._recording = _Recording(self._gradient, self._parameters, batch, self._record)
        except RuntimeError as error:
            reason = str(error).strip().partition("\n")[0]
            self._say(f"The steps cannot be recorded here ({reason}): going on without that, more slowly.")


class _Recording:
    """A recorded gradient, and the tensors that it reads from and leaves its results in."""

    def __init__(self, gradient: Gradient, parameters: Sequence[nn.Parameter], batch: Batch, record: Record) -> None:
        self._batch = Batch(*(tensor.clone() for tensor in batch))
        self._again, self._loss = record(lambda: gradient(self._batch))
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
    # Another thread draws the next batch meanwhile: what it does is no part of the recording and may not spoil it.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        loss = work()
    return graph.replay, loss
