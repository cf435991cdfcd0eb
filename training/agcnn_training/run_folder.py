"""The folder of a training run: what it was asked, how it goes, and where it can go on."""

import csv
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from agcnn_training.data.splits import Split
from agcnn_training.data.table import Row
from agcnn_training.errors import TrainingError
from agcnn_training.recipe import Recipe


@dataclass(frozen=True)
class Checkpoint:
    """One phase, stopped between two steps.

    Attributes:
        phase: which one, as "global-1".
        epoch: of the next step.
        step: the next step within the epoch.
        trainee: the weights that move.
        average: their moving average; equal to trainee when the phase keeps none.
        optimiser: its state.
        best: the weights kept so far; empty before the first epoch has ended.
        best_area: their validation mean AUC; -1 before that.
        best_epoch: the epoch after which they were kept, counted from 1; 0 before that.
    """

    phase: str
    epoch: int
    step: int
    trainee: Mapping[str, Tensor]
    average: Mapping[str, Tensor]
    optimiser: Mapping[str, Any]
    best: Mapping[str, Tensor]
    best_area: float
    best_epoch: int


class RunFolder:
    """``<out>.run``: run.json, split.csv, metrics.jsonl, checkpoint.pt and the weights of each finished phase."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def prepare(cls, path: Path, recipe: Recipe, data_sha256: str, *, resume: bool) -> Self:
        """Make the folder, or find the one that a stopped run left.

        Raises:
            TrainingError: a run lies there and is not to be resumed, or it was asked something else.
        """
        identity = {"recipe": recipe.resolved(), "data_sha256": data_sha256}
        file = path / "run.json"
        if not file.exists():
            path.mkdir(parents=True, exist_ok=True)
            _write(file, json.dumps(identity, indent=2).encode())
        elif not resume:
            raise TrainingError(f"A run lies in {path}: go on with --resume, or take the folder away to start anew.")
        elif json.loads(file.read_text(encoding="utf-8")) != identity:
            raise TrainingError(
                f"The run in {path} had another recipe or label table: resume it with those, or take the folder away."
            )
        return cls(path)

    def write_split(self, rows: Sequence[Row], split: Split) -> None:
        """Record which film lies on which side."""
        sides = split.side_of()
        with (self.path / "split.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("image", "patient", "side"))
            writer.writerows((row.image, row.patient, sides.get(index, "")) for index, row in enumerate(rows))

    def append_metrics(self, record: Mapping[str, object]) -> None:
        """Add one line to metrics.jsonl."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def finished(self, phase: str) -> dict[str, Tensor] | None:
        """The weights that a finished phase kept, or None when it has not finished."""
        file = self.path / f"{phase}.safetensors"
        return load_file(file) if file.exists() else None

    def finish(self, phase: str, weights: Mapping[str, Tensor]) -> None:
        """Keep a phase's weights; its checkpoint is no longer needed.

        Raises:
            TrainingError: the disk is full or cannot be written.
        """
        content = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
        self._replace(f"{phase}.safetensors", lambda partial: save_file(content, partial))
        (self.path / "checkpoint.pt").unlink(missing_ok=True)

    def save(self, checkpoint: Checkpoint) -> None:
        """Write the checkpoint; the earlier one stays until the new one is whole.

        Raises:
            TrainingError: the disk is full or cannot be written.
        """
        content = {field.name: getattr(checkpoint, field.name) for field in fields(checkpoint)}
        self._replace("checkpoint.pt", lambda partial: torch.save(content, partial))

    def _replace(self, name: str, write: Callable[[Path], None]) -> None:
        """Write a file beside its name and move it there once it is whole."""
        partial = self.path / f"{name}.partial"
        try:
            write(partial)
            partial.replace(self.path / name)
        except (OSError, RuntimeError, SafetensorError) as error:
            partial.unlink(missing_ok=True)
            raise TrainingError(
                f"{name} cannot be written in {self.path} ({error}): free disk space, then use --resume."
            ) from error

    def load(self, phase: str) -> Checkpoint | None:
        """The checkpoint of a phase, or None when there is none."""
        file = self.path / "checkpoint.pt"
        if not file.exists():
            return None
        checkpoint = Checkpoint(**torch.load(file, map_location="cpu", weights_only=True))
        return checkpoint if checkpoint.phase == phase else None


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
