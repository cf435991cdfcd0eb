"""The bones of the frontal chest: ribs, clavicles, shoulder blades, spine. Thickness of compact bone in cm.

A rib is a ring that hangs forward; seen from the front it is a flat ellipse whose upper arc is the posterior part and
whose lower arc is the anterior part, joined where it turns around the lateral wall.
"""

import numpy as np

from agcnn_clinic.demo.build import SIDES, Build
from agcnn_clinic.demo.film import Field, Plane
from agcnn_clinic.demo.shapes import Canvas, Point, curve, hollow, smoothstep

RIBS = 11


def draw_ribs(bone: Plane, build: Build, field: Field, x: Plane, y: Plane, lateral: Plane) -> None:
    """Add the ribs of both sides.

    Args:
        bone: added to, [rows, columns].
        build: the patient.
        field: the film.
        x: distance from the midline, [rows, columns].
        y: height, [rows, 1].
        lateral: where the lung ends at each height, [rows, 1]: the ribs lie on it.
    """
    heights = y[:, 0]
    for number in range(RIBS):
        posterior = build.apex - 0.3 + number * build.rib_gap
        drop = float(np.interp(number, [0, 1, 2, 4, 7, 10], [1.9, 2.9, 3.7, 4.7, 5.2, 4.6]))
        middle = posterior + drop
        half = float(np.interp(middle, heights, lateral[:, 0])) + 0.22
        for side in SIDES:
            edges = sorted((side * 0.8, side * (half + 1.2)))
            shift = build.midline(middle)
            window = field.window(edges[0] + shift, posterior - 1.4, edges[1] + shift, middle + drop + 1.4)
            across = np.maximum(side * x[window], 0)
            bone[window] += _rib(across, y[window[0]] - middle, half, drop)


def _rib(across: Plane, down: Plane, half: float, drop: float) -> Plane:
    """One rib of one side: across from the midline, down from its most lateral point."""
    u, v = across / half, down / drop
    # The posterior arc sags towards the spine less than an ellipse would: a rib leaves its vertebra nearly level.
    ring = np.sqrt(u * u + v * v) + 1e-6
    slope = np.sqrt((u / half) ** 2 + (v / drop) ** 2) / ring
    distance = (ring - 1) / slope
    turn = np.clip(np.abs(v) / ring, 0, 1)
    anterior = v > 0
    # Ribs are flat blades: broad from front and back, thin and long in the beam where they turn around the side.
    radius = 0.22 + np.where(anterior, 0.46, 0.36) * smoothstep(turn * 1.3)
    length = 0.42 + 0.5 * (1 - turn) ** 2
    # Anterior ribs end in cartilage, which the beam hardly sees; posterior ones reach the spine.
    reach = np.where(anterior, 0.85 * smoothstep((across - 5.2) / 2.4), smoothstep((across - 1.3) / 1.2))
    bone: Plane = hollow(distance, radius, 0.16) * length / (2 * radius) * 1.7 * reach
    return bone


def draw_clavicles(bone: Plane, build: Build, field: Field, x: Plane, y: Plane) -> None:
    """Add both collar bones, S-shaped from the sternum to the shoulder."""
    for side in SIDES:
        edges = sorted((side * 1.5, side * 17.5))
        window = field.window(edges[0] + build.shift, 1.0, edges[1] + build.shift, 11.0)
        across = side * x[window]
        rise = 0.25 * side * build.lean * 20
        height = curve(
            across[:1],
            [(1.8, 7.6), (3.5, 7.1), (7, 6.1), (10.5, 4.9), (13.5, 4.2), (17, 4.1)],
        )
        height = height + build.apex - 4.2 - build.clavicle + rise
        slope = np.gradient(height[0]) / field.pixel if height.shape[1] > 1 else np.zeros(1)
        distance = (y[window[0]] - height) / np.sqrt(1 + slope[None, :] ** 2)
        radius = curve(across[:1], [(1.8, 0.95), (3.2, 0.68), (8, 0.52), (13, 0.62), (17, 0.8)])
        ends = smoothstep((across - 1.9) / 0.5) * smoothstep((17.2 - across) / 1.8)
        bone[window] += 0.85 * hollow(distance, radius, 0.17) * ends


