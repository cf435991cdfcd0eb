"""Weights of finished stages, under a key of all that decides them, so that runs share what they have in common."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from agcnn_training.errors import TrainingError
from agcnn_training.files import replace_file


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
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrainingError(
                f"The folder of finished stages {self.folder} cannot be made ({error}): mend that, then use --resume."
            ) from error
        content = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
        replace_file(self._file(key), lambda partial: save_file(content, partial), own=f".{os.getpid()}")

    def _file(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"
