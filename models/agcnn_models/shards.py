"""A batch shared among threads, each with a core to itself: how a CPU reads that has other work to do.

torch's own threads meet at a barrier after every operation. Where one of them has to wait for a core, the others spin
there: beside two busy decoders on two cores, a film took twice the processor time that it takes alone
(docs/PERFORMANCE.md). These threads meet once a batch.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

from agcnn_models.agcnn import Diagnosis

__all__ = ["Shards", "one_thread"]

Share = TypeVar("Share")
"""What is made of a share of a batch."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Leave torch's own threads out: for many small tensors, after each of which they would meet."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Shards:
    """Threads that read a batch in shares of it; an image alone is read with all of torch's own threads.

    A reading depends neither on the other images nor on the thread, but for the rounding of its last digits.
    """

    def __init__(self, threads: int) -> None:
        """Describe the threads; they start with the first batch.

        Args:
            threads: the most that work at a time, 1 or more.
        """
        self._count = threads
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="network")

    def read(self, work: Callable[[Tensor], Diagnosis], images: Tensor) -> Diagnosis:
        """Diagnose images [B, ...] by `work`, as `each` does; the order is kept."""
        shares = self.each(work, images)
        return shares[0] if len(shares) == 1 else Diagnosis(*(torch.cat(parts) for parts in zip(*shares, strict=True)))

    def each(self, work: Callable[[Tensor], Share], images: Tensor) -> list[Share]:
        """Call `work` with shares of images [B, ...], [b, ...] each, from several threads; in the images' order.

        What `work` raises comes out of here.
        """
        count = min(self._count, len(images))
        if count == 1:
            return [_with(self._count, work, images)]
        return list(self._threads.map(lambda share: _with(1, work, share), images.tensor_split(count)))


def _with(torch_threads: int, work: Callable[[Tensor], Share], images: Tensor) -> Share:
    # OpenMP keeps the number for each thread that asks, torch the last one for threads to come: so it is always said.
    torch.set_num_threads(torch_threads)
    return work(images)
