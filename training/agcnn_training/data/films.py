"""Films at one size as uint8, in memory or in a memory-mapped cache, with what is known of each."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from agcnn_models.labels import LABELS, PATHOLOGIES
from agcnn_models.preprocessing import centre, standardise
from agcnn_models.settings import Preprocessing
from agcnn_training.data.cache import read_pixels
from agcnn_training.data.pictures import Loading
from agcnn_training.data.table import PretrainingRow, Row, categories, labelled, unknown
from agcnn_training.recipe import Auxiliary

_PIECE: Final = 4096
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
        pixels: uint8 [N, 1, R, R], squashed to the recipe's ``resize`` as serving does; never to be written to.
        targets: float32 [N, C] in {0, 1}, NaN where unknown; for pretraining films one column a class.
        auxiliary: float32 [N, A] in {0, 1}, NaN where unknown; A may be 0.
    """

    pixels: Tensor
    targets: Tensor
    auxiliary: Tensor

    def __len__(self) -> int:
        """How many films."""
        return len(self.pixels)

    def of_size(self, side: int) -> Tensor:
        """All films at another side, antialiased: uint8 [N, 1, side, side]."""
        if side == self.pixels.shape[-1]:
            return self.pixels
        return torch.cat([_shrunk(part, side) for part in torch.split(self.pixels, 256)])


def load_films(
    rows: Sequence[Row],
    paths: Sequence[Path],
    preprocessing: Preprocessing,
    auxiliary: Sequence[Auxiliary] = (),
    loading: Loading | None = None,
) -> Films:
    """Read the films of a label table.

    Args:
        rows: what is known of each film.
        paths: the file of each film.
        preprocessing: of the network; the films are kept at its ``resize``.
        auxiliary: what else is to be told from them.
        loading: how; without a cache when left out.

    Raises:
        TrainingError: images are missing or cannot be read.
    """
    return Films(
        pixels=read_pixels(paths, preprocessing, loading or Loading()),
        targets=label_targets(rows),
        auxiliary=torch.tensor([_auxiliary_targets(row, auxiliary) for row in rows]).reshape(len(rows), -1),
    )


def load_pretraining_films(
    rows: Sequence[PretrainingRow], paths: Sequence[Path], preprocessing: Preprocessing, loading: Loading
) -> Films:
    """Read the films of a pretraining table; one target a class. Arguments as for ``load_films``.

    Raises:
        TrainingError: images are missing or cannot be read.
    """
    names = categories(rows)
    return Films(
        pixels=read_pixels(paths, preprocessing, loading),
        targets=torch.tensor([[float(row.category == name) for name in names] for row in rows]),
        auxiliary=torch.empty(len(rows), 0),
    )


def label_targets(rows: Sequence[Row]) -> Tensor:
    """Which labels films bear: float32 [N, 15] in {0, 1}, NaN where that is unknown."""
    return torch.tensor([_targets(row) for row in rows])


def films_on_device(films: Films, device: torch.device) -> Films:
    """Put the pixels into a GPU's memory where they take no more than half of what is free; else leave them.

    All of ChestX-ray14 at 256 pixels takes 7.35 GB. Batches are then cut, augmented and standardised where the network
    is, and nothing but indices and targets crosses the bus.
    """
    if device.type != "cuda" or films.pixels.device == device:
        return films
    free, _ = torch.cuda.mem_get_info(device)
    if films.pixels.nbytes > free / 2:
        return films
    # Piece by piece: a memory map has to pass through memory that the driver can lock.
    there = torch.empty_like(films.pixels, device=device)
    for target, part in zip(torch.split(there, _PIECE), torch.split(films.pixels, _PIECE), strict=True):
        target.copy_(part)
    return replace(films, pixels=there)


def auxiliary_width(auxiliary: Sequence[Auxiliary]) -> int:
    """How many columns these auxiliary targets take."""
    return sum(_WIDTHS[kind] for kind in auxiliary)


def evaluation_images(pixels: Tensor, preprocessing: Preprocessing, size: int) -> Tensor:
    """Films as the network sees them when an epoch is judged.

    At ``size == preprocessing.crop`` this is ``to_model_input``, the serving path, of films that were rounded to eight
    bits (what is published is measured without that, see ``ServedReader``); earlier phases of a recipe that trains on
    smaller images see the same field, antialiased down to their size.

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


def _targets(row: Row) -> list[float]:
    present, uncertain = labelled(row), unknown(row)
    return [float("nan") if label in uncertain else float(label in present) for label in LABELS]


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
