"""From anatomy to film: Beer-Lambert attenuation, scatter, quantum noise and the characteristic curve.

Lengths are centimetres, attenuations natural logarithms (dimensionless), pictures float32 [rows, columns].
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Plane = NDArray[np.floating[Any]]
"""Computed in float32; numpy types what is mixed with Python numbers more loosely."""

FIELD_HEIGHT = 40.0
FIELD_WIDTH = 36.0
"""The detector shows at least this much of the patient, in cm."""

WATER = 0.2
"""Linear attenuation of water and soft tissue per cm, for a chest beam of 120 kVp (effective energy about 65 keV)."""

BONE = 0.35
"""What compact bone adds to soft tissue's attenuation, per cm."""

LUNG_DENSITY = 0.26
"""Of aerated lung, as a fraction of water."""

SCATTER_FRACTION = 0.035
"""Scattered radiation behind the grid, as a fraction of the mean primary beam around it."""

SCATTER_RADIUS = 4.0
"""How far scatter spreads, in cm."""


@dataclass(frozen=True)
class Field:
    """The detector: which patient coordinate each pixel shows.

    x runs from the middle to the right of the film (the patient's left in a frontal view), y down from its top.
    """

    rows: int
    columns: int

    @cached_property
    def pixel(self) -> float:
        """The side of a square pixel in cm."""
        return max(FIELD_HEIGHT / self.rows, FIELD_WIDTH / self.columns)

    @cached_property
    def x(self) -> Plane:
        """Pixel centres, [1, columns]."""
        return ((np.arange(self.columns, dtype=np.float32) + 0.5 - self.columns / 2) * self.pixel)[None, :]

    @cached_property
    def y(self) -> Plane:
        """Pixel centres, [rows, 1]."""
        return ((np.arange(self.rows, dtype=np.float32) + 0.5) * self.pixel)[:, None]

    def window(self, left: float, top: float, right: float, bottom: float) -> tuple[slice, slice]:
        """The pixels of a box in cm, clipped to the film; either slice may be empty."""
        rows = (min(max(round(edge / self.pixel), 0), self.rows) for edge in (top, bottom))
        middle = self.columns / 2
        columns = (min(max(round(edge / self.pixel + middle), 0), self.columns) for edge in (left, right))
        return slice(*rows), slice(*columns)


@dataclass(frozen=True)
class Exposure:
    """How a film was exposed and developed."""

    middle: float
    """The attenuation that becomes middle grey."""
    latitude: float
    """How much attenuation lies between dark and bright grey: small is contrasty."""
    noise: float
    """Relative quantum noise where nothing attenuates the beam."""


def expose(attenuation: Plane, field: Field, exposure: Exposure, noise: np.random.Generator) -> Plane:
    """The film behind an attenuation: float32 [rows, columns] in [0, 1], bright where dense (MONOCHROME2)."""
    primary = np.exp(-attenuation)
    primary += SCATTER_FRACTION * _spread(primary, SCATTER_RADIUS / field.pixel)
    density = -np.log(primary)
    # Photons are Poisson: the relative noise grows with the square root of what the patient took away.
    grain = noise.standard_normal(density.shape, dtype=np.float32)
    density += grain * (exposure.noise / np.sqrt(primary))
    density -= exposure.middle
    density /= exposure.latitude
    film: Plane = np.reciprocal(1 + np.exp(-density))
    return film


def clouds(field: Field, scales: dict[float, float], generator: np.random.Generator) -> Plane:
    """Smooth random texture: for each scale in cm its amplitude, [rows, columns] around 0."""
    texture = np.zeros((field.rows, field.columns), np.float32)
    for scale, amplitude in scales.items():
        # The grid depends on the field in cm alone, so that the same seed gives the same clouds at every resolution.
        shape = (int(field.rows * field.pixel / scale) + 2, int(field.columns * field.pixel / scale) + 2)
        texture += amplitude * resize(generator.standard_normal(shape, dtype=np.float32), texture.shape)
    return texture


def resize(plane: Plane, shape: tuple[int, ...]) -> Plane:
    """A plane resampled bicubically to [rows, columns]."""
    rows, columns = shape
    return np.asarray(Image.fromarray(plane).resize((columns, rows), Image.Resampling.BICUBIC), np.float32)


def _spread(plane: Plane, radius: float) -> Plane:
    """A very wide blur, made on a coarse grid since it has no detail."""
    step = max(1, int(radius / 4))
    coarse = np.asarray(Image.fromarray(plane).reduce(step), np.float32)
    return resize(ndimage.gaussian_filter(coarse, radius / step, mode="nearest"), plane.shape)
