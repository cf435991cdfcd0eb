"""The flow on cores that are not here: what decodes, reads and renders sleeps for as long as it works when it is alone.

The loops, the database and the queues between them are the real ones. So it shows how many of the cores the pipeline
keeps busy, and nothing of how much slower cores are side by side, or when they wait for memory, disk or Python's lock.
"""

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from statistics import fmean, median
from typing import Any

from agcnn_bench.clinics import Bench, make_clinic, require_room
from agcnn_bench.figures import Figure, timed
from agcnn_bench.films import Form
from agcnn_clinic.analysis.films import Darkroom
from agcnn_clinic.analysis.infer import Reader, Reading, load_reader
from agcnn_clinic.analysis.loop import Analysis
from agcnn_clinic.analysis.normalise import PRELOAD, Developed, Wanted, develop
from agcnn_clinic.analysis.seen import NetworkFilm
from agcnn_clinic.bundles import configured_bundle
from agcnn_clinic.clinic import SWITCH_SECONDS, Clinic
from agcnn_clinic.config import Config
from agcnn_clinic.cores import core_shares
from agcnn_clinic.database.claims import ALONE
from agcnn_clinic.database.session import open_database
from agcnn_clinic.intake.accept import Intake
from agcnn_clinic.intake.inbox import Inbox
from agcnn_clinic.press import press
from agcnn_clinic.prints import RecentPrints
from agcnn_clinic.reporting.loop import Reporting
from agcnn_clinic.reporting.paper import print_size
from agcnn_clinic.reporting.pdf import render
from agcnn_clinic.reporting.rendering import Press, Render
from agcnn_clinic.sandbox.pool import Sandbox
from agcnn_clinic.service import until_told
from agcnn_clinic.storage import Storage
from agcnn_clinic.upkeep.loop import Upkeep
from agcnn_models.manifest import Manifest

CORES = (2, 16)
"""The first can be held against the whole (`agcnn_bench.whole`) where there are two."""
CORES_OF_A_RUN = 4
"""So many have the studies of one run of the whole, and more have more: a run takes as long on many as on few."""
SLICE_SECONDS = 0.02
"""How long a core is kept before it goes to who waits for it."""


def run(bench: Bench) -> None:
    """Time the daemon's loops on each number of cores."""
    parts = _measured(bench)
    pdf, rendering = _rendering(bench, parts)
    costs = {"develop": fmean(parts.developing), "network": parts.network, "report": rendering}
    bench.results.facts["flow.core_seconds"] = {name: round(seconds, 4) for name, seconds in costs.items()}

    def rendered(cores: Cores, *_: Any) -> bytes:
        cores.work(rendering)
        return pdf

    for count in CORES[:1] if bench.quick else CORES:
        studies = bench.films_in_inbox * count // CORES_OF_A_RUN
        seen = [
            _watch(bench.scratch / f"flow-{count}-{number}", bench, parts, Cores(count), studies, rendered)
            for number in range(1 if bench.quick else min(bench.runs, 3))
        ]
        bench.results.add(f"flow.cores_{count}.rate", Figure("studies/s", tuple(rate for rate, _ in seen)))
        bench.results.add(f"flow.cores_{count}.busy", Figure("of all", tuple(busy for _, busy in seen)))


