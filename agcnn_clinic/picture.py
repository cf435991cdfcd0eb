"""What makes a `Picture`, and what makes two of them the same."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from agcnn_clinic.domain import Geometry, Picture, Warn

LEVELS = 65535
"""A picture is compared and hashed in steps of 1/65535: finer differences are rounding of the arithmetic."""

SAME_MEAN = 1 / 255
SAME_PERCENTILE = 99.9
SAME_AT_PERCENTILE = 4 / 255


def picture_of(pixels: NDArray[np.float32], geometry: Geometry, warnings: tuple[Warn, ...] = ()) -> Picture:
    """Return the picture of these pixels, float32 [height, width] in [0, 1], with its hash.

    Raises ValueError for another shape or type.
    """
    if pixels.ndim != 2 or pixels.size == 0 or pixels.dtype != np.float32:
        raise ValueError(f"A picture is float32 [height, width], not {pixels.dtype} {list(pixels.shape)}.")
    digest = hashlib.sha256(f"{pixels.shape[0]}x{pixels.shape[1]}\n".encode())
    digest.update(quantised(pixels).astype("<u2", copy=False).tobytes())
    return Picture(pixels, geometry, digest.hexdigest(), warnings)


def quantised(pixels: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return pixels of [0, 1] as the nearest of 65536 levels."""
    levels: NDArray[np.uint16] = np.rint(pixels * np.float32(LEVELS)).astype(np.uint16)
    return levels


def same_picture(a: Picture, b: Picture) -> bool:
    """Tell whether two pictures show the same, but for what a lossy transfer syntax may have changed.

    The same means: of one shape, a mean absolute difference below 1/255, and 99.9 % of the pixels closer than 4/255.
    JPEG at the qualities used in radiology stays below both; an inversion, another window or another film does not.
    """
    if a.sha256 == b.sha256:
        return True
    if a.pixels.shape != b.pixels.shape:
        return False
    difference = np.abs(a.pixels - b.pixels)
    if float(difference.mean(dtype=np.float64)) >= SAME_MEAN:
        return False
    return float(np.percentile(difference, SAME_PERCENTILE)) < SAME_AT_PERCENTILE
