"""The frontal chest: body, lungs, mediastinum, diaphragm, bones. What each structure adds along the beam.

The patient faces the detector (PA): the patient's left, and so the heart's apex, is on the right of the film.
`side` is -1 for the patient's right and +1 for the left. Lengths are cm.
"""

import math
from dataclasses import dataclass

import numpy as np

from agcnn_clinic.demo.build import SIDES, Build
from agcnn_clinic.demo.film import BONE, LUNG_DENSITY, WATER, Field, Plane, clouds
from agcnn_clinic.demo.shapes import Canvas, Point, curve, ellipsoid, smoothstep, vessel_tree
from agcnn_clinic.demo.skeleton import draw_clavicles, draw_ribs, draw_shoulder_blades, draw_spine


@dataclass(frozen=True, eq=False)
class Chest:
    """The structures of a frontal chest as planes [rows, columns] that broadcast, in cm along the beam.

    Lesions change `lung`, `water` and `vessels`; `attenuation` adds everything up.
    """

    build: Build
    field: Field
    x: Plane
    """Distance from the patient's midline, [rows, columns]."""
    lateral: Plane
    """Where the lung ends laterally, [rows, 1]."""
    body: Plane
    cavity: Plane
    """Thickness of the pleural cavity above and behind the diaphragm, the mediastinum taken out."""
    lung: Plane
    """Thickness of aerated lung."""
    density: Plane
    """Of that lung, as a fraction of water."""
    water: Plane
    """Soft tissue or fluid beside what the body's outline holds; negative where there is gas."""
    vessels: Plane
    bone: Plane


def draw_chest(build: Build, field: Field, vessels: np.random.Generator, texture: np.random.Generator) -> Chest:
    """Draw a healthy chest."""
    y = field.y
    x = field.x - build.midline(y)
    r = np.abs(x)
    depth = (y - build.apex) / (build.base - build.apex)  # 0 at the apex, 1 at the costophrenic angles
    lateral = build.half_width * curve(
        depth,
        [(0, 0.36), (0.025, 0.5), (0.09, 0.63), (0.2, 0.76), (0.35, 0.87), (0.55, 0.95), (0.75, 0.995), (1, 0.985)],
    )
    cavity = _cavity(build, r, y, depth, lateral) * _above(_dome(build, field), y)
    heart = _mediastinum(build, x, y)
    lung = np.maximum(cavity - heart, 0)
    return Chest(
        build=build,
        field=field,
        x=x,
        lateral=lateral,
        body=_body(build, x, r, y),
        cavity=lung,
        lung=lung,
        density=np.maximum(LUNG_DENSITY + clouds(field, {2.5: 0.012, 0.6: 0.012, 0.22: 0.014}, texture), 0.05),
        water=_gas(build, x, y),
        vessels=_vessels(build, field, x, vessels),
        bone=_bones(build, field, x, y, lateral),
    )


def attenuation_of(chest: Chest) -> Plane:
    """The logarithm of how much the chest weakens the beam, [rows, columns]."""
    # Vessels need lung around them to be seen, and fade where it is thin.
    seen = chest.vessels * np.clip(chest.lung / 9.0, 0, 1)
    tissue = chest.body - (1 - chest.density) * chest.lung + chest.water + (1 - LUNG_DENSITY) * seen
    attenuation: Plane = WATER * np.maximum(tissue, 0) + BONE * chest.bone
    return attenuation


