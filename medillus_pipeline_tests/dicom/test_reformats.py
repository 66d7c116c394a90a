import numpy as np
import pytest

from medillus_pipeline.dicom.png import decode_png
from medillus_pipeline.dicom.reformats import BACKGROUND, GAP, LONGEST, reformat_planes
from medillus_pipeline.dicom.windows import Window
from medillus_pipeline_tests.dicom.volume_files import lps_affine

STEPS = (1.0, 2.0, 5.0)
SIZES = (40, 30, 16)
"""Voxels towards left, back and head: a box of 40 x 60 x 80 mm."""
LEFT, BACK, UP = np.eye(3)


def marked() -> np.ndarray:
    """A volume (left, back, up), bright at its right, its front and its top; each plane through the middle sees two."""
    volume = np.zeros(SIZES, np.int16)
    volume[:8] = 100
    volume[:, :6] = 200
    volume[:, :, -3:] = 300
    return volume


def panels(picture: np.ndarray) -> list[np.ndarray]:
    """The three planes, without the background that frames them."""
    widths = np.cumsum([0, *(round(LONGEST / 80 * mm) + GAP for mm in (40, 40, 60))])
    cut = [picture[:, widths[k] : widths[k + 1] - GAP] for k in range(3)]
    return [part[(part != BACKGROUND).any(axis=1)] for part in cut]


LAYOUTS = {
    "axial": (lambda v: v.transpose(2, 1, 0), (LEFT, BACK, UP), STEPS),
    "head first and mirrored": (lambda v: v[::-1, :, ::-1].transpose(2, 1, 0), (-LEFT, BACK, -UP), STEPS),
    "sagittal": (lambda v: v[:, :, ::-1].transpose(0, 2, 1), (BACK, -UP, LEFT), (2.0, 5.0, 1.0)),
    "coronal": (lambda v: v[:, :, ::-1].transpose(1, 2, 0), (LEFT, -UP, BACK), (1.0, 5.0, 2.0)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_planes_show_front_and_head_up_and_the_right_on_the_left_at_true_aspect(layout: str) -> None:
    arrange, directions, steps = LAYOUTS[layout]
    stored = np.ascontiguousarray(arrange(marked()))
    png = reformat_planes(
        stored, lps_affine(np.column_stack(directions), steps, (3.0, 4.0, 5.0)), Window("all", 150, 300, "LINEAR_EXACT")
    )
    axial, coronal, sagittal = panels(decode_png(png))
    unit = LONGEST / 80
    assert axial.shape == (round(60 * unit), round(40 * unit))
    assert coronal.shape == (LONGEST, round(40 * unit))
    assert sagittal.shape == (LONGEST, round(60 * unit))
    right, front, top = (85, 170, 255)
    assert (axial[10, 90], axial[-10, 10], axial[-10, -10]) == (front, right, 0)
    assert (coronal[10, 90], coronal[-10, 10], coronal[-10, -10]) == (top, right, 0)
    assert (sagittal[10, -10], sagittal[-10, 10], sagittal[-10, -10]) == (top, front, 0)


def test_the_scale_of_stored_values_changes_nothing_in_the_picture() -> None:
    stored = marked().transpose(2, 1, 0)
    affine = lps_affine(np.eye(3), STEPS, (0.0, 0.0, 0.0))
    plain = reformat_planes(stored, affine, Window("all", 150, 300, "LINEAR_EXACT"))
    scaled = reformat_planes(stored, affine, Window("all", 1.5 - 7, 3, "LINEAR_EXACT"), slope=0.01, intercept=-7.0)
    assert np.array_equal(decode_png(plain), decode_png(scaled))
