"""Measures of shapes that figures state. In the plane of the slice only: no volume, no diameter across slices."""

from collections.abc import Sequence

import numpy as np


def greatest_diameter(rings: Sequence[np.ndarray]) -> float:
    """The greatest distance between two points of a shape's rings, (n, 2) each, in their unit; 0 for no shape.

    Of several parts, the greatest of one part: what lies apart has no common diameter.
    """
    return max((_across(ring) for ring in rings if len(ring) > 1), default=0.0)


def _across(ring: np.ndarray) -> float:
    from shapely import MultiPoint

    hull = np.asarray(getattr(MultiPoint(ring).convex_hull, "exterior", MultiPoint(ring).convex_hull).coords)
    return float(np.sqrt(((hull[:, None] - hull[None, :]) ** 2).sum(axis=-1).max()))
