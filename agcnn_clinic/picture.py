"""What makes a `Picture`, and what makes two of them the same."""

import hashlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agcnn_clinic.domain import Geometry, Picture, Tones, Warn

LEVELS = 65535
"""A picture is compared and hashed in steps of 1/65535: finer differences are rounding of the arithmetic."""

REACH, GAP = 0.5, 0.1
"""How far the values of a film go beyond its 1st and 99th percentile, and over which gap they do not go; both as parts
of the distance between these.

What lies further out is a dead pixel, a marker or a rim, and must not decide how bright a film is. Of 3,193 published
films in 8 bits, 3,057 have no such pixel, and none has more than one in a thousand.
"""

SAME_MEAN = 1 / 255
SAME_PERCENTILE = 99.9
SAME_AT_PERCENTILE = 4 / 255


class Levels(NamedTuple):
    """A picture in `LEVELS` + 1 steps.

    Attributes:
        of_pixels: uint16 [height, width].
        counts: int64 [LEVELS + 1], how many pixels are at each level.
    """

    of_pixels: NDArray[np.uint16]
    counts: NDArray[np.int64]


def levels_of(pixels: NDArray[np.float32]) -> Levels:
    """Return the levels of pixels in [0, 1]."""
    levels = quantised(pixels)
    return Levels(levels, np.bincount(levels.ravel(), minlength=LEVELS + 1))


def picture_of(
    pixels: NDArray[np.float32], geometry: Geometry, warnings: tuple[Warn, ...] = (), levels: Levels | None = None
) -> Picture:
    """Return the picture of these pixels, float32 [height, width] in [0, 1], with its hash and its tones.

    `levels` are those of `pixels`, for who has them already. Raises ValueError for another shape or type.
    """
    if pixels.ndim != 2 or pixels.size == 0 or pixels.dtype != np.float32:
        raise ValueError(f"A picture is float32 [height, width], not {pixels.dtype} {list(pixels.shape)}.")
    levels = levels or levels_of(pixels)
    digest = hashlib.sha256(f"{pixels.shape[0]}x{pixels.shape[1]}\n".encode())
    digest.update(np.ascontiguousarray(levels.of_pixels, dtype="<u2").data)
    return Picture(pixels, geometry, digest.hexdigest(), tones_of(levels.counts), warnings)


def tones_of(counts: NDArray[np.int64]) -> Tones:
    """Return the tones of a picture that has so many pixels at each level."""
    low, high = percentiles(counts)
    total = int(counts.sum())
    return Tones(low / LEVELS, high / LEVELS, int(counts[0]) / total, int(counts[-1]) / total)


def percentiles(counts: NDArray[np.int64]) -> tuple[int, int]:
    """Return the 1st and the 99th percentile of values that occur so often, as places in `counts`; not of nothing."""
    below = np.cumsum(counts)
    low, high = (int(np.searchsorted(below, fraction * int(below[-1]))) for fraction in (0.01, 0.99))
    return low, high


def extent(counts: NDArray[np.int64]) -> tuple[int, int]:
    """Return the smallest and the largest value that belong to the film, as places in `counts`.

    Where nothing is counted both are 0. `REACH` and `GAP` say which values belong to it.
    """
    there = np.flatnonzero(counts)
    if not there.size:
        return 0, 0
    low, high = percentiles(counts)
    reach, gap = REACH * (high - low), GAP * (high - low)
    bright = there[(there >= high) & (there <= high + reach)]
    dark = there[(there <= low) & (there >= low - reach)][::-1]
    return _before_a_gap(dark, gap), _before_a_gap(bright, gap)


def _before_a_gap(outward: NDArray[np.intp], gap: float) -> int:
    far = np.flatnonzero(np.abs(np.diff(outward)) > gap)
    return int(outward[far[0] if far.size else -1])


def quantised(pixels: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return pixels of [0, 1] as the nearest of 65536 levels."""
    steps = pixels * np.float32(LEVELS)
    levels: NDArray[np.uint16] = np.rint(steps, out=steps).astype(np.uint16)
    return levels


def levels_at(level: NDArray[np.uint16], counts: NDArray[np.intp]) -> NDArray[np.int64]:
    """Return how many pixels are at each level, where so many are shown at each of these."""
    # As weights the counts are doubles, which hold them exactly.
    return np.bincount(level, weights=counts, minlength=LEVELS + 1).astype(np.int64)


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
