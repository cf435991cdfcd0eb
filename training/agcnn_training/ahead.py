"""Drawing the next batch while the network works on this one."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor

Key = TypeVar("Key")
Drawn = TypeVar("Drawn")
Tensors = TypeVar("Tensors", bound=tuple[Tensor, ...])


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


def drawn_beside(
    keys: Sequence[Key], draw: Callable[[Key], Tensors], device: torch.device
) -> Iterator[tuple[Key, Tensors]]:
    """The same for tensors on a GPU, which draws them on a stream of its own.

    On the network's stream each copy from the host would first wait for the step that is under way, and the network
    then for the batch.
    """
    stream = _drawing_stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))  # films may still be on their way there

    def draw_and_mark(key: Key) -> tuple[Tensors, torch.cuda.Event]:
        with torch.cuda.stream(stream):
            return draw(key), stream.record_event()

    for key, (drawn, ready) in drawn_ahead(keys, draw_and_mark):
        current = torch.cuda.current_stream(device)
        current.wait_event(ready)
        for tensor in drawn:
            tensor.record_stream(current)  # its memory is not given to another batch before the network has read it
        yield key, drawn


@cache
def _drawing_stream(device: torch.device) -> torch.cuda.Stream:
    """The one stream of a GPU on which batches are drawn.

    torch has 32 streams and gives them out in turn. With a new one for each epoch each of them would keep memory of its
    own, and sooner or later it would be the one on which steps are recorded: the drawing would be recorded, too.
    """
    stream: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    return stream


def _take_one_thread() -> None:
    torch.get_num_threads()  # a thread takes the process's number when it first asks, and would forget ours
    torch.set_num_threads(1)
