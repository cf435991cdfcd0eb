"""One batch worked on by several threads, each with one core and a share of the batch.

torch's own threads meet at a barrier after every operation and spin there. On a machine that does anything else at
the same time that costs more than the second core brings (measured on two cores with one other busy process: 2
films/s, against 47 with one thread and 57 with two shards). Threads that meet once a step lose nothing.
"""

import copy
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Self

import torch
from torch import Tensor, nn

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""(module, images, targets) -> scalar loss."""


class Shards:
    """Computes gradients of a module over the shares of a batch, side by side.

    BatchNorm sees a share at a time, as it does in data-parallel training; the module keeps the running statistics
    of the first share.
    """

    def __init__(self, module: nn.Module, count: int) -> None:
        self._parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        # The memo makes the copies share the parameters and own nothing but buffers.
        shared = {id(parameter): parameter for parameter in module.parameters()}
        self._modules = [module, *(copy.deepcopy(module, dict(shared)) for _ in range(count - 1))]
        self._threads_before = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(count) if count > 1 else None
        self._settled: set[int] = set()

    def __enter__(self) -> Self:
        """Take one core a thread."""
        if self._pool:
            torch.set_num_threads(1)
        return self

    def __exit__(self, *_: object) -> None:
        """Give torch its threads back."""
        if self._pool:
            self._pool.shutdown()
            torch.set_num_threads(self._threads_before)

    def backward(self, loss: Loss, images: Tensor, targets: Tensor) -> float:
        """Leave the mean gradient of the shares in the parameters, and return the mean loss."""
        for module in self._modules:
            module.train()
        count = len(self._modules)
        if self._pool is None:
            shares = [self._gradients(0, loss, images, targets)]
        else:
            # Every count-th film, so that each share holds the same mixture of sources.
            work = [
                self._pool.submit(self._gradients, index, loss, images[index::count], targets[index::count])
                for index in range(count)
            ]
            shares = [part.result() for part in work]
        for index, parameter in enumerate(self._parameters):
            parameter.grad = _mean([gradients[index] for _, gradients in shares])
        return sum(value for value, _ in shares) / count

    def _gradients(
        self, index: int, loss: Loss, images: Tensor, targets: Tensor
    ) -> tuple[float, Sequence[Tensor | None]]:
        if self._pool:
            self._settle(index)
        value = loss(self._modules[index], images, targets)
        return float(value.detach()), torch.autograd.grad(value, self._parameters, allow_unused=True)

    def _settle(self, index: int) -> None:
        """Make ready a thread of the pool, once.

        Where there are no cores to spare each thread keeps to its own: a scheduler may leave two of them on one for
        seconds, while another process has the second core to itself.
        """
        thread = threading.get_native_id()
        if thread in self._settled:
            return
        self._settled.add(thread)
        torch.set_num_threads(1)
        if hasattr(os, "sched_setaffinity"):
            cores = sorted(os.sched_getaffinity(0))
            if len(cores) <= len(self._modules):
                os.sched_setaffinity(thread, {cores[index % len(cores)]})


def _mean(gradients: Sequence[Tensor | None]) -> Tensor | None:
    known = [gradient for gradient in gradients if gradient is not None]
    if not known:
        return None
    return known[0] if len(gradients) == 1 else torch.stack(known).sum(dim=0) / len(gradients)
