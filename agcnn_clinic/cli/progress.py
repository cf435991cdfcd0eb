"""A progress bar for long work, where there is a terminal to draw it on."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A function that is told the total (0: not known yet) and what is done of it.

    Nothing is drawn where standard error is no terminal: a command's last lines say it all.
    """
    if not sys.stderr.isatty():
        yield lambda _total, _done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns: list[Any] = [TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda total, done: bar.update(task, total=total or None, completed=done)
