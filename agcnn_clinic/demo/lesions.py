"""What can be wrong with a drawn frontal chest: each lesion changes its structures.

Which side it takes and where is the generator's choice.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum

import numpy as np

from agcnn_clinic.demo.build import SIDES
from agcnn_clinic.demo.film import clouds
from agcnn_clinic.demo.frontal import Chest
from agcnn_clinic.demo.shapes import curve, smoothstep


class Lesion(StrEnum):
    """The lesions that can be drawn."""

    NODULE = "nodule"
    MASS = "mass"
    EFFUSION = "effusion"
    CONSOLIDATION = "consolidation"
    PNEUMOTHORAX = "pneumothorax"
    CARDIOMEGALY = "cardiomegaly"


CARDIOMEGALY_RATIO = 0.61
"""The cardiothoracic ratio of an enlarged heart here; above 0.5 is enlarged."""


def add_lesion(chest: Chest, lesion: Lesion, generator: np.random.Generator) -> Chest:
    """The chest with a lesion; an enlarged heart was drawn large already (`CARDIOMEGALY_RATIO`)."""
    return chest if lesion is Lesion.CARDIOMEGALY else _PAINTERS[lesion](chest, generator)


def _nodule(chest: Chest, generator: np.random.Generator) -> Chest:
    return _tumour(chest, generator, radius=generator.uniform(1.0, 1.45), lobulation=0.05)


def _mass(chest: Chest, generator: np.random.Generator) -> Chest:
    return _tumour(chest, generator, radius=generator.uniform(2.2, 3.2), lobulation=0.12)


def _tumour(chest: Chest, generator: np.random.Generator, *, radius: float, lobulation: float) -> Chest:
    """A solid ball in the lung, lobulated and a little spiculated."""
    build, y = chest.build, chest.field.y
    side = SIDES[int(generator.integers(2))]
    down = generator.uniform(build.apex + 5.5, build.dome_right - 4.5)
    # Clear of the heart on the left, of the hilum, and of the chest wall.
    inner = (9.3 if side > 0 and down > 17 else 6.3) + 0.35 * radius
    across = side * generator.uniform(inner, max(inner, 0.8 * build.half_width - 0.6 * radius))
    dx, dy = chest.x - across, y - down
    angle = np.arctan2(dy, dx)
    outline = np.full_like(angle, radius)
    for waves in (2, 3, 5, 9):
        strength = radius * lobulation / math.sqrt(waves) * generator.normal(0, 1)
        outline += strength * np.cos(waves * angle + generator.uniform(0, 2 * math.pi))
    relative = np.sqrt(dx * dx + dy * dy) / outline
    # A ball of tumour takes the place of lung; lung cannot lose more than it has.
    thickness = np.minimum(2.5 * radius * np.sqrt(np.maximum(1 - relative**2, 0)), chest.lung)
    return replace(chest, lung=chest.lung - thickness)


def _effusion(chest: Chest, generator: np.random.Generator) -> Chest:
    """Fluid in the pleural space: it fills the angle, and its surface climbs along the wall (the meniscus)."""
    build, y = chest.build, chest.field.y
    side = SIDES[int(generator.integers(2))]
    dome = build.dome_left if side > 0 else build.dome_right
    level = dome - generator.uniform(0.5, 3.0)
    climb = generator.uniform(3.0, 4.5)
    outward = np.clip(side * chest.x / chest.lateral, 0, 1)
    surface = level + 1.2 - (climb + 1.2) * curve(outward, [(0, 0), (0.5, 0.12), (0.8, 0.42), (0.95, 0.85), (1, 1)])
    here = smoothstep(side * chest.x / 1.0)
    # The fluid surrounds the lung: only below the whole surface is the beam's way through it all fluid.
    filled = here * smoothstep((y - surface) / 2.2)
    lung = chest.lung * (1 - 0.96 * filled)
    return replace(chest, lung=lung, vessels=chest.vessels * (1 - filled))


def _consolidation(chest: Chest, generator: np.random.Generator) -> Chest:
    """Air spaces filled in patches, densest in the middle, with the bronchi left open in them."""
    build, y = chest.build, chest.field.y
    side = SIDES[int(generator.integers(2))]
    down = generator.uniform(build.apex + 6.5, build.dome_right - 5.5)
    across = side * generator.uniform(0.55, 0.64) * build.half_width
    wide, high = generator.uniform(3.2, 4.4), generator.uniform(3.0, 4.4)
    square = ((chest.x - across) / wide) ** 2 + ((y - down) / high) ** 2
    patches = clouds(chest.field, {2.2: 0.34, 1.0: 0.16, 0.45: 0.06}, generator)
    filled = 0.55 * smoothstep((0.9 - square) * 0.8 + patches) * (square < 1.35)
    filled *= smoothstep((1.35 - square) / 0.5)
    # Open bronchi stay dark beside vessels that the filled lung no longer shows.
    filled *= 1 - 0.35 * np.clip(chest.vessels / 0.8, 0, 1)
    return replace(chest, lung=chest.lung * (1 - filled), vessels=chest.vessels * (1 - filled))


def _pneumothorax(chest: Chest, generator: np.random.Generator) -> Chest:
    """Air between lung and wall: no vessels there, and the visceral pleura as a thin white line."""
    build, y = chest.build, chest.field.y
    side = SIDES[int(generator.integers(2))]
    gap = generator.uniform(2.2, 3.4)
    bottom = build.dome_right - 2.0
    # How far the lung has left the wall at each height: most at the apex, where air collects on standing.
    retreat = gap * curve(
        y, [(build.apex, 1.0), (build.apex + 7, 1.0), (build.apex + 13, 0.82), (bottom - 2.5, 0.4), (bottom, 0.0)]
    )
    cap = build.apex + gap * 0.9
    wall = chest.lateral - retreat
    across = side * chest.x
    beyond = np.minimum(wall - across, y - cap - 0.12 * (across - 4.5) ** 2)
    outside = smoothstep(0.5 - beyond / 0.12) * (across > 1.5) * (y < bottom)
    # On a coarse film the line is as thin as a pixel, and so much fainter.
    thin = max(0.07, 0.7 * chest.field.pixel)
    line = (
        0.07 / thin * np.exp(-((beyond / thin - 1.5) ** 2)) * (across > 2.5) * (y < bottom - 0.5) * (chest.cavity > 1)
    )
    return replace(
        chest,
        density=chest.density * (1 - outside) + 0.15 * outside,
        vessels=chest.vessels * (1 - outside),
        water=chest.water + 0.6 * line,
    )


_PAINTERS: dict[Lesion, Callable[[Chest, np.random.Generator], Chest]] = {
    Lesion.NODULE: _nodule,
    Lesion.MASS: _mass,
    Lesion.EFFUSION: _effusion,
    Lesion.CONSOLIDATION: _consolidation,
    Lesion.PNEUMOTHORAX: _pneumothorax,
}
