"""A batch shared among threads, each with a core to itself: how a CPU reads that has other work to do.

torch's own threads meet at a barrier after every operation. Where one of them has to wait for a core, the others spin
there: beside two busy decoders on two cores, a film took twice the processor time that it takes alone
(docs/PERFORMANCE.md). These threads meet once a batch.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from agcnn_models.agcnn import Diagnosis

__all__ = ["Shards"]


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
        """Diagnose images [B, ...] by `work`, which is called with shares of them, [b, ...] each, from several threads.

        The order is kept. What `work` raises comes out of here.
        """
        count = min(self._count, len(images))
        if count == 1:
            return _with(self._count, work, images)
        shares = self._threads.map(lambda share: _with(1, work, share), images.tensor_split(count))
        return Diagnosis(*(torch.cat(parts) for parts in zip(*shares, strict=True)))


def _with(torch_threads: int, work: Callable[[Tensor], Diagnosis], images: Tensor) -> Diagnosis:
    # OpenMP keeps the number for each thread that asks, torch the last one for threads to come: so it is always said.
    torch.set_num_threads(torch_threads)
    return work(images)
