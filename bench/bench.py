"""Times the commands, the main job and training, prints tables, and writes bench/results/<time>.json.

The wall time of a command is the best of several runs: what the program needs, without what else the machine did.
"""

import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = str(Path(sys.executable).with_name("agcnn-clinic"))
SHARED = Path(os.environ.get("AGCNN_SHARED_DATA", ROOT.parent / "shared" / "data"))
RUNS = 5


def best(command: list[str], runs: int = RUNS) -> float:
    """Seconds of the quickest of several runs of a command."""
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
        times.append(time.perf_counter() - began)
    return min(times)


def main() -> None:
    """Run every measurement that this machine has the data for."""
    results: dict[str, Any] = {}
    scratch = Path(tempfile.mkdtemp(prefix="agcnn-bench-"))
    try:
        clinic = [PROGRAM, "--config", str(scratch / "clinic" / "config.toml")]
        subprocess.run([PROGRAM, "init", str(scratch / "clinic")], check=True, stdout=subprocess.DEVNULL)  # noqa: S603
        sources = [folder for name in ("dicom-cxr", "nih-cxr-1024") if (folder := SHARED / name).is_dir()]
        if not sources:
            from agcnn_clinic.demo.samples import write_samples  # noqa: PLC0415 (only without real films)

            write_samples(scratch / "samples")
            sources = [scratch / "samples"]
        began = time.perf_counter()
        done = subprocess.run([*clinic, "process", *map(str, sources)], check=False, capture_output=True)  # noqa: S603
        results["process_seconds"] = round(time.perf_counter() - began, 2)
        results["process_files"] = sum(path.is_file() for source in sources for path in source.rglob("*"))
        # Of the largest process among the command and its children, in MB; Linux counts in KB.
        results["process_peak_mb"] = round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
        results["process_exit_code"] = done.returncode
        results["help_seconds"] = round(best([PROGRAM, "--help"]), 3)
        results["findings_seconds"] = round(best([*clinic, "findings"]), 3)
        study = json.loads(subprocess.check_output([*clinic, "studies", "--format", "json"]))[0]  # noqa: S603
        results["report_seconds"] = round(best([*clinic, "report", study["study_key"]]), 3)
    finally:
        shutil.rmtree(scratch)
    # In a process of its own, so that torch's memory counts for nothing above; its last line is JSON.
    timed = subprocess.check_output([sys.executable, str(Path(__file__).with_name("training.py"))], text=True)  # noqa: S603
    table, _, numbers = timed.rstrip().rpartition("\n")
    print(table)  # noqa: T201
    results |= json.loads(numbers)
    machine = {"machine": platform.platform(), "python": platform.python_version(), "cores": os.cpu_count()}
    for name, value in results.items():
        print(f"{name:44} {value}")  # noqa: T201
    folder = ROOT / "bench" / "results"
    folder.mkdir(parents=True, exist_ok=True)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    (folder / f"{stamp}.json").write_text(json.dumps(machine | results, indent=2) + "\n")


if __name__ == "__main__":
    main()
