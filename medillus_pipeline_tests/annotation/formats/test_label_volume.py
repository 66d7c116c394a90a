"""Which grids are taken as they are, which are resampled and say so, and which are refused."""

import numpy as np
import pytest

from medillus_pipeline.annotation.drawing import Drawing
from medillus_pipeline.annotation.formats.label_volume import LabelVolume, draw, sample
from medillus_pipeline.annotation.outcomes import Refused
from medillus_pipeline.annotation.slice_index import SliceIndex, Target
from medillus_pipeline.annotation.vocabulary import load
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline_tests.annotation.published import row

GRID = np.array([[1.0, 0, 0, -20], [0, 2, 0, -30], [0, 0, 5, 0], [0, 0, 0, 1]])
LIVER = load().by_key("liver")


@pytest.fixture
def target(pseudonymiser: Pseudonymiser) -> Target:
    """A slice of 100 rows x 120 columns at z = 0, 1 mm x 2 mm."""
    one = row(pseudonymiser, "1.2.3.4.0", rows=100, columns=120)
    return next(iter(SliceIndex([one]).by_name.values()))


def numbered() -> np.ndarray:
    """A value of its own for every voxel of a 120 x 100 x 1 volume."""
    return np.arange(1, 12001, dtype=np.uint16).reshape(120, 100, 1)


def moved(x: float = 0.0, y: float = 0.0, z: float = 0.0) -> np.ndarray:
    affine = GRID.copy()
    affine[:3, 3] += (x, y, z)
    return affine


def turned(degrees: float) -> np.ndarray:
    """The grid turned in its plane about its middle."""
    a = np.radians(degrees)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]
    middle = GRID @ [59.5, 49.5, 0, 1]
    turn[:3, 3] = middle[:3] - turn[:3, :3] @ middle[:3]
    return turn @ GRID


def by_definition(affine: np.ndarray, target: Target) -> np.ndarray:
    """Nearest voxel of every pixel centre, one by one; 0 outside."""
    found = np.zeros((target.rows, target.columns), np.uint16)
    to_voxel = np.linalg.inv(affine) @ target.affine
    for r in range(target.rows):
        for c in range(target.columns):
            i, j, _ = np.floor((to_voxel @ [c, r, 0, 1])[:3].round(6) + 0.5).astype(int)
            if 0 <= i < 120 and 0 <= j < 100:
                found[r, c] = numbered()[i, j, 0]
    return found


@pytest.mark.parametrize("affine", [moved(), moved(0.24, 0.48, 1.2), moved(-0.2, -0.4, -1.0)])
def test_within_a_quarter_of_a_voxel_every_pixel_takes_the_voxel_of_its_index(
    target: Target, affine: np.ndarray
) -> None:
    plane = sample(LabelVolume(numbered(), affine), target)
    assert plane is not None
    assert not plane.resampled
    assert np.array_equal(plane.values, numbered()[:, :, 0].T)


@pytest.mark.parametrize(
    ("affine", "off"),
    [
        (moved(0.4), 0.4),
        (moved(0.0, 0.8), 0.4),
        (moved(0.5, -0.9), 0.5),
        (GRID @ np.diag([1.008, 1, 1, 1]), 0.94),
        (turned(0.28), 0.48),
    ],
    ids=["a column", "a row", "both", "stretched", "turned"],
)
def test_a_grid_a_little_off_gives_each_pixel_its_nearest_voxel_and_says_how_far(
    target: Target, affine: np.ndarray, off: float
) -> None:
    plane = sample(LabelVolume(numbered(), affine), target)
    assert plane is not None
    assert plane.resampled == pytest.approx(off, abs=0.01)
    assert np.array_equal(plane.values, by_definition(affine, target))


@pytest.mark.parametrize(
    "affine",
    [
        turned(1.0),
        GRID @ np.diag([1.02, 1, 1, 1]),
        GRID @ np.diag([0.5, 0.5, 1, 1]),
        moved(z=1.3),
        moved(x=1.4),
        np.array([[1.0, 0, 0, -20], [0, 2, 0, -30], [0, 0.06, 5, 0], [0, 0, 0, 1]]),
    ],
    ids=["turned", "stretched", "finer", "between slices", "a column missing", "tipped"],
)
def test_a_grid_further_off_is_refused(target: Target, affine: np.ndarray) -> None:
    with pytest.raises(Refused, match="another grid or between slices"):
        sample(LabelVolume(numbered(), affine), target)


def test_the_tolerance_can_be_taken_away(target: Target) -> None:
    with pytest.raises(Refused):
        sample(LabelVolume(numbered(), moved(0.4)), target, tolerance=0.25)


def test_outside_a_cropped_volume_there_is_background(target: Target) -> None:
    plane = sample(LabelVolume(numbered()[10:20, 5:9], moved(10.0, 10.0), cropped=True), target)
    assert plane is not None
    assert np.array_equal(plane.values[5:9, 10:20], numbered()[10:20, 5:9, 0].T)
    assert np.count_nonzero(plane.values) == 40


def test_a_volume_that_ends_below_the_slice_gives_it_nothing(target: Target) -> None:
    assert sample(LabelVolume(numbered(), moved(z=-5.0)), target) is None


def test_resampling_is_told_in_the_drawing(target: Target) -> None:
    drawing = Drawing("nifti")
    values = np.ones((120, 100, 1), np.uint16)
    draw(drawing, [(LabelVolume(values, moved(0.4)), {1: LIVER})], [target])
    assert drawing.remarks == {"resampled to the slices by nearest neighbour; the grid is at most 0.40 voxels off"}
    assert drawing.structures == {LIVER.id}
