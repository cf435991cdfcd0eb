"""Trainings of two phases of two epochs, run by test_distributed.py in one process and, with torchrun, in two.

    ranks_program.py FOLDER

FOLDER/<case>-<rank>.pt is what a process ends with: its weights, or the sentence that it was stopped with.
"""

import io
import os
import sys
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn

from agcnn_models.settings import Preprocessing
from agcnn_training.data.batches import Batches
from agcnn_training.data.films import Films
from agcnn_training.distributed import Ranks, joined
from agcnn_training.errors import TrainingError
from agcnn_training.evaluation.metrics import Score
from agcnn_training.loop import Surroundings, Task, run_phase
from agcnn_training.progress import Journal, StopRequest
from agcnn_training.recipe import ComputeRecipe, PhaseRecipe
from agcnn_training.run_folder import NOTHING_YET, RunFolder

PHASE = PhaseRecipe(epochs=2, batch_size=8, average=0.9, mixup=0.4, learning_rate=0.05, accumulate=2)


def network(kind: str) -> nn.Module:
    """A small network with BatchNorm ("norm") or without."""
    torch.manual_seed(0)
    norms = (nn.BatchNorm2d(6), nn.BatchNorm2d(6)) if kind == "norm" else (nn.Identity(), nn.Identity())
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, 2), norms[0], nn.ReLU(), nn.Conv2d(6, 6, 3, 2), norms[1], nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 15),
    )  # fmt: skip


def films() -> Films:
    """Twenty-four random films."""
    pixels = torch.randint(0, 256, (24, 1, 36, 36), dtype=torch.uint8)
    return Films(pixels, (torch.rand(24, 15) < 0.3).float(), torch.empty(24, 0))


def train(folder: Path, kind: str, ranks: Ranks, event: str) -> dict[str, Tensor] | str:
    """Train in as many processes as there are; in its second step the last of several meets the event."""
    module, stopping, steps = network(kind), StopRequest(), 0
    torch.manual_seed(1)
    chosen = films()
    scores = iter([0.6, 0.7, 0.5, 0.8])
    (folder / "run").mkdir(exist_ok=True, parents=True)
    around = Surroundings(
        RunFolder(folder / "run"), Journal(Console(file=io.StringIO())), stopping, ComputeRecipe(), 0, ranks
    )

    def meet(*_: object) -> None:
        nonlocal steps
        steps += 1
        if ranks.count > 1 and ranks.rank == ranks.count - 1 and steps == 3:  # a step has two parts
            match event:
                case "stop":
                    stopping.made = True
                case "dies":
                    os._exit(9)

    module.register_forward_pre_hook(meet)
    best = NOTHING_YET
    for number in (1, 2):
        batches = Batches(chosen, np.arange(24), PHASE, Preprocessing(resize=36, crop=32), (number,))
        task = Task(f"global-{number}", module, lambda _module, _size: Score(next(scores), {}, ()), batches)
        try:
            best = run_phase(task, PHASE, around, best)
        except TrainingError as error:
            return str(error)
    return module.state_dict()


if __name__ == "__main__":
    torch.set_num_threads(1)
    where = Path(sys.argv[1])
    # torchrun ends those that are left with SIGTERM: as in a real run that is a request.
    with joined(torch.device("cpu")) as processes, StopRequest().listening():
        for case in ("plain", "norm", "stop", "dies"):
            outcome = train(where / case, "plain" if case == "plain" else "norm", processes, case)
            torch.save(outcome, where / f"{case}-{processes.rank}.pt")
