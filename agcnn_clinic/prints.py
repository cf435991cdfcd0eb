"""What of a film comes on paper: the whole of it and its attended region, as 8-bit grey at the size they are printed.

Some hundred kilobytes in the place of a film's sixteen megabytes. They are made while the film is in memory for its
reading, and kept until its report is made, so that no file has to be decoded twice; what is no longer kept is made
again from the archive, bit for bit the same.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from agcnn_clinic.domain import Geometry, Picture

Grey = NDArray[np.uint8]
Size = tuple[int, int]
"""Width and height in pixels."""

REDUCING_GAP = 1.5
"""What Lanczos is left to reduce, at least. Against Lanczos alone a print has a PSNR of 53 dB and more with it; the
report's JPEG costs more."""


class Edges(NamedTuple):
    """A box by its edges, in pixels of the source image."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float


@dataclass(frozen=True)
class Box:
    """A box by its edges, in pixels of the picture."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, eq=False)
class Prints:
    """What is printed of one picture.

    Attributes:
        film: uint8 [h, w], the whole picture, reduced.
        crop: uint8 [h, w], what lies in the attended region, reduced.
        box: the attended region in the picture.
        width: of the picture, in pixels.
        height: of the picture, in pixels.
    """

    film: Grey
    crop: Grey
    box: Box
    width: int
    height: int


class RecentPrints:
    """The prints of the films that were read last, as many as there is room for. Safe between threads."""

    def __init__(self, max_bytes: int = 256_000_000) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[tuple[Path, Edges], Prints] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, path: Path, region: Edges, prints: Prints) -> None:
        """Keep the prints of an archived file and a region of it; the oldest go where there is no room."""
        with self._lock:
            self._drop((path, region))
            self._kept[path, region] = prints
            self._bytes += _bytes(prints)
            while self._bytes > self._max_bytes:
                self._drop(next(iter(self._kept)))

    def take(self, path: Path, region: Edges) -> Prints | None:
        """Give out the prints of an archived file and a region of it, where they are still kept, once."""
        with self._lock:
            return self._drop((path, region))

    def _drop(self, key: tuple[Path, Edges]) -> Prints | None:
        prints = self._kept.pop(key, None)
        if prints is not None:
            self._bytes -= _bytes(prints)
        return prints


def with_region(film: Grey, whole: Grey, geometry: Geometry, region: Edges, size: Size) -> Prints:
    """The prints of a picture of which `film` is the print of the whole.

    Args:
        film: the picture, fitted into `size`.
        whole: the picture at its full resolution, as `grey` makes it.
        geometry: how it maps to the source.
        region: the attended one.
        size: what the crop has to fit into.
    """
    height, width = whole.shape
    box = box_of(region, geometry, (width, height))
    left, right = inside(box.left, box.right, width)
    top, bottom = inside(box.top, box.bottom, height)
    return Prints(film, fitted(whole[top:bottom, left:right], size), box, width, height)


def prints_of(picture: Picture, region: Edges, size: Size) -> Prints:
    """All that is printed of a picture."""
    whole = grey(picture.pixels)
    return with_region(fitted(whole, size), whole, picture.geometry, region, size)


def grey(pixels: NDArray[np.float32]) -> Grey:
    """Pixels of [0, 1], as a picture's are, as 8-bit grey."""
    steps = pixels * np.float32(255)
    steps += np.float32(0.5)
    result: Grey = steps.astype(np.uint8)
    return result


def fitted(image: Grey, size: Size) -> Grey:
    """An image [H, W] reduced (never enlarged), antialiased, to fit into `size`; its proportions are kept."""
    height, width = image.shape
    factor = min(size[0] / width, size[1] / height, 1.0)
    target = max(round(width * factor), 1), max(round(height * factor), 1)
    if target == (width, height):
        return np.ascontiguousarray(image)
    # Reducing by a whole factor first is two to three times as fast, and leaves Lanczos enough to work on.
    reduced = Image.fromarray(image, "L").resize(target, Image.Resampling.LANCZOS, reducing_gap=REDUCING_GAP)
    return np.asarray(reduced)


def box_of(region: Edges, geometry: Geometry, size: Size) -> Box:
    """A region of the source image in a picture of `size`, clipped to it."""
    width, height = size
    return Box(
        left=min(max(region.x_min / geometry.scale_x, 0.0), width),
        top=min(max(region.y_min / geometry.scale_y, 0.0), height),
        right=min(max(region.x_max / geometry.scale_x, 0.0), width),
        bottom=min(max(region.y_max / geometry.scale_y, 0.0), height),
    )


def inside(start: float, end: float, length: int) -> tuple[int, int]:
    """Whole pixels from start to end, at least one, inside 0 to length."""
    first = min(max(round(start), 0), length - 1)
    return first, max(min(round(end), length), first + 1)


def _bytes(prints: Prints) -> int:
    return prints.film.nbytes + prints.crop.nbytes
