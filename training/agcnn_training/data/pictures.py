"""One image file to one picture: what the trainer reads by itself, PNG and JPEG."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console

from agcnn_models.cores import usable_cores
from agcnn_training.errors import TrainingError
from agcnn_training.progress import Journal, StopRequest

ImageLoader = Callable[[Path], NDArray[np.float32]]
"""Reads one file as a picture: float32 [H, W] in [0, 1], as it lies in its file, bright where the body is dense."""


def read_picture(path: Path) -> NDArray[np.float32]:
    """Read a PNG or JPEG as a picture: float32 [H, W] in [0, 1]; 16-bit PNG keeps its depth, colour becomes grey.

    Raises:
        TrainingError: the file is missing or is no image that Pillow can read.
    """
    try:
        with Image.open(path) as image:
            deep = image.mode.startswith("I")
            grey = np.asarray(image if deep else image.convert("L"), dtype=np.float32)
    except FileNotFoundError as error:
        raise TrainingError(f"The image {path} is missing: put it there, or take its row out of the table.") from error
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise TrainingError(
            f"The image {path} cannot be read ({error}): replace it, or take its row out of the table."
        ) from error
    return grey / np.float32(65535 if deep else 255)


@dataclass(frozen=True)
class Reading:
    """How films are read.

    Attributes:
        loader: reads one file; training on DICOM is given the clinic's.
        workers: threads or processes that read side by side; one a core when left out.
        cache: the folder of film caches; None keeps the films in memory and reads them anew in each run.
        journal: where progress is shown.
        stop: whether someone has asked to stop.
    """

    loader: ImageLoader = read_picture
    workers: int = field(default_factory=usable_cores)
    cache: Path | None = None
    journal: Journal = field(default_factory=lambda: Journal(Console(quiet=True)))
    stop: StopRequest = field(default_factory=StopRequest)
