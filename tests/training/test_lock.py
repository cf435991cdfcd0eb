"""One process trains in a run's folder, and the next one is told which."""

import errno
import fcntl
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

from agcnn_training.data.pictures import read_picture
from agcnn_training.errors import RunBusyError, TrainingError
from agcnn_training.experiments.runner import ExperimentRequest, run_experiment
from agcnn_training.lock import only_run_in
from agcnn_training.recipe import load_recipe
from agcnn_training.run_folder import run_path
from agcnn_training.train import TrainRequest, train

HOLD = """
import sys
from pathlib import Path
from agcnn_training.lock import only_run_in
from agcnn_training.recipe import load_recipe
with only_run_in(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""

Hold = Callable[[Path], subprocess.Popen[str]]


@pytest.fixture
def hold() -> Iterator[Hold]:
    """Lets a second process hold a run's folder until it is killed."""
    processes: list[subprocess.Popen[str]] = []

    def hold(folder: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLD, str(folder)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield hold
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.usefixtures("shallow")
@pytest.mark.parametrize("resume", [["--resume"], []])
def test_a_second_training_ends_before_it_writes_anything(
    request_for: Callable[[str], TrainRequest], quiet: Console, nursery: Any, resume: list[str]
) -> None:
    """Resumed or begun anew in the midst of the first, the command says who trains there, as a usage error."""
    first = request_for("model")
    options = ("data", "images", "recipe", "out", "pretrain_data", "pretrain_images", "device")
    command = ["train", *resume]
    for option in options:
        command += [f"--{option.replace('_', '-')}", str(getattr(first, option))]
    ended: list[subprocess.CompletedProcess[str]] = []

    def read(path: Path) -> NDArray[np.float32]:
        if not ended:
            before = {file.name: file.read_bytes() for file in run_path(first.out).iterdir()}
            ended.append(nursery.run(command, env=dict(os.environ), check=False, timeout=60))
            assert {file.name: file.read_bytes() for file in run_path(first.out).iterdir()} == before
        return read_picture(path)

    assert train(replace(first, image_loader=read, workers=1), quiet) == first.out
    assert ended[0].returncode == 2
    assert ended[0].stderr == (
        f"agcnn-clinic: Process {os.getpid()} on {platform.node()} trains in {run_path(first.out)} already: let it "
        "end, or stop it, then repeat the command; or give another --out.\n"
    )


@pytest.mark.usefixtures("shallow")
def test_the_lock_goes_with_a_killed_training(
    request_for: Callable[[str], TrainRequest], quiet: Console, hold: Hold
) -> None:
    """SIGKILL leaves no lock behind: what it left is gone on with."""
    request = request_for("model")
    process = hold(run_path(request.out))
    with pytest.raises(RunBusyError, match=f"Process {process.pid} on "):
        train(request, quiet)
    process.kill()
    process.wait()
    assert train(request, quiet) == request.out


def test_an_experiment_ends_at_a_run_that_another_process_trains(
    films: Path, tmp_path: Path, quiet: Console, hold: Hold
) -> None:
    """It goes on with none that may be the other one's next, which would fail there."""
    recipe = load_recipe("table1-densenet121")
    request = ExperimentRequest(
        recipe.name,
        films / "labels.csv",
        tmp_path,
        images=films / "images",
        seeds=2,
        settings={"phase.epochs": 1, "images.resize": 72, "images.crop": 64, "network.initial_weights": "random"},
        device="cpu",
    )
    run = run_path(tmp_path / "runs" / recipe.name / f"seed-{recipe.seed}")
    process = hold(run)
    with pytest.raises(RunBusyError, match=f"^Process {process.pid} on .* trains in {run} already"):
        run_experiment(request, quiet)
    assert list((tmp_path / "runs" / recipe.name).iterdir()) == [run]


def test_where_there_are_no_locks_it_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a network share without them: nobody is kept out, and nobody is kept from training."""

    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", none)
    with only_run_in(tmp_path), only_run_in(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    """Where a file lies in its way another --out is asked for."""
    (tmp_path / "file").touch()
    run = tmp_path / "file" / "x.run"
    with (
        pytest.raises(TrainingError, match=r"x\.run cannot be made \(Not a directory\): give another --out"),
        only_run_in(run),
    ):
        pass
