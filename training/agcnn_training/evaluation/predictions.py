"""What a network said of a set of films, film by film, and the file that keeps it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from agcnn_models.labels import LABELS
from agcnn_models.manifest import BranchName
from agcnn_training.errors import TrainingError
from agcnn_training.files import replace_file

_LOGITS: Final = "logits_"


@dataclass(frozen=True)
class Predictions:
    """Readings of N films, in one order throughout.

    Attributes:
        images: the name of each film.
        patients: the patient of each film.
        truth: float32 [N, 15] in {0, 1}, in LABELS' order; NaN where a label is unknown, or the network does not assess
            it.
        logits: float32 [N, 15] of each branch; a network without a local branch has only the global one.
        boxes: int64 [N, 4], the attended regions in pixels of the network's input, ends inclusive; None where
            nothing attends.
        heat_maps: float16 [N, h, w] in [0, 1]; None where nothing attends.
        size: the side of the network's input, in pixels.
    """

    images: tuple[str, ...]
    patients: tuple[str, ...]
    truth: NDArray[np.float32]
    logits: Mapping[BranchName, NDArray[np.float32]]
    boxes: NDArray[np.int64] | None
    heat_maps: NDArray[np.float16] | None
    size: int

    def __len__(self) -> int:
        """How many films."""
        return len(self.images)

    @property
    def headline(self) -> BranchName:
        """The branch whose word counts: the fusion where there is one."""
        return BranchName.FUSION if BranchName.FUSION in self.logits else BranchName.GLOBAL

    def save(self, path: Path) -> None:
        """Write an .npz, with the labels in the order of its columns; what the network has none of is left out of it.

        Raises:
            TrainingError: the disk is full or cannot be written.
        """
        arrays: dict[str, NDArray[np.generic]] = {
            "images": np.array(self.images, dtype=np.str_),
            "patients": np.array(self.patients, dtype=np.str_),
            "labels": np.array(LABELS, dtype=np.str_),
            "truth": self.truth,
            "size": np.array(self.size, dtype=np.int64),
        }
        arrays |= {_LOGITS + name: values for name, values in self.logits.items()}
        arrays |= {
            name: values
            for name, values in (("boxes", self.boxes), ("heat_maps", self.heat_maps))
            if values is not None
        }

        def write(partial: Path) -> None:
            with partial.open("wb") as file:  # to a path whose name does not end in .npz NumPy would add that
                np.savez_compressed(file, allow_pickle=False, **arrays)

        replace_file(path, write)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what ``save`` wrote.

        Raises:
            TrainingError: the file is missing or is not such a file.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                arrays = dict(stored)
            return cls(
                images=tuple(arrays["images"].tolist()),
                patients=tuple(arrays["patients"].tolist()),
                truth=arrays["truth"],
                logits={name: arrays[_LOGITS + name] for name in BranchName if _LOGITS + name in arrays},
                boxes=arrays.get("boxes"),
                heat_maps=arrays.get("heat_maps"),
                size=int(arrays["size"]),
            )
        except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
            raise TrainingError(f"{path} holds no predictions ({error}): measure the model again.") from error
