"""Commands as a person runs them: each a fresh process, timed from its start to its exit."""

import os
import subprocess
import time
from collections.abc import Mapping

from agcnn_bench.clinics import PROGRAM, Bench, busy_cores, make_clinic
from agcnn_bench.figures import Figure
from agcnn_bench.films import Form

_STUDIES = 12


def run(bench: Bench) -> None:
    """A small clinic's commands; `report` reads a raw film again."""
    clinic = make_clinic(bench.scratch / "commands")
    for number in range(_STUDIES):
        bench.films.write(clinic.config.inbox, number, Form.RAW)
    clinic.run("process")
    runs = 2 * bench.runs + 1
    for name, command in (
        ("help", [PROGRAM, "--help"]),
        ("findings", clinic.command("findings")),
        ("studies", clinic.command("studies")),
        ("report", clinic.command("report", "A0000001")),
    ):
        bench.results.add(f"command.{name}", fresh_process(command, clinic.environment, runs))
    # Nothing lies in the inbox any more: it loads the model, looks, and ends.
    nothing = clinic.command("process")
    bench.results.add("command.process_of_nothing", fresh_process(nothing, clinic.environment, runs))
    with busy_cores():
        bench.results.add(
            "command.process_of_nothing.beside_others", fresh_process(nothing, clinic.environment, bench.runs)
        )


def fresh_process(command: list[str], environment: Mapping[str, str], runs: int) -> Figure:
    """Seconds of a command, several times; its processor time is its own and that of children it waited for.

    Raises:
        RuntimeError: it fails.
    """
    wall, cores = [], []
    for counted in (False, *(True,) * runs):
        before, began = os.times(), time.perf_counter()
        done = subprocess.run(  # noqa: S603
            command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
        )
        seconds, after = time.perf_counter() - began, os.times()
        if done.returncode:
            raise RuntimeError(f"`{' '.join(command[1:])}` ended with {done.returncode}: {done.stderr[-2000:]}")
        if counted:
            wall.append(seconds)
            cores.append(after.children_user + after.children_system - before.children_user - before.children_system)
    return Figure("s", tuple(wall), tuple(cores))
