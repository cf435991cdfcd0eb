"""One patient: the measures of a chest that vary from film to film, in cm."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from agcnn_clinic.demo.film import Plane
from agcnn_clinic.demo.shapes import Point

Height = TypeVar("Height", float, Plane)

SIDES = (-1, 1)
"""The patient's right, on the left of the film, and left."""


@dataclass(frozen=True)
class Build:
    """One patient: the measures that vary from film to film."""

    half_width: float
    """Inner half width of the thorax at its widest."""
    apex: float
    """y of the lung apices."""
    dome_right: float
    """y of the right hemidiaphragm; the left one stands lower."""
    dome_left: float
    thickness: float
    """Of the torso along the beam."""
    shift: float
    """Of the midline from the film's middle."""
    lean: float
    """Of the midline, cm per cm: rotation and scoliosis."""
    breast: float
    """Thickness of breast tissue; 0 for none."""
    rib_gap: float
    clavicle: float
    """Height of the clavicles above their usual place."""
    gas: float
    """How much air is in stomach and colon, by the usual."""
    cardiothoracic_ratio: float

    @property
    def hila(self) -> dict[int, Point]:
        """Where the vessels leave the mediastinum; the left hilum stands higher."""
        return {-1: (-3.3, self.apex + 11.6), 1: (3.5, self.apex + 10.7)}

    @property
    def base(self) -> float:
        """Height of the costophrenic angles, roughly."""
        return self.dome_right + 5.0

    def midline(self, y: Height) -> Height:
        """Where on the film the patient's midline is at a height: its x."""
        return self.shift + self.lean * (y - 20)


def sample_build(generator: np.random.Generator, cardiothoracic_ratio: float | None) -> Build:
    """A patient at random, with this ratio where it is not left to chance."""
    female = generator.random() < 0.5
    dome_right = _about(generator, 28.2, 0.9)
    usual_ratio = _about(generator, 0.455, 0.018)
    return Build(
        half_width=_about(generator, 13.0 if female else 13.7, 0.35),
        apex=_about(generator, 4.2, 0.45),
        dome_right=dome_right,
        dome_left=dome_right + _about(generator, 1.4, 0.3),
        thickness=_about(generator, 20.5, 0.9),
        shift=_about(generator, 0, 0.35),
        lean=_about(generator, 0, 0.008),
        breast=generator.uniform(1.2, 2.6) if female else 0.0,
        rib_gap=_about(generator, 2.28, 0.05),
        clavicle=_about(generator, 0, 0.35),
        gas=generator.uniform(0.55, 1.2),
        cardiothoracic_ratio=usual_ratio if cardiothoracic_ratio is None else cardiothoracic_ratio,
    )


def _about(generator: np.random.Generator, usual: float, deviation: float) -> float:
    """A measure near the usual one; nobody is further than two deviations from it, or the parts would not fit."""
    return usual + deviation * float(np.clip(generator.normal(), -2, 2))
