"""What a child might do once a file has taken it over. Each function runs in a child."""

import contextlib
import ctypes
import fcntl
import itertools
import json
import os
import pickle
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypeAliasType

from agcnn_clinic.domain import Geometry, Picture, ReasonCode, Tones
from agcnn_clinic.errors import ImageError

Scalar = TypeVar("Scalar", bound=np.generic)
Aliased = TypeAliasType("Aliased", np.ndarray[Any, np.dtype[Scalar]], type_params=(Scalar,))
"""What NumPy's NDArray is from 2.5 on, which needs Python 3.12."""


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def under_an_alias() -> tuple[Aliased[np.int16], ...]:
    """Behave well, and declare an alias."""
    return (np.arange(6, dtype=np.int16).reshape(2, 3),)


def the_pipe() -> int:
    """The descriptor of the pipe to the parent, as code in the child can find it."""
    frame = sys._getframe()
    while "connection" not in frame.f_locals:
        frame = frame.f_back
    return frame.f_locals["connection"].fileno()


def _write(*pieces: bytes) -> None:
    for piece in pieces:
        os.write(the_pipe(), piece)


def says(answer: bytes, arrays: bytes = b"") -> Picture:
    """Answer with these bytes as the head, framed as an answer is, and its arrays, in place of a picture."""
    _write(struct.pack(">Q", len(answer)), answer, arrays)
    return wait_for_ever()


def says_an_integer(answer: bytes) -> int:
    """As `says`, in place of an integer."""
    return says(answer)


def says_a_number(answer: bytes) -> float:
    """As `says`, in place of a number."""
    return says(answer)


def unpickles_to_a_file(path: Path) -> Picture:
    """Answer with a pickle, framed as an answer is."""
    return says(pickle.dumps(Bomb(path)))


def pickle_as_connections_do(path: Path) -> Picture:
    """Answer with a pickle, framed as multiprocessing does."""
    data = pickle.dumps(Bomb(path))
    _write(struct.pack("!i", len(data)), data)
    return wait_for_ever()


def floods() -> Picture:
    """Claim 10 GB and send them as fast as the pipe takes them."""
    head = json.dumps({"value": 0, "arrays": [10 * 2**30]}).encode()
    _write(struct.pack(">Q", len(head)), head)
    block = bytes(2**20)
    while True:
        _write(block)


def endless_head() -> Picture:
    """Claim a head of 10 GB and send it."""
    _write(struct.pack(">Q", 10 * 2**30))
    block = b"[" * 2**20
    while True:
        _write(block)


def wait_for_ever() -> Picture:
    """Loop in Python."""
    while True:
        pass


def sleeps(seconds: float) -> int:
    """Wait, as for a core or a disk, and say that it is done."""
    time.sleep(seconds)
    return 1


def trickles() -> Picture:
    """Never be silent for long, and never come to an end."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    _write(struct.pack(">Q", 2**20))
    while True:
        _write(b" ")
        time.sleep(0.05)


def closes_its_pipe() -> Picture:
    """Close the pipe and stay."""
    os.close(the_pipe())
    return wait_for_ever()


def dies_in_the_middle_of_its_answer() -> Picture:
    """Begin to answer, and end."""
    _write(struct.pack(">Q", 1000), b'{"value":')
    os._exit(3)


def ignores_the_alarm() -> Picture:
    """Outlive the deadlines that a child sets itself."""
    for ringing in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(ringing, signal.SIG_IGN)
    return wait_for_ever()


def stops_itself() -> Picture:
    """Stop, as with Ctrl-Z."""
    signal.raise_signal(signal.SIGSTOP)
    return wait_for_ever()


def refuses() -> Picture:
    """Behave well, over a film that is not for this model."""
    raise ImageError(ReasonCode.WRONG_VIEW)


def eats_memory() -> int:
    """Take memory in small pieces."""
    pieces = [bytearray(2**20) for _ in itertools.count()]
    return len(pieces)


def picture(side: int = 4, value: float = 0.5) -> Picture:
    """A picture with pixels of one value."""
    return Picture(np.full((side, side), value, np.float32), Geometry(side, side), "drawn", Tones(0.0, 1.0, 0.0, 0.0))


def values(side: int = 4) -> NDArray[np.float32]:
    """An array without a picture around it."""
    return np.zeros((side, side), np.float32)


def what_is_refused(folder: str, parent: int) -> list[str]:
    """Try everything that a child has no business with; which of it is refused."""
    there = Path(folder) / "there"

    def open_for_writing():
        with there.open("r+b"):
            pass

    def grow_memory_file():
        os.write(os.memfd_create("x"), b"x")

    def open_many_files():
        opened = [there.open("rb") for _ in range(100)]
        opened.clear()

    attempts = {
        "make a file": (Path(folder) / "new").touch,
        "open a file for writing": open_for_writing,
        "cut a file": lambda: os.truncate(there, 0),
        "remove a file": there.unlink,
        "rename a file": lambda: there.rename(Path(folder) / "other"),
        "make a folder": (Path(folder) / "folder").mkdir,
        "make a link": lambda: (Path(folder) / "link").symlink_to(there),
        "make a hard link": lambda: os.link(there, Path(folder) / "hard"),
        "change a mode": lambda: there.chmod(0o777),
        "change an owner": lambda: os.chown(there, 1, 1),
        "change a time": lambda: os.utime(there, (0, 0)),
        "change an access list": lambda: _open_to_everybody(there),
        "write a file in memory": grow_memory_file,
        "open a socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close(),
        "open a local socket": lambda: socket.socket(socket.AF_UNIX).close(),
        "fork": _forked,
        "run a program": lambda: subprocess.run(["/bin/true"], check=True),
        "replace itself by a program": lambda: os.execv("/bin/true", ["true"]),
        "signal its parent": lambda: os.kill(parent, 0),
        "make its parent slow": lambda: os.setpriority(os.PRIO_PROCESS, parent, 19),
        "lock a file": lambda: _locked(there),
        "limit its parent": lambda: resource.prlimit(parent, resource.RLIMIT_NOFILE, (10, 10)),
        "open many files": open_many_files,
    }
    return [name for name, attempt in attempts.items() if _fails(attempt)]


def starts_a_thread() -> None:
    """Start a thread and wait for it."""
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()


def writes_to_all_that_it_has() -> list[str]:
    """Tell every descriptor but the pipe to the parent what multiprocessing's resource tracker would print."""
    for descriptor in range(64):
        if descriptor != the_pipe():
            with contextlib.suppress(OSError):
                os.write(descriptor, b"REGISTER:Doe^Jane:film\n")
    return []


def _locked(path: Path) -> None:
    with path.open("rb") as file:
        fcntl.lockf(file, fcntl.LOCK_SH)


def _open_to_everybody(path: Path) -> None:
    """Let everybody write a file, by its access list and a call that is new in Linux 6.13."""
    entries = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", tag, 6, 0xFFFFFFFF) for tag in (1, 4, 32))
    kept = ctypes.create_string_buffer(entries, len(entries))
    value = struct.pack("QII", ctypes.addressof(kept), len(entries), 0)
    libc, size = ctypes.CDLL(None, use_errno=True), ctypes.c_size_t(len(value))
    if libc.syscall(463, -100, bytes(path), 0, b"system.posix_acl_access", value, size) < 0:
        raise OSError(ctypes.get_errno(), "")


def _forked() -> None:
    if os.fork() == 0:
        os._exit(0)


def _fails(attempt) -> bool:
    try:
        attempt()
    except OSError:
        return True
    return False
