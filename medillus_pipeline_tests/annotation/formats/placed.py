"""A batch of label volumes and pictures as its readers see it: side files first, then every other file by itself."""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import nibabel as nib
import numpy as np

from medillus_pipeline.annotation.drawing import Drawing
from medillus_pipeline.annotation.formats import nifti, nrrd, png_masks
from medillus_pipeline.annotation.formats.side_files import SideFiles
from medillus_pipeline.annotation.outcomes import Refused
from medillus_pipeline.annotation.references import References
from medillus_pipeline.annotation.slice_index import SliceIndex
from medillus_pipeline.annotation.vocabulary import load
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline_tests.annotation.published import row

TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_files(
    files: Mapping[str, bytes], slices: Sequence[Mapping[str, Any]], pseudonymiser: Pseudonymiser
) -> dict[str, Drawing | Refused]:
    """What becomes of each file that is an item."""
    index = SliceIndex(slices)
    side = SideFiles(References(index, pseudonymiser), index)
    taken = {path for path, data in files.items() if side.wanted(path) and side.add(path, data)} | side.parts
    found: dict[str, Drawing | Refused] = {}
    for path, data in files.items():
        if path in taken:
            continue
        try:
            found[path] = _read(path, data, files, side, index)
        except Refused as refused:
            found[path] = refused
    return found


def _read(path: str, data: bytes, files: Mapping[str, bytes], side: SideFiles, index: SliceIndex) -> Drawing:
    folder = PurePosixPath(path).parent
    if path.endswith(".png"):
        return png_masks.read(data, side.picture(path), index, load())
    if path.endswith((".nrrd", ".nhdr")):
        return nrrd.read(data, side.volume(path), index, load(), beside=lambda name: files.get(str(folder / name)))
    return nifti.read(data, side.volume(path), index, load())


def only(found: Mapping[str, Drawing | Refused]) -> Drawing:
    """The drawing of the one file."""
    (one,) = found.values()
    assert isinstance(one, Drawing), one
    return one


def reason(found: Mapping[str, Drawing | Refused]) -> str:
    """Why the one file was refused, with its outcome."""
    (one,) = found.values()
    assert isinstance(one, Refused), one
    return f"{one.outcome}/{one.reason}"


def masks(drawing: Drawing, slices: Sequence[Mapping[str, Any]], key: str) -> np.ndarray:
    """The mask of one structure on all slices, (slices, rows, columns) bool."""
    identifier = load().by_key(key).id
    found = np.zeros((len(slices), slices[0]["rows"], slices[0]["columns"]), bool)
    for place, one in enumerate(slices):
        region = drawing.regions.get(one["slice_name"], {}).get(identifier)
        if region is not None:
            found[place][region.window] |= region.mask
    return found


def stack_of(image: Any, pseudonymiser: Pseudonymiser, **changes: Any) -> list[dict[str, Any]]:
    """Rows of SLICES on the grid of a NIfTI image, one per plane of its third axis, in its own axis directions."""
    lps = TO_RAS @ image.affine
    sizes = np.linalg.norm(lps[:3, :3], axis=0)
    cosines = lps[:3, :3] / sizes
    return [
        row(
            pseudonymiser,
            f"1.2.3.{k}",
            rows=image.shape[1],
            columns=image.shape[0],
            pixel_spacing=[sizes[1], sizes[0]],
            position=list(lps[:3, 3] + k * lps[:3, 2]),
            orientation=[*cosines[:, 0], *cosines[:, 1]],
            slice_spacing=sizes[2],
            ordinal=k,
            **changes,
        )
        for k in range(image.shape[2])
    ]


def nifti_bytes(values: np.ndarray, lps: np.ndarray) -> bytes:
    """An unpacked NIfTI of values (x, y, z) with an affine to LPS."""
    return nib.Nifti1Image(values, TO_RAS @ lps).to_bytes()
