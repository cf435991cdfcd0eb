"""Two processes, started by torchrun on this machine, train as one does."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from agcnn_models.bundle import open_bundle
from agcnn_training.distributed import ALONE, SharedBatchNorm, joined
from agcnn_training.train import TrainRequest

PROGRAM = Path(__file__).with_name("ranks_program.py")
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process leaves."""
    folder = tmp_path_factory.mktemp("alone")
    subprocess.run([sys.executable, PROGRAM, folder], check=True, env=ONE_THREAD)
    return folder


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes leave."""
    folder = tmp_path_factory.mktemp("together")
    done = subprocess.run([*TORCHRUN, PROGRAM, folder], check=False, env=ONE_THREAD)
    assert done.returncode, "the last training ends by the death of a process"
    return folder


def difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """The largest difference of two sets of weights."""
    return max(float((one[name].double() - other[name].double()).abs().max()) for name in one)


@pytest.mark.parametrize("case", ["plain", "norm"])
def test_two_processes_end_with_the_weights_of_one(alone: Path, together: Path, case: str) -> None:
    """After two phases with mixup, averaging and accumulation, without BatchNorm and with it: to rounding."""
    expected = torch.load(alone / f"{case}-0.pt")
    first, second = (torch.load(together / f"{case}-{rank}.pt") for rank in (0, 1))
    assert difference(first, expected) < 1e-5
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_only_the_first_process_writes(alone: Path, together: Path) -> None:
    """The run folder of two processes holds what that of one holds, every epoch once."""
    assert sorted(path.name for path in (together / "norm" / "run").iterdir()) == sorted(
        path.name for path in (alone / "norm" / "run").iterdir()
    )
    assert len((together / "norm" / "run" / "metrics.jsonl").read_text().splitlines()) == 4


def test_a_stop_in_one_process_stops_all_at_the_same_step(together: Path) -> None:
    """Asked of the second process in its second step, the stop finds both before the third, with a checkpoint."""
    for rank in (0, 1):
        assert "--resume goes on from there" in torch.load(together / f"stop-{rank}.pt")
    kept = torch.load(together / "stop" / "run" / "checkpoint.pt")
    assert (kept["epoch"], kept["step"]) == (0, 2)


def test_the_death_of_one_process_ends_the_others_with_a_sentence(together: Path) -> None:
    """Killed in its second step, the second process leaves the first with advice instead of a wait without end."""
    assert not (together / "dies-1.pt").exists()
    assert "Another process of this run has ended" in torch.load(together / "dies-0.pt")


@pytest.mark.slow
def test_the_command_runs_under_torchrun(request_for: Callable[[str], TrainRequest]) -> None:
    """The whole of Algorithm 1 in two processes leaves a bundle, and prints its name once."""
    request = request_for("model")
    options = {
        "--data": request.data,
        "--images": request.images,
        "--pretrain-data": request.pretrain_data,
        "--pretrain-images": request.pretrain_images,
        "--recipe": request.recipe,
        "--out": request.out,
        "--device": "cpu",
    }
    arguments = [str(part) for option in options.items() for part in option]
    program = [sys.executable, "-c", "from agcnn_clinic.cli.main import main; main()", "train"]
    command = [*TORCHRUN, "--no-python", *program, *arguments]
    done = subprocess.run(command, check=True, env=ONE_THREAD, capture_output=True, text=True)
    assert done.stdout.splitlines() == [str(request.out)]
    assert open_bundle(request.out).manifest.metrics is not None
    assert done.stderr.count("fusion-1 epoch 1/1") == 1


def test_alone_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without torchrun a run has one process, which leads, and leaves BatchNorm as it is."""
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined(torch.device("cpu")) as ranks:
        assert (ranks.count, ranks.leads) == (1, True)
    module = nn.Sequential(nn.BatchNorm2d(3))
    ALONE.synchronised(module)
    assert type(module[0]) is nn.BatchNorm2d
    assert ALONE.any(said=True)
    assert ALONE.told(0.25) == 0.25


def test_shared_batchnorm_serves_as_batchnorm_does() -> None:
    """In eval() it is the layer that it replaced, bit for bit, under the same names."""
    norm = nn.BatchNorm2d(4)
    norm(torch.randn(8, 4, 5, 5))
    shared = SharedBatchNorm.like(norm.eval())
    images = torch.randn(2, 4, 5, 5)
    assert torch.equal(shared(images), norm(images))
    assert list(shared.state_dict()) == list(norm.state_dict())
