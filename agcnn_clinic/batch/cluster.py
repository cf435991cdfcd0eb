"""Decoders and networks as actors of Ray, and the way of a chunk through both.

Ray's actors and not Ray Data: there the films of a batch depend on how blocks happen to be cut, here a chunk of the
listing is a batch, so that a run that goes on, or one on another cluster, computes the same. What travels between
processes is a chunk of network-size films, 200 kB each at 224 pixels; the driver sees rows only.
"""

import contextlib
import importlib.util
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]

from agcnn_clinic.analysis.infer import Reader, load_reader
from agcnn_clinic.analysis.normalise import PRELOAD
from agcnn_clinic.batch.examine import Examined, Examiner
from agcnn_clinic.batch.listing import Listing
from agcnn_clinic.batch.table import table_of
from agcnn_clinic.errors import ChildrenUnavailableError, ClinicError, UsageError
from agcnn_clinic.sandbox.pool import Sandbox
from agcnn_clinic.sections import Gate
from agcnn_models.cores import usable_cores
from agcnn_models.settings import Preprocessing

INSTALL = "Reading an archive needs Ray, which is an extra: pip install 'agcnn-clinic[ray]'."

LOCAL = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # With an address of 127.0.0.1 this keeps every server of a local cluster on the loopback interface.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_AUTH_MODE": "token",
}
"""What Ray reads from the environment when it is imported and when a cluster of this machine starts."""

THREADS = 2
"""Of a network on the CPU, where nothing else is said."""
_AHEAD = 2
"""Chunks that an actor has in hand or waiting: it never runs dry, and memory stays bounded."""
_START_SECONDS = 600.0
_RESTARTS = 3
_STARTS = 3
_STORE_AT_LEAST = 256 * 2**20


@dataclass(frozen=True)
class Task:
    """What every actor is told.

    Attributes:
        bundle: the model's folder, the same on every machine of a cluster.
        preprocessing: the model's.
        gate: what it may read.
        max_file_bytes, decode_seconds, decode_memory_mb: the limits of one file.
    """

    bundle: Path
    preprocessing: Preprocessing
    gate: Gate
    max_file_bytes: int
    decode_seconds: float
    decode_memory_mb: int
    precision: str = "auto"
    """See `infer.load_reader`."""


@dataclass(frozen=True)
class Layout:
    """How many actors there are, and what each one takes of the cluster."""

    decoders: int
    networks: int
    threads: int
    gpu: bool
    decoder_cpus: float
    network_cpus: float


@dataclass(frozen=True)
class Chunk:
    """Files `start` up to `stop` of the listing: one batch of the network."""

    start: int
    names: tuple[bytes, ...]


