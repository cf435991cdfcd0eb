"""How large a pixel is, and making pictures isotropic."""

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from agcnn_clinic.dicom.text import numbers
from agcnn_clinic.domain import Geometry, ReasonCode
from agcnn_clinic.errors import ImageError

POSSIBLE = (1e-9, 1e9)
"""Sides of a pixel outside of this range, in mm or relative, are none: what follows from them would overflow."""
SQUARE = 0.005
"""Sides that differ by less than this fraction are one number rounded twice: over 2000 pixels it makes 10."""


@dataclass(frozen=True)
class Spacing:
    """The distance of pixel centres: between rows, between columns; in mm, or relative where no attribute tells."""

    row: float
    column: float
    in_mm: bool
    source: str = ""

    @property
    def is_square(self) -> bool:
        """Whether a pixel is as high as it is wide, within rounding."""
        return abs(self.row - self.column) <= SQUARE * max(self.row, self.column)


def spacing_of(dataset: Dataset) -> Spacing:
    """Return the spacing of an image's pixels.

    By Pixel Spacing, Imager Pixel Spacing or Nominal Scanned Pixel Spacing (PS3.3 10.7), the first that is possible;
    else by Pixel Aspect Ratio, without a size. A Pixel Spacing that only repeats Imager Pixel Spacing is the
    detector's, and is called so (PS3.3 10.7.1.3).
    """
    imager = _pair(dataset, "ImagerPixelSpacing")
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        pair = _pair(dataset, keyword)
        if pair is not None:
            source = "ImagerPixelSpacing" if pair == imager else keyword
            return Spacing(*pair, in_mm=True, source=source)
    # Vertical over horizontal size of a pixel (PS3.3 C.7.6.3.1.7).
    ratio = _pair(dataset, "PixelAspectRatio") or (1.0, 1.0)
    return Spacing(*ratio, in_mm=False)


def isotropic(pixels: NDArray[np.float32], spacing: Spacing, max_pixels: int) -> tuple[NDArray[np.float32], Geometry]:
    """Return a picture [H, W] with square pixels of the finer of its two spacings, and its geometry.

    Resampled bilinearly, over the same area: the outer edges of the outer pixels stay where they were.

    Raises:
        ImageError: TOO_LARGE where the result would have more than `max_pixels` pixels.
    """
    rows, columns = pixels.shape
    fine = min(spacing.row, spacing.column)
    size_mm = fine if spacing.in_mm else None
    if spacing.is_square:
        return pixels, Geometry(rows, columns, spacing_mm=size_mm, spacing_source=spacing.source)
    height = round(rows * spacing.row / fine)
    width = round(columns * spacing.column / fine)
    if height * width > max_pixels:
        raise ImageError(ReasonCode.TOO_LARGE, f"{width} x {height} pixels once its pixels are made square")
    geometry = Geometry(
        rows, columns, scale_x=columns / width, scale_y=rows / height, spacing_mm=size_mm, spacing_source=spacing.source
    )
    return _resampled(pixels, geometry, height, width), geometry


def _resampled(pixels: NDArray[np.float32], geometry: Geometry, height: int, width: int) -> NDArray[np.float32]:
    # Most films are square and need none of it. Its functions have no types.
    sitk: Any = importlib.import_module("SimpleITK")
    image = sitk.GetImageFromArray(pixels)
    # In units of source pixels: a new pixel's centre lies half of its own size from the common outer edge. So none lies
    # outside of it, where nothing could be looked up.
    scale_x, scale_y = geometry.scale_x, geometry.scale_y
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize((width, height))
    resampler.SetOutputSpacing((scale_x, scale_y))
    resampler.SetOutputOrigin((scale_x / 2 - 0.5, scale_y / 2 - 0.5))
    resampler.SetInterpolator(sitk.sitkLinear)
    resampled: NDArray[np.float32] = sitk.GetArrayFromImage(resampler.Execute(image))
    return np.clip(resampled, 0.0, 1.0)


def _pair(dataset: Dataset, keyword: str) -> tuple[float, float] | None:
    found = numbers(dataset, keyword)
    if len(found) != 2 or not all(POSSIBLE[0] <= one <= POSSIBLE[1] for one in found):
        return None
    return found[0], found[1]
