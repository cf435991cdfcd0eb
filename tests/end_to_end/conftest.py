"""A whole clinic in a temporary folder, with a small model of random weights: quick, and real in every other way."""

import ctypes
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from agcnn_clinic.cli.main import app
from agcnn_clinic.config import load_config

PROGRAM = Path(sys.executable).with_name("agcnn-clinic")
RECIPE = """
name = "{name}"
description = "For tests."
[network]
backbone = "densenet121"
initial_weights = "random"
[images]
resize = 72
crop = 64
[split]
method = "patient"
validation = 0.34
[phase]
epochs = 1
batch_size = 4
[[stages]]
trains = ["global"]
start = {{ global = "backbone" }}
[[stages]]
trains = ["local"]
start = {{ local = "global" }}
[[stages]]
trains = ["fusion"]
start = {{ fusion = "{fusion}" }}
"""
"""One epoch of each stage, on films that are hardly larger than what the network needs."""


class ClinicFolder:
    """A clinic on disk and the program run on it as a person would."""

    def __init__(
        self, root: Path, select: Callable[[str, str], list[dict[str, Any]]], nursery: Any, homeless: dict[str, str]
    ) -> None:
        self._select = select
        self._nursery = nursery
        self._homeless = homeless
        self.config_file = root / "config.toml"
        self.config = load_config(self.config_file)

    def arguments(self, *arguments: str | Path) -> list[str]:
        """A command on this clinic, without the program's name."""
        return ["--config", str(self.config_file), *map(str, arguments)]

    def command(self, *arguments: str | Path) -> list[str]:
        """The command line that runs the installed program on this clinic."""
        return [str(PROGRAM), *self.arguments(*arguments)]

    def start(self, *arguments: str | Path, **streams: Any) -> Any:
        """Start the program in a process of its own, which is forked; see `Nursery.start` of tests/nursery.py."""
        return self._nursery.start(self.arguments(*arguments), **streams)

    def run(self, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the program to its end, as an account whose home does not exist and cannot be made."""
        return self._nursery.run(self.arguments(*arguments), env=self._homeless, check=check, timeout=300)

    def outcomes(self) -> dict[str, tuple[str, str]]:
        """Outcome and reason code of every file, by its name; fails when a name is there twice."""
        found = self.select("SELECT original_name, outcome, reason_code FROM received_file")
        assert len({row["original_name"] for row in found}) == len(found)
        return {row["original_name"]: (row["outcome"], row["reason_code"]) for row in found}

    def select(self, statement: str) -> list[dict[str, Any]]:
        """What any program sees in its database."""
        return self._select(self.config.database_url, statement)

    def rows(self, statement: str) -> list[tuple]:
        """The same, without the names of the columns."""
        return [tuple(row.values()) for row in self.select(statement)]


@pytest.fixture
def program() -> Path:
    """The installed program."""
    return PROGRAM


@pytest.fixture
def clinic_folder(tmp_path) -> Path:
    """Where `clinic` is made."""
    return tmp_path / "clinic"


@pytest.fixture
def clinic(clinic_folder, small_bundle, new_clinic, select, nursery, homeless):
    """An empty clinic that reads with the small bundle and does not wait for long."""
    root = clinic_folder
    new_clinic(root)
    text = (root / "config.toml").read_text()
    for old, new in (
        ('model = "starter"', f'model = "{small_bundle}"'),
        ("settle_seconds = 2.0", "settle_seconds = 0.3"),
        ("study_quiet_seconds = 30.0", "study_quiet_seconds = 0.5"),
        ("threads = 0", "threads = 1"),
        ("decode_workers = 0", "decode_workers = 1"),
        ('format = "human"', 'format = "json"'),
    ):
        assert old in text
        text = text.replace(old, new)
    (root / "config.toml").write_text(text)
    return ClinicFolder(root, select, nursery, homeless)


@pytest.fixture
def signal_a_side_thread() -> Callable[[int, int], None]:
    """Gives a signal to a thread of a process that is not its first one, as the system may at any time."""
    if sys.platform != "linux":
        pytest.skip("a signal is given to one thread by Linux's tgkill")

    def give(pid: int, number: int) -> None:
        others = [int(path.name) for path in Path(f"/proc/{pid}/task").iterdir() if int(path.name) != pid]
        assert ctypes.CDLL(None).tgkill(pid, others[0], number) == 0

    return give


@pytest.fixture
def write_recipe(tmp_path) -> Callable[..., Path]:
    """Writes a recipe of three short stages: `write_recipe(name, fusion=...)` says how the fusion branch begins."""

    def write(name: str, *, fusion: str) -> Path:
        path = tmp_path / f"{name}.toml"
        path.write_text(RECIPE.format(name=name, fusion=fusion))
        return path

    return write


@pytest.fixture
def run(clinic):
    """Run a command in this process, which loads torch once for all of them."""

    def run(*arguments: str | Path) -> Result:
        done = CliRunner().invoke(app, clinic.arguments(*arguments), catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done

    return run
