"""Child processes with a memory limit and a deadline, for native codecs that may crash, loop or eat all memory.

What a child does to itself ends as an `ImageError` of the file that it was working on, and of no other: each child
has a pipe of its own, and its end is seen there. (The pools of concurrent.futures break as a whole when a child dies;
pebble's, whose children share a pipe, at times blames the file before the one that crashed.)
"""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from multiprocessing.connection import Connection, wait
from typing import Any, ParamSpec, Self, TypeVar

from agcnn_clinic.domain import REASONS, Outcome, ReasonCode
from agcnn_clinic.errors import ChildrenUnavailableError, ImageError
from agcnn_clinic.sandbox.ahead import ENVIRONMENT, START_METHOD, environment, load_ahead, see_to_fork_server
from agcnn_clinic.sandbox.child import PATIENCE, READY, Task, serve
from agcnn_clinic.sandbox.wire import NoAnswerError, declared_type, hand_over, receive

A = TypeVar("A")
P = ParamSpec("P")
T = TypeVar("T")

PARENT_GRACE_SECONDS = 30.0
"""How much later than the child's own alarm the parent ends a child: a large result takes time to be sent."""

START_SECONDS = 120.0
"""How long a child may take to load its libraries, on the slowest and busiest machine."""

ENDING_SECONDS = 1.0
"""How long a child that has closed its pipe may take to end by itself, and so to say why."""

_HANDED_OVER = 3
"""How many new children a task is handed to, of which none lives to say that it has come."""

_LOOKING = threading.Lock()
"""Held by who asks multiprocessing how a child ended, and by who starts one, since it looks after all others then. The
fork server tells once: of two threads that ask at a time, the second would hear of `_UNTOLD`, whatever it was."""
_UNTOLD = 255
"""The exit code of a child of which the fork server does not tell any more, because it has ended itself."""

MAX_RESULT_BYTES = 2**30
"""What the arrays of one result may take: four times the picture of the largest film that the gate lets in."""


class _ChildLostError(Exception):
    """A child ended for a reason that is not its task: it was told to stop, or was gone, or took none."""


class Sandbox:
    """A pool of child processes; `with Sandbox(...) as sandbox: sandbox.run(function, ...)`.

    Functions and what they take must pickle; what they give is rebuilt by the type that they declare to return (see
    `wire`). A child has one task at a time, and serves until one ends in quarantine or it dies.
    """

    def __init__(
        self,
        workers: int,
        seconds: float,
        memory_mb: int,
        preload: Sequence[str] = (),
        max_result_bytes: int = MAX_RESULT_BYTES,
        niceness: int = 0,
    ) -> None:
        """Describe the pool; nothing starts before the `with` statement.

        Args:
            workers: how many children.
            seconds: the deadline of one task, counted from when a child takes it, in processor time; by the clock it
                is `PATIENCE` times as long.
            memory_mb: what a task may allocate beyond what is mapped when it begins; 0: no limit.
            preload: modules that the children need; see `load_ahead`.
            max_result_bytes: what the arrays of one result may take; a child that sends more is ended.
            niceness: how far the children stand back where cores are short, 0 to 19; see `nice(2)`.
        """
        if workers < 1 or seconds <= 0 or memory_mb < 0:
            raise ValueError("A sandbox needs at least one worker, a deadline above 0 and no negative memory limit.")
        self.workers = workers
        self._seconds = seconds
        self._memory_mb = memory_mb
        self._max_result_bytes = max_result_bytes
        self._niceness = niceness
        self._preload = preload
        self._context = multiprocessing.get_context(START_METHOD)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="sandbox")
        self._lock = threading.Lock()
        self._children: set[_Child] = set()
        self._idle: list[_Child] = []
        self._closed = threading.Event()

    def __enter__(self) -> Self:
        """Begin to load the libraries of the children, without waiting for it."""
        load_ahead(*self._preload)
        return self

    def __exit__(self, *error: object) -> None:
        """End all children; the futures of what they had in hand raise CancelledError."""
        with self._lock:
            self._closed.set()
            children = list(self._children)
        self._threads.shutdown(wait=False, cancel_futures=True)
        for child in children:
            child.end()
        self._threads.shutdown(wait=True)

    def start_first(self) -> None:
        """Begin to start a child for a task that is sure to come. Why that failed, if it did, the task will tell."""
        self._threads.submit(lambda: self._give_back(self._take()))

    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Let a child call the function.

        Returns:
            A future. Its result raises ImageError with DEADLINE, MEMORY or CRASHED for what the child did not
            survive and for errors of no class of this package; those of this package as the function raised them;
            ChildrenUnavailableError when no child can be started or lives, which is no file's fault;
            CancelledError when the sandbox is left before.
        """
        return self._threads.submit(self._call, Task(self._seconds, self._memory_mb, function, args, kwargs))

    def submit_all(self, function: Callable[[list[A]], list[T]], things: Sequence[A]) -> Future[list[T]]:
        """Let a child call a function that gives a value for each of several things; else as `submit`.

        Its result raises ImageError with CRASHED, too, where the answer holds fewer or more.
        """
        task = Task(self._seconds, self._memory_mb, function, (list(things),), {}, len(things))
        return self._threads.submit(self._call, task)

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the function in a child and wait for it; see `submit` for the errors."""
        return self.submit(function, *args, **kwargs).result()

    def _call(self, task: Task) -> Any:
        """Hand a task to an idle or new child, in one of the threads."""
        lost = 0
        while lost < _HANDED_OVER:
            child = self._take()
            was_idle = child.is_ready
            try:
                result = child.call(task, self._max_result_bytes)
            except _ChildLostError:
                # All that were idle may have ended at once, and none be known to have: only new ones tell of a cause.
                lost += not was_idle
                continue
            finally:
                self._give_back(child)
            return result
        raise ChildrenUnavailableError(
            f"The child processes that read files were ended {_HANDED_OVER} times before they had read anything; run "
            "`agcnn-clinic doctor`, and look for what ends processes here: a lack of memory does."
        )

    def _take(self) -> "_Child":
        with self._lock:
            if self._closed.is_set():
                raise CancelledError
            while self._idle:
                child = self._idle.pop()
                if child.is_alive():
                    return child
                self._children.discard(child)  # something has ended it meanwhile
        child = _Child(self._context, self._niceness)
        with self._lock:
            self._children.add(child)
            if not self._closed.is_set():
                return child
        child.end()
        raise CancelledError

    def _give_back(self, child: "_Child") -> None:
        with self._lock:
            if self._closed.is_set():
                raise CancelledError
            if child.is_alive():
                self._idle.append(child)
            else:
                self._children.discard(child)


