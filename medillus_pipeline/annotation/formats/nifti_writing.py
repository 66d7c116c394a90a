"""Label maps of a stack of slices as a NIfTI volume that comes back to the same pixels, for annotators.

The axes of the file are those of the slices (column, row, slice), so nothing is resampled on either way. What is not
here: which slices are exported, and the archive they go into.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medillus_pipeline.annotation.formats.label_volume import FIT
from medillus_pipeline.annotation.slice_index import Target
from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.dicom.geometry import SAME_DIRECTION, SAME_SPACING, Plane, volume_affine
from medillus_pipeline.dicom.nifti_file import encode_nifti
from medillus_pipeline.errors import InputError

LONE_THICKNESS = 1.0
"""Voxel size across a stack of one slice that states no spacing, in mm."""


def write_label_nifti(
    stack: Sequence[Target], labels: Mapping[str, np.ndarray], vocabulary: Vocabulary, *, file: str = "labels.nii.gz"
) -> tuple[bytes, dict[str, Any]]:
    """A `.nii.gz` (int16 vocabulary ids) of the label maps of a stack, and its entry in an `index.json`.

    `labels` holds, by slice name, values (rows, columns) that are vocabulary ids; a slice without any is background.
    The same labels give the same bytes, as `encode_nifti` says. Raises InputError when the slices are of several
    series, sizes or directions, lie at uneven steps or twice at one place, or when a label map has another size than
    its slice or holds a value that is no id.
    """
    slices = sorted(stack, key=lambda target: target.height if target.has_geometry else 0.0)
    affine = _affine(slices)
    values = np.zeros((len(slices), slices[0].rows, slices[0].columns), np.int16)
    for place, target in enumerate(slices):
        if (plane := labels.get(target.slice_name)) is not None:
            if plane.shape != values.shape[1:]:
                raise InputError("a label map has another size than its slice: draw it again on the slice")
            values[place] = plane
    known = {structure.id: structure for structure in vocabulary}
    present = [int(value) for value in np.unique(values) if value]
    if not set(present) <= set(known):
        raise InputError("a label map holds a value that is no id of the vocabulary: read it with its own vocabulary")
    entry = {
        "file": file,
        "series": slices[0].series_instance_uid,
        "labels": {str(value): known[value].key for value in present},
    }
    return encode_nifti(values, affine), entry


def _affine(slices: Sequence[Target]) -> np.ndarray:
    """(4, 4): (column, row, slice, 1) to LPS mm of a regular stack."""
    if not slices or not all(target.has_geometry for target in slices):
        raise InputError("a label volume needs slices with position, orientation and spacing: export LabelMe instead")
    first, last = slices[0], slices[-1]
    for target in slices:
        same = (target.series_instance_uid, target.rows, target.columns) == (
            first.series_instance_uid,
            first.rows,
            first.columns,
        )
        turned = np.abs(np.subtract(target.orientation or (), first.orientation or ())).max() >= SAME_DIRECTION
        spacing = np.asarray(first.pixel_spacing)
        scaled = (np.abs(np.asarray(target.pixel_spacing) - spacing) > SAME_SPACING * spacing).any()
        if not same or turned or scaled:
            raise InputError("a label volume is made of one stack: name slices of one series, size and orientation")
    plane = Plane(first.rows, first.columns, first.position, first.orientation, first.pixel_spacing)
    affine = volume_affine(first.position or (), last.position or (), len(slices), plane)
    if len(slices) == 1:
        affine[:3, 2] *= first.slice_spacing or LONE_THICKNESS
        return affine
    if abs(np.linalg.det(affine[:3, :3])) < 1e-6:
        raise InputError("two slices of the stack lie at one place: name each place once")
    inverse = np.linalg.inv(affine)
    for place, target in enumerate(slices):
        at = inverse @ np.append(np.asarray(target.position, float), 1.0)
        if np.abs(at[:3] - (0, 0, place)).max() > FIT / 2:
            raise InputError("the slices lie at uneven steps: export them one by one, or as stacks of even steps")
    return affine
