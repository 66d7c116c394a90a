import numpy as np
import pytest
from skimage.draw import polygon2mask

from medillus_pipeline.illustration import contours
from medillus_pipeline_tests.illustration.scenes import scene


def filled(outline: contours.Outline, shape: tuple[int, int]) -> np.ndarray:
    """Rings rasterised by the even-odd rule: the pixels whose centre is inside."""
    total = np.zeros(shape, bool)
    for ring in outline.rings:
        total ^= polygon2mask(total.shape, ring[:, ::-1] - 0.5)
    return total


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / (first | second).sum())


def test_outlines_lie_on_the_enlarged_mask() -> None:
    _, labels = scene()
    enlarged = contours.enlarge_labels(labels, (640, 640))
    for value in np.unique(labels)[1:]:
        mask = enlarged == value
        assert overlap(filled(contours.outline(mask), mask.shape), mask) >= 0.99, value


def test_an_outline_is_not_shifted() -> None:
    mask = np.zeros((200, 200), bool)
    mask[40:120, 60:160] = True
    (ring,) = contours.outline(mask).rings
    assert np.allclose(ring.min(axis=0), (60, 40), atol=0.3)
    assert np.allclose(ring.max(axis=0), (160, 120), atol=0.3)


def test_a_hole_stays_a_hole() -> None:
    row, column = np.mgrid[:200, :200] - 100
    mask = (row**2 + column**2 < 80**2) & (row**2 + column**2 > 30**2)
    outline = contours.outline(mask)
    assert len(outline.rings) == 2
    assert overlap(filled(outline, mask.shape), mask) >= 0.99


def test_enlarging_keeps_every_structure_and_its_area_within_a_tenth() -> None:
    _, labels = scene()
    enlarged = contours.enlarge_labels(labels, (640, 640))
    for value in np.unique(labels):
        before = (labels == value).sum() * 100
        assert abs((enlarged == value).sum() - before) <= max(0.1 * before, 200), value


def test_a_single_pixel_survives_enlarging() -> None:
    labels = np.zeros((32, 32), np.uint8)
    labels[10, 20] = 7
    enlarged = contours.enlarge_labels(labels, (320, 320))
    row, column = np.nonzero(enlarged == 7)
    assert 30 <= len(row) <= 200
    assert abs(row.mean() - 104.5) < 1 and abs(column.mean() - 204.5) < 1


def test_values_are_enlarged_without_overshoot() -> None:
    values, _ = scene()
    enlarged = contours.enlarge_values(values, (500, 640))
    assert enlarged.shape == (500, 640)
    assert enlarged.min() >= values.min() and enlarged.max() <= values.max()


def test_the_anchor_is_inside_the_largest_component() -> None:
    mask = np.zeros((100, 100), bool)
    mask[5:10, 5:10] = True
    mask[30:90, 40:45] = True
    mask[30:35, 40:90] = True
    anchor = contours.anchor(mask)
    assert mask[int(anchor.y), int(anchor.x)] and anchor.y > 25
    with pytest.raises(ValueError, match="empty"):
        contours.anchor(np.zeros((3, 3), bool))


def test_anchors_lie_inside_ragged_shapes() -> None:
    rng = np.random.default_rng(2)
    for _ in range(60):
        mask = rng.uniform(size=(40, 40)) < rng.uniform(0.05, 0.9)
        if mask.any():
            anchor = contours.anchor(mask)
            assert mask[int(anchor.y), int(anchor.x)]


def test_the_crop_holds_body_and_labels_and_leaves_out_air() -> None:
    values, labels = scene()
    rows, columns = contours.body_box(values, labels, threshold=-300)
    assert rows.start > 5 and columns.stop < 64
    outside = np.ones(labels.shape, bool)
    outside[rows, columns] = False
    assert not (labels[outside] > 0).any() and not (values[outside] > -300).any()
    empty = np.full((8, 8), -1000)
    assert contours.body_box(empty, np.zeros((8, 8)), threshold=-300) == (slice(0, 8), slice(0, 8))
