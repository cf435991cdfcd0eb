"""The lateral chest: the patient stands sideways and looks to the left of the film, arms raised.

Lengths are cm; x is measured from the middle of the thorax, negative to the front.
"""

import math

import numpy as np

from agcnn_clinic.demo.build import Build
from agcnn_clinic.demo.film import BONE, LUNG_DENSITY, WATER, Field, Plane, clouds
from agcnn_clinic.demo.shapes import Canvas, curve, ellipsoid, hollow, smoothstep, vessel_tree


def lateral_attenuation(
    build: Build, field: Field, vessels: np.random.Generator, texture: np.random.Generator
) -> Plane:
    """The logarithm of how much a chest seen from the side weakens the beam, [rows, columns].

    Args:
        build: the patient.
        field: the film.
        vessels: generator of the vessels.
        texture: generator of the lung's fine structure.
    """
    x, y = field.x - build.shift, field.y
    front, back = _walls(build, y)
    dome = _domes(build, x)
    lung = _lung(build, x, y, front, back) * sum(0.5 * _above(one, y) for one in dome)
    heart = _heart(build, x, y, front)
    lung = np.maximum(lung - heart, 0)
    density = np.maximum(LUNG_DENSITY + clouds(field, {2.5: 0.012, 0.6: 0.012, 0.22: 0.012}, texture), 0.05)
    canvas = Canvas(field)
    hilum = (build.shift + 0.6, build.apex + 11.5)
    vessel_tree(canvas, hilum, np.arange(-2.9, 3.0, 0.62).tolist(), vessels, reach=0.85)
    markings = canvas.plane(0.04) * np.clip(lung / 12, 0, 1)
    tissue = _body(build, x, y, front, back) - (1 - density) * lung + (1 - LUNG_DENSITY) * markings
    tissue -= _windpipe(build, x, y)
    attenuation: Plane = WATER * np.maximum(tissue, 0) + BONE * _bones(build, field, x, y, front, back)
    return attenuation


def _walls(build: Build, y: Plane) -> tuple[Plane, Plane]:
    """Where the pleural cavity begins in front and ends behind, [rows, 1] each."""
    scale = build.thickness / 20.5
    front = -scale * curve(y, [(3, 1.2), (6, 4.0), (10, 6.6), (15, 8.6), (21, 9.6), (27, 9.6), (33, 8.6), (40, 8.0)])
    back = scale * curve(y, [(3, 3.2), (6, 5.4), (11, 8.0), (17, 9.4), (23, 9.4), (30, 8.4), (36, 7.2), (40, 6.8)])
    return front, back


def _body(build: Build, x: Plane, y: Plane, front: Plane, back: Plane) -> Plane:
    skin_front = front - curve(y, [(0, 4.0), (4, 3.0), (8, 2.0), (14, 1.7), (20, 2.0 + 0.8 * build.breast), (27, 2.0)])
    skin_back = back + curve(y, [(0, 5.0), (4, 4.2), (10, 3.0), (20, 2.6), (32, 3.2), (40, 3.6)])
    middle, half = (skin_front + skin_back) / 2, (skin_back - skin_front) / 2
    width = 2.3 * build.half_width * curve(y, [(0, 0.5), (4, 0.75), (8, 0.98), (14, 1), (40, 0.98)])
    body = width * np.sqrt(np.maximum(1 - np.abs((x - middle) / half) ** 2.6, 0))
    # The raised arms cross the top of the film.
    return body + ellipsoid(x, y, (-2.0, 0.5), (8.0, 5.0), 7, -0.35)


def _lung(build: Build, x: Plane, y: Plane, front: Plane, back: Plane) -> Plane:
    """Both lungs, one behind the other."""
    middle, half = (front + back) / 2, (back - front) / 2
    width = (
        1.52
        * build.half_width
        * curve(y, [(build.apex, 0.25), (build.apex + 3, 0.5), (build.apex + 7, 0.75), (16, 0.92), (22, 1), (36, 0.95)])
    )
    wall = np.sqrt(np.maximum(1 - np.abs((x - middle) / half) ** 3.5, 0))
    return width * wall * smoothstep((y - build.apex) / 1.4)


def _domes(build: Build, x: Plane) -> tuple[Plane, Plane]:
    """Heights of the right and of the left hemidiaphragm: high in front, deep behind, [1, columns] each."""
    behind, before = np.clip((x + 2.5) / 11, 0, 1.2), np.clip((-2.5 - x) / 8, 0, 1.2)
    shape = 6.6 * behind**2.1 + 1.7 * before**2
    return build.dome_right + shape, build.dome_left + 0.2 + 1.06 * shape


