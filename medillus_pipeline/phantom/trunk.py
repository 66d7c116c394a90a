"""The trunk's wall: skin, subcutaneous fat, muscle, ribs, sternum, diaphragm and the CT table below.

The wall is star-shaped about the trunk's axis, so its layers are tables of radii over angle and height, from which
every voxel looks its own up. Angles are 0 at the front, positive to the patient's left, ±π at the back.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medillus_pipeline.phantom.build import Build
from medillus_pipeline.phantom.shapes import Canvas, Field, smooth_noise, smoothstep

ANGLES = 1024
MUSCLE, FAT, SKIN = 55.0, -103.0, 15.0
RIB_LAYER = 11.0
"""Thickness in mm of the layer of ribs and intercostal muscle on the inside of the chest wall."""


@dataclass(frozen=True)
class Trunk:
    """Layers of the wall, and where the cavities lie.

    `depth` (slices, rows, columns) is the distance in mm inside the wall's inner surface, negative outside;
    `above_diaphragm` (slices, rows, columns) the distance above the diaphragm's upper surface.
    """

    depth: Field
    above_diaphragm: Field


def _periodic_noise(rng: np.random.Generator, z: Field, orders: range, cell: float) -> Field:
    """Smooth noise (slices, angles) that closes around the trunk; standard deviation about 1."""
    theta = (np.arange(ANGLES, dtype=np.float32) + 0.5) * np.float32(2 * np.pi / ANGLES) - np.float32(np.pi)
    total = np.zeros((len(z), ANGLES), np.float32)
    for order in orders:
        for wave in (np.cos(order * theta), np.sin(order * theta)):
            total += smooth_noise(rng, (z,), cell)[:, None] * wave[None] / np.float32(order - orders.start + 1)
    return total


def build_trunk(canvas: Canvas, build: Build, rng: np.random.Generator) -> Trunk:
    """Paint table, skin, fat, muscle, ribs and diaphragm, and return the cavities."""
    z = canvas.z - np.float32(build.shift_z)
    theta = (np.arange(ANGLES, dtype=np.float32) + 0.5) * np.float32(2 * np.pi / ANGLES) - np.float32(np.pi)
    side, front = np.abs(theta), np.cos(theta)
    thorax = smoothstep(z, 95, 190)[:, None]

    swell = 1 + 0.035 * np.sin((z - 20) / 75)[:, None] - 0.05 * smoothstep(z, 190, 280)[:, None]
    a = build.half_width * swell
    b = build.half_depth * (1 + 0.04 * (1 - thorax) * smoothstep(front, 0, 1)[None])
    sine, cosine = np.abs(np.sin(theta))[None], np.abs(front)[None]
    power = 2.3 - 0.2 * smoothstep(front, -0.2, 0.8)[None]
    skin = ((sine / a) ** power + (cosine / b) ** power) ** (-1 / power)
    skin = skin + 1.8 * _periodic_noise(rng, z, range(2, 9), 90.0)
    skin -= 7 * np.exp(-(((np.pi - side) / 0.16) ** 2))[None]
    spread = 0.75 + 0.55 * (1 - thorax) * smoothstep(front, 0.2, 1)[None] + 0.45 * np.exp(-(((side - 2.5) / 0.4) ** 2))
    spread = spread * (1 - 0.55 * np.exp(-(((np.pi - side) / 0.22) ** 2)))
    fascia = skin - np.maximum(build.fat * spread * (1 + 0.09 * _periodic_noise(rng, z, range(2, 8), 70.0)), 3.5)
    back = smoothstep(side, 2.05, 2.75)[None]
    belly = 1 - smoothstep(side, 0.45, 1.1)[None]
    wall = 17.0 - 5.0 * belly + back * (27.0 - 17.0 * thorax) + 2.0 * thorax
    inner = fascia - wall - 1.5 * _periodic_noise(rng, z, range(2, 11), 45.0)

    index, radius = _polar(canvas, build)
    _table(canvas, build)
    look = _Lookup(index)
    canvas.paint(canvas.whole, look(skin) - radius, SKIN)
    canvas.paint(canvas.whole, look(skin - 2.2) - radius, FAT + 5 * canvas.noise(rng, canvas.whole, (30, 14, 14)))
    outside = look(fascia) - radius
    canvas.paint(canvas.whole, outside, MUSCLE)
    depth = look(inner) - radius
    _muscle_septa(canvas, look, radius, fascia, inner, thorax, back, side)
    _ribs(canvas, build, look, radius, inner, theta, z, rng)
    canvas.paint(canvas.whole, depth, FAT + 6 + 9 * canvas.noise(rng, canvas.whole, (18, 9, 9)))
    above = _diaphragm(canvas, build, depth, rng)
    return Trunk(depth=depth, above_diaphragm=above)


class _Lookup:
    """Spreads a table (slices, angles) over the voxels."""

    def __init__(self, index: NDArray[np.intp]) -> None:
        self._index = index

    def __call__(self, table: Field) -> Field:
        return np.take(table.astype(np.float32), self._index, axis=1)


def _polar(canvas: Canvas, build: Build) -> tuple[NDArray[np.intp], Field]:
    x = canvas.x[None, :] - np.float32(build.shift_x)
    y = canvas.y[:, None] - np.float32(build.shift_y)
    theta = np.arctan2(x, -y)
    index = np.clip((theta + np.pi) * (ANGLES / (2 * np.pi)), 0, ANGLES - 1).astype(np.intp)
    return index, np.hypot(x, y).astype(np.float32)[None]


def _table(canvas: Canvas, build: Build) -> None:
    """A carbon-fibre table top, filled with foam and slightly curved, below a pad under the back."""
    x, y, _ = canvas.axes(canvas.whole)
    top = build.shift_y + build.half_depth + 9.0 - 0.0011 * x * x
    below = y - top
    width = 232 - np.abs(x)
    shell = np.minimum(np.minimum(below, 21 - below), width)
    canvas.paint(canvas.whole, np.broadcast_to(shell, canvas.hu.shape), -140)
    canvas.paint(canvas.whole, np.broadcast_to(shell - 3.2, canvas.hu.shape), -940)


def _muscle_septa(
    canvas: Canvas, look: _Lookup, radius: Field, fascia: Field, inner: Field, thorax: Field, back: Field, side: Field
) -> None:
    """Thin fat between the muscle layers; a wide fatty cleft under the latissimus at the back; the linea alba."""
    wall = fascia - inner
    flank = (smoothstep(side, 0.75, 0.95) * (1 - smoothstep(side, 2.1, 2.4)))[None]
    for share, strength in ((0.36, 0.75), (0.68, 0.5)):
        line = inner + share * wall
        half = strength * flank * (1 - 0.5 * thorax) * 1.1 - 0.4
        canvas.paint(canvas.whole, look(half) - np.abs(radius - look(line)), FAT)
    gap = 0.5 * np.clip(fascia - 7 - (inner + RIB_LAYER * thorax + 2), 0, None) * smoothstep(back, 0.3, 0.9) - 0.3
    middle = 0.5 * (fascia - 7 + inner + RIB_LAYER * thorax + 2)
    canvas.paint(canvas.whole, look(gap) - np.abs(radius - look(middle)), FAT + 25)


def _ribs(
    canvas: Canvas,
    build: Build,
    look: _Lookup,
    radius: Field,
    inner: Field,
    theta: Field,
    z: Field,
    rng: np.random.Generator,
) -> None:
    """Ribs 5 to 12 and their cartilages as bands that slope down from the spine, and the sternum in front."""
    around = (np.pi - np.abs(theta))[None] / np.pi
    sway = 1.2 * smooth_noise(rng, (theta,), 0.5)[None]
    bone = np.full((len(z), ANGLES), -1.0, np.float32)
    cartilage = bone.copy()
    heights = z[:, None]
    for number in range(5, 13):
        head = 112 + (12 - number) * 25.5
        drop = 120 if number < 11 else 85
        ends = {12: 0.36, 11: 0.50, 10: 0.66}.get(number, 0.72)
        centre = head + 6 - drop * np.clip(around / 0.74, 0, 1) ** 1.15 + sway
        arch = 55 * smoothstep(around, 0.70, 0.98) if number < 11 else 0
        level = 1 - np.abs(heights - centre - arch) / 6.3
        bone = np.maximum(bone, np.minimum(level, (ends - around) * 30))
        if number < 11:
            cartilage = np.maximum(cartilage, np.minimum(level, np.minimum(around - ends, 0.96 - around) * 30))
    across = np.abs(theta)[None] * build.half_depth
    sternum = np.minimum(smoothstep(heights, 192, 215) * 19 - across, (heights - 192) * 0.5) / 9
    bone = np.maximum(bone, sternum)
    thickness = (radius - look(inner) - 5.2) / np.float32(4.3)
    for table, shell, core in ((cartilage, 105.0, 105.0), (bone, 640 * build.bone_density, 210 * build.bone_density)):
        height = 1 - np.clip(look(table), -1, 1)
        band = 1 - np.sqrt(thickness * thickness + height * height)
        canvas.paint(canvas.whole, 4.3 * band, shell)
        canvas.paint(canvas.whole, 4.3 * band - 2.0, core)


def _diaphragm(canvas: Canvas, build: Build, depth: Field, rng: np.random.Generator) -> Field:
    """Two domes that fall steeply towards the ribs; returns the distance above them in mm."""
    x, y, z = canvas.axes(canvas.whole)
    reference = build.at(0, 0, 170)[2]
    rim = np.clip(depth[int(np.argmin(np.abs(canvas.z - reference)))], 0, None)[None]
    u = (x - build.shift_x) / build.kx
    v = (y - build.shift_y - build.depth_to_spine) / build.ky + 30
    right, left = 24 + rng.normal(0, 4), 13 + rng.normal(0, 4)
    dome = 172 + right * np.exp(-(((u + 68) / 58) ** 2) - ((v + 8) / 62) ** 2)
    dome = dome + left * np.exp(-(((u - 72) / 48) ** 2) - ((v + 2) / 58) ** 2)
    base = 112 + 48 * smoothstep(-(v - 10) / 75, -0.2, 1.0)
    height = base + (dome - base) * (1 - np.exp(-((rim / 30) ** 1.4)))
    height = height + 2.2 * canvas.noise(rng, (slice(0, 1), slice(None), slice(None)), 40.0)
    slopes = np.gradient(height[0], canvas.y, canvas.x)
    steep = np.sqrt(1 + slopes[0] ** 2 + slopes[1] ** 2)[None]
    return ((z - build.shift_z - height) / steep).astype(np.float32)
