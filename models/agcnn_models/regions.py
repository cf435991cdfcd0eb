"""Boxes that no attention chose: the controls that AG-CNN's attended region has to beat.

A box is [x_min, y_min, x_max, y_max] in whole pixels, both ends inclusive, as everywhere in `attention`.
"""

from typing import Final

import torch
from torch import Tensor

from agcnn_models.settings import IMAGENET_STD

_GREY_LEVEL: Final = 1 / (255 * IMAGENET_STD[0])
"""One of 256 grey levels, in the first channel of a standardised image."""

# Odd 64-bit constants of splitmix64 (Steele et al. 2014), as the signed integers that torch has.
_GOLDEN: Final = -7046029254386353131
_MIX_1: Final = -4658895280553007687
_MIX_2: Final = -7723592293110705685


def whole_image(count: int, size: int, device: torch.device) -> Tensor:
    """Return the box of all pixels, for each of `count` images of size x size pixels: int64 [count, 4]."""
    return _box(0, size - 1, device).expand(count, 4)


def centre_box(count: int, size: int, share: float, device: torch.device) -> Tensor:
    """Return the box in the middle whose side is `share` of the image's, at least a pixel: int64 [count, 4]."""
    side = max(round(share * size), 1)
    first = (size - side) // 2
    return _box(first, first + side - 1, device).expand(count, 4)


def place_at_random(boxes: Tensor, images: Tensor) -> Tensor:
    """Move each box, unchanged in size, to a place drawn uniformly from all where it lies inside its image.

    What is drawn follows from the image alone (see `fingerprint`): a film that is read without augmentation has the
    same box in every batch, in every epoch and on every machine, while each augmented view of it has another.

    Args:
        boxes: int64 [B, 4], inside the images.
        images: [B, C, S, S], standardised.

    Returns:
        int64 [B, 4].
    """
    drawn = fingerprint(images)  # [B]
    sides = boxes[:, 2:] - boxes[:, :2] + 1  # [B, 2]: width, height
    places = images.shape[-1] - sides + 1  # [B, 2]
    # 31 bits for each direction; the remainder of so many favours no place that could be noticed.
    numbers = torch.stack((drawn & 0x7FFFFFFF, (drawn >> 31) & 0x7FFFFFFF), dim=1)  # [B, 2]
    first = numbers % places
    return torch.cat((first, first + sides - 1), dim=1)


def fingerprint(images: Tensor) -> Tensor:
    """Return a number that looks random and depends on the image alone: [B, C, H, W] -> int64 [B].

    It hashes the 256 grey levels, not the floating-point values, whose last bits differ between machines. Films of 8
    bits that are standardised by ImageNet's mean and std lie .175 of a level away from the middle between two levels,
    so that rounding them is safe.
    """
    levels = (images[:, 0].float() / _GREY_LEVEL).round().long().flatten(1)  # [B, H W]
    position = torch.arange(1, levels.shape[1] + 1, device=levels.device)
    return _mixed((levels * _mixed(position * _GOLDEN)).sum(dim=1))


def _box(first: int, last: int, device: torch.device) -> Tensor:
    """[first, first, last, last], made on the device: a copy from the host could not be recorded in a CUDA graph."""
    box = torch.full((4,), last, device=device)
    box[:2].fill_(first)
    return box


def _mixed(value: Tensor) -> Tensor:
    """splitmix64's finaliser: every bit of the result depends on every bit of the int64 value, modulo 2^64."""
    value = (value ^ _shifted(value, 30)) * _MIX_1
    value = (value ^ _shifted(value, 27)) * _MIX_2
    return value ^ _shifted(value, 31)


def _shifted(value: Tensor, bits: int) -> Tensor:
    """Shift to the right, filled with zeros; torch fills with the sign."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)
