"""What a process and all its descendants use: processor time and memory, by looking again and again."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple, Self

import psutil

_CPU_EVERY = 0.5
"""Seconds between two looks. They take processor time from what is measured: ten a second took two cores 2 % of it."""
_MEMORY_EVERY = 8
"""Memory is looked at so many times less often: the kernel walks every page for it."""


class Memory(NamedTuple):
    """One look at the memory of the tree."""

    mark: int
    """What the caller counted at that moment."""
    megabytes: float
    """Each shared page divided among those that share it (PSS)."""


class Tree:
    """Samples a process tree from a thread, for the length of a `with` block.

    The processor time of a process that ended between two looks is lost but for what the last look saw: at most half
    a second for each.
    """

    def __init__(self, pid: int, mark: Callable[[], int] = lambda: 0) -> None:
        """Describe what is sampled.

        Args:
            pid: the process at the root.
            mark: counts something that is kept beside each look at the memory: reports made, say.
        """
        self._root = psutil.Process(pid)
        self._mark = mark
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._cpu: dict[tuple[int, float], float] = {}
        self._before = 0.0
        self.memory: list[Memory] = []

    def __enter__(self) -> Self:
        """Begin: processor time counts from here."""
        self._look()
        self._before = sum(self._cpu.values())
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Look a last time."""
        self._stop.set()
        self._thread.join()
        self._look()

    @property
    def core_seconds(self) -> float:
        """Processor time of all of them since the block began."""
        return sum(self._cpu.values()) - self._before

    @property
    def peak_mb(self) -> float:
        """The most memory that was seen."""
        return max((look.megabytes for look in self.memory), default=0.0)

    def _sample(self) -> None:
        looks = 0
        while not self._stop.wait(_CPU_EVERY):
            self._look()
            if looks % _MEMORY_EVERY == 0:
                self.memory.append(Memory(self._mark(), self._megabytes()))
            looks += 1

    def _processes(self) -> list[psutil.Process]:
        try:
            return [self._root, *self._root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _look(self) -> None:
        for process in self._processes():
            try:
                used = process.cpu_times()
                self._cpu[process.pid, process.create_time()] = used.user + used.system
            except psutil.Error:
                continue

    def _megabytes(self) -> float:
        total = 0
        for process in self._processes():
            try:
                total += process.memory_full_info().pss
            except (psutil.Error, AttributeError):
                continue
        return total / 1e6
