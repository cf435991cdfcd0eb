"""The first step of the preprocessing, without torch: what decodes a film can make it small in the same process."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["centre_margin", "square"]


def square(picture: NDArray[np.float32] | NDArray[np.uint8], side: int) -> NDArray[np.float32]:
    """Return the whole picture [H, W] as a square: float32 [side, side] in [0, 1]; uint8 mean value / 255.

    The sides are scaled apart, so that a film that is not square gets squashed, as in the paper; NIH's
    films had been squashed to 1024 x 1024 before they were published. Bilinear, with antialiasing.
    Raises ValueError for anything but a two-dimensional float32 or uint8 picture.
    """
    if picture.ndim != 2 or 0 in picture.shape:
        raise ValueError(f"a picture has two dimensions, not the shape {picture.shape}")
    if picture.dtype == np.uint8:
        picture = picture.astype(np.float32) * np.float32(1 / 255)  # as torchvision scales it, to the last bit
    elif picture.dtype != np.float32:
        raise ValueError(f"a picture is float32 in [0, 1] or uint8, not {picture.dtype}")
    shrunk = Image.fromarray(np.ascontiguousarray(picture), "F").resize((side, side), Image.Resampling.BILINEAR)
    # Weights that sum to 1 only nearly may leave the range by a rounding.
    inside: NDArray[np.float32] = np.clip(np.asarray(shrunk), np.float32(0), np.float32(1))
    return inside


def centre_margin(resize: int, crop: int) -> int:
    """Return how many pixels of a square of `resize` lie left of and above the `crop` in its middle."""
    return round((resize - crop) / 2.0)  # as torchvision's center_crop rounds it