def _body(build: Build, x: Plane, r: Plane, y: Plane) -> Plane:
    """Neck, shoulders and trunk, with the breasts."""
    width = (
        build.half_width
        / 13.4
        * curve(
            y,
            [
                (0, 5.9),
                (1, 6.3),
                (2, 8.2),
                (3, 12.2),
                (4.2, 17.2),
                (5.5, 21.0),
                (9, 23.0),
                (12, 22.0),
                (15, 18.6),
                (18, 17.0),
                (22, 16.3),
                (29, 15.9),
                (40, 16.6),
            ],
        )
    )
    depth = build.thickness * curve(y, [(0, 0.58), (3, 0.62), (6, 0.76), (11, 0.93), (17, 1), (28, 1.02), (40, 1.1)])
    inside = np.maximum(1 - (r / width) ** 3.2, 0)
    body = depth * np.sqrt(inside)
    if build.breast:
        for side in SIDES:
            body += ellipsoid(x, y, (side * 7.6, build.dome_right - 3.3), (6.2, 6.4), build.breast, side * 0.25)
    else:
        for side in SIDES:  # the pectoral muscles
            body += ellipsoid(x, y, (side * 8.2, 13.5), (6.8, 5.0), 0.9, side * -0.5)
    return body


def _cavity(build: Build, r: Plane, y: Plane, depth: Plane, lateral: Plane) -> Plane:
    medial = build.half_width * curve(depth, [(0, 0.35), (0.02, 0.27), (0.06, 0.21), (0.14, 0.165), (1, 0.155)])
    inner = build.thickness * curve(depth, [(0, 0.3), (0.05, 0.42), (0.15, 0.56), (0.35, 0.68), (0.7, 0.73), (1, 0.7)])
    wall = np.sqrt(np.maximum(1 - (r / lateral) ** 4, 0))
    # The heart lies in front of lung, so its shadow fades towards the spine; higher up the lung's edge is sharp.
    edge = curve(depth, [(0.2, 0.35), (0.5, 2.2), (1, 2.6)])
    return inner * wall * smoothstep((r - medial) / edge + 0.5) * smoothstep((y - build.apex) / 0.7)


def _dome(build: Build, field: Field) -> Plane:
    """Height of the diaphragm at each column: a dome on each side that falls to the costophrenic angle."""
    x = field.x - build.midline(build.dome_right)
    crest = 0.5 * build.half_width
    r = np.abs(x)
    outward = np.clip((r - crest) / (build.half_width - crest), 0, 1.2)
    inward = np.clip((crest - r) / crest, 0, 1)
    top = np.where(x < 0, build.dome_right, build.dome_left)
    return np.asarray(top + 4.9 * outward**2.5 + 1.5 * inward**2, np.float32)


def _above(dome: Plane, y: Plane) -> Plane:
    """How much of the lung's depth is left at each height: all above the dome, the posterior recess behind it."""
    below = y - dome
    recess = 0.17 * np.exp(-np.maximum(below, 0) / 2.2)
    return recess + (1 - recess) * smoothstep(0.5 - below / 0.16)


def _mediastinum(build: Build, x: Plane, y: Plane) -> Plane:
    """Heart, great vessels and hila: soft tissue that stands where lung would be, [rows, columns].

    Its two borders are drawn as a radiologist follows them, from the apex to the diaphragm.
    """
    width = 2 * build.half_width * build.cardiothoracic_ratio
    right, left = 0.33 * width, 0.67 * width  # how far it reaches from the midline
    arch, floor = build.apex + 6.6, build.dome_left
    left_border = curve(
        y,
        [
            (build.apex, 2.3),
            (arch - 2.2, 2.55),
            (arch - 0.9, 3.25),
            (arch + 0.2, 3.5),
            (arch + 1.7, 2.75),
            (arch + 2.4, 2.65),
            (arch + 4.1, 3.3),
            (arch + 5.6, 3.45),
            (floor - 9.0, 0.56 * left + 0.6),
            (floor - 6.2, 0.83 * left),
            (floor - 3.4, 0.99 * left),
            (floor - 2.6, left),
            (floor, 0.95 * left),
            (floor + 1.2, 0.8 * left),
            (floor + 4, 2.6),
        ],
    )
    right_border = curve(
        y,
        [
            (build.apex, 2.2),
            (arch - 1, 2.35),
            (arch + 2, 2.6),
            (arch + 4.5, 2.55),
            (floor - 9.8, 0.72 * right + 0.5),
            (floor - 7.5, 0.93 * right),
            (floor - 5.2, right),
            (floor - 2, 0.92 * right),
            (floor + 3, 2.3),
        ],
    )
    depth = curve(y, [(build.apex, 5), (arch, 7), (arch + 5, 8), (floor - 8, 10.5), (floor - 3, 12), (40, 10)])
    border = np.where(x > 0, left_border, right_border)
    heart = depth * np.sqrt(np.maximum(1 - (np.abs(x) / border) ** 2.6, 0))
    hila = np.zeros_like(heart)
    for side, (hx, hy) in build.hila.items():
        hila += ellipsoid(x, y, (hx, hy + 0.2), (1.5, 2.3), 1.1, side * -0.3)
        hila += ellipsoid(x, y, (hx + side * 0.1, hy + 1.9), (0.75, 2.2), 1.6, side * -0.35)
    return heart + hila


