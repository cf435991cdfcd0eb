"""What a person sees of a run: a moving bar on a terminal, plain lines anywhere else."""

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from agcnn_training.files import append_text

Item = TypeVar("Item")


class Journal:
    """Says on a console, and in a file, how a run goes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._file: Path | None = None

    def keep(self, file: Path) -> None:
        """From here on add each line to a file too, with the time (UTC)."""
        self._file = file

    def say(self, line: str) -> None:
        """Print one line.

        Raises:
            TrainingError: it is to be kept in a file too, and the disk is full or cannot be written.
        """
        if self._file:
            append_text(self._file, f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {line}\n")
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def steps(self, items: Iterable[Item], total: int, title: str) -> Iterator[Item]:
        """Pass items through; on a terminal a bar moves with them."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        hidden = not self._console.is_terminal
        with Progress(*columns, console=self._console, transient=True, disable=hidden) as progress:
            yield from progress.track(items, total=total, description=title)


class StopRequest:
    """Whether someone has asked the run to stop."""

    def __init__(self) -> None:
        self.made = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take SIGINT and SIGTERM as a request; a second one interrupts at once, as it would without us.

        Python lets only the main thread set signal handlers; elsewhere this listens to nothing.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        signals = (signal.SIGINT, signal.SIGTERM)
        earlier = {number: signal.getsignal(number) for number in signals}

        def restore() -> None:
            for number, handler in earlier.items():
                signal.signal(number, handler)

        def note(_number: int, _frame: FrameType | None) -> None:
            self.made = True
            restore()

        for number in signals:
            signal.signal(number, note)
        try:
            yield
        finally:
            restore()
