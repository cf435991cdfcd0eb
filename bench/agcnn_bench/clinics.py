"""Clinics to be timed: made by the real commands, in folders of their own, driven as real processes."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from agcnn_bench.figures import Results
from agcnn_bench.films import Films, draw_films
from agcnn_clinic.config import Config, load_config
from agcnn_clinic.intake.disk import Watermark
from agcnn_models.cores import usable_cores

PROGRAM = str(Path(sys.executable).with_name("agcnn-clinic"))
LONGEST_WAIT = 3600.0
"""Seconds after which a clinic that does not get ready is given up."""

_PREFIX = "AGCNN_CLINIC_"


@dataclass
class Bench:
    """What every part starts from.

    Attributes:
        scratch: an empty folder on the disk that is to be measured.
        results: where figures go.
        quick: small sizes: shows that all works, says little.
        runs: how often a figure is taken.
        films_in_inbox: how many studies go from inbox to PDF in one run of the whole.
        studies: how many the database holds where its queries are timed.
    """

    scratch: Path
    results: Results
    quick: bool
    runs: int
    films_in_inbox: int
    studies: int

    @cached_property
    def films(self) -> Films:
        """The films, drawn when first asked for."""
        side, patients = (512, 1) if self.quick else (2048, 3)
        print(f"drawing films of {side} x {side} pixels", flush=True)  # noqa: T201
        self.results.facts["film_side"] = side
        return draw_films(side, patients)


@dataclass(frozen=True)
class ClinicFolder:
    """A clinic in a folder, and the settings that differ from the defaults."""

    folder: Path
    settings: Mapping[str, object] = field(default_factory=dict)
    """As the environment names them below AGCNN_CLINIC_: `INTAKE__SETTLE_SECONDS`."""

    @property
    def config(self) -> Config:
        """Its configuration file's settings, without `settings`."""
        return load_config(self.folder / "config.toml")

    @property
    def environment(self) -> dict[str, str]:
        """For its commands."""
        return os.environ | {_PREFIX + name: str(value) for name, value in self.settings.items()}

    def command(self, *words: str) -> list[str]:
        """A command on this clinic."""
        return [PROGRAM, "--config", str(self.folder / "config.toml"), *words]

    def run(self, *words: str) -> str:
        """Run a command and return what it printed. Raises RuntimeError with its errors when it fails."""
        done = subprocess.run(  # noqa: S603
            self.command(*words), check=False, capture_output=True, text=True, env=self.environment
        )
        if done.returncode:
            raise RuntimeError(f"`agcnn-clinic {' '.join(words)}` ended with {done.returncode}: {done.stderr[-2000:]}")
        return done.stdout

    def pdfs(self) -> list[Path]:
        """The reports that are in place."""
        return [path for path in self.config.reports.iterdir() if path.suffix == ".pdf" and path.name[0] != "."]


def make_clinic(folder: Path, **settings: object) -> ClinicFolder:
    """Make a clinic by `agcnn-clinic init`."""
    subprocess.run([PROGRAM, "init", str(folder)], check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    return ClinicFolder(folder, settings)


@contextlib.contextmanager
def busy_cores(niceness: int = 0) -> Iterator[None]:
    """As many processes as there are cores, none of which ever waits."""
    with contextlib.ExitStack() as others:
        for _ in range(usable_cores()):
            for_ever = [sys.executable, "-c", f"import os\nos.nice({niceness})\nwhile True: pass"]
            busy = others.enter_context(subprocess.Popen(for_ever))  # noqa: S603
            others.callback(busy.kill)
        yield


def require_room(config: Config, studies: Iterable[Path]) -> None:
    """Raises SystemExit where the disk is too full for a clinic to take what it is to be timed with: it would wait."""
    if not all(Watermark.of(config).fitting([path.stat().st_size for path in studies])):
        raise SystemExit(
            f"the disk of {config.archive.parent} is too full to take these studies and keep "
            f"{config.intake.min_free_mb} MB free: choose another one by TMPDIR, or fewer of them by --films"
        )


@contextlib.contextmanager
def watching(clinic: ClinicFolder) -> Iterator[subprocess.Popen[str]]:
    """`agcnn-clinic watch`, open for work: its model is loaded and it looks at its inbox."""
    process = subprocess.Popen(  # noqa: S603
        clinic.command("watch"), stderr=subprocess.PIPE, text=True, env=clinic.environment
    )
    said: list[str] = []
    ready = threading.Event()

    def listen() -> None:
        for line in process.stderr or ():
            said.append(line)
            if "watching the inbox" in line:
                ready.set()
        ready.set()

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        ready.wait(LONGEST_WAIT)
        if process.poll() is not None or not any("watching the inbox" in line for line in said):
            raise RuntimeError(f"`agcnn-clinic watch` did not start: {''.join(said)[-2000:]}")
        yield process
    finally:
        process.terminate()
        process.wait()
        listener.join()


def wait_until(fulfilled: Callable[[], bool], process: subprocess.Popen[str], pause: float = 0.02) -> None:
    """Look again and again, until it is so. Raises RuntimeError when the process ends or an hour has passed."""
    deadline = time.monotonic() + LONGEST_WAIT
    while not fulfilled():
        if process.poll() is not None:
            if fulfilled():
                return
            raise RuntimeError(f"the process that is timed ended too early, with {process.returncode}")
        if time.monotonic() > deadline:
            raise RuntimeError("what is timed has not come to an end within an hour")
        time.sleep(pause)