def _above(dome: Plane, y: Plane) -> Plane:
    return smoothstep(0.5 - (y - dome) / 0.16)


def _heart(build: Build, x: Plane, y: Plane, front: Plane) -> Plane:
    """Heart and great vessels: below in front, with the clear space behind the sternum above them."""
    size = build.cardiothoracic_ratio / 0.455
    place = float(front.mean()) + 6.6
    heart = ellipsoid(x, y, (place - 1.6, build.dome_right - 4.0), (5.2 * size, 7.4 * size), 9, -0.5)
    fat = 4.5 * np.exp(-(((x - front - 1.0) / 2.4) ** 2)) * smoothstep((y - build.dome_right + 7) / 6)
    arch = build.apex + 6.6
    aorta = ellipsoid(x, y, (-0.9, arch + 3.0), (2.2, 4.6), 5, 0.35)
    descending = 2.6 * np.exp(-(((x - curve(y, [(arch, 3.2), (arch + 5, 5.0), (36, 5.4)])) / 1.3) ** 4))
    descending = descending * smoothstep((y - arch) / 2)
    hila = ellipsoid(x, y, (0.4, build.apex + 11.6), (2.1, 2.4), 3.0)
    upper = 5.0 * smoothstep((build.apex + 9 - y) / 5) * np.exp(-(((x - 0.4) / 3.4) ** 4))
    together: Plane = np.maximum(np.maximum(np.maximum(heart, fat), aorta), upper) + descending + hila
    return together


def _windpipe(build: Build, x: Plane, y: Plane) -> Plane:
    off = x - curve(y, [(0, -1.8), (8, 0.4), (16, 1.2)])
    return 2.4 * np.sqrt(np.maximum(1 - (off / 0.9) ** 2, 0)) * smoothstep((build.apex + 11.5 - y) / 0.8)


def _bones(build: Build, field: Field, x: Plane, y: Plane, front: Plane, back: Plane) -> Plane:
    """Spine, sternum, ribs and shoulder blades, seen from the side."""
    bone = np.zeros((field.rows, field.columns), np.float32)
    axis = back - curve(y, [(0, 3.4), (6, 2.2), (14, 1.0), (24, 1.3), (32, 2.4), (40, 3.0)])
    off = x - axis
    pitch = 2.35
    phase = np.abs(np.mod((y + 0.02 * y**1.5) / pitch, 1.0) - 0.5)  # 0 in a vertebra's middle, 0.5 in a disc
    plate = smoothstep((0.415 - phase) / 0.05 + 0.5)
    body = smoothstep((1.55 - np.abs(off)) / 0.15 + 0.5)
    bone += 0.95 * body * plate + 0.35 * body * np.exp(-(((phase - 0.42) / 0.035) ** 2))
    # Arches and spinous processes behind the bodies.
    bone += 0.55 * np.exp(-(((off - 2.5) / 0.8) ** 2)) * smoothstep((0.36 - phase) / 0.14)
    sternum = hollow(x - front + 0.55, 0.5, 0.16) * smoothstep((y - build.apex - 4.5) / 0.8)
    bone += 0.7 * sternum * smoothstep((build.apex + 22 - y) / 2)
    canvas = Canvas(field)
    for number in range(11):
        for lag in (0.0, 0.7):  # the two sides do not cover each other
            start = build.apex + 0.8 + lag + number * build.rib_gap
            steps = np.linspace(0, 1, 14)
            row = start + 0.62 * (9 + 0.5 * number) * steps**1.15
            ahead = np.interp(row, y[:, 0], front[:, 0]) + 0.4
            behind = np.interp(row, y[:, 0], back[:, 0]) - 0.2
            across = behind + (ahead - behind) * (0.5 - 0.5 * np.cos(math.pi * steps * 0.86)) + build.shift
            points = [(float(px), float(py)) for px, py in zip(across, row, strict=True)]
            canvas.line(points, 0.95, 0.5)
            canvas.line(points, 0.62, 0.3)
    for shade, reach in ((0.22, 0.0), (0.28, 1.3)):
        top = build.apex + reach
        canvas.line([(build.shift + 6.2, top), (build.shift + 8.3, top + 7), (build.shift + 9.0, top + 13)], 0.5, shade)
    return bone + canvas.plane(0.07)
