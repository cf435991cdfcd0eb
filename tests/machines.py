"""Daemons that are each on a machine of its own, as far as one kernel can be several machines.

Each has its own process ids, name, time since boot, shared memory and temporary folder, and is the first process of its
machine, as in a container. Where the kernel does not let us, they are processes of this machine.

What the machines share is a folder of this one's, unless `AGCNN_SHARED_MOUNTS` names mount points of one network file
system, divided by colons: then each machine has its own mount. tests/shares.py makes such mounts.
"""

import functools
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

MOUNTS_VARIABLE = "AGCNN_SHARED_MOUNTS"

_NAMESPACES = ("--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--uts", "--ipc", "--time")
_FURNISH = """
echo "$1" > /proc/sys/kernel/hostname
[ "$2" = "$3" ] || mount --bind "$2" "$3"
mount -t tmpfs shm /dev/shm
export TMPDIR="$4"
shift 4
exec "$@"
"""
_SECONDS_APART = 100_000
"""How much longer each machine is running than the one before it."""


def mounts() -> list[Path]:
    """The mount points of one folder, which the machines have in turn; all of them call theirs by the first one's name.

    None where they share a folder of this machine's.
    """
    return [Path(one) for one in os.environ.get(MOUNTS_VARIABLE, "").split(":") if one]


@functools.cache
def are_possible() -> bool:
    """Whether the kernel and our rights let us make some."""
    program = shutil.which("unshare")
    if program is None:
        return False
    return subprocess.run(_command(1, Path("/"), ["true"]), check=False, capture_output=True).returncode == 0


class Daemon:
    """A running program, and how the others know it."""

    def __init__(self, number: int, command: Sequence[str], log: Path, temporary: Path) -> None:
        """Start it: `number` counts the machines from 0; `temporary` is a folder for its temporary files."""
        self.host, self._apart = socket.gethostname(), are_possible()
        if self._apart:
            self.host = _name(number)
            command = _command(number, temporary, command)
        self._log = log
        with log.open("wb") as stderr:
            self._process = subprocess.Popen(command, stderr=stderr)

    @property
    def known_as(self) -> tuple[str, int]:
        """Its machine's name, and its process id there."""
        return (self.host, 1) if self._apart else (self.host, self._process.pid)

    @property
    def pid(self) -> int:
        """Its process id on this machine."""
        own = self._process.pid
        if not self._apart:
            return own
        (inside,) = Path(f"/proc/{own}/task/{own}/children").read_text().split()
        return int(inside)

    def said(self) -> str:
        """The end of what it has said."""
        return self._log.read_text()[-2000:]

    def poll(self) -> int | None:
        """Its exit code, once it has ended."""
        return self._process.poll()

    def wait(self) -> int:
        """Its exit code, at its end."""
        return self._process.wait()

    def send_signal(self, number: signal.Signals) -> None:
        """Give it a signal; SIGKILL ends all of its machine."""
        os.kill(self.pid, number)

    def end(self) -> None:
        """Switch its machine off, whatever it does."""
        # Of a machine, this is what started it, which takes it along.
        self._process.kill()
        self._process.wait()


def _command(number: int, temporary: Path, command: Sequence[str]) -> list[str]:
    """The command line that runs another one on a machine."""
    shared = mounts() or [Path("/")]
    own, seen_at = shared[number % len(shared)], shared[0]
    apart = str(_SECONDS_APART * (number + 1))
    furnish = ["sh", "-ec", _FURNISH, "sh", _name(number), str(own), str(seen_at), str(temporary)]
    return ["unshare", *_NAMESPACES, "--monotonic", apart, "--boottime", apart, *furnish, *command]


def _name(number: int) -> str:
    return f"reader-{number + 1}"
