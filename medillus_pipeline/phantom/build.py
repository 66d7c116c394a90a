"""A synthetic patient's build: the sizes, positions and tissue values that differ from one person to the next.

Lengths are in mm, tissue values in HU. Positions are given for a reference person and scaled by `Build.at`.
"""

from dataclasses import dataclass

import numpy as np

from medillus_pipeline.phantom.shapes import Point

REFERENCE_HALF_WIDTH = 127.0
"""Half width of the reference person's trunk cavity; organs scale with it."""
SPINE_Y = 30.0
"""Distance of the reference person's vertebral bodies behind the trunk's axis."""


@dataclass(frozen=True)
class Build:
    """Drawn once per patient by `draw`."""

    half_width: float
    half_depth: float
    fat: float
    shift_x: float
    shift_y: float
    shift_z: float
    organ_scale: float
    enhancement: float
    bone_density: float
    gas: float
    noise: float

    @property
    def depth_to_spine(self) -> float:
        """y of the vertebral bodies' centres at the thoracolumbar junction."""
        return self.half_depth - 72.0 - 0.35 * self.fat

    @property
    def kx(self) -> float:
        """Scale of positions across the trunk."""
        return (self.half_width - self.fat - 19.0) / REFERENCE_HALF_WIDTH

    @property
    def ky(self) -> float:
        """Scale of positions from front to back."""
        return (self.half_depth - 0.6 * self.fat + self.depth_to_spine) / 130.0

    def at(self, x: float, y: float, z: float) -> Point:
        """A reference position in this patient's frame (LPS, mm; z 0 is the lower end of the scan)."""
        return (
            self.shift_x + x * self.kx,
            self.shift_y + self.depth_to_spine + (y - SPINE_Y) * self.ky,
            self.shift_z + z,
        )

    def radii(self, x: float, y: float, z: float) -> Point:
        """Reference radii scaled to this patient's organs."""
        return (x * self.kx * self.organ_scale, y * self.ky * self.organ_scale, z * self.organ_scale)

    def enhanced(self, native: float, portal: float) -> float:
        """HU of a tissue between its native value and its value in the portal venous phase."""
        return native + (portal - native) * self.enhancement


def draw(rng: np.random.Generator) -> Build:
    """A random adult; broad people tend to carry more subcutaneous fat."""
    width = float(np.clip(rng.normal(163, 9), 145, 182))
    fat = float(np.clip(6 + (width - 145) * 0.5 + rng.normal(3, 4), 6, 30))
    return Build(
        half_width=width,
        half_depth=width * float(rng.uniform(0.675, 0.745)),
        fat=fat,
        shift_x=float(rng.normal(0, 5)),
        shift_y=float(rng.uniform(-12, 2)),
        shift_z=float(np.clip(rng.normal(0, 8), -16, 16)),
        organ_scale=float(np.clip(rng.normal(1.0, 0.05), 0.88, 1.12)),
        enhancement=float(np.clip(rng.normal(1.0, 0.13), 0.7, 1.25)),
        bone_density=float(rng.uniform(0.75, 1.2)),
        gas=float(rng.uniform(0.35, 0.9)),
        noise=float(rng.uniform(7.0, 12.0)),
    )
