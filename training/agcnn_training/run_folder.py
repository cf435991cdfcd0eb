"""The folder of a training run: what it was asked, how it goes, and where it can go on."""

import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from agcnn_training.data.splits import Split
from agcnn_training.data.table import Row
from agcnn_training.errors import TrainingError
from agcnn_training.files import csv_text, replace_file, replace_text
from agcnn_training.identity import RUN_FILE, identify, read_identity, what_differs
from agcnn_training.metrics_log import MetricsLog
from agcnn_training.recipe import Recipe

SPLIT_FILE: Final = "split.csv"
GIVEN_FILE: Final = "given.csv"


def run_path(out: Path) -> Path:
    """The run's folder, which lies beside its bundle."""
    return out.parent / f"{out.name}.run"


@dataclass(frozen=True)
class Best:
    """The weights that a stage has kept so far.

    Attributes:
        weights: of the trainee; empty before the first epoch has ended.
        area: their validation mean AUC; -1 before that.
        phase: the phase that they come from.
        epoch: the epoch of that phase after which they were kept, counted from 1; 0 before that.
        size: of the images that they were judged on, in pixels: areas compare at one size only.
    """

    weights: Mapping[str, Tensor]
    area: float
    phase: str
    epoch: int
    size: int


NOTHING_YET: Final = Best({}, -1.0, "", 0, 0)


@dataclass(frozen=True)
class Checkpoint:
    """One phase, stopped between two steps.

    Attributes:
        phase: which one, as "global-1".
        epoch: of the next step, from 0.
        step: the next step within the epoch; the number of steps when only the judging is left.
        loss: summed over the steps of this epoch.
        seconds: that they took.
        trainee: the weights that move.
        average: their moving average; equal to trainee when the phase keeps none.
        optimiser: its state.
        best: what the stage has kept so far.
    """

    phase: str
    epoch: int
    step: int
    loss: float
    seconds: float
    trainee: Mapping[str, Tensor]
    average: Mapping[str, Tensor]
    optimiser: Mapping[str, Any]
    best: Best


class RunFolder:
    """``<out>.run``, one folder a run.

    run.json says what was asked (see ``identify``), log.txt what the run said, split.csv who lies on which side, and
    given.csv what the weights had met that it was given (see ``met``). metrics.jsonl, metrics.csv and tensorboard/ say
    how each epoch went. checkpoint.pt is where it can go on, and each finished phase leaves ``<phase>.safetensors``:
    the best weights of its stage so far.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metrics = MetricsLog(path)

    def prepare(self, recipe: Recipe, data_sha256: str, *, resume: bool) -> None:
        """Say in the folder what the run is, or find what a stopped run said there. It is held (see ``only_run_in``).

        Raises:
            TrainingError: a run lies there and is not to be resumed, or it was asked something else, or the disk is
                full or cannot be written.
        """
        identity = identify(recipe, data_sha256)
        file = self.path / RUN_FILE
        if not file.exists():
            replace_text(file, json.dumps(identity, indent=2) + "\n")
        elif not resume:
            raise TrainingError(
                f"A run lies in {self.path}: go on with --resume, or take the folder away to start anew."
            )
        elif differing := what_differs(read_identity(self.path), identity):
            raise TrainingError(
                f"The run in {self.path} had {differing}: resume it with what it had, or take the folder away."
            )

    def write_split(self, rows: Sequence[Row], split: Split) -> None:
        """Record which film lies on which side.

        Raises:
            TrainingError: the disk is full or cannot be written.
        """
        sides = split.side_of()
        lines = ((row.image, row.patient, sides.get(index, "")) for index, row in enumerate(rows))
        replace_text(self.path / SPLIT_FILE, csv_text(("image", "patient", "side"), lines))

    def finished(self, phase: str) -> Best | None:
        """What a finished phase kept, or None when it has not finished.

        Raises:
            TrainingError: the file is damaged, as where a copy of the folder was broken off.
        """
        file = self.path / f"{phase}.safetensors"
        if not file.exists():
            return None
        try:
            with safe_open(file, framework="pt") as content:
                about = json.loads((content.metadata() or {})["best"])
                weights = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118 - no mapping: a file
            return Best(weights, **about)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            # Later phases have learnt from the very weights of this one, which on a GPU do not come again to the bit.
            raise TrainingError(
                f"{file} is no finished phase of this program, or is damaged ({error}): copy it anew, or take it away "
                "with the files of all later phases, and --resume trains these anew."
            ) from error

    def finish(self, phase: str, best: Best) -> None:
        """Keep what a phase leaves; its checkpoint is no longer needed.

        Raises:
            TrainingError: the disk is full or cannot be written.
        """
        content = {name: value.detach().cpu().contiguous() for name, value in best.weights.items()}
        # One entry: safetensors writes several in no order, and a run that is repeated writes the same bytes.
        about = {"best": json.dumps({name: value for name, value in _as_dict(best).items() if name != "weights"})}
        replace_file(self.path / f"{phase}.safetensors", lambda partial: save_file(content, partial, about))
        (self.path / "checkpoint.pt").unlink(missing_ok=True)

    def save(self, checkpoint: Checkpoint) -> None:
        """Write the checkpoint; the earlier one stays until the new one is whole.

        Raises:
            TrainingError: the disk is full or cannot be written.
        """
        content = _as_dict(checkpoint) | {"best": _as_dict(checkpoint.best)}
        replace_file(self.path / "checkpoint.pt", lambda partial: torch.save(content, partial))

    def load(self, phase: str) -> Checkpoint | None:
        """The checkpoint of a phase, or None when there is none.

        Raises:
            TrainingError: the file is damaged, or holds what a checkpoint of ours does not: reading it could run code.
        """
        file = self.path / "checkpoint.pt"
        if not file.exists():
            return None
        try:
            content = torch.load(file, map_location="cpu", weights_only=True)
            saved = Checkpoint(**content | {"best": Best(**content["best"])})
        except (OSError, pickle.UnpicklingError, RuntimeError, EOFError, KeyError, TypeError) as error:
            raise TrainingError(
                f"{file} is no checkpoint of this program, or is damaged: take it away, and --resume begins its phase "
                "anew."
            ) from error
        return saved if saved.phase == phase else None


def _as_dict(record: Checkpoint | Best) -> dict[str, Any]:
    """The fields of a record, uncopied: ``dataclasses.asdict`` would copy every tensor."""
    return {field.name: getattr(record, field.name) for field in fields(record)}
