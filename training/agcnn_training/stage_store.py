"""Weights of finished stages, under a key of all that decides them, so that runs share what they have in common."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from agcnn_training.errors import TrainingError


@dataclass(frozen=True)
class StageStore:
    """A folder of finished stages; ``recipe.stage_key`` makes their keys."""

    folder: Path

    def load(self, key: str) -> dict[str, Tensor] | None:
        """The weights under a key, or None when no run has finished that stage.

        Raises:
            TrainingError: there is a file, and it cannot be read.
        """
        file = self._file(key)
        if not file.exists():
            return None
        try:
            return load_file(file)
        except (OSError, SafetensorError) as error:
            raise TrainingError(
                f"The finished stage {file} cannot be read ({error}): delete it, and it is trained anew."
            ) from error

    def save(self, key: str, weights: Mapping[str, Tensor]) -> None:
        """Keep the weights of a finished stage; whole or not at all, also when two runs finish it at once.

        Raises:
            TrainingError: the disk is full or cannot be written.
        """
        file = self._file(key)
        partial = file.with_suffix(f".{os.getpid()}.partial")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            save_file({name: value.detach().cpu().contiguous() for name, value in weights.items()}, partial)
            partial.replace(file)
        except (OSError, SafetensorError) as error:
            if partial.exists():
                partial.unlink()
            raise TrainingError(
                f"A finished stage cannot be kept in {self.folder} ({error}): free disk space, then use --resume."
            ) from error

    def _file(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"
