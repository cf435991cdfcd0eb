"""A process that has loaded torch and the clinic once, and forks the installed program from there, as often as asked.

Each of these is a process of its own, with its own process id, arguments, environment and standard streams, killed with
real signals; it runs the installed program's script from its first line to the interpreter's own end. What it is spared
is to load what loads in six seconds of a core.

It has not been started by the kernel, so that what is about just that starts the program itself: what the C library and
the loader read, memory, the time that a start takes, and what a module that is loaded already might hide.
"""

import contextlib
import functools
import gc
import importlib.util
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

PROGRAM = Path(sys.executable).with_name("agcnn-clinic")
CACHES = ("MPLCONFIGDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")
LOADED = (
    *("torch", "torchvision", "agcnn_clinic.cli.main", "agcnn_clinic.once", "agcnn_clinic.service"),
    *("agcnn_clinic.analysis.films", "agcnn_clinic.analysis.infer", "agcnn_clinic.analysis.loop"),
)
"""What the program loads for its daily work."""
_MOST_BYTES = 2**16
_STREAMS = 3


def homeless() -> dict[str, str]:
    """The environment of a service: libraries that keep a cache in the user's home find none."""
    return {name: value for name, value in os.environ.items() if name not in CACHES} | {"HOME": "/proc/nowhere"}


class Process:
    """The program at work, or ended: what subprocess.Popen offers of it, with streams of text."""

    def __init__(
        self, nursery: "Nursery", pid: int, args: Sequence[str], stdout: IO[str] | None, stderr: IO[str] | None
    ) -> None:
        self.pid, self.args, self.stdout, self.stderr = pid, args, stdout, stderr
        self.returncode: int | None = None
        """How it ended, negative for a signal; None until that was asked for."""
        self._nursery = nursery

    def poll(self) -> int | None:
        """How it ended, negative for a signal; None while it runs."""
        if self.returncode is None:
            self.returncode = self._nursery.ask(poll=self.pid)["status"]
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end.

        Raises:
            subprocess.TimeoutExpired: it runs on.
        """
        pause, began = threading.Event(), time.monotonic()
        while (status := self.poll()) is None:
            if timeout is not None and time.monotonic() - began >= timeout:
                raise subprocess.TimeoutExpired(self.args, timeout)
            pause.wait(0.01)
        return status

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end: what it has said on both streams and nobody has read yet.

        Raises:
            subprocess.TimeoutExpired: it, or a process that it has started, runs on.
        """
        began, said = time.monotonic(), {}

        def read(stream: IO[str]) -> None:
            said[stream] = stream.read()

        streams = [stream for stream in (self.stdout, self.stderr) if stream is not None]
        readers = [threading.Thread(target=read, args=(stream,), daemon=True) for stream in streams]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(None if timeout is None else max(0.0, began + timeout - time.monotonic()))
            if reader.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout)
        self.wait(None if timeout is None else max(0.0, began + timeout - time.monotonic()))
        for stream in streams:
            stream.close()
        return said.get(self.stdout, ""), said.get(self.stderr, "")

    def send_signal(self, number: int) -> None:
        """Give it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM, as a service manager sends it."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Wait for its end; no stream of it stays open."""
        self.wait()
        for stream in (self.stdout, self.stderr):
            if stream is not None:
                stream.close()


