"""A PNG of surfaces as seen from the front, from the patient's left and from above the right shoulder; no display.

matplotlib draws all triangles sorted by depth: slow for millions of them, and the same everywhere. What is not here:
the surfaces (`surfaces.py`).
"""

import io
from collections.abc import Sequence

import numpy as np

from medillus_pipeline.errors import InputError
from medillus_pipeline.illustration.volumes.surfaces import Surface

VIEWS = {"anterior": (0.0, -90.0), "left": (0.0, 0.0), "oblique": (25.0, -125.0)}
"""Name → elevation and azimuth in degrees, in LPS: -90° looks from the front, 0° from the patient's left."""

LIGHT = np.array([0.35, -0.8, 0.5])
"""Towards the light, in LPS, of a view from the front; it turns with the view."""

AMBIENT = 0.4


def draw_surfaces(found: Sequence[Surface], *, width: int = 1500, background: str = "#ffffff") -> bytes:
    """A PNG, `width` pixels wide, of `surfaces` in the three VIEWS side by side at one scale.

    The same surfaces give the same bytes with one release of matplotlib. Raises InputError without any surface.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from mpl_toolkits.mplot3d import Axes3D
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection

    if not found:
        raise InputError("there is no surface to draw")
    triangles = np.concatenate([surface.vertices[surface.faces] for surface in found])
    colours = np.concatenate([np.tile(np.array(s.structure.rgb) / 255, (len(s.faces), 1)) for s in found])
    edges = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    normals = edges / np.maximum(np.linalg.norm(edges, axis=1, keepdims=True), 1e-12)
    low, high = triangles.min((0, 1)), triangles.max((0, 1))
    middle, reach = (low + high) / 2, float((high - low).max()) / 2 * 1.05
    figure = Figure(figsize=(width / 100, width / 100 / len(VIEWS)), dpi=100, facecolor=background)
    FigureCanvasAgg(figure)
    for place, (elevation, azimuth) in enumerate(VIEWS.values()):
        axes = Axes3D(figure, rect=(place / len(VIEWS), 0, 1 / len(VIEWS), 1), auto_add_to_figure=False)
        figure.add_axes(axes)
        turn = np.radians(azimuth + 90)
        towards = np.array(
            [
                LIGHT[0] * np.cos(turn) - LIGHT[1] * np.sin(turn),
                LIGHT[0] * np.sin(turn) + LIGHT[1] * np.cos(turn),
                LIGHT[2],
            ]
        )
        lit = AMBIENT + (1 - AMBIENT) * np.clip(normals @ (towards / np.linalg.norm(towards)), 0, 1)
        faces = np.clip(colours * lit[:, None], 0, 1)
        axes.add_collection3d(Poly3DCollection(triangles, facecolors=faces, edgecolors=faces, linewidths=0.2))
        axes.set_proj_type("ortho")
        axes.view_init(elevation, azimuth)
        axes.set_xlim(middle[0] - reach, middle[0] + reach)
        axes.set_ylim(middle[1] - reach, middle[1] + reach)
        axes.set_zlim(middle[2] - reach, middle[2] + reach)
        axes.set_box_aspect((1, 1, 1), zoom=1.35)  # type: ignore[arg-type]
        axes.set_axis_off()
    sink = io.BytesIO()
    figure.savefig(sink, format="png", metadata={"Software": None})
    return sink.getvalue()
