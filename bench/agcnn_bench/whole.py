"""The whole: studies in every form dropped into an inbox at once, until the last PDF is in place."""

import sqlite3
import subprocess
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from statistics import fmean

from agcnn_bench.clinics import Bench, ClinicFolder, make_clinic, require_room, wait_until, watching
from agcnn_bench.figures import Figure
from agcnn_bench.tree import Memory, Tree
from agcnn_clinic.cores import core_shares
from agcnn_models.cores import usable_cores

SETTINGS: dict[str, object] = {"INTAKE__SETTLE_SECONDS": 0, "INTAKE__STUDY_QUIET_SECONDS": 0}
"""Waiting is no work: no settling, and a study is complete as soon as it is read."""
RUNS = 3
"""A run is long and has its own average within."""
EARLY = 100
"""Studies after which the memory should have stopped growing."""


def run(bench: Bench) -> None:
    """Time the daemon, warm and idle before the files come, and `process`, from its start to its exit."""
    runs = 1 if bench.quick else min(bench.runs, RUNS)
    bench.results.facts["whole.cores"] = usable_cores()
    bench.results.facts["whole.studies"] = bench.films_in_inbox
    for name, once in (("watch", _watch), ("process", _process)):
        seen = [once(bench, bench.scratch / f"whole-{name}-{number}") for number in range(runs)]
        _add(bench, name, seen)


class _Run:
    """One run: how long it took and what it used."""

    def __init__(self, studies: int, seconds: float, tree: Tree) -> None:
        self.rate = studies / seconds
        self.core_seconds = tree.core_seconds / studies
        self.cores_busy = tree.core_seconds / seconds / usable_cores()
        self.peak_mb = tree.peak_mb
        self.early_mb = max((look.megabytes for look in tree.memory if look.mark <= EARLY), default=0.0)
        self.late_mb = max((look.megabytes for look in tree.memory if look.mark > EARLY), default=0.0)
        self.mean_mb = _means([look for look in tree.memory if look.mark < studies], EARLY)


def _means(looks: Iterable[Memory], each: int) -> list[int]:
    """The mean of the memory during each so many studies: what grows slowly shows there, and not in the peaks."""
    parts: dict[int, list[float]] = {}
    for look in looks:
        parts.setdefault(look.mark // each, []).append(look.megabytes)
    return [round(fmean(seen)) for _, seen in sorted(parts.items())]


def _add(bench: Bench, name: str, seen: list[_Run]) -> None:
    def add(what: str, unit: str, values: list[float]) -> None:
        bench.results.add(f"whole.{name}.{what}", Figure(unit, tuple(values)))

    add("rate", "studies/s", [run.rate for run in seen])
    add("core_seconds_of_a_study", "s", [run.core_seconds for run in seen])
    add("cores_busy", "of all", [run.cores_busy for run in seen])
    add("peak_memory", "MB", [run.peak_mb for run in seen])
    if all(run.late_mb for run in seen):
        bench.results.facts[f"whole.{name}.mean_memory_mb_by_{EARLY}"] = [run.mean_mb for run in seen]
        add(f"memory_in_the_first_{EARLY}", "MB", [run.early_mb for run in seen])
        add(f"memory_after_the_first_{EARLY}", "MB", [run.late_mb for run in seen])


def _watch(bench: Bench, folder: Path) -> _Run:
    count, warm = bench.films_in_inbox, core_shares().batch
    clinic, staged = _prepared(bench, folder, count + warm)

    def made() -> int:
        return len(clinic.pdfs()) - warm

    with watching(clinic) as daemon:
        # The first batch has processes to start, and libraries that choose how they compute.
        _drop(clinic, staged[:warm])
        wait_until(lambda: made() >= 0, daemon, pause=0.1)
        with Tree(daemon.pid, made) as tree:
            began = time.time()
            _drop(clinic, staged[warm:])
            wait_until(lambda: made() >= count, daemon, pause=0.1)
            ended = time.time()
    _require_all(clinic, count + warm)
    # A file's place was taken when its name was changed: the last change of its inode.
    last = max(path.stat().st_ctime for path in clinic.pdfs())
    return _Run(count, min(last, ended) - began, tree)


def _process(bench: Bench, folder: Path) -> _Run:
    clinic, staged = _prepared(bench, folder, bench.films_in_inbox)
    _drop(clinic, staged)
    began = time.time()
    process = subprocess.Popen(  # noqa: S603
        clinic.command("process"), stdout=subprocess.DEVNULL, env=clinic.environment
    )
    with Tree(process.pid, lambda: len(clinic.pdfs())) as tree:
        process.wait()
    ended = time.time()
    _require_all(clinic, bench.films_in_inbox)
    return _Run(bench.films_in_inbox, ended - began, tree)


def _prepared(bench: Bench, folder: Path, count: int) -> tuple[ClinicFolder, list[Path]]:
    """A clinic, and its studies beside the inbox on the same disk, so that they come by a rename."""
    clinic = make_clinic(folder, **SETTINGS)
    staging = folder / "staging"
    staging.mkdir()
    studies = [bench.films.write(staging, number) for number in range(count)]
    require_room(clinic.config, studies)
    return clinic, studies


def _drop(clinic: ClinicFolder, studies: Iterable[Path]) -> None:
    for path in studies:
        path.rename(clinic.config.inbox / path.name)


def _require_all(clinic: ClinicFolder, count: int) -> None:
    """Raises RuntimeError unless every study was read and reported: a failure is quickly done."""
    with closing(sqlite3.connect(clinic.config.root / "clinic.sqlite")) as connection:
        (read,) = connection.execute("SELECT count(*) FROM received_file WHERE outcome = 'analysed'").fetchone()
        (reported,) = connection.execute("SELECT count(*) FROM report").fetchone()
    if (read, reported) != (count, count):
        raise RuntimeError(f"of {count} studies {read} were read and {reported} reported")
