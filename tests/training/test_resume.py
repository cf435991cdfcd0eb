"""A run that was stopped and resumed is the run that was not: to the last bit of every file."""

import io
import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from agcnn_training.errors import TrainingStopped
from agcnn_training.step import Stepper
from agcnn_training.train import TrainRequest, train

HARD = """batch_size = 4
accumulate = 2
optimiser = "adamw"
learning_rate = 1e-3
average = 0.5
mixup = 0.4
"""
STOPS = {6, 13, 16}
"""Steps of the whole run, counted from 1, during which a signal comes: in the middle of an epoch of each stage."""


@pytest.fixture
def hard(recipe_file: Path) -> Path:
    """The tiny recipe with everything that has a state in every phase, and several steps an epoch."""
    lines = [
        line
        for line in recipe_file.read_text().splitlines()
        if line.partition(" ")[0] not in ("optimiser", "learning_rate", "average", "mixup")
    ]
    recipe_file.write_text("\n".join(lines).replace("batch_size = 8\n", HARD).replace("batch_size = 8", HARD))
    return recipe_file


def outcome(request: TrainRequest) -> dict[str, object]:
    """All that a run leaves, but for how long it took."""
    run = request.out.with_name(request.out.name + ".run")
    kept: dict[str, object] = {path.name: path.read_bytes() for path in sorted(run.glob("*.safetensors"))}
    kept["model"] = (request.out / "model.safetensors").read_bytes()
    for line in (run / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        kept[f"{record['phase']} {record['epoch']}"] = {**record, "seconds": None}
    return kept


@pytest.mark.usefixtures("shallow")
def test_a_run_stopped_in_every_phase_leaves_the_same_files(
    request_for: Callable[[str], TrainRequest], hard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM and SIGINT in the middle of an epoch of each stage; AdamW, averages, mixup, accumulation."""
    whole, stopped = request_for("whole"), request_for("stopped")
    quiet = Console(file=io.StringIO())
    train(whole, quiet)

    step, taken, stops = Stepper.__call__, 0, 0

    def interrupted(self: Stepper, batch: object) -> float:
        nonlocal taken
        taken += 1
        if taken in STOPS:
            os.kill(os.getpid(), signal.SIGTERM if taken % 2 else signal.SIGINT)
        return step(self, batch)

    monkeypatch.setattr(Stepper, "__call__", interrupted)
    while True:
        torch.rand(stops + 1)  # what was drawn before does not matter
        try:
            train(replace(stopped, resume=stops > 0), quiet)
            break
        except TrainingStopped:
            stops += 1
    assert stops == len(STOPS)
    left, expected = outcome(stopped), outcome(whole)
    assert left.keys() == expected.keys()
    assert [name for name in expected if left[name] != expected[name]] == []
