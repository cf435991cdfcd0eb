"""How a run went, epoch by epoch: metrics.jsonl, the same as metrics.csv, and TensorBoard's files where that is."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from agcnn_training.errors import TrainingError
from agcnn_training.files import csv_text, replace_text, unwritable

_PER_LABEL: Final = "auc"


class MetricsLog:
    """One record an epoch; what a crash left half done is done again by the run that goes on."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lines = folder / "metrics.jsonl"

    def append(self, record: Mapping[str, Any]) -> None:
        """Add an epoch.

        Args:
            record: "phase", "epoch" (from 1), numbers, and "auc", a mapping of labels to areas.

        Raises:
            TrainingError: the disk is full or cannot be written.
        """
        self._write([*self._records(), dict(record)])
        events = self._folder / "tensorboard"
        try:
            _to_tensorboard(events, record)
        except OSError as error:
            raise unwritable(events, error) from error

    def rewind(self, phase: str, epoch: int) -> None:
        """Take away what is recorded of a phase after so many epochs: they will be trained again.

        Raises:
            TrainingError: what is recorded cannot be read, or the disk cannot be written.
        """
        records = self._records()
        kept = [record for record in records if record["phase"] != phase or record["epoch"] <= epoch]
        if len(kept) < len(records):
            self._write(kept)

    def _records(self) -> list[dict[str, Any]]:
        if not self._lines.exists():
            return []
        try:
            return [json.loads(line) for line in self._lines.read_text(encoding="utf-8").splitlines()]
        except (OSError, ValueError) as error:
            raise TrainingError(
                f"{self._lines} is damaged ({error}): copy it anew, or take it away, and the record begins here."
            ) from error

    def _write(self, records: list[dict[str, Any]]) -> None:
        replace_text(self._lines, "".join(json.dumps(record) + "\n" for record in records))
        replace_text(self._folder / "metrics.csv", _as_csv(records))


def _as_csv(records: list[dict[str, Any]]) -> str:
    """One row an epoch; a column a label after the rest, empty where a label has no area."""
    names = dict.fromkeys(name for record in records for name in record if name != _PER_LABEL)
    labels = dict.fromkeys(label for record in records for label in record.get(_PER_LABEL, {}))
    return csv_text(
        [*names, *(f"{_PER_LABEL}_{label}" for label in labels)],
        (
            [*(record.get(name) for name in names), *(record.get(_PER_LABEL, {}).get(label) for label in labels)]
            for record in records
        ),
    )


def _to_tensorboard(folder: Path, record: Mapping[str, Any]) -> None:
    """Add an epoch to the event files, a run a phase, when TensorBoard is installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 (optional, and slow to import)
    except ImportError:
        return
    epoch = record["epoch"]
    # Opened for one epoch: what follows it in an earlier, interrupted file is hidden by purge_step.
    with SummaryWriter(str(folder / record["phase"]), purge_step=epoch) as writer:
        for name, value in record.items():
            if isinstance(value, Mapping):
                for label, area in value.items():
                    writer.add_scalar(f"{name}/{label}", area, epoch)
            elif isinstance(value, int | float) and name != "epoch":
                writer.add_scalar(name, value, epoch)
