"""A run is asked to stop by a signal, and says what it does."""

import io
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from agcnn_training.errors import TrainingError
from agcnn_training.progress import Journal, StopRequest


@pytest.fixture
def interrupts() -> Iterator[None]:
    """Ctrl-C interrupts, as in a terminal: a shell that starts its jobs in the background lets them ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interrupts")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_interrupts(number: signal.Signals) -> None:
    """Ctrl-C and a cluster's SIGTERM are noted; Ctrl-C after that interrupts at once."""
    before, stop = signal.getsignal(number), StopRequest()
    with stop.listening():
        assert not stop.made
        os.kill(os.getpid(), number)
        assert stop.made
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(number) is before


def test_in_another_thread_nobody_listens() -> None:
    """Python sets signal handlers in the main thread only: elsewhere the run goes on without."""
    entered = []

    def listen() -> None:
        with StopRequest().listening():
            entered.append(True)

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert entered == [True]


def test_what_is_said_is_kept(tmp_path: Path) -> None:
    """Each line goes to the console, and once a file is named, to that too."""
    output = io.StringIO()
    journal = Journal(Console(file=output))
    journal.say("before")
    journal.keep(tmp_path / "log.txt")
    journal.say("after [bold]")
    assert output.getvalue().splitlines() == ["before", "after [bold]"]
    (line,) = (tmp_path / "log.txt").read_text().splitlines()
    assert line.endswith("Z after [bold]")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_log_on_a_full_disk_is_one_sentence() -> None:
    """A line that cannot be kept ends the run with what to do."""
    journal = Journal(Console(file=io.StringIO()))
    journal.keep(Path("/dev/full"))
    with pytest.raises(TrainingError, match=r"^full cannot be written in /dev .*: free disk space and .* --resume\.$"):
        journal.say("global-1 epoch 1/50")
