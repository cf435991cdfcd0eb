"""Times everything, prints a table and writes bench/results/<time>.json with the machine and the versions.

    python bench/bench.py [PART...] [--quick]

Without a PART all of them are timed, the GPU's where there is one. Each figure is the median of several runs. The films
are drawn; the clinics that are timed lie in a temporary folder ($TMPDIR chooses the disk) and are removed at the end.
"""

import argparse
import importlib
import json
import signal
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from agcnn_bench.clinics import Bench
from agcnn_bench.figures import Results
from agcnn_bench.ratios import derive

ROOT = Path(__file__).resolve().parents[1]
PARTS = {
    "commands": "--help, findings, report, studies, process: each as a fresh process",
    "latency": "one study into an idle `watch`: from the last byte written to the PDF in place",
    "whole": "from inbox to PDF: studies a second, cores busy, memory; `watch` and `process`",
    "database": "findings, study_summary and the reporting loop's question over many studies",
    "parts": "decode and normalise, by transfer syntax",
    "intake": "intake alone: films, and many small files",
    "rows": "record, compose, PDF",
    "flow": "the loops of `watch` on cores that are not here: studies a second, cores busy",
    "network": "the network on the CPU: by batch, attention and crop alone, beside what others do",
    "gpu": "the same on a GPU: bfloat16, batches of 256",
    "training": "films a second of each stage of training (bench/training.py)",
}
"""What torch would swell or its threads disturb comes before it is imported."""


def main() -> None:
    """Time the parts that were named, or all."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended before anything was written"))  # gigabytes are removed
    results = Results()
    results.facts["quick"] = options.quick
    with tempfile.TemporaryDirectory(prefix="agcnn-bench-", ignore_cleanup_errors=True) as scratch:
        bench = Bench(
            Path(scratch),
            results,
            quick=options.quick,
            runs=options.runs or (2 if options.quick else 7),
            films_in_inbox=options.films or (6 if options.quick else 200),
            studies=options.studies or (2_000 if options.quick else 100_000),
        )
        for part in options.parts or PARTS:
            print(f"{part}: {PARTS[part]}", flush=True)  # noqa: T201
            _run(part, bench, asked_for=bool(options.parts))
    derive(results)
    path = results.write(options.output, datetime.now(UTC))
    print(f"written to {path}")  # noqa: T201


def _options() -> argparse.Namespace:
    listed = "\n".join(f"  {name:10} {what}" for name, what in PARTS.items())
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0],
        epilog=f"parts:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help="what to time; all of it when none is named")
    parser.add_argument("--quick", action="store_true", help="small sizes, under two minutes: shows that it works")
    parser.add_argument("--runs", type=int, help="how often a figure is taken (7)")
    parser.add_argument("--films", type=int, help="how many studies lie in the inbox of `whole` (200)")
    parser.add_argument("--studies", type=int, help="how many studies the database holds (100,000; the goal: 1000000)")
    parser.add_argument("--output", type=Path, default=ROOT / "bench" / "results", help="the folder of the JSON file")
    options = parser.parse_args()
    if unknown := [part for part in options.parts if part not in PARTS]:
        parser.error(f"there is no part {unknown[0]!r}; the parts are {', '.join(PARTS)}")
    if any(number is not None and number < 1 for number in (options.runs, options.films, options.studies)):
        parser.error("--runs, --films and --studies are 1 or more")
    return options


def _run(part: str, bench: Bench, *, asked_for: bool) -> None:
    if part == "training":
        _training(bench)
        return
    if part == "gpu":
        network = importlib.import_module("agcnn_bench.network")
        if asked_for or network.has_gpu():
            network.run_gpu(bench)
        else:
            print("  left out: there is no GPU that torch can use")  # noqa: T201
        return
    importlib.import_module(f"agcnn_bench.{part}").run(bench)


def _training(bench: Bench) -> None:
    """In a process of its own, since it sets how torch keeps memory; its last line is JSON."""
    command = [sys.executable, str(Path(__file__).with_name("training.py")), *(["--quick"] if bench.quick else [])]
    timed = subprocess.check_output(command, text=True)  # noqa: S603
    table, _, numbers = timed.rstrip().rpartition("\n")
    print(table)  # noqa: T201
    bench.results.facts["training"] = json.loads(numbers)


if __name__ == "__main__":
    main()
