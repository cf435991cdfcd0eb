"""How fast `batch` reads an archive here, and what a film costs in core-seconds: python bench/archive.py SOURCE.

Each file is read --times times, so that a few real films stand for many. The workers are warm before the clock starts.
"""

import argparse
import sys
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import psutil
import pyarrow as pa

from agcnn_clinic import __version__
from agcnn_clinic.batch.cluster import Task, Workers, lay_out, ray_cluster
from agcnn_clinic.batch.listing import Listing, list_files
from agcnn_clinic.batch.output import Origin, Output
from agcnn_clinic.batch.run import Tally, missing_shards, read_shards
from agcnn_clinic.bundles import bundle_folder
from agcnn_clinic.config import Config
from agcnn_models.manifest import digest
from agcnn_models.manifest_file import read_manifest

WARM_UP = 8


def main() -> None:
    """Read the source, and print one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--cpus", type=int)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--batch-size", type=int, default=32)
    wanted = parser.parse_args()

    bundle, config = bundle_folder(wanted.model, Path.cwd()), Config()
    manifest = read_manifest(bundle)
    task = Task(
        bundle,
        manifest.preprocessing,
        config.gate,
        10**9,
        config.analysis.decode_seconds,
        config.analysis.decode_memory_mb,
    )
    with tempfile.TemporaryDirectory() as scratch, ray_cluster(None, wanted.cpus) as (cpus, gpus):
        once = list_files(wanted.source, (), Path(scratch))
        workers = Workers(task, lay_out(cpus, gpus))
        origin = Origin("", 0, manifest.name, digest(manifest), {}, 0, 0, 0, "", wanted.batch_size, 10**6, __version__)
        _read(replace(once, names=once.names.slice(0, WARM_UP)), origin, workers, Path(scratch) / "warm")
        before = _seconds()
        listing = replace(once, names=pa.chunked_array(once.names.chunks * wanted.times, pa.large_binary()))
        tally = _read(listing, origin, workers, Path(scratch) / "out")
        spent = {kind: (seconds - before[kind]) / len(listing) for kind, seconds in _seconds().items()}
        costs = ", ".join(f"{kind} {1000 * seconds:.0f} ms" for kind, seconds in spent.items())
        sys.stdout.write(
            f"{len(listing)} files, {tally.reasons['read']} read, {cpus} cores: {tally.rate:.1f} files a second; "
            f"a file's core time: {costs}, together {1000 * sum(spent.values()):.0f} ms, "
            f"{sum(spent.values()) * 1e6 / 3600:.0f} core-hours a million\n"
        )


def _read(listing: Listing, origin: Origin, workers: Workers, out: Path) -> Tally:
    output, tally = Output(out, replace(origin, files=len(listing))), Tally()
    read_shards(listing, output, workers, missing_shards(output, tally), tally, lambda *_: None)
    return tally


def _seconds() -> Counter[str]:
    """Core-seconds so far: of the decoders with their children, the networks, and all the rest of this run."""
    spent = Counter({"decode": 0.0, "network": 0.0, "rest": 0.0})
    kinds: dict[int, str] = {}
    me = psutil.Process()
    for process in (me, *me.children(recursive=True)):  # parents come before their children
        try:
            times, name, parent = process.cpu_times(), process.name(), process.ppid()
        except psutil.Error:
            continue
        own = {"ray::Decoder": "decode", "ray::Network": "network"}
        kind = next((kind for start, kind in own.items() if name.startswith(start)), kinds.get(parent, "rest"))
        kinds[process.pid] = kind
        spent[kind] += times.user + times.system
    return spent


if __name__ == "__main__":
    main()
