"""Loading the libraries of the children while this process loads its own: nothing but the interpreter's own is needed.

The children are forked from one process, the fork server, which loads them once.
"""

import contextlib
import multiprocessing
import multiprocessing.forkserver
import os
import threading
from collections.abc import Iterator, Mapping
from typing import Final

_ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
    ),
    "1",
)
_KEPT_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**25), "MALLOC_TRIM_THRESHOLD_": str(2**28)}
ENVIRONMENT: Mapping[str, str] = _ONE_THREAD | _KEPT_MEMORY
"""What libraries read when a child loads them.

The children are the parallelism: each gets one thread. And each keeps the memory of a film for the next one, where the
C library is glibc: to give it back and to be given the same pages again, cleared, takes a twentieth of a film's time.
"""

_STARTING = threading.Lock()
"""The environment is the whole process's."""

START_METHOD: Final = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


def load_ahead(*modules: str) -> None:
    """Begin to load what the children of all sandboxes need, without waiting for it.

    One process loads it, once, and the children are forked from there: the first call decides. A program that calls
    this before it loads what it needs itself does both at a time.

    Raises:
        ChildrenUnavailableError: that process cannot be started.
    """
    if START_METHOD == "forkserver":
        multiprocessing.get_context(START_METHOD).set_forkserver_preload(["agcnn_clinic.sandbox.child", *modules])
        see_to_fork_server()


def see_to_fork_server() -> None:
    """Start the process that children are forked from, if it is not there or something has ended it.

    multiprocessing would do so as well, but not with `ENVIRONMENT`: each child would have a thread for each core.

    Raises:
        ChildrenUnavailableError: it cannot be started.
    """
    if START_METHOD != "forkserver":
        return
    with _STARTING:
        if _has_fork_server():
            return
        try:
            with environment(ENVIRONMENT):
                multiprocessing.forkserver.ensure_running()
        except OSError as error:
            from agcnn_clinic.errors import ChildrenUnavailableError  # noqa: PLC0415 (nothing is loaded before)

            raise ChildrenUnavailableError(
                f"The processes that read files cannot be started: {error}. Their socket lies in the folder for "
                "temporary files: see that $TMPDIR, if it is set, names one that can be written and has a short path."
            ) from error


def _has_fork_server() -> bool:
    pid = getattr(multiprocessing.forkserver._forkserver, "_forkserver_pid", None)  # noqa: SLF001 (nothing else tells)
    # Left to be waited for: multiprocessing does that before it starts another.
    if pid is None or not hasattr(os, "waitid"):
        return pid is not None
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


@contextlib.contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for the processes started inside the block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
