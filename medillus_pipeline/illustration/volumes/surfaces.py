"""Smooth closed surfaces of the structures of a label stack, as glTF (GLB) with a named, coloured mesh for each.

What is not here: pictures of the surfaces (`surface_pictures.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medillus_pipeline.annotation.vocabulary import Structure, Vocabulary
from medillus_pipeline.errors import InputError

SMOOTHING_STEPS = 20
TAUBIN_SHRINK, TAUBIN_GROW = 0.5, 0.53
"""Lambda and (less its sign) mu of G. Taubin, Curve and surface smoothing without shrinkage, ICCV 1995."""

LPS_TO_GLTF = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
"""glTF 2.0 (3.4): +Y up, the asset's front faces +Z; so +X is the patient's left, +Y the head, +Z the front."""

METRES_PER_MM = 1e-3


@dataclass(frozen=True)
class Surface:
    """The closed surface of a structure: `vertices` (n, 3) in LPS mm, `faces` (m, 3) indices, seen from outside
    counter-clockwise.
    """

    structure: Structure
    vertices: np.ndarray
    faces: np.ndarray


def surfaces(
    labels: np.ndarray, affine: np.ndarray, vocabulary: Vocabulary, *, structures: Sequence[int] | None = None
) -> list[Surface]:
    """Surfaces of `labels` (slices, rows, columns) of vocabulary ids, in the order of ids; of `structures` only, where
    given. `affine` (4, 4) takes (column, row, slice, 1) to LPS mm.

    Marching cubes (Lewiner et al. 2003, skimage) on the mask, Taubin smoothing (trimesh). Structures cut by the edge
    of the volume are closed there. Raises InputError for an id that the vocabulary has not, and when nothing is drawn.
    """
    from skimage.measure import marching_cubes
    from trimesh import Trimesh
    from trimesh.smoothing import filter_taubin

    known = {structure.id: structure for structure in vocabulary}
    present = [int(value) for value in np.unique(labels) if value]
    if unknown := sorted(set(present) - set(known)):
        raise InputError(f"the labels {unknown} are no ids of the vocabulary: read them with their own vocabulary")
    wanted = [value for value in present if structures is None or value in structures]
    if not wanted:
        raise InputError("none of the structures asked for is drawn in the volume: there is no surface")
    found = []
    for value in wanted:
        mask = labels == value
        box = [_extent(mask, axis) for axis in range(3)]
        padded = np.pad(mask[box[0], box[1], box[2]], 1).astype(np.float32)
        corners, faces, _, _ = marching_cubes(padded, 0.5)
        index = (corners + [part.start - 1 for part in box])[:, ::-1]
        placed = index @ affine[:3, :3].T + affine[:3, 3]
        mesh = Trimesh(placed, faces, process=False)
        filter_taubin(mesh, TAUBIN_SHRINK, TAUBIN_GROW, SMOOTHING_STEPS)
        if mesh.volume < 0:
            mesh.invert()
        found.append(Surface(known[value], np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int64)))
    return found


def write_glb(found: Sequence[Surface]) -> bytes:
    """A binary glTF 2.0 of surfaces: a node and mesh for each, named by the structure's key, in the vocabulary's
    colour, with its names and code as `extras`. Metres; +X to the patient's left, +Y to the head, +Z to the front.

    The same surfaces give the same bytes. Raises InputError without any surface.
    """
    from trimesh import Scene, Trimesh
    from trimesh.visual import TextureVisuals
    from trimesh.visual.material import PBRMaterial

    if not found:
        raise InputError("a glTF scene needs a surface at least")
    scene = Scene()
    for surface in found:
        structure = surface.structure
        colour = (*_linear(structure.rgb), 1.0)
        material = PBRMaterial(
            name=structure.key, baseColorFactor=colour, metallicFactor=0.0, roughnessFactor=0.7, doubleSided=False
        )
        said = {"id": structure.id, "name_en": structure.name_en, "name_zh": structure.name_zh, "code": structure.code}
        mesh = Trimesh(
            surface.vertices @ LPS_TO_GLTF.T * METRES_PER_MM,
            surface.faces,
            visual=TextureVisuals(material=material),
            process=False,
            metadata=said,
        )
        scene.add_geometry(mesh, node_name=structure.key, geom_name=structure.key)
    data = scene.export(file_type="glb", include_normals=True)
    if not isinstance(data, bytes):
        raise TypeError("trimesh gave no bytes for a GLB: check its version against the constraints")
    return data


def _extent(mask: np.ndarray, axis: int) -> slice:
    there = np.flatnonzero(mask.any(tuple(other for other in range(3) if other != axis)))
    return slice(int(there[0]), int(there[-1]) + 1)


def _linear(rgb: tuple[int, int, int]) -> tuple[float, float, float]:
    """Linear components 0 to 1 of sRGB 0 to 255, which glTF wants of factors (IEC 61966-2-1)."""
    shares = [component / 255 for component in rgb]
    red, green, blue = (share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares)
    return red, green, blue
