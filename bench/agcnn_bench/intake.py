"""Intake alone: from a folder to the archive and its rows, as `process FOLDER` takes them."""

import os
from pathlib import Path

import psutil

from agcnn_bench.clinics import Bench, make_clinic
from agcnn_bench.figures import Figure, timed
from agcnn_clinic.analysis.normalise import PRELOAD
from agcnn_clinic.config import Config
from agcnn_clinic.database.session import Database, open_database
from agcnn_clinic.demo.dicom_writer import write_dicom
from agcnn_clinic.demo.phantom import draw
from agcnn_clinic.demo.samples import sample_uid
from agcnn_clinic.domain import StudyDescription
from agcnn_clinic.intake.accept import Intake
from agcnn_clinic.intake.inbox import Inbox
from agcnn_clinic.sandbox.pool import Sandbox
from agcnn_clinic.storage import Storage
from agcnn_models.cores import usable_cores

_ATTEMPTS = 3
"""Each needs a clinic of its own: what has come before is a duplicate."""


def run(bench: Bench) -> None:
    """Films of every form in turn, and many small files."""
    films = bench.scratch / "intake-films"
    films.mkdir()
    for number in range(6 if bench.quick else 60):
        bench.films.write(films, number)
    _time(bench, "film", films)
    small = bench.scratch / "intake-small"
    small.mkdir()
    _write_small(small, 50 if bench.quick else 2000)
    _time(bench, "small_file", small)


def _time(bench: Bench, name: str, source: Path) -> None:
    count = len(list(source.iterdir()))
    figures = []
    for attempt in range(min(bench.runs, _ATTEMPTS)):
        config = make_clinic(bench.scratch / f"{source.name}-{attempt}").config
        with open_database(config.database_url) as database:
            figures.append(_once(config, database, source, count))
    wall = tuple(figure.runs[0] for figure in figures)
    bench.results.add(f"intake.{name}", Figure("s", wall, tuple(figure.core_seconds[0] for figure in figures)))
    bench.results.add(f"intake.{name}_rate", Figure("files/s", tuple(1 / seconds for seconds in wall)))


def _once(config: Config, database: Database, source: Path, count: int) -> Figure:
    workers = min(usable_cores(), 4)
    limits = config.analysis
    with Sandbox(workers, limits.decode_seconds, limits.decode_memory_mb, preload=PRELOAD) as sandbox:
        for started in [sandbox.submit(os.getpid) for _ in range(workers)]:
            started.result()  # its libraries are loaded
        storage = Storage(config)
        storage.prepare()
        inbox = Inbox(config, Intake(storage, database, sandbox, config.intake.max_file_mb * 1_000_000, config.inbox))

        def take() -> None:
            if (taken := inbox.take([source])) != count:
                raise RuntimeError(f"intake took {taken} of {count} files")

        before = _children_core_seconds()
        seen = timed(take, 1, warm_up=False)
        cores = seen.core_seconds[0] + _children_core_seconds() - before
        return Figure("s", (seen.runs[0] / count,), (cores / count,))


def _children_core_seconds() -> float:
    """Of the sandbox's children, which live as long as it does."""
    return sum(sum(child.cpu_times()[:2]) for child in psutil.Process().children(recursive=True))


def _write_small(folder: Path, count: int) -> None:
    """DICOM files of some 9 kB: what is timed is all that is not copying."""
    pixels = draw(0, (64, 64)).pixels
    for number in range(count):
        write_dicom(
            folder / f"{number:06}.dcm",
            pixels,
            study=StudyDescription(study_instance_uid=sample_uid(f"small study {number}")),
            series_instance_uid=sample_uid(f"small series {number}"),
            sop_instance_uid=sample_uid(f"small image {number}"),
        )
