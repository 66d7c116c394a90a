"""The vertebral column with the spinal cord, and the muscles beside it."""

import numpy as np

from medillus_pipeline.phantom.build import Build
from medillus_pipeline.phantom.shapes import Canvas, smoothstep
from medillus_pipeline.phantom.trunk import MUSCLE

LOWEST_DISC = -1.0
"""Height in mm of the disc at the lower end of the reference person's scan (below L3)."""


def paint_back_muscles(canvas: Canvas, build: Build, rng: np.random.Generator) -> None:
    """Erector spinae, psoas and quadratus lumborum on both sides, with fat between their bundles."""
    low, high = canvas.z[0] - 40, canvas.z[-1] + 40
    for side in (-1, 1):
        size = build.organ_scale * float(rng.normal(1, 0.05))
        spine = build.depth_to_spine + build.shift_y
        columns = (
            ((30, 43), (25, 43), (24, 15)),
            ((50, 40), (36, 42), (15, 13)),
        )
        for start, stop, radii in columns:
            points = [(build.shift_x + side * p[0], spine + p[1], z) for p, z in ((start, low), (stop, high))]
            box, inside = canvas.tube(rng, points, (radii[0] * 0.82 * size, radii[1] * 0.95 * size), bumps=0.10)
            streaks = canvas.noise(rng, box, (40, 5, 5))
            canvas.paint(box, inside, MUSCLE - 26 * np.clip(streaks - 0.6, 0, 2) ** 2)
        psoas = [
            (build.shift_x + side * px, spine + py, build.shift_z + pz)
            for px, py, pz in ((46, 2, -40), (41, 2, 20), (32, 2, 75), (25, 6, 108))
        ]
        canvas.paint(*canvas.tube(rng, psoas, [r * size for r in (23, 20, 12, 3)], bumps=0.06), MUSCLE + 6)
        square = [
            (build.shift_x + side * px, spine + py, build.shift_z + pz)
            for px, py, pz in ((78, 20, -40), (72, 20, 40), (58, 20, 100))
        ]
        canvas.paint(*canvas.tube(rng, square, [r * size for r in (12, 11, 4)], bumps=0.1), MUSCLE)


def paint_spine(canvas: Canvas, build: Build, rng: np.random.Generator, spine: int, cord: int) -> None:
    """Vertebrae with discs, pedicles, laminae, processes; the canal, and the cord in it.

    `spine` and `cord` are label ids. The whole dural sac is labelled as the cord, as radiotherapy contours often are.
    """
    centre = build.shift_y + build.depth_to_spine
    middle, low, high = build.shift_x, float(canvas.z[0]), float(canvas.z[-1]) + 9
    box = canvas.box((middle - 62, centre - 45, low), (middle + 62, centre + 85, high))
    x, y, z = canvas.axes(box)
    height = z - build.shift_z
    lateral = 4.0 * float(rng.normal()) * np.sin((height + 30) / 95 + float(rng.uniform(0, 6)))
    curve = 7 * ((height - 110) / 120) ** 2
    x, y = x - build.shift_x - lateral, y - centre - curve
    lumbar = 1 - smoothstep(height, 60, 230)

    pitch = 27.0 + 6 * lumbar
    phase = np.mod((height - LOWEST_DISC) / 30.0 + 0.02 * np.sin(height / 40), 1.0)
    from_disc = np.minimum(phase, 1 - phase) * pitch
    size = build.organ_scale * (0.86 + 0.2 * lumbar)
    waist = 1 - 0.10 * smoothstep(from_disc, 2, 12)
    body = 1 - np.sqrt((x / (22.5 * size * waist)) ** 2 + (y / (16.5 * size * waist)) ** 2 + 0 * z)
    body = 18 * size * body + 0.9 * canvas.noise(rng, box, 14.0)
    back = y - 17 * size
    canal = 11.0 - np.sqrt((x / 1.15) ** 2 + (back - 7.5) ** 2)
    ring = np.minimum(canal + 5.5, back + 4)
    pedicle = smoothstep(from_disc, 4, 9)
    spinous = np.minimum(4.2 + 0.03 * (back - 20) - np.abs(x), np.minimum(back - 12, 50 - back - 9 * (1 - lumbar)))
    droop = smoothstep(np.mod(phase + 0.28 + 0.2 * (1 - lumbar), 1.0), 0.25, 0.4)
    transverse = np.minimum(4.6 - np.abs(back - 7 - 0.2 * (np.abs(x) - 15) * (1 - lumbar)), 41 - np.abs(x))
    level = np.exp(-(((phase - 0.62) / 0.14) ** 2))
    facet = 8.5 - np.sqrt((np.abs(x) - 15) ** 2 + (back - 14) ** 2)
    arch = np.maximum(ring - 7 * (1 - pedicle), spinous - 7 * (1 - droop))
    arch = np.maximum(arch, np.maximum(transverse - 9 * (1 - level), facet - 5 * pedicle))
    arch = np.minimum(arch, back + 4)

    density = build.bone_density
    texture = canvas.noise(rng, box, (8, 3.5, 3.5))
    trabecular = (165 + 40 * texture) * density
    disc = smoothstep(3.4 + 0.8 * lumbar - from_disc, -0.8, 0.8)
    plate = np.exp(-(((from_disc - 5.2) / 1.6) ** 2))
    shell = (480 + 40 * texture) * density * (1 - disc) + 95 * disc
    inside = (trabecular + 230 * density * plate) * (1 - disc) + 88 * disc
    canvas.paint(box, arch.astype(np.float32), 520 * density + 30 * texture, spine)
    canvas.paint(box, (arch - 2.4).astype(np.float32), (250 + 40 * texture) * density)
    canvas.paint(box, body.astype(np.float32), shell, spine)
    canvas.paint(box, (body - 1.7).astype(np.float32), inside)
    canvas.paint(box, (canal - 1.5).astype(np.float32), 12, cord)
    width = 5.6 + 0.9 * np.exp(-(((height - 95) / 30) ** 2))
    cord_field = width - np.sqrt((x / 1.2) ** 2 + (back - 7.5) ** 2)
    canvas.paint(box, cord_field.astype(np.float32), 42)