class _Child:
    """One child process and the pipe to it."""

    def __init__(self, context: Any, niceness: int) -> None:
        self._connection: Connection
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, niceness), name="agcnn-clinic-sandbox", daemon=True)
        with _LOOKING, environment({} if START_METHOD == "forkserver" else ENVIRONMENT):
            see_to_fork_server()
            self._process.start()
        theirs.close()
        self.is_ready = False
        """Whether it has said its first word; one that has, and has no task, is idle."""
        self._end: int | None = None
        """Its exit code, as soon as that was asked for."""

    def call(self, task: Task, max_result_bytes: int) -> Any:
        """Let the child do a task; raises as `Sandbox.submit` says, or _ChildLostError."""
        if not self.is_alive():
            raise self._stillbirth()
        self._wait_until_ready()
        # The kernel rings an alarm in the child, which ends it even inside native code. This clock is for a child that
        # was stopped, or that a file has taught to stay.
        until = time.monotonic() + task.seconds * PATIENCE + PARENT_GRACE_SECONDS
        is_taken = False
        try:
            hand_over(self._connection, task, until)
            is_taken = True
            error, value = receive(self._connection, declared_type(task.function), max_result_bytes, until)
            if error is None and task.values is not None and len(value) != task.values:
                raise NoAnswerError("its answer is none")  # noqa: TRY301 (as if it were malformed)
        except NoAnswerError as lie:
            self.end()
            raise ImageError(ReasonCode.CRASHED, str(lie)) from lie
        except TimeoutError as late:
            self.end()
            if not is_taken:
                raise _ChildLostError from late
            raise ImageError(ReasonCode.DEADLINE, f"after {task.seconds:g} s") from late
        except (EOFError, OSError) as end:
            if is_taken:
                raise self._obituary(task) from end
            self.end()
            raise _ChildLostError from end
        if error is None:
            return value
        if isinstance(error, ImageError) and REASONS[ReasonCode(error.code)].outcome is Outcome.QUARANTINED:
            # A broken file may have left its mark on the memory of the child, and the next file would pay for it.
            self.end()
        raise error

    def _wait_until_ready(self) -> None:
        """Wait for the child's first word: what ends it before that cannot be a task."""
        if self.is_ready:
            return
        try:
            if not self._connection.poll(START_SECONDS):
                self.end()
            self._connection.recv_bytes(len(READY))
        except (EOFError, OSError) as end:
            raise self._stillbirth() from end
        self.is_ready = True

    def _stillbirth(self) -> Exception:
        end = self._ended()
        if self.is_ready or end == -signal.SIGTERM:
            return _ChildLostError()
        return ChildrenUnavailableError(
            f"The child processes that read files cannot be started ({_how_it_ended(end)}); "
            "run `agcnn-clinic doctor`, and look at what was printed before this line."
        )

    def is_alive(self) -> bool:
        """Tell whether it can take another task."""
        return self._end is None and not wait([self._process.sentinel], 0)

    def end(self) -> None:
        """End the process, whatever it does; not the one that may have got the number of one that is gone."""
        if self._exit_code() in (None, _UNTOLD):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)
        wait([self._process.sentinel])

    def _ended(self) -> str | int:
        """How the process ended, as an exit code; in words when it had only closed its pipe, and is ended now."""
        wait([self._process.sentinel], ENDING_SECONDS)
        end = self._exit_code()
        if end is None:
            self.end()
            return "it closed its pipe"
        return end

    def _exit_code(self) -> int | None:
        """How it ended; None while it runs."""
        with _LOOKING:
            self._end = self._process.exitcode
        return self._end

    def _obituary(self, task: Task) -> Exception:
        end = self._ended()
        if end in (-signal.SIGPROF, -signal.SIGALRM):
            return ImageError(ReasonCode.DEADLINE, f"after {task.seconds:g} s")
        if end == -signal.SIGTERM:
            return _ChildLostError()
        return ImageError(ReasonCode.CRASHED, _how_it_ended(end))


def _how_it_ended(end: str | int) -> str:
    if isinstance(end, str):
        return end
    if end >= 0:
        return f"exit code {end}"
    try:
        return signal.Signals(-end).name
    except ValueError:
        return f"signal {-end}"