def lay_out(cpus: int, gpus: int, *, decoders: int = 0, threads: int = 0) -> Layout:
    """Share a cluster between decoders and networks.

    Args:
        cpus: that the cluster has.
        gpus: of it that are to be used.
        decoders: how many; 0: one a core, less what feeds the GPUs.
        threads: of a network on the CPU; 0: two.
    """
    threads = min(threads or THREADS, cpus)
    if gpus:
        networks, network_cpus = gpus, 1.0 if cpus > gpus else 0.5 * cpus / gpus
        decoders = decoders or max(1, cpus - gpus)
    else:
        # Nobody knows which of the two is the slower: both may fill the cores, and the system shares them out.
        networks = max(1, cpus // threads)
        network_cpus = cpus / 2 / networks
        decoders = decoders or cpus
    share = (cpus - networks * network_cpus) / decoders
    return Layout(decoders, networks, threads, bool(gpus), _floor(min(share, 1.0)), _floor(network_cpus))


def store_bytes(workers: int, batch_size: int, preprocessing: Preprocessing) -> int:
    """Return twice what the films take that can be on their way at one time.

    Args:
        workers: decoders or cores, whichever are more; the networks are no more than these.
        batch_size: files of a chunk.
        preprocessing: the model's.
    """
    return 2 * (2 * _AHEAD * workers + 1) * batch_size * preprocessing.crop**2 * 4


class Decoder:
    """An actor: names in, network-size films out."""

    def __init__(self, task: Task) -> None:
        # The child processes would import this one's main module, which is a worker of Ray.
        vars(sys.modules["__main__"]).pop("__file__", None)
        self._stack = contextlib.ExitStack()
        sandbox = self._stack.enter_context(Sandbox(1, task.decode_seconds, task.decode_memory_mb, preload=PRELOAD))
        self._examiner = Examiner(task.preprocessing, sandbox, task.gate, task.max_file_bytes)

    def examine(self, root: Path, names: Sequence[bytes], *, follow: bool) -> list[Examined]:
        """Look at a chunk of files."""
        return list(self._examiner.examine(root, names, follow=follow))


class Network:
    """An actor: network-size films in, rows out."""

    def __init__(self, bundle: Path, device: str, threads: int, precision: str) -> None:
        self._settings = bundle, device, threads, precision
        self._reader: Reader | None = None

    def load(self) -> None:
        """Load the model; in a call of its own, so that an error comes out as it is."""
        self._loaded()

    def read(self, examined: Sequence[Examined]) -> pa.Table:
        """Read a chunk as one batch."""
        reader = self._loaded()
        films = [found.film for found in examined if found.film is not None]
        began = time.perf_counter()
        coming = iter(reader.read_films(films) if films else ())
        seconds = (time.perf_counter() - began) / max(len(films), 1)
        readings = [None if found.film is None else next(coming) for found in examined]
        return table_of(examined, readings, f"{reader.manifest.name} {reader.manifest.version}", seconds)

    def _loaded(self) -> Reader:
        # An actor that Ray has started anew has no model yet.
        if self._reader is None:
            bundle, device, threads, precision = self._settings
            self._reader = load_reader(bundle, device=device, threads=threads, precision=precision)
        return self._reader


class Workers:
    """The actors of one run on the cluster that `ray_cluster` opened."""

    def __init__(self, task: Task, layout: Layout) -> None:
        """Start the actors and wait until every network has its model.

        Raises:
            ModelUnavailableError: the model cannot be loaded.
            UsageError: the cluster does not give what the layout asks for.
        """
        import ray  # noqa: PLC0415 (an extra)

        self._ray = ray
        again = {"max_restarts": _RESTARTS, "max_task_retries": _RESTARTS}
        decoder = ray.remote(Decoder).options(num_cpus=layout.decoder_cpus, **again)
        network = ray.remote(Network).options(num_cpus=layout.network_cpus, num_gpus=int(layout.gpu), **again)
        self._networks = [
            network.remote(task.bundle, "cuda" if layout.gpu else "cpu", layout.threads, task.precision)
            for _ in range(layout.networks)
        ]
        self._decoders = [decoder.remote(task) for _ in range(layout.decoders)]
        try:
            ready = [one.load.remote() for one in self._networks]
            ready += [one.examine.remote(Path(), (), follow=False) for one in self._decoders]
            self._got(ready, timeout=_START_SECONDS)
        except ray.exceptions.GetTimeoutError as error:
            raise UsageError(
                "The cluster has no room for the workers: name fewer with --decoders, or wait until it is less busy."
            ) from error

    def read(self, listing: Listing, chunks: Iterator[Chunk]) -> Iterator[tuple[Chunk, pa.Table]]:
        """Take chunks of a listing through decoders and networks; their rows come as they are done, in any order.

        Raises:
            ChildrenUnavailableError: workers ended again and again, or can start no child process.
        """
        decoding: dict[Any, tuple[Chunk, int]] = {}
        reading: dict[Any, tuple[Chunk, int]] = {}
        while True:
            # What is decoded and not yet read lies in memory: decoders wait for the networks.
            while len(decoding) < _AHEAD * len(self._decoders) and len(reading) <= _AHEAD * len(self._networks):
                chunk = next(chunks, None)
                if chunk is None:
                    break
                index = _idlest(decoding, len(self._decoders))
                decoder = self._decoders[index]
                examined = decoder.examine.remote(listing.root, chunk.names, follow=listing.follow)
                decoding[examined] = chunk, index
            if not decoding and not reading:
                return
            # Not fetched: the films go from machine to machine, not through this one.
            (done,), _ = self._ray.wait([*decoding, *reading], num_returns=1, fetch_local=False)
            if done in decoding:
                chunk, _ = decoding.pop(done)
                index = _idlest(reading, len(self._networks))
                reading[self._networks[index].read.remote(done)] = chunk, index
            else:
                chunk, _ = reading.pop(done)
                yield chunk, self._got(done)

    def close(self) -> None:
        """End the actors."""
        for actor in (*self._decoders, *self._networks):
            self._ray.kill(actor)

    def _got(self, reference: Any, **options: Any) -> Any:
        errors = self._ray.exceptions
        try:
            return self._ray.get(reference, **options)
        except errors.RayTaskError as error:
            if isinstance(error.cause, ClinicError):
                raise error.cause from error
            raise
        except (errors.RayActorError, errors.ObjectLostError) as error:
            raise ChildrenUnavailableError(
                "A worker ended again and again, perhaps for lack of memory; what is finished is kept: "
                "run the command again, with fewer --decoders."
            ) from error


def require_ray() -> None:
    """Raise UsageError, which says how to install it, where Ray is not there."""
    if importlib.util.find_spec("ray") is None:
        raise UsageError(INSTALL)


@contextlib.contextmanager
def ray_cluster(address: str | None, cpus: int | None, store_bytes: int = 0) -> Iterator[tuple[int, int]]:
    """Open a cluster: of this machine alone and for this run, or one that is there.

    Args:
        address: of a running cluster, or "auto"; None: a new one, reachable from this machine only.
        cpus: cores that may be used; None: all of the cluster, which is all that this process may use where it is new.
        store_bytes: of shared memory that a new one keeps for films on their way, where that is more than a little.

    Returns:
        How many CPUs and GPUs there are to be used.

    Raises:
        UsageError: Ray is not installed, or there is no such cluster.
        ChildrenUnavailableError: none can be started here.
    """
    if address is None:
        os.environ.update({**LOCAL, "RAY_AUTH_TOKEN": secrets.token_hex(32)})
    else:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    require_ray()
    import ray  # noqa: PLC0415 (an extra)

    # Ray's logs and sockets, in a folder of our own that goes when we go.
    scratch = tempfile.mkdtemp(prefix="agcnn-ray-")
    try:
        _connect(ray, address, cpus or usable_cores(), max(store_bytes, _STORE_AT_LEAST), scratch)
        found = ray.cluster_resources()
        there = max(1, int(found.get("CPU", 1)))
        yield min(cpus or there, there), int(found.get("GPU", 0))
    finally:
        ray.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)


