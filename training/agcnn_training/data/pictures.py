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
    """Read a PNG or JPEG of 8 bits as a picture: float32 [H, W] in [0, 1]; colour becomes grey.

    What it reads of a PNG is what the clinic reads. Where the clinic would make another picture of the file, since its
    16 bits need not all be filled or since parts of it were cut away, it is refused: a network that is trained on the
    one and serves on the other has figures that mean nothing.

    Raises:
        TrainingError: the file is missing, is no such image, or is one that the clinic's reader alone may read.
    """
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            if image.mode.startswith("I") or _shows_through(image):
                raise TrainingError(
                    f"The image {path} has 16 bits or transparent parts: train with `agcnn-clinic train`, which reads "
                    "such a film as the clinic will."
                )
            return np.asarray(image.convert("L"), dtype=np.float32) / np.float32(255)
    except FileNotFoundError as error:
        raise TrainingError(f"The image {path} is missing: put it there, or take its row out of the table.") from error
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise TrainingError(
            f"The image {path} cannot be read ({error}): replace it by a PNG or JPEG, or take its row out of the table."
        ) from error


def _shows_through(image: Image.Image) -> bool:
    """Whether some of its pixels are not opaque."""
    return image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema() != (255, 255)


@dataclass(frozen=True)
class Loading:
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
