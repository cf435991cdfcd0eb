"""The same work on many files, side by side: in processes when that pays, else in threads."""

import multiprocessing
import pickle
import signal
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Final, TypeVar

import torch

from agcnn_training.errors import TrainingError

Result = TypeVar("Result")

_FEW: Final = 200
"""Below so many files threads are done before a process has imported torch."""

_FREE_DECODERS: Final = frozenset({".png", ".jpg", ".jpeg"})
"""Pillow decodes these without the interpreter lock."""


def on_each(work: Callable[[Path], Result], files: Sequence[Path], workers: int, ahead: int) -> Generator[Result]:
    """Do the same work on each file; close it when it is not taken to its end.

    Threads read PNG and JPEG: of the 12 ms that a film of 1024 x 1024 takes, the interpreter lock is held for less than
    one. The decoders of DICOM hold it (on two cores two threads read compressed DICOM no faster than one), so those
    files get processes, where there are enough of them and ``work`` can be pickled.

    Args:
        work: done on each file.
        files: their kind and number decide between threads and processes.
        workers: how many work side by side.
        ahead: the most results that are there before they are taken.

    Yields:
        The result of each file, in order.

    Raises:
        TrainingError: a process died.
    """
    threads_before = torch.get_num_threads()
    free = all(path.suffix.lower() in _FREE_DECODERS for path in files)
    apart = not free and len(files) >= _FEW and workers > 1 and _portable(work)
    pool = _processes(workers) if apart else _threads(workers)
    try:
        for first in range(0, len(files), ahead):
            yield from pool.map(work, files[first : first + ahead])
    except BrokenProcessPool as error:
        raise TrainingError(
            "A process that reads films was ended from outside, for want of memory or by a file that its decoder does "
            "not survive: try again with fewer --workers; what had been read into a cache is kept."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads_before)


def _threads(workers: int) -> Executor:
    # torch's own threads would fight with these; each thread has to be told.
    return ThreadPoolExecutor(max(workers, 1), initializer=torch.set_num_threads, initargs=(1,))


def _processes(workers: int) -> Executor:
    # Never fork: this process has threads, and may have a GPU.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_process)


def _begin_process() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends us in order
    torch.set_num_threads(1)


def _portable(work: object) -> bool:
    try:
        pickle.dumps(work)
    except (pickle.PicklingError, AttributeError, TypeError):
        return False
    return True