def _connect(ray: Any, address: str | None, cpus: int, store_bytes: int, scratch: str) -> None:
    options: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
    if address is None:
        options |= {
            "num_cpus": cpus,
            "include_dashboard": False,
            "object_store_memory": store_bytes,
            "_node_ip_address": "127.0.0.1",
            "_temp_dir": scratch,
            # Films do not go to the disk: there is room for all that can be on their way.
            "_system_config": {"automatic_object_spilling_enabled": False},
        }
    try:
        _start(ray, address or "local", options, tries=1 if address else _STARTS)
    except Exception as error:  # Ray raises plain exceptions, too
        if address is None:
            raise ChildrenUnavailableError(f"Ray cannot be started on this machine: {_first_line(error)}") from error
        raise UsageError(
            f"There is no Ray cluster to be used at {address}: {_first_line(error)} Start one, or leave --address out."
        ) from error


def _start(ray: Any, address: str, options: dict[str, Any], *, tries: int) -> None:
    # Ray gives its own processes 30 seconds to start, which a busy machine may not.
    for left in reversed(range(tries)):
        try:
            ray.init(address=address, **options)
        except Exception:
            ray.shutdown()
            if not left:
                raise
        else:
            return


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".") + "."


def _idlest(waiting: dict[Any, tuple[Chunk, int]], count: int) -> int:
    loads = [0] * count
    for _, index in waiting.values():
        loads[index] += 1
    return loads.index(min(loads))


def _floor(share: float) -> float:
    """Return a share of a core, rounded down to what Ray can count: thousandths, of which it knows tenths, too."""
    return int(share * 1000) / 1000
