"""A figure is the median of several runs, with its spread; all figures of a run go into one table and one JSON file."""

import gc
import importlib.metadata
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from agcnn_clinic import __version__
from agcnn_models.cores import usable_cores

_LIBRARIES = ("torch", "numpy", "scipy", "pydicom", "pylibjpeg-openjpeg", "pyjpegls", "reportlab", "sqlalchemy")


@dataclass(frozen=True)
class Figure:
    """One quantity, measured several times.

    Attributes:
        unit: of the runs.
        runs: what each run gave; at least one.
        core_seconds: what each run cost in processor time, over all threads, where that was measured.
    """

    unit: str
    runs: tuple[float, ...]
    core_seconds: tuple[float, ...] = ()

    @property
    def median(self) -> float:
        """The middle of the runs."""
        return statistics.median(self.runs)

    @property
    def median_core_seconds(self) -> float:
        """The middle of the processor times. Raises ValueError where none was taken."""
        if not self.core_seconds:
            raise ValueError("no processor time was taken of this figure")
        return statistics.median(self.core_seconds)

    def as_dict(self) -> dict[str, Any]:
        """The figure as JSON holds it."""
        shown: dict[str, Any] = {"unit": self.unit, **_spread(self.runs)}
        if self.core_seconds:
            shown["core_seconds"] = _spread(self.core_seconds)
        return shown


def _spread(runs: Sequence[float]) -> dict[str, float | int]:
    median, low, high = (_short(value) for value in (statistics.median(runs), min(runs), max(runs)))
    return {"median": median, "min": low, "max": high, "runs": len(runs)}


def _short(value: float) -> float:
    """Five significant digits: more than any of this is worth."""
    return float(f"{value:.5g}")


@dataclass
class Results:
    """Everything that one run of the benchmark found.

    Attributes:
        figures: by name; the part's name comes first: `decode.rle`.
        facts: what is no measurement but belongs beside one: sizes, settings, what was left out and why.
        ratios: flat; one figure over another, as `ratios.derive` names them.
    """

    figures: dict[str, Figure] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    ratios: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, figure: Figure) -> None:
        """Keep a figure and print it, so that a long run shows how far it is."""
        self.figures[name] = figure
        print(f"  {name:44} {_in_words(figure)}", flush=True)  # noqa: T201

    def table(self) -> Table:
        """All figures and ratios, to be printed."""
        table = Table(box=None, pad_edge=False)
        for title, justify in (("", "left"), ("median", "right"), ("min - max", "right"), ("runs", "right")):
            table.add_column(title, justify=justify)  # type: ignore[arg-type]
        table.add_column("core-seconds", justify="right")
        for name, figure in self.figures.items():
            cores = f"{figure.median_core_seconds:.4g}" if figure.core_seconds else ""
            low, high = min(figure.runs), max(figure.runs)
            table.add_row(
                name, f"{figure.median:.4g} {figure.unit}", f"{low:.4g} - {high:.4g}", str(len(figure.runs)), cores
            )
        for name, ratio in self.ratios.items():
            table.add_row(name, f"{ratio:.3g}", "", "", "", style="bold")
        return table

    def write(self, folder: Path, now: datetime) -> Path:
        """Print the table and write `<time>.json`; returns its path."""
        around = {"made_at": now.isoformat(timespec="seconds"), "machine": machine(), "versions": versions()}
        content = around | {
            "figures": {name: figure.as_dict() for name, figure in self.figures.items()},
            "facts": self.facts,
            "ratios": {name: _short(value) for name, value in self.ratios.items()},
        }
        console = Console(width=None if os.isatty(1) else 120, highlight=False)
        for part in (around["machine"], around["versions"]):
            console.print(", ".join(f"{name} {value}" for name, value in part.items()), style="dim")  # type: ignore[attr-defined]
        console.print(self.table())
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}.json"
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        return path


def _in_words(figure: Figure) -> str:
    spread = f" ({min(figure.runs):.4g} - {max(figure.runs):.4g})" if len(figure.runs) > 1 else ""
    return f"{figure.median:.4g} {figure.unit}{spread}"


def timed(work: Callable[[], object], runs: int, *, per: float = 1, warm_up: bool = True) -> Figure:
    """Seconds of one call, by the wall and by this process's processors.

    Args:
        work: is called.
        runs: how often it counts.
        per: divides the time: how many things one call does.
        warm_up: call it once before, uncounted.
    """
    if warm_up:
        work()
    wall, cores = [], []
    gc.collect()
    for _ in range(runs):
        began, began_cores = time.perf_counter(), time.process_time()
        work()
        cores.append((time.process_time() - began_cores) / per)
        wall.append((time.perf_counter() - began) / per)
    return Figure("s", tuple(wall), tuple(cores))


def machine() -> dict[str, Any]:
    """What the figures were made on."""
    return {
        "processor": _processor(),
        "cores": usable_cores(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": platform.platform(),
        "load_at_end": round(os.getloadavg()[0], 2),
    }


def versions() -> dict[str, str]:
    """The software that was measured, and the libraries that its speed hangs on."""
    own = {"agcnn-clinic": __version__, "python": platform.python_version()}
    return own | {name: importlib.metadata.version(name) for name in _LIBRARIES}


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