def draw_shoulder_blades(bone: Plane, build: Build, field: Field) -> None:
    """Add the scapulae, rolled outward off the lungs as for a PA film, and the heads of the humeri."""
    canvas = Canvas(field)
    for side in SIDES:

        def place(points: list[Point], side: int = side) -> list[Point]:
            return [(side * px * build.half_width / 13.4 + build.shift, py + build.apex - 4.2) for px, py in points]

        blade = [
            (13.2, 6.3),
            (15.8, 7.4),
            (16.6, 8.4),
            (15.4, 12.5),
            (14.2, 18.0),
            (13.4, 18.4),
            (12.7, 14.0),
            (12.3, 9.0),
        ]
        canvas.polygon(place(blade), 0.16)
        canvas.line(place([(16.4, 8.8), (15.3, 12.6), (14.3, 17.9), (13.6, 18.4)]), 0.34, 0.42)
        canvas.line(place([(12.4, 8.6), (12.7, 14.0), (13.4, 18.3)]), 0.16, 0.3)
        canvas.line(place([(12.6, 7.9), (15.2, 6.0), (17.6, 4.6)]), 0.5, 0.42)
        canvas.line(place([(14.6, 6.6), (15.4, 7.4), (15.0, 8.0)]), 0.6, 0.4)
        head = [
            (18.6 + 2.2 * float(np.cos(angle)), 7.0 + 2.2 * float(np.sin(angle)))
            for angle in np.linspace(0, 2 * np.pi, 33)
        ]
        canvas.polygon(place(head), 0.5)
        canvas.line(place(head), 0.2, 0.75)
        canvas.polygon(place([(17.4, 8.2), (20.2, 8.4), (21.3, 22.0), (18.9, 22.0)]), 0.55)
    bone += canvas.plane(0.13)


def draw_spine(bone: Plane, field: Field, x: Plane, y: Plane, *, top: float) -> None:
    """Add the vertebrae: bodies, pedicles, transverse and spinous processes.

    Args:
        bone: added to, [rows, columns].
        field: the film.
        x: distance from the midline, [rows, columns].
        y: height, [rows, 1].
        top: where the first vertebra begins.
    """
    window = field.window(-4.4, 0, 4.4, field.rows * field.pixel)
    off, heights = x[window], y[window[0]]
    spine = np.zeros(off.shape, np.float32)
    centre = top
    pitch = 1.55
    while centre - pitch < field.rows * field.pixel:
        strip = field.window(-4.4, centre - pitch, 4.4, centre + pitch)[0]
        if strip.start < strip.stop:
            spine[strip] += _vertebra(off[strip], heights[strip] - centre, pitch)
        centre += pitch
        pitch = min(pitch * 1.045, 3.2)
    bone[window] += spine


def _vertebra(off: Plane, down: Plane, pitch: float) -> Plane:
    width = 0.62 + 0.54 * pitch
    half = 0.43 * pitch
    waist = width * (0.92 + 0.08 * (down / half) ** 2)
    inside = smoothstep((waist - np.abs(off)) / 0.14 + 0.5)
    body = 0.42 * inside * smoothstep((half - np.abs(down)) / 0.12 + 0.5)
    body += 0.16 * inside * np.exp(-(((np.abs(down) - half) / 0.1) ** 2))
    r = np.abs(off)
    ring = np.sqrt(((r - 0.72 * width) / 0.32) ** 2 + ((down + 0.12 * pitch) / 0.46) ** 2)
    pedicle = 0.3 * np.exp(-(((ring - 0.85) / 0.35) ** 2))
    drop = np.sqrt((off / 0.3) ** 2 + ((down - 0.38 * pitch) / 0.62) ** 2)
    spinous = 0.3 * np.exp(-(((drop - 0.8) / 0.35) ** 2))
    bar = hollow(down + 0.12 * pitch + 0.05 * r, 0.42, 0.14)
    transverse = 0.35 * bar * smoothstep((width + 1.5 - r) / 0.4) * smoothstep((r - 0.8 * width) / 0.3)
    return np.asarray(body + pedicle + spinous + transverse, np.float32)
