"""What tests of several rooms share: the real files, a drawn film, and a writer of small DICOM files."""

import itertools
import os

# What tests compute is small: threads that wait for each other cost ten times that. Read when numpy and torch load.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Without a GPU, kernels are interpreted. Triton wants to know before anything imports it.
if not any(map(os.path.exists, ("/dev/nvidiactl", "/dev/nvidia0", "/proc/driver/nvidia", "/dev/dxg"))):
    os.environ.setdefault("TRITON_INTERPRET", "1")

import hashlib
import importlib.util
import logging
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import hypothesis
import numpy as np
import pytest
from numpy.typing import NDArray

from agcnn_clinic import __version__, faults
from agcnn_clinic.config import Config
from agcnn_clinic.database.session import open_database
from agcnn_clinic.demo.dicom_writer import write_dicom as write_dicom_film
from agcnn_clinic.dicom.uid import derived_uid
from agcnn_clinic.domain import StudyDescription
from agcnn_clinic.faults import FaultPoint
from agcnn_models.labels import LABELS
from agcnn_models.manifest import Draft, Software, ThresholdSet, Training
from agcnn_models.settings import Backbone, Preprocessing

# A busy machine is no failure of arithmetic.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests that take long, too")
    parser.addoption(
        "--database",
        choices=("sqlite", "postgresql"),
        default="sqlite",
        help="where the clinics of the tests keep their rows; a server is started for them",
    )
    parser.addoption("--rounds", type=int, default=20, help="how often tests/reliability kills a daemon at random")
    parser.addoption("--seed", type=int, default=1, help="of those rounds")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        # Not `keywords`: the folder that the project lies in may be called so, too, and nothing would be tried.
        if item.get_closest_marker("slow") is not None and not config.getoption("--slow"):
            item.add_marker(pytest.mark.skip(reason="takes long; run with --slow"))
        only = item.get_closest_marker("sqlite_only")
        if only is not None and config.getoption("--database") != "sqlite":
            item.add_marker(pytest.mark.skip(reason=f"about SQLite: {only.args[0]}"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "databases" not in metafunc.fixturenames or metafunc.config.getoption("--database") != "sqlite":
        return
    marks = {mark.name for mark in metafunc.definition.iter_markers()}
    if "postgresql_only" in marks:
        metafunc.parametrize("databases", ["postgresql"], indirect=True, scope="session")
    elif "both_databases" in marks and "sqlite_only" not in marks:
        metafunc.parametrize("databases", ["sqlite", "postgresql"], indirect=True, scope="session")


def beside(name: str) -> ModuleType:
    """The module tests/NAME.py, loaded once: the folder is no package."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    """A command that starts the log starts it for this whole process."""
    logger = logging.getLogger("agcnn_clinic")
    before = logger.handlers, logger.level, logger.propagate
    yield
    logger.handlers, logger.level, logger.propagate = before


@pytest.fixture(scope="session")
def factories() -> ModuleType:
    """The module tests/factories.py: rows of a clinic."""
    return beside("factories")


@pytest.fixture(scope="session")
def machines() -> ModuleType:
    """The module tests/machines.py: daemons on machines of their own."""
    return beside("machines")


@pytest.fixture(scope="session")
def shares() -> ModuleType:
    """The module tests/shares.py: network file systems of this machine's own."""
    return beside("shares")


@pytest.fixture(scope="session")
def nursery() -> Any:
    """What starts the installed program in a moment: one for this test process; see tests/nursery.py."""
    nursery = beside("nursery").Nursery()
    yield nursery
    nursery.close()


@pytest.fixture(scope="session")
def homeless() -> dict[str, str]:
    """The environment of a service: libraries that keep a cache in the user's home find none."""
    return beside("nursery").homeless()


@pytest.fixture
def ordinary_user() -> Any:
    """A context in which permissions count, also where the tests run as root."""
    return beside("permissions").ordinary_user


@pytest.fixture(scope="session")
def server() -> Any:
    """A PostgreSQL server of the tests' own; skips where none is installed."""
    server = beside("databases").start_server()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def databases(request: pytest.FixtureRequest) -> Any:
    """Makes databases of the kind that `--database` names, or of those that a test's mark says."""
    kind = getattr(request, "param", request.config.getoption("--database"))
    return request.getfixturevalue("server") if kind == "postgresql" else beside("databases").SqliteFiles()


@pytest.fixture(scope="session")
def new_clinic(databases: Any) -> Callable[[Path], Config]:
    """Makes a clinic: `new_clinic(folder)` gives its settings."""
    return lambda folder: beside("databases").new_clinic(databases, folder)


@pytest.fixture(scope="session")
def empty_clinic(new_clinic: Callable[[Path], Config], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a clinic that was just made; only to be copied."""
    return new_clinic(tmp_path_factory.mktemp("empty") / "clinic").root


@pytest.fixture
def copy_of_clinic(databases: Any) -> Any:
    """Copies a clinic at rest with its database: `copy_of_clinic(folder, target)`."""
    copied: list[str] = []
    yield lambda folder, target: copied.append(beside("databases").copy_of_clinic(databases, folder, target))
    for url in copied:
        databases.drop(url)


@pytest.fixture(scope="session")
def migrated(databases: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of an empty database at head; only to be copied."""
    return beside("databases").migrated(databases, tmp_path_factory.mktemp("migrated"))


@pytest.fixture
def url(databases: Any, migrated: str, tmp_path: Path) -> Any:
    """The URL of an empty database at head."""
    url = databases.copy(migrated, tmp_path)
    yield url
    databases.drop(url)


@pytest.fixture(scope="session")
def select() -> Callable[..., list[dict[str, Any]]]:
    """What any program sees in a database: `select(url, statement)` gives the rows, by column."""

    def select(url: str, statement: str) -> list[dict[str, Any]]:
        with open_database(url, check_revision=False) as database, database.connection() as connection:
            return [dict(row) for row in connection.exec_driver_sql(statement).mappings()]

    return select


@pytest.fixture(scope="session")
def execute() -> Callable[..., None]:
    """What any program may do to a database: `execute(url, statement)`, committed."""

    def execute(url: str, statement: str) -> None:
        with open_database(url, check_revision=False) as database, database.write() as session:
            session.connection().exec_driver_sql(statement)

    return execute


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real films; tests that ask for it skip where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("AGCNN_SHARED_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"there is no {folder}; $AGCNN_SHARED_DATA can name another folder of real films")
    return folder


@pytest.fixture(scope="session")
def film() -> NDArray[np.float64]:
    """See tests/films.py."""
    return beside("films").chest()


@pytest.fixture
def twelve(film: NDArray[np.float64]) -> NDArray[np.uint16]:
    """The film in 12 bits."""
    return np.rint(film * 4095).astype(np.uint16)


@pytest.fixture(scope="session")
def write_dicom() -> Callable[..., Path]:
    """The function `write_dicom(path, stored, *, bits, photometric, syntax, **attributes)`."""
    return beside("films").write_dicom


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory):
    """A bundle that opens and verifies like any other; its network sees 64 x 64 pixels and was never trained."""
    import torch
    import torchvision

    from agcnn_models.agcnn import build_agcnn
    from agcnn_models.bundle import write_bundle

    torch.manual_seed(0)
    draft = Draft(
        name="untrained",
        version="0.0.1",
        intended_use="Tests.",
        backbone=Backbone.DENSENET121,
        preprocessing=Preprocessing(resize=72, crop=64),
        thresholds=ThresholdSet(set_id="half", method="fixed", values=dict.fromkeys(LABELS, 0.5)),
        training=Training(
            data="None.",
            recipe="none",
            split="none",
            seed=0,
            films_train=0,
            films_validation=0,
            patients_train=0,
            patients_validation=0,
        ),
        software=Software(
            agcnn=__version__,
            torch=torch.__version__,
            torchvision=torchvision.__version__,
            python=platform.python_version(),
        ),
    )
    folder = tmp_path_factory.mktemp("models") / "untrained"
    return write_bundle(folder, build_agcnn(Backbone.DENSENET121).eval(), draft, "# Untrained\n").folder


@pytest.fixture(scope="session")
def other_bundle(small_bundle, tmp_path_factory):
    """Another model: the small one with its attention drawn tighter, under a name of its own."""
    folder = tmp_path_factory.mktemp("models") / "tighter"
    shutil.copytree(small_bundle, folder)
    manifest = (folder / "manifest.toml").read_text()
    for old, new in (('name = "untrained"', 'name = "tighter"'), ("tau = 0.7", "tau = 0.95")):
        assert manifest.count(old) == 1
        manifest = manifest.replace(old, new)
    (folder / "manifest.toml").write_text(manifest)
    return folder


@pytest.fixture(scope="session")
def write_film():
    """Write a picture as a DICOM film of a study of its own; equal pictures give equal UIDs."""

    def write(path: Path, pixels: NDArray[np.float32], *, view: str = "PA", **study: str) -> None:
        uids = [derived_uid(hashlib.sha256(level + pixels.tobytes()).hexdigest()) for level in (b"a", b"b", b"c")]
        write_dicom_film(
            path,
            pixels,
            study=StudyDescription(study_instance_uid=uids[0], **study),
            series_instance_uid=uids[1],
            sop_instance_uid=uids[2],
            view=view,
        )

    return write


@pytest.fixture
def new_archive():
    """Makes DICOM archives on loopback (tests/archives.py), which are gone at the end of the test."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(beside("archives").serving(**settings))


@pytest.fixture
def archive(new_archive):
    """One that takes what is sent."""
    return new_archive()


@pytest.fixture
def mount():
    """A function that takes a folder and what the program of this name takes besides; all is undone at the end."""
    mounted: list[Path] = []

    def mount(target: Path, *arguments: str) -> None:
        command = ["mount", *arguments, str(target)]
        done = subprocess.run(command, capture_output=True, check=False) if os.geteuid() == 0 else None
        if done is None or done.returncode:
            pytest.skip("this user may not mount a file system")
        if not any("remount" in argument for argument in arguments):
            mounted.append(target)

    yield mount
    for target in reversed(mounted):
        subprocess.run(["umount", "--lazy", str(target)], check=True)


@pytest.fixture
def at_point(monkeypatch):
    """A function that lets something happen as this process passes a fault point: at one passage, or (None) each."""

    def at_point(point: FaultPoint, happens, passage: int | None = 1) -> None:
        passages = itertools.count(1)

        def hook(reached: FaultPoint) -> None:
            if reached is point and passage in (None, next(passages)):
                happens()

        monkeypatch.setattr(faults, "hook", hook)

    return at_point
