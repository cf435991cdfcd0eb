"""Synthetic chest radiographs: no patient, a believable film, and a lesion that was wanted.

    build -> structures -> lesion -> attenuation -> film

A film is computed as a detector sees it: what stands along the beam adds up (Beer-Lambert), scatter veils it, photons
make it grainy, and a characteristic curve turns it into grey. They show that the house works; they teach no model.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from agcnn_clinic.demo.build import sample_build
from agcnn_clinic.demo.film import Exposure, Field, Plane, expose
from agcnn_clinic.demo.frontal import attenuation_of, draw_chest
from agcnn_clinic.demo.lateral import lateral_attenuation
from agcnn_clinic.demo.lesions import CARDIOMEGALY_RATIO, Lesion, add_lesion
from agcnn_clinic.demo.shapes import Canvas, smoothstep

LEAD = 4.0
"""Attenuation of the side marker."""

SMALLEST = 64
"""Films with a shorter side show no anatomy."""


class View(StrEnum):
    """Which way the beam goes (PS3.3 C.8.11.1.1.3, View Position)."""

    PA = "PA"
    AP = "AP"
    LATERAL = "LL"


_EXPOSURES = {
    View.PA: Exposure(middle=2.5, latitude=0.70, noise=0.009),
    # A bedside film: shorter distance, no grid, softer and grainier.
    View.AP: Exposure(middle=2.45, latitude=0.85, noise=0.014),
    View.LATERAL: Exposure(middle=3.4, latitude=0.85, noise=0.006),
}


@dataclass(frozen=True)
class PhantomSpec:
    """What to draw. Equal specs of equal size give equal pixels.

    Attributes:
        seed: chooses the patient, the vessels, the grain and the place of the lesion, each on its own, so that the
            same seed with and without a lesion differs by the lesion alone.
        view: of the film; a lateral one has no lesion.
        lesion: or None for a healthy chest.
        collimated: dark borders, slightly askew, where the collimator stopped the beam.
    """

    seed: int = 0
    view: View = View.PA
    lesion: Lesion | None = None
    collimated: bool = False

    def __post_init__(self) -> None:
        if self.view is View.LATERAL and self.lesion is not None:
            raise ValueError("Lesions are drawn in frontal views only.")


@dataclass(frozen=True, eq=False)
class Phantom:
    """A drawn film.

    Attributes:
        pixels: float32 [rows, columns] in [0, 1], bright where dense (MONOCHROME2).
        pixel_spacing_mm: side of a pixel at the detector.
    """

    pixels: Plane
    pixel_spacing_mm: float


def draw(spec: PhantomSpec | int, size: tuple[int, int] = (1024, 1024)) -> Phantom:
    """Draw a chest radiograph.

    Args:
        spec: what to draw; a number is the healthy PA film of that seed.
        size: rows and columns; the anatomy keeps its proportions whatever they are.

    Raises:
        ValueError: a side is shorter than `SMALLEST`.
    """
    if isinstance(spec, int):
        spec = PhantomSpec(spec)
    if min(size) < SMALLEST:
        raise ValueError(f"A film of {size[0]}x{size[1]} is too small to draw; {SMALLEST} is the shortest side.")
    field = Field(*size)
    patient, vessels, texture, place, border, grain = (
        np.random.Generator(np.random.PCG64(child)) for child in np.random.SeedSequence(spec.seed).spawn(6)
    )
    build = sample_build(patient, CARDIOMEGALY_RATIO if spec.lesion is Lesion.CARDIOMEGALY else None)
    if spec.view is View.LATERAL:
        attenuation = lateral_attenuation(build, field, vessels, texture)
    else:
        chest = draw_chest(build, field, vessels, texture)
        if spec.lesion is not None:
            chest = add_lesion(chest, spec.lesion, place)
        attenuation = attenuation_of(chest)
    attenuation += _marker(field, spec.view)
    pixels = expose(attenuation, field, _EXPOSURES[spec.view], grain)
    if spec.collimated:
        pixels *= _shutter(field, border)
    return Phantom(pixels, field.pixel * 10)


def _marker(field: Field, view: View) -> Plane:
    """The letter of lead that lies on the detector, on the patient's left."""
    canvas = Canvas(field)
    left = -16.0 if view is View.LATERAL else 14.6
    canvas.line([(left, 1.6), (left, 3.2), (left + 1.0, 3.2)], 0.32, LEAD)
    canvas.line([(left + 0.1, 4.0), (left + 0.8, 4.0)], 0.12, LEAD)  # the technician's initials, illegible
    return canvas.plane(0.02)


def _shutter(field: Field, generator: np.random.Generator) -> Plane:
    """1 inside the collimated field and 0 outside, [rows, columns]."""
    lean = generator.normal(0, 0.006)
    x, y = field.x + lean * (field.y - 20), field.y - lean * field.x
    half_width = field.columns * field.pixel / 2
    height = field.rows * field.pixel
    left, top, right, bottom = generator.uniform(0.3, 1.0, 4)
    inside = smoothstep((x + half_width - left) / 0.1) * smoothstep((half_width - right - x) / 0.1)
    return np.asarray(inside * smoothstep((y - top) / 0.1) * smoothstep((height - bottom - y) / 0.1), np.float32)
