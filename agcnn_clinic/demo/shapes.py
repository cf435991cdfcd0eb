"""The pieces that anatomy is drawn from: soft edges, ellipsoids, hollow bones, branching vessels.

A body's thickness along the beam is drawn, so that overlapping bodies add up as they do on a film. Lengths are cm.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw
from scipy import ndimage
from scipy.interpolate import PchipInterpolator

from agcnn_clinic.demo.film import Field, Plane

Point = tuple[float, float]


def smoothstep(value: Plane) -> Plane:
    """0 below 0, 1 above 1, and a smooth way between."""
    value = np.clip(value, 0, 1)
    return value * value * (3 - 2 * value)


def curve(where: Plane, knots: Sequence[Point]) -> Plane:
    """A smooth curve without overshoot through (position, value) knots, constant beyond its ends."""
    positions, values = np.asarray(knots, float).T
    inside = np.clip(where, positions[0], positions[-1])
    return np.asarray(PchipInterpolator(positions, values)(inside), np.float32)


def ellipsoid(x: Plane, y: Plane, centre: Point, radii: Point, depth: float, tilt: float = 0.0) -> Plane:
    """Thickness of an ellipsoid seen along the beam: `depth` at its centre, 0 outside.

    Args:
        x: coordinate to the right; broadcasts with y to the picture.
        y: coordinate downwards.
        centre: of its outline.
        radii: of its outline, before tilting.
        depth: largest thickness along the beam.
        tilt: clockwise on the film, in radians.
    """
    dx, dy = x - centre[0], y - centre[1]
    along = (dx * math.cos(tilt) + dy * math.sin(tilt)) / radii[0]
    across = (dy * math.cos(tilt) - dx * math.sin(tilt)) / radii[1]
    return depth * np.sqrt(np.maximum(1 - along * along - across * across, 0))


def hollow(distance: Plane, radius: ArrayLike, cortex: float) -> Plane:
    """Bone along the beam through a tube of marrow: bright at both margins, fainter between.

    Args:
        distance: from the tube's axis.
        radius: of the tube; may vary with place.
        cortex: thickness of the compact wall.
    """
    outer = np.asarray(radius, np.float32)
    inner = np.maximum(outer - cortex, 0)
    square = distance * distance
    chord = np.sqrt(np.maximum(outer * outer - square, 0))
    # Spongy bone inside holds about a third of the mineral of the compact wall.
    mineral: Plane = 2 * (chord - 0.68 * np.sqrt(np.maximum(inner * inner - square, 0)))
    return mineral


class Canvas:
    """A plane to draw lines and polygons on, finer than the film where the film is coarse."""

    def __init__(self, field: Field) -> None:
        self._field = field
        self._factor = max(1, round(768 / field.rows))
        self._size = (field.columns * self._factor, field.rows * self._factor)
        self._image = Image.new("F", self._size)
        self._draw = ImageDraw.Draw(self._image)

    def polygon(self, points: Sequence[Point], value: float) -> None:
        """Fill a polygon with a thickness, over what is there."""
        self._draw.polygon([self._pixel(*point) for point in points], fill=value)

    def line(self, points: Sequence[Point], width: float, value: float) -> None:
        """Draw a line of a width in cm, over what is there."""
        pixels = max(1, round(width * self._factor / self._field.pixel))
        self._draw.line([self._pixel(*point) for point in points], fill=value, width=pixels, joint="curve")

    def plane(self, blur: float) -> Plane:
        """What was drawn, at the film's resolution, its edges softened by `blur` cm."""
        image = self._image.reduce(self._factor) if self._factor > 1 else self._image
        return ndimage.gaussian_filter(np.asarray(image, np.float32), blur / self._field.pixel, truncate=3)

    def _pixel(self, x: float, y: float) -> Point:
        scale = self._factor / self._field.pixel
        return x * scale + self._size[0] / 2, y * scale


def vessel_tree(
    canvas: Canvas, root: Point, directions: Sequence[float], generator: np.random.Generator, *, reach: float
) -> None:
    """Draw pulmonary vessels that leave a hilum, fork and taper outward.

    Args:
        canvas: where to.
        root: the hilum.
        directions: of the first branches, radians clockwise from the right of the film.
        generator: of the wanderings.
        reach: scale of all lengths.
    """
    heading = np.asarray(directions, float)
    origin = np.tile(np.asarray(root, float), (len(heading), 1)) + generator.normal(0, 0.5, (len(heading), 2))
    radius = generator.uniform(0.2, 0.3, len(heading))
    strokes: list[tuple[list[Point], float]] = []
    for generation in range(7):
        path = [origin]
        for _ in range(3):
            heading = heading + generator.normal(0, 0.13, heading.shape)
            # The lung is taller than wide: what runs up or down runs further.
            length = reach * generator.uniform(0.5, 0.8, heading.shape) * (1.0 - 0.08 * generation)
            length *= 0.9 + 0.6 * np.sin(heading) ** 2
            path.append(path[-1] + length[:, None] * np.stack([np.cos(heading), np.sin(heading)], axis=1))
        strokes += [
            ([(float(step[i][0]), float(step[i][1])) for step in path], float(radius[i])) for i in range(len(radius))
        ]
        spread = generator.uniform(0.15, 0.55, heading.shape)
        share = generator.uniform(0.62, 0.86, heading.shape)
        origin = np.concatenate([path[-1], path[-1]])
        heading = np.concatenate([heading + spread, heading - spread * generator.uniform(0.4, 1, heading.shape)])
        radius = np.concatenate([radius * share, radius * (1.36 - share)])
    # The thin ones first: a thick vessel covers them.
    for points, size in sorted(strokes, key=lambda stroke: stroke[1]):
        canvas.line(points, 2 * size, 0.1 + 4.4 * size)
