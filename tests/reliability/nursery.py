"""A process that has loaded torch and the clinic once, and forks daemons from there: each starts in a moment.

It is told one JSON object a line on standard input and answers one a line on standard output:
`{"start": config, "plan": file, "log": file}` gives `{"pid": number}`; `{"poll": pid}` gives `{"status": code}`, null
while it runs and negative for the signal that ended it.

A daemon is the command `agcnn-clinic watch` itself, with its signal handlers and its three threads. Its plan is a file
shared as memory, `point passage signal`: at that passage through that fault point it sends itself that signal.
"""

import faulthandler
import functools
import json
import mmap
import os
import signal
import sys
import threading
from pathlib import Path

PLAN_BYTES = 64


class Killer:
    """The fault hook: at the moment that the plan names SIGKILL or SIGSTOP, which nothing can catch."""

    def __init__(self, plan: Path) -> None:
        with plan.open("r+b") as file:
            self._plan = mmap.mmap(file.fileno(), PLAN_BYTES)
        self._lock = threading.Lock()
        self._known = b""
        self._passages = 0

    def __call__(self, point: str) -> None:
        with self._lock:
            plan = self._plan[:]
            if plan != self._known:
                self._known, self._passages = plan, 0
            name, *when = plan.rstrip(b"\0").decode().split(" ")
            if name != point:
                return
            passage, number = map(int, when)
            self._passages += 1
            if self._passages == passage:
                os.kill(os.getpid(), number)


def watch(config: str, plan: Path, log: Path) -> None:
    """Be a daemon, to the end of this process."""
    from agcnn_clinic import faults
    from agcnn_clinic.cli.main import main

    os.setsid()
    for descriptor, target in ((0, os.devnull), (1, os.devnull), (2, log)):
        os.dup2(os.open(target, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), descriptor)
    faulthandler.register(signal.SIGUSR1)  # a test that waits in vain asks where its threads are
    faults.hook = Killer(plan)
    sys.argv = ["agcnn-clinic", "--config", config, "watch"]
    code: object = 0
    try:
        main()
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001 (after the fork nothing may go on as the nursery)
        sys.excepthook(*sys.exc_info())
        code = 70
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0)


def serve() -> None:
    """Do what standard input says, until it ends."""
    import torch  # noqa: F401

    import agcnn_clinic.analysis.loop
    import agcnn_clinic.cli.main
    import agcnn_clinic.service  # noqa: F401
    from agcnn_clinic.analysis import infer
    from agcnn_clinic.bundles import configured_bundle
    from agcnn_clinic.config import load_config
    from agcnn_clinic.intake import accept, inbox

    # One network for all daemons, which each has as its own after the fork.
    infer.load_reader = functools.cache(infer.load_reader)
    accept.SMALL_BYTES = 0  # the tests' films are small: as large ones they are copied side by side
    inbox.BATCH = 64  # the tests' backlogs are small: they come in many batches as large ones do
    inbox.EMPTY_FOLDER_SECONDS = 0.0  # a folder that is put into an inbox here is whole from its first moment
    ended: dict[int, int] = {}
    started: list[int] = []
    for line in sys.stdin:
        order = json.loads(line)
        if "start" in order:
            config = load_config(Path(order["start"]))
            analysis = config.analysis  # asked for as `clinic.at_work` does, so that the daemon finds it made
            infer.load_reader(
                configured_bundle(config),
                device=analysis.device,
                threads=analysis.shares.network_threads,
                precision=analysis.precision,
            )
            pid = os.fork()
            if not pid:
                watch(order["start"], Path(order["plan"]), Path(order["log"]))
            started.append(pid)
            answer = {"pid": pid}
        else:
            pid = order["poll"]
            if pid not in ended:
                found, status = os.waitpid(pid, os.WNOHANG)
                if found:
                    ended[pid] = os.waitstatus_to_exitcode(status)
            answer = {"status": ended.get(pid)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    # The test process has ended, perhaps by force: none of its daemons shall outlive it.
    for pid in started:
        if pid not in ended:
            os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    serve()
