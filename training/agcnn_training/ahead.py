"""Drawing the next batch while the network works on this one."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Key = TypeVar("Key")
Drawn = TypeVar("Drawn")


def drawn_ahead(keys: Sequence[Key], draw: Callable[[Key], Drawn]) -> Iterator[tuple[Key, Drawn]]:
    """Each key with what is drawn for it, the next one being drawn in the background.

    The draws happen one after another and in order, so that they may keep a state; what they raise is raised here, in
    its turn.
    """
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(1, "batches") as background:
        # One of torch's threads for the background: more would only make the network's wait. OpenMP keeps that for
        # each thread, MKL for the process, so the foreground takes its own number again.
        background.submit(_take_one_thread).result()
        torch.set_num_threads(threads)
        coming = [background.submit(draw, key) for key in keys[:1]]
        for index, key in enumerate(keys):
            drawn = coming.pop().result()
            if index + 1 < len(keys):
                coming.append(background.submit(draw, keys[index + 1]))
            yield key, drawn


def _take_one_thread() -> None:
    torch.get_num_threads()  # a thread takes the process's number when it first asks, and would forget ours
    torch.set_num_threads(1)