class Nursery:
    """The process that forks, as others see it; it begins with the first order, and all that it forked ends with it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._orders: socket.socket | None = None

    def start(
        self,
        arguments: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        stdout: int | IO[Any] | None = None,
        stderr: int | IO[Any] | None = None,
        start_new_session: bool = False,
        furnished: tuple[Path, dict[str, str]] | None = None,
    ) -> Process:
        """Start the program.

        Args:
            arguments: what follows its name.
            env: its environment; None for that of this process.
            stdout: as for subprocess.Popen: a file, PIPE, DEVNULL or None; a pipe is read as text.
            stderr: likewise.
            start_new_session: whether it leads a session and a process group of its own.
            furnished: a Python file and what its function `prepare` is called with in the nursery; what that returns
                is called in the new process, before the program begins.
        """
        args = [str(PROGRAM), *map(str, arguments)]
        order: dict[str, Any] = {
            "args": args,
            "env": dict(os.environ if env is None else env),
            "session": start_new_session,
            "furnished": furnished and [str(furnished[0]), furnished[1]],
        }
        with contextlib.ExitStack() as passed:
            ours: list[IO[str] | None] = []
            theirs = [passed.enter_context(Path(os.devnull).open("rb")).fileno()]
            for number, stream in enumerate((stdout, stderr), start=1):
                read, given = None, number
                if stream == subprocess.PIPE:
                    reading, given = os.pipe()
                    read = os.fdopen(reading)
                    passed.callback(os.close, given)
                elif stream == subprocess.DEVNULL:
                    given = passed.enter_context(Path(os.devnull).open("wb")).fileno()
                elif stream is not None:
                    given = stream if isinstance(stream, int) else stream.fileno()
                ours.append(read)
                theirs.append(given)
            pid = self.ask(theirs, **order)["pid"]
        return Process(self, pid, args, *ours)

    def run(
        self, arguments: Sequence[str | Path], *, env: Mapping[str, str], check: bool, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Run the program to its end; what it says is kept.

        Raises:
            subprocess.CalledProcessError: it ended with another code than 0, and that was to be checked.
            subprocess.TimeoutExpired: it was ended by force.
        """
        with self.start(arguments, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            try:
                stdout, stderr = process.communicate(timeout)
            except BaseException:
                process.kill()
                raise
        done = subprocess.CompletedProcess(process.args, process.wait(), stdout, stderr)
        if check:
            done.check_returncode()
        return done

    def ask(self, descriptors: Sequence[int] = (), **order: object) -> dict[str, Any]:
        """Send an order, and descriptors with it; returns the answer."""
        with self._lock:
            if self._orders is None:
                self._begin()
            socket.send_fds(self._orders, [json.dumps(order).encode() + b"\n"], descriptors)
            answer = b""
            while not answer.endswith(b"\n"):
                part = self._orders.recv(_MOST_BYTES)
                assert part, "the nursery has ended; what it said before tells why"
                answer += part
        return json.loads(answer)

    def _begin(self) -> None:
        self._orders, theirs = socket.socketpair()
        command = [sys.executable, __file__, str(theirs.fileno())]
        with theirs:
            self._process = subprocess.Popen(
                command,
                env=homeless(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def close(self) -> None:
        """End it, and all that still runs of what it started."""
        if self._orders is not None:
            self._orders.close()
            self._process.wait()


def serve(orders: socket.socket) -> tuple[dict[str, Any], list[int], Callable[[], None]] | None:
    """Fork as often as ordered; returns None once nobody is there to order, and in each new process what it shall be.

    An order is one JSON object a line: that of `Nursery.start`, answered with `{"pid": number}`; or `{"poll": pid}`,
    answered with `{"status": code}`, null while it runs and negative for the signal that ended it.
    """
    running: set[int] = set()
    ended: dict[int, int] = {}
    while (received := _receive(orders)) is not None:
        order, streams = received
        if "poll" in order:
            pid = order["poll"]
            found, status = os.waitpid(pid, os.WNOHANG) if pid in running else (0, 0)
            if found:
                ended[pid] = os.waitstatus_to_exitcode(status)
                running.remove(pid)
            answer = {"status": ended.get(pid)}
        else:
            furnish = _nothing
            if order["furnished"]:
                file, given = order["furnished"]
                furnish = _module(file).prepare(**given)
            pid = os.fork()
            if not pid:
                orders.close()
                return order, streams, furnish
            for stream in streams:
                os.close(stream)
            running.add(pid)
            ended.pop(pid, None)
            answer = {"pid": pid}
        orders.sendall(json.dumps(answer).encode() + b"\n")
    # The test process has ended, perhaps by force: nothing shall outlive it.
    for pid in running:
        os.kill(pid, signal.SIGKILL)
    return None


def _receive(orders: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    line, descriptors = b"", []
    while not line.endswith(b"\n"):
        part, more, _, _ = socket.recv_fds(orders, _MOST_BYTES, _STREAMS)
        if not part:
            return None
        line, descriptors = line + part, descriptors + more
    return json.loads(line), descriptors


def _nothing() -> None:
    """What is furnished where nothing is asked for."""


@functools.cache
def _module(file: str) -> Any:
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def be(order: dict[str, Any], streams: Sequence[int], furnish: Callable[[], None]) -> None:
    """Be the program, to the end of this process."""
    if order["session"]:
        os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(order["env"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    furnish()
    sys.argv = order["args"]
    sys.path[0] = str(PROGRAM.parent)
    runpy.run_path(str(PROGRAM), run_name="__main__")


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is for the tests, which end this by closing
    for name in LOADED:
        importlib.import_module(name)
    gc.freeze()  # a look for garbage would copy each page that it looks at
    to_be = serve(socket.socket(fileno=int(sys.argv[1])))
    if to_be is not None:
        be(*to_be)
