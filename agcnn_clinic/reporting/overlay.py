"""A film's pictures for the page: the film itself, the film under its heat map, and the attended region cut out.

They come at the size at which they are printed. Boxes and scales are not burned in: the page draws them as lines, which
stay crisp at any magnification.
"""

from dataclasses import dataclass
from functools import cache
from io import BytesIO

import numpy as np
from cmap import Colormap
from numpy.typing import NDArray
from PIL import Image

from agcnn_clinic.prints import Grey, inside
from agcnn_clinic.reporting.content import SeenArea

Colours = NDArray[np.uint8]
JPEG_QUALITY = 88
MAX_OPACITY = 0.62
"""Of the heat map where it is hottest: the film must stay readable under it."""
OPAQUE_FROM, OPAQUE_AT = 0.15, 0.85
"""Heat below the first leaves the film as it is; from the second on the overlay is as opaque as it gets."""


@dataclass(frozen=True)
class Plate:
    """A picture as it is embedded: a JPEG and its size in pixels."""

    jpeg: bytes
    width: int
    height: int


def plain(image: Grey) -> Plate:
    """A grey image [H, W] as it is."""
    return _jpeg(Image.fromarray(image, "L"))


def overlay(image: Grey, heat_map: NDArray[np.float32], seen: SeenArea, colour_map: str) -> Plate:
    """The film's grey image [H, W] under its heat map.

    The heat map [h, w] in [0, 1] is spread bilinearly over the part that the network saw; the film around
    that part stays as it is. Opacity rises with heat.
    """
    heat, covered = spread(heat_map, (image.shape[1], image.shape[0]), seen)
    colours, opacity = _coloured(heat, colour_map)
    opacity = opacity * covered[..., None]
    blended = image.astype(np.float32)[..., None] * (1 - opacity) + colours * opacity
    return _jpeg(Image.fromarray((blended + 0.5).astype(np.uint8), "RGB"))


def spread(
    heat_map: NDArray[np.float32], size: tuple[int, int], seen: SeenArea
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The heat map over a picture of `size` = (width, height): heat [height, width], and 1 where the network saw.

    Outside of the seen part the heat is 0.
    """
    width, height = size
    left, right = inside(seen.start * width, seen.end * width, width)
    top, bottom = inside(seen.start * height, seen.end * height, height)
    enlarged = Image.fromarray(np.clip(heat_map, 0, 1).astype(np.float32), "F").resize(
        (right - left, bottom - top), Image.Resampling.BILINEAR
    )
    heat = np.zeros((height, width), np.float32)
    covered = np.zeros((height, width), np.float32)
    heat[top:bottom, left:right] = np.clip(np.asarray(enlarged), 0, 1)
    covered[top:bottom, left:right] = 1
    return heat, covered


@cache
def colour_table(name: str) -> Colours:
    """A perceptually uniform colour map as uint8 [256, 3]."""
    return (np.asarray(Colormap(name).lut(256))[:, :3] * 255).astype(np.uint8)


def colour_scale(colour_map: str) -> Plate:
    """The scale that belongs to `overlay`, from no heat at the left to full heat at the right, over mid grey.

    It shows the colours as they lie over the film, with the same opacity.
    """
    heat = np.tile(np.linspace(0, 1, 256, dtype=np.float32), (12, 1))
    colours, opacity = _coloured(heat, colour_map)
    blended = 128.0 * (1 - opacity) + colours * opacity
    return _jpeg(Image.fromarray((blended + 0.5).astype(np.uint8), "RGB"))


def _coloured(heat: NDArray[np.float32], colour_map: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The colours [H, W, 3] and the opacity [H, W, 1] of heat [H, W]."""
    colours = colour_table(colour_map)[(heat * 255 + 0.5).astype(np.uint8)].astype(np.float32)
    return colours, MAX_OPACITY * _smooth_step(heat)[..., None]


def _smooth_step(heat: NDArray[np.float32]) -> NDArray[np.float32]:
    t = np.clip((heat - OPAQUE_FROM) / (OPAQUE_AT - OPAQUE_FROM), 0, 1)
    result: NDArray[np.float32] = t * t * (3 - 2 * t)
    return result


def _jpeg(image: Image.Image) -> Plate:
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0, optimize=True)
    return Plate(buffer.getvalue(), image.width, image.height)
