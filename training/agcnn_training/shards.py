"""The gradient of one batch, worked out in pieces: by several processes, one after another, and by several threads.

A batch of n films is cut into processes x accumulate x threads pieces. Each piece goes forward and back alone, but
its loss is that of the whole batch: what a film's logits contribute depends on the targets of the whole batch (how
many are known, how many are positive) and on no other film's logits. So the sum of the pieces' gradients is the
gradient of the batch, for every loss that keeps to that, and BatchNorm alone sees a difference: it normalises by the
films of a piece (of that piece in all processes, see ``Ranks.synchronised``).

Why threads: torch's own meet at a barrier after every operation and spin there. On a machine that does anything else
at the same time that costs more than the second core brings (measured on two cores with one other busy process: 2
films/s, against 47 with one thread and 57 with two shards). Threads that meet once a step lose nothing.
"""

import copy
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from agcnn_training.distributed import ALONE, Ranks, transfer

Read = Callable[[nn.Module, Tensor], Tensor]
"""(module, images [b, 3, S, S]) -> logits [b, W]."""

Criterion = Callable[[Tensor, Tensor], Tensor]
"""(logits [B, W], targets [B, W]) -> scalar: a sum over films, each weighed by the targets of all of them."""


class _Piece(NamedTuple):
    rows: slice
    logits: Tensor  # [b, W], without gradient
    gradients: Sequence[Tensor | None]


class Shards:
    """Computes the gradient of a module over a batch, so many threads side by side.

    The module keeps the running statistics that BatchNorm takes from the first thread's pieces.
    """

    def __init__(self, module: nn.Module, count: int, ranks: Ranks = ALONE) -> None:
        self._ranks = ranks
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
            self._pool.shutdown(cancel_futures=True)
            torch.set_num_threads(self._threads_before)

    @property
    def threads(self) -> int:
        """How many work side by side."""
        return len(self._modules)

    def pieces(self, accumulate: int) -> int:
        """Into how many pieces a batch is cut."""
        return self._ranks.count * accumulate * len(self._modules)

    def backward(
        self, read: Read, criterion: Criterion, images: Tensor, targets: Tensor, *, accumulate: int = 1
    ) -> Tensor:
        """Leave the gradient of the batch's loss in the parameters, and return that loss, a scalar without gradient.

        Args:
            read: the logits of images.
            criterion: the loss of a whole batch.
            images: [B, 3, S, S], the whole batch, of which every process takes its pieces.
            targets: [B, W].
            accumulate: pieces that each thread takes one after another, so that one at a time is in memory.
        """
        for module in self._modules:
            module.train()
        count, step = len(self._modules), self.pieces(accumulate)
        total: list[Tensor | None] = [None] * len(self._parameters)
        logits = None
        for turn in range(accumulate):
            # Every step-th film, so that each piece holds the same mixture of sources.
            first = turn + accumulate * self._ranks.rank
            cuts = [slice(first + accumulate * self._ranks.count * index, None, step) for index in range(count)]
            for piece in self._side_by_side(read, criterion, images, targets, cuts):
                total = [_sum(one, other) for one, other in zip(total, piece.gradients, strict=True)]
                if logits is None:
                    logits = piece.logits.new_zeros(len(images), piece.logits.shape[1])
                logits[piece.rows] = piece.logits
        if logits is None:
            raise ValueError("a batch has at least one piece")
        self._ranks.sum_([gradient for gradient in total if gradient is not None] + [logits])
        for parameter, gradient in zip(self._parameters, total, strict=True):
            parameter.grad = gradient if gradient is None else _laid_out(gradient, parameter)
        return criterion(logits, targets)

    def _side_by_side(
        self, read: Read, criterion: Criterion, images: Tensor, targets: Tensor, cuts: Sequence[slice]
    ) -> list[_Piece]:
        if self._pool is None:
            return [self._piece(0, read, criterion, images, targets, cuts[0])]
        work = [
            self._pool.submit(self._piece, index, read, criterion, images, targets, rows)
            for index, rows in enumerate(cuts)
        ]
        return [part.result() for part in work]

    def _piece(
        self, index: int, read: Read, criterion: Criterion, images: Tensor, targets: Tensor, rows: slice
    ) -> _Piece:
        if self._pool:
            self._settle(index)
        logits = read(self._modules[index], images[rows])
        known = logits.detach()
        if len(known) == len(images):
            loss = criterion(logits, targets)
        else:
            # The other films' logits change this piece's gradient as little as zeros do.
            whole = logits.new_zeros(len(images), logits.shape[1])
            whole[rows] = logits
            loss = criterion(whole, targets)
        with transfer() if self._ranks.count > 1 else nullcontext():  # SharedBatchNorm's way back
            gradients = torch.autograd.grad(loss, self._parameters, allow_unused=True)
        return _Piece(rows, known, gradients)

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


def _sum(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other


def _laid_out(gradient: Tensor, parameter: Tensor) -> Tensor:
    """On a GPU, the gradient with its parameter's strides, which the optimisers' common kernels ask for.

    A 1x1 convolution's weight has the same order in memory in either of two layouts; what went back through it may say
    the other.
    """
    if not gradient.is_cuda or gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)
