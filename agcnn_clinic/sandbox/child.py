"""What runs in a child process: a task, its answer, the next task."""

import contextlib
import multiprocessing
import os
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from agcnn_clinic.domain import ReasonCode
from agcnn_clinic.errors import ImageError, StorageError
from agcnn_clinic.sandbox.confine import confine, no_more_processes
from agcnn_clinic.sandbox.wire import Message, confirm, packed, packed_error, send

READY = b"ready"
"""A child's first word, before it has a task."""
_DESCRIPTORS = 1024
"""More than the process that children are forked from ever has open."""
PATIENCE = 5
"""How many times its seconds a task may take by the clock: it may have to wait for a core, or for a disk."""


class Task(NamedTuple):
    """A call, its deadline in seconds of processor time, and what it may allocate beyond what is mapped when it begins.

    The clock's deadline is `PATIENCE` times as long. A memory limit of 0 is none. The answer to one with
    `values` is a list of so many.
    """

    seconds: float
    memory_mb: int
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    values: int | None = None


def serve(connection: Connection, niceness: int) -> None:
    """Do tasks until the parent is gone, behind processes that are less nice (`nice(2)`)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(niceness)
    _say_nothing_but(connection)
    confine()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    no_more_processes()
    connection.send_bytes(READY)
    while True:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            task: Task = connection.recv()  # pickled: it comes from the parent, which is to be trusted
        except EOFError:
            return
        # A service manager sends SIGTERM to every process of the service at once. The parent decides what that
        # means; a child that obeyed in the middle of a file would undo what is nearly done.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            confirm(connection)
            send(connection, _answer(task))
        except OSError:
            return  # whoever waited for it is gone


def _say_nothing_but(connection: Connection) -> None:
    """Let all descriptors lead nowhere but the pipe, and the one that tells of the parent's end.

    What native code prints of a file would be in the daemon's log. And multiprocessing hands a child the ways to its
    own processes: the fork server, which ends at a word, and the resource tracker, which prints what it does not know.
    """
    parent = multiprocessing.parent_process()
    kept = {connection.fileno(), *([] if parent is None else [parent.sentinel])}
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(_DESCRIPTORS):
        if descriptor not in kept and (descriptor <= 2 or _is_open(descriptor)):
            os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _answer(task: Task) -> list[Message]:
    """Do a task: its value as messages, or its error as one that the parent knows."""
    try:
        with _alarm(task.seconds), _memory_limit(task.memory_mb):
            value = task.function(*task.args, **task.kwargs)
        return packed(value)
    except (ImageError, StorageError) as error:
        return packed_error(error)
    except MemoryError:
        return packed_error(ImageError(ReasonCode.MEMORY))
    except BaseException as error:  # noqa: BLE001 (a panic of Rust is no Exception)
        # Only its kind: a message may quote the file.
        return packed_error(ImageError(ReasonCode.CRASHED, f"unexpected {type(error).__name__}"))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """End the process when the block takes too long, by its own time or by the clock."""
    for ringing in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(ringing, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, seconds * PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


@contextlib.contextmanager
def _memory_limit(memory_mb: int) -> Iterator[None]:
    """Let the block map so much more address space than is mapped now; 0: no limit.

    Lifted afterwards, since sending a large result takes memory, too.
    """
    if not memory_mb:
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_AS)
    limit = _address_space() + memory_mb * 2**20
    if before[1] != resource.RLIM_INFINITY:
        limit = min(limit, before[1])
    with contextlib.suppress(ValueError, OSError):  # some systems know the limit and do not let it be set
        resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, before)


def _address_space() -> int:
    """Bytes of address space that this process has mapped: libraries count, and are not the file's doing."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 (a kernel's file, read as it is)
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 2**30
