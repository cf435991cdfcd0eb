"""Makes a daemon one that ends itself at a step, and that is in a hurry: the nursery calls `prepare`.

Its plan is a file shared as memory, `point passage signal`: at that passage through that fault point it sends itself
that signal.
"""

import faulthandler
import functools
import mmap
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

from agcnn_clinic import faults
from agcnn_clinic.analysis import infer
from agcnn_clinic.bundles import configured_bundle
from agcnn_clinic.config import load_config
from agcnn_clinic.intake import accept, inbox

PLAN_BYTES = 64

_load_reader = functools.cache(infer.load_reader)
"""One network for all daemons, which each has as its own after the fork."""


class Killer:
    """The fault hook: at the moment that the plan names SIGKILL or SIGSTOP, which nothing can catch."""

    def __init__(self, plan: Path) -> None:
        with plan.open("r+b") as file:
            self._plan = mmap.mmap(file.fileno(), PLAN_BYTES)
        self._lock = threading.Lock()
        self._known = b""
        self._passages = 0

    def __call__(self, point: str) -> None:
        with self._lock:
            plan = self._plan[:]
            if plan != self._known:
                self._known, self._passages = plan, 0
            name, *when = plan.rstrip(b"\0").decode().split(" ")
            if name != point:
                return
            passage, number = map(int, when)
            self._passages += 1
            if self._passages == passage:
                os.kill(os.getpid(), number)


def prepare(config: str, plan: str) -> Callable[[], None]:
    """In the nursery: load the network of a clinic. Returns what the daemon is furnished with."""
    settings = load_config(Path(config))
    analysis = settings.analysis  # asked for as `clinic.at_work` does, so that the daemon finds it made
    _load_reader(
        configured_bundle(settings),
        device=analysis.device,
        threads=analysis.shares.network_threads,
        precision=analysis.precision,
    )
    return functools.partial(_furnish, Path(plan))


def _furnish(plan: Path) -> None:
    faulthandler.register(signal.SIGUSR1)  # a test that waits in vain asks where its threads are
    faults.hook = Killer(plan)
    infer.load_reader = _load_reader
    accept.SMALL_BYTES = 0  # the tests' films are small: as large ones they are copied side by side
    inbox.BATCH = 64  # the tests' backlogs are small: they come in many batches as large ones do
    inbox.EMPTY_FOLDER_SECONDS = 0.0  # a folder that is put into an inbox here is whole from its first moment
