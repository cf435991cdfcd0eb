"""From a picture to the network's input and back: the one definition that training and serving share.

A picture is float32 [H, W] in [0, 1], as it lies in its file, bright where the body is dense (MONOCHROME2), of any
size; uint8 pictures, which caches of training films hold, mean value / 255.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from agcnn_models.settings import Preprocessing
from agcnn_models.shrinking import centre_margin, square

__all__ = [
    "SourceBox",
    "box_to_source",
    "centre",
    "resized",
    "standardise",
    "to_model_input",
]


class SourceBox(NamedTuple):
    """A box by its edges, in pixels of the source picture: pixel i reaches from i to i + 1."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float


def to_model_input(picture: NDArray[np.float32] | NDArray[np.uint8], preprocessing: Preprocessing) -> Tensor:
    """Return a picture [H, W] as the network takes it: float32 [3, crop, crop] (Section IV-B, test time)."""
    return standardise(centre(resized(picture, preprocessing), preprocessing), preprocessing)


def resized(picture: NDArray[np.float32] | NDArray[np.uint8], preprocessing: Preprocessing) -> Tensor:
    """Return the whole picture [H, W] as a square: float32 [1, resize, resize] in [0, 1]; see `shrinking.square`.

    Raises ValueError for anything but a two-dimensional float32 or uint8 picture.
    """
    return torch.from_numpy(square(picture, preprocessing.resize))[None]


def centre(image: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Return the square in the middle: [..., resize, resize] -> [..., crop, crop]."""
    middle: Tensor = transforms.center_crop(image, [preprocessing.crop, preprocessing.crop])
    return middle


def standardise(image: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Return grey as three channels, mean subtracted and divided by std: [..., 1, H, W] -> [..., 3, H, W].

    The result is float32; uint8 is taken as value / 255.
    """
    grey = transforms.to_dtype(image, torch.float32, scale=True)
    colour = grey.expand(*grey.shape[:-3], 3, *grey.shape[-2:])
    standard: Tensor = transforms.normalize(colour, list(preprocessing.mean), list(preprocessing.std))
    return standard


def box_to_source(box: tuple[int, int, int, int], preprocessing: Preprocessing, height: int, width: int) -> SourceBox:
    """Return where a box of the network's input lies in the picture [height, width] that it was made from.

    `box` holds whole pixels, both ends inclusive; the result holds edges, so that x_max - x_min is the
    width: the pixels 0..223 of an input of 224 become the edges 0 and 224 before they are scaled.
    """
    x_min, y_min, x_max, y_max = box
    margin = centre_margin(preprocessing.resize, preprocessing.crop)
    across, down = width / preprocessing.resize, height / preprocessing.resize
    return SourceBox(
        x_min=(x_min + margin) * across,
        y_min=(y_min + margin) * down,
        x_max=(x_max + 1 + margin) * across,
        y_max=(y_max + 1 + margin) * down,
    )