def _gas(build: Build, x: Plane, y: Plane) -> Plane:
    """Air in the trachea, the main bronchi and the stomach, as negative soft tissue."""
    carina = build.apex + 9.0
    drift = -0.12 - 0.25 * smoothstep((y - 4) / 8)  # the aortic arch pushes the trachea to the right
    off = x - drift
    windpipe = 1.9 * np.sqrt(np.maximum(1 - (off / 0.92) ** 2, 0)) * smoothstep((carina - y) / 0.8 + 0.5)
    for (ex, ey), radius in (((-2.9, carina + 2.9), 0.62), ((3.6, carina + 2.3), 0.55)):
        start = (-0.4, carina - 0.4)
        bronchus = _capsule(x, y, start, (ex, ey), radius)
        windpipe = np.maximum(windpipe, 1.5 * bronchus)
    size = build.gas
    stomach = (5.6, build.dome_left + 0.65 + 1.75 * size)
    bubble = ellipsoid(x, y, stomach, (3.0 * size, 1.75 * size), 5.5 * size, 0.15)
    bubble *= smoothstep((stomach[1] + 0.6 - y) / 0.25)  # the fluid level
    flexure = (11.6 - 2 * size, build.dome_left + 6.4 - size)
    colon = ellipsoid(x, y, flexure, (1.9, 1.3 * size), 2.6 * size, 0.5)
    colon += ellipsoid(x, y, (flexure[0] - 2.4, flexure[1] + 1.3), (1.5, 1.1), 2.0 * size, -0.3)
    return -(windpipe + bubble + colon)


def _capsule(x: Plane, y: Plane, start: Point, end: Point, radius: float) -> Plane:
    """Relative thickness of a round tube from start to end: 1 on its axis."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    along = np.clip(((x - start[0]) * dx + (y - start[1]) * dy) / (dx * dx + dy * dy), 0, 1)
    square = (x - start[0] - along * dx) ** 2 + (y - start[1] - along * dy) ** 2
    return np.sqrt(np.maximum(1 - square / radius**2, 0))


def _vessels(build: Build, field: Field, x: Plane, generator: np.random.Generator) -> Plane:
    canvas = Canvas(field)
    for side, (hx, hy) in build.hila.items():
        # Lower lobes have the larger vessels: more blood flows where one stands on it.
        fan = np.array([-1.35, -0.95, -0.45, 0.1, 0.6, 0.95, 1.2, 1.4]) + generator.normal(0, 0.1, 8)
        headings = fan if side > 0 else math.pi - fan
        vessel_tree(canvas, (hx + build.midline(hy), hy), headings.tolist(), generator, reach=build.half_width / 13.4)
    return canvas.plane(0.035) * smoothstep((np.abs(x) - 2.0) / 1.5)


def _bones(build: Build, field: Field, x: Plane, y: Plane, lateral: Plane) -> Plane:
    bone = np.zeros((field.rows, field.columns), np.float32)
    draw_ribs(bone, build, field, x, y, lateral)
    draw_clavicles(bone, build, field, x, y)
    draw_shoulder_blades(bone, build, field)
    draw_spine(bone, field, x, y, top=build.apex - 4.6)
    return bone