class Cores:
    """Cores that threads share by turns; those that stand back get what no other wants."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.worked = 0.0
        """Seconds, of all of them together."""
        self._free = count
        self._lock = threading.Lock()
        self._first, self._then = threading.Condition(self._lock), threading.Condition(self._lock)
        self._urgent = 0

    def work(self, seconds: float, *, stands_back: bool = False) -> None:
        """Keep a core busy for so long, in turns with others where there are too few."""
        left = seconds
        while left > 0:
            self._take(stands_back=stands_back)
            began = time.perf_counter()
            time.sleep(min(left, SLICE_SECONDS))
            left -= time.perf_counter() - began
            self._give_back()
        with self._lock:
            self.worked += seconds

    def _take(self, *, stands_back: bool) -> None:
        with self._lock:
            if stands_back:
                self._then.wait_for(lambda: self._free and not self._urgent)
            else:
                self._urgent += 1
                self._first.wait_for(lambda: self._free)
                self._urgent -= 1
            self._free -= 1
            self._wake()

    def _give_back(self) -> None:
        with self._lock:
            self._free += 1
            self._wake()

    def _wake(self) -> None:
        if self._free:
            (self._first if self._urgent else self._then).notify()


@dataclass(frozen=True)
class _Parts:
    """What decoding and reading give, and the core-seconds that each takes alone.

    Attributes:
        developed: a film of each form.
        developing: what each of them takes.
        manifest: of the model that reads.
        reading: what it says of one of them.
        network: what a film takes of it.
    """

    developed: tuple[Developed, ...]
    developing: tuple[float, ...]
    manifest: Manifest
    reading: Reading
    network: float


class _Decoders(Sandbox):
    """In the place of the children: threads, each of which gives a film out when it has worked for as long as one."""

    def __init__(self, workers: int, parts: _Parts, cores: Cores) -> None:
        super().__init__(workers, seconds=60, memory_mb=0)
        self._films = cycle(zip(parts.developed, parts.developing, strict=True))
        self._cores = cores
        self._waiting = ThreadPoolExecutor(workers)

    def submit(self, function: Callable[..., Any], *_: Any, **__: Any) -> Future[Any]:
        if function is not develop:
            raise ValueError("Only films are decoded here: what a report prints was kept.")
        film, seconds = next(self._films)

        def decode() -> Developed:
            self._cores.work(seconds, stands_back=True)
            return film

        return self._waiting.submit(decode)


class _WaitingReader(Reader):
    """In the place of the network: threads that share a batch, each of which works for as long as its share takes."""

    def __init__(self, threads: int, parts: _Parts, cores: Cores) -> None:
        self.manifest, self.computed_on = parts.manifest, "no processor"
        self._count, self._parts, self._cores = threads, parts, cores
        self._threads = ThreadPoolExecutor(threads)

    def read_films(self, films: Sequence[NetworkFilm]) -> list[Reading]:
        shares = [len(films[first :: self._count]) for first in range(self._count)]
        list(self._threads.map(lambda share: self._cores.work(share * self._parts.network), shares))
        return [self._parts.reading] * len(films)


def _measured(bench: Bench) -> _Parts:
    """Do each part in earnest, warm and alone, on one core."""
    config = make_clinic(bench.scratch / "flow").config
    reader = load_reader(configured_bundle(config), device="cpu", threads=1)
    wanted = Wanted(reader.manifest.preprocessing, print_size(config.reporting))
    developed, developing = [], []
    for number, form in enumerate(Form):
        path = bench.films.write(bench.scratch, number, form)
        work = partial(develop, path, form.media_type, config.gate, wanted)
        developed.append(work())
        developing.append(timed(work, 3).median_core_seconds)
    seen = [film.seen for film in developed if film.seen is not None]
    network = timed(lambda: reader.read_films(seen), 3, per=len(seen)).median_core_seconds
    return _Parts(tuple(developed), tuple(developing), reader.manifest, reader.read_films(seen)[0], network)


def _rendering(bench: Bench, parts: _Parts) -> tuple[bytes, float]:
    """A report, and the core-seconds that one takes."""
    config = _config(bench.scratch / "flow-report")
    pdfs: list[bytes] = []
    seconds: list[float] = []

    def rendered(*content: Any) -> bytes:
        began = time.thread_time()
        pdfs.append(render(*content))
        seconds.append(time.thread_time() - began)
        return pdfs[-1]

    with _clinic(config, parts, Cores(CORES[0]), rendered) as clinic:
        clinic.inbox.take([bench.films.write(bench.scratch, number) for number in range(2 * len(Form))])
        while clinic.analysis.step():
            pass
        clinic.reporting.step(quiet_seconds=0)
    return pdfs[-1], median(seconds)


def _watch(
    folder: Path, bench: Bench, parts: _Parts, cores: Cores, studies: int, rendered: Callable[..., bytes]
) -> tuple[float, float]:
    """From the archive to the last PDF: studies a second, and the share of the cores that was busy."""
    config = _config(folder)
    films = [bench.films.write(folder, number) for number in range(studies)]
    require_room(config, films)
    with _clinic(config, parts, cores, partial(rendered, cores)) as clinic, _switching():
        # Not timed: so many films at once are more than the disk and the cores that are here can take.
        clinic.inbox.take(films)
        stop = threading.Event()
        with ThreadPoolExecutor(1) as daemon:
            began = time.perf_counter()
            ended = daemon.submit(until_told, clinic, stop)
            while len(list(config.reports.glob("*.pdf"))) < studies and not ended.done():
                time.sleep(0.05)
            seconds = time.perf_counter() - began
            stop.set()
            ended.result()
    shutil.rmtree(folder)  # gigabytes
    return studies / seconds, cores.worked / seconds / cores.count


def _config(folder: Path) -> Config:
    """A clinic that waits for nothing."""
    config = make_clinic(folder).config
    intake = config.intake.model_copy(update={"settle_seconds": 0, "study_quiet_seconds": 0})
    return config.model_copy(update={"intake": intake})


@contextmanager
def _switching() -> Iterator[None]:
    """Python's lock changes hands as often as in the daemon."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@contextmanager
def _clinic(config: Config, parts: _Parts, cores: Cores, render: Render) -> Iterator[Clinic]:
    """As `agcnn_clinic.clinic.at_work`, but for what works elsewhere."""
    shares, limits = core_shares(cores=cores.count), config.analysis
    darkroom = Darkroom(RecentPrints(), print_size(config.reporting))
    with (
        open_database(config.database_url) as database,
        Sandbox(shares.header_readers, limits.decode_seconds, limits.decode_memory_mb, preload=PRELOAD) as headers,
    ):
        for started in [headers.submit(os.getpid) for _ in range(shares.header_readers)]:
            started.result()
        storage = Storage(config)
        storage.prepare()
        decoders = _Decoders(shares.decoders, parts, cores)
        reader = _WaitingReader(shares.network_threads, parts, cores)
        yield Clinic(
            config,
            database,
            ALONE,
            Inbox(config, Intake(storage, database, headers, config.intake.max_file_mb * 1_000_000, config.inbox)),
            Analysis(database, storage, decoders, reader, config.gate, shares.batch, darkroom),
            Reporting(
                database,
                config,
                Press(press(config, decoders, darkroom.recent).prints_of, lambda: render),
                at_once=shares.presses,
            ),
            Upkeep(database, storage, config),
        )
