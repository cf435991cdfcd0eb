"""Films in memory: read once, squashed to one size, kept as uint8, with what is known of each."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from agcnn_models.labels import LABELS, PATHOLOGIES
from agcnn_models.preprocessing import centre, resized, standardise
from agcnn_models.settings import Preprocessing
from agcnn_training.data.table import PretrainingRow, Row, categories, labelled
from agcnn_training.errors import TrainingError
from agcnn_training.recipe import Auxiliary

ImageLoader = Callable[[Path], NDArray[np.float32]]
"""Reads one file as a picture: float32 [H, W] in [0, 1], upright, bright where the body is dense."""

Ticker = Callable[[Iterable[Path]], Iterable[Path]]
"""Passes paths through while it shows progress."""

_AGE_BANDS: Final = (30.0, 45.0, 60.0)
_WIDTHS: Final = {
    Auxiliary.VIEW: 1,
    Auxiliary.SEX: 1,
    Auxiliary.AGE: len(_AGE_BANDS),
    Auxiliary.HISTORY: len(PATHOLOGIES),
}


@dataclass(frozen=True)
class Films:
    """Films and what is known of them.

    Attributes:
        pixels: uint8 [N, 1, R, R], squashed to the recipe's ``resize`` as serving does.
        targets: float32 [N, C] in {0, 1}; for pretraining films one column a class.
        auxiliary: float32 [N, A] in {0, 1}, NaN where unknown; A may be 0.
        patients: the patient of each film; empty strings for pretraining films.
    """

    pixels: Tensor
    targets: Tensor
    auxiliary: Tensor
    patients: tuple[str, ...]

    def __len__(self) -> int:
        """How many films."""
        return len(self.pixels)

    def of_size(self, side: int) -> Tensor:
        """All films at another side, antialiased: uint8 [N, 1, side, side]."""
        if side == self.pixels.shape[-1]:
            return self.pixels
        return torch.cat([_shrunk(part, side) for part in torch.split(self.pixels, 256)])


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


def load_films(
    rows: Sequence[Row],
    images: Path,
    preprocessing: Preprocessing,
    auxiliary: Sequence[Auxiliary] = (),
    *,
    loader: ImageLoader = read_picture,
    workers: int = 0,
    ticker: Ticker = iter,
) -> Films:
    """Read the films of a label table from a folder.

    Raises:
        TrainingError: an image is missing or cannot be read.
    """
    return Films(
        pixels=_read_pixels([images / row.image for row in rows], preprocessing, loader, workers, ticker),
        targets=torch.tensor([[float(label in labelled(row)) for label in LABELS] for row in rows]),
        auxiliary=torch.tensor([_auxiliary_targets(row, auxiliary) for row in rows]).reshape(len(rows), -1),
        patients=tuple(row.patient for row in rows),
    )


def load_pretraining_films(
    rows: Sequence[PretrainingRow],
    images: Path,
    preprocessing: Preprocessing,
    *,
    loader: ImageLoader = read_picture,
    workers: int = 0,
    ticker: Ticker = iter,
) -> Films:
    """Read the films of a pretraining table from a folder; one target a class.

    Raises:
        TrainingError: an image is missing or cannot be read.
    """
    names = categories(rows)
    return Films(
        pixels=_read_pixels([images / row.image for row in rows], preprocessing, loader, workers, ticker),
        targets=torch.tensor([[float(row.category == name) for name in names] for row in rows]),
        auxiliary=torch.empty(len(rows), 0),
        patients=("",) * len(rows),
    )


def auxiliary_width(auxiliary: Sequence[Auxiliary]) -> int:
    """How many columns these auxiliary targets take."""
    return sum(_WIDTHS[kind] for kind in auxiliary)


def evaluation_images(pixels: Tensor, preprocessing: Preprocessing, size: int) -> Tensor:
    """Films as the network sees them at test time.

    At ``size == preprocessing.crop`` this is ``to_model_input``, the serving path; earlier phases of a recipe
    that trains on smaller images see the same field, antialiased down to their size.

    Args:
        pixels: uint8 [B, 1, R, R].
        preprocessing: sizes and statistics.
        size: the side of the result.

    Returns:
        float32 [B, 3, size, size], standardised.
    """
    field = centre(pixels, preprocessing)
    return standardise(field if size == preprocessing.crop else _shrunk(field, size), preprocessing)


def _shrunk(pixels: Tensor, side: int) -> Tensor:
    """Uint8 [B, 1, R, R] -> uint8 [B, 1, side, side], antialiased."""
    small = F.interpolate(pixels.float(), size=(side, side), mode="bilinear", antialias=True, align_corners=False)
    return small.round().clamp(0, 255).to(torch.uint8)


def _read_pixels(
    paths: Sequence[Path], preprocessing: Preprocessing, loader: ImageLoader, workers: int, ticker: Ticker
) -> Tensor:
    side = preprocessing.resize
    pixels = torch.empty(len(paths), 1, side, side, dtype=torch.uint8)

    def read(path: Path) -> Tensor:
        return (resized(loader(path), preprocessing) * 255).round().clamp(0, 255).to(torch.uint8)

    # Threads, not processes: decoding and resizing release the interpreter lock.
    with ThreadPoolExecutor(max(workers, 1)) as pool:
        for index, (_, picture) in enumerate(zip(ticker(paths), pool.map(read, paths), strict=True)):
            pixels[index] = picture
    return pixels


def _auxiliary_targets(row: Row, auxiliary: Sequence[Auxiliary]) -> list[float]:
    unknown = float("nan")
    targets: list[float] = []
    for kind in auxiliary:
        match kind:
            case Auxiliary.VIEW:
                targets.append({"AP": 1.0, "PA": 0.0}.get(row.view or "", unknown))
            case Auxiliary.SEX:
                targets.append({"M": 1.0, "F": 0.0}.get(row.sex or "", unknown))
            case Auxiliary.AGE:
                # Ordinal bands keep every target a probability; NIH has ages above 120, which are typing errors.
                usable = row.age is not None and row.age <= 120
                targets.extend(float((row.age or 0) > band) if usable else unknown for band in _AGE_BANDS)
            case Auxiliary.HISTORY:
                known = row.history
                targets.extend(unknown if known is None else float(label in known) for label in PATHOLOGIES)
    return targets
