"""The network on a CPU that has other work to do: other processes, and other threads of this one."""

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from agcnn_bench.clinics import busy_cores
from agcnn_bench.figures import Results, timed
from agcnn_clinic.clinic import DECODERS_NICENESS, SWITCH_SECONDS
from agcnn_models.agcnn import AGCNN
from agcnn_models.cores import usable_cores
from agcnn_models.shards import Shards

BURST_SECONDS, REST_SECONDS = 0.004, 0.008
"""What another thread does: Python for a third of the time, as on a machine with many cores, where reports and rows are
written at such a rate."""


def beside_processes(results: Results, model: AGCNN, images: Tensor, runs: int) -> None:
    """A film's time where all cores are busy with something else: a batch shared, and not.

    And shared beside what stands back as decoders do.
    """
    shards = Shards(usable_cores())
    works: dict[str, tuple[int, Callable[[], object]]] = {
        "unshared": (0, lambda: model.read(images)),
        "shared": (0, lambda: shards.read(model.read, images)),
        "standing_back": (DECODERS_NICENESS, lambda: shards.read(model.read, images)),
    }
    for name, (niceness, work) in works.items():
        with busy_cores(niceness):
            torch.set_num_threads(usable_cores())
            results.add(f"network.cpu.beside_others.{name}", timed(work, runs, per=len(images)))


def beside_python(results: Results, model: AGCNN, images: Tensor, runs: int) -> None:
    """A film's time on one core while another thread wants Python's lock, which is handed over late or early."""
    shards = Shards(1)

    def read() -> None:
        shards.read(model.read, images)

    usual = sys.getswitchinterval()
    results.add("network.cpu.beside_python.without", timed(read, runs, per=len(images)))
    try:
        for name, seconds in (("default", usual), ("at_work", SWITCH_SECONDS)):
            sys.setswitchinterval(seconds)
            with _in_bursts():
                results.add(f"network.cpu.beside_python.{name}", timed(read, runs, per=len(images)))
    finally:
        sys.setswitchinterval(usual)
        torch.set_num_threads(usable_cores())


@contextlib.contextmanager
def _in_bursts() -> Iterator[None]:
    """Let a thread count and rest by turns; how far it counts in a burst is found out while it is alone."""
    done = threading.Event()
    steps = int(BURST_SECONDS / timed(lambda: _count(100_000), 5, per=100_000).median)

    def count() -> None:
        while not done.wait(REST_SECONDS):
            _count(steps)

    thread = threading.Thread(target=count, name="bursts")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _count(steps: int) -> int:
    total = 0
    for step in range(steps):
        total += step
    return total
