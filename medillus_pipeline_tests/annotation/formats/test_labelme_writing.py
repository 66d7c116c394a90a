"""What goes out to annotators as LabelMe polygons comes back as the same pixels, and few points do."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medillus_pipeline.annotation.formats import labelme
from medillus_pipeline.annotation.formats.labelme_writing import write_labelme
from medillus_pipeline.annotation.formats.outlines import keyholed, outlines
from medillus_pipeline.annotation.label_map import compose, fill
from medillus_pipeline.annotation.slice_index import SliceIndex
from medillus_pipeline.annotation.vocabulary import load
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline_tests.annotation.published import row

WORDS = load()
LIVER, HEART = (WORDS.by_key(key).id for key in ("liver", "heart"))


def random_mask(rng: np.random.Generator) -> np.ndarray:
    """Noise, blobs, or boxes combined by XOR; up to 48 x 48."""
    from scipy.ndimage import gaussian_filter

    height, width = (int(n) for n in rng.integers(1, 49, 2))
    kind = int(rng.integers(3))
    if kind == 0:
        return rng.random((height, width)) < rng.uniform(0.05, 0.95)
    if kind == 1:
        return gaussian_filter(rng.normal(size=(height, width)), rng.uniform(0.5, 4)) > rng.uniform(-0.1, 0.1)
    mask = np.zeros((height, width), bool)
    for _ in range(int(rng.integers(1, 7))):
        (top, bottom), (left, right) = np.sort(rng.integers(0, height + 1, 2)), np.sort(rng.integers(0, width + 1, 2))
        mask[top:bottom, left:right] ^= True
    return mask


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=300, deadline=None)
def test_outlines_hold_exactly_the_pixels_of_any_mask(seed: int) -> None:
    mask = random_mask(np.random.default_rng(seed))
    back = np.zeros(mask.shape, int)
    for outer, holes in outlines(mask):
        separate = fill([ring - 0.5 for ring in (outer, *holes)], *mask.shape)
        joined = fill([keyholed(outer, holes) - 0.5], *mask.shape)
        assert separate is not None and joined is not None and np.array_equal(separate.mask, joined.mask)
        back[joined.window] += joined.mask
    assert np.array_equal(back, mask)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_a_label_map_comes_back_as_it_went_out(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ids = np.array([s.id for s in WORDS])
    height, width = (int(n) for n in rng.integers(1, 40, 2))
    coarse = rng.choice([0, *rng.choice(ids, 4)], (height // 3 + 1, width // 3 + 1))
    label_map = np.kron(coarse, np.ones((3, 3), int))[:height, :width].astype(np.uint8)
    assert np.array_equal(read_back(label_map, Pseudonymiser(key=b"k" * 32, split_salt=b"s" * 32)), label_map)


def read_back(label_map: np.ndarray, pseudonymiser: Pseudonymiser) -> np.ndarray:
    rows, columns = label_map.shape
    published = row(pseudonymiser, "1.2.3.4.0", rows=rows, columns=columns)
    name = published["slice_name"]
    written = write_labelme(name, label_map, WORDS, f"../slices/{name}.png")
    if not label_map.any():
        return np.zeros_like(label_map) if not json.loads(written)["shapes"] else label_map + 1
    drawn = labelme.read(written, "anything.json", SliceIndex([published]), WORDS)
    assert not drawn.notes and list(drawn.regions) == [name]
    composed = compose(drawn.regions[name], rows, columns, WORDS)
    assert composed.overlap_pixels == 0
    return composed.values


def test_real_label_maps_come_back_with_far_fewer_points_than_their_borders_have_pixels(
    shared_data: Path, pseudonymiser: Pseudonymiser
) -> None:
    import nibabel as nib

    seg: np.ndarray = np.asanyarray(nib.load(shared_data / "ct_abdomen_totalseg" / "seg.nii.gz").dataobj)  # type: ignore[attr-defined]
    known = {s.id for s in WORDS}
    points = edges = 0
    for z in range(0, seg.shape[2], 9):
        label_map = np.where(np.isin(seg[:, :, z], list(known)), seg[:, :, z], 0).astype(np.uint8).T
        assert label_map.any() and np.array_equal(read_back(label_map, pseudonymiser), label_map)
        for identifier in np.unique(label_map[label_map > 0]):
            mask = np.pad(label_map == identifier, 1)
            edges += int((mask[1:] != mask[:-1]).sum() + (mask[:, 1:] != mask[:, :-1]).sum())
            points += sum(len(keyholed(outer, holes)) for outer, holes in outlines(mask))
    assert points < 0.45 * edges


def test_a_straight_border_needs_no_points_between_its_ends() -> None:
    mask = np.zeros((40, 50), bool)
    mask[10:30, 5:45] = True
    ((outer, holes),) = outlines(mask)
    assert not holes and len(outer) <= 8
    mask[15:25, 20:30] = False
    ((outer, holes),) = outlines(mask)
    assert len(holes) == 1 and len(keyholed(outer, holes)) == len(outer) + len(holes[0]) + 2


def test_pixels_that_touch_at_a_corner_are_two_polygons_of_one_group(pseudonymiser: Pseudonymiser) -> None:
    label_map = np.zeros((6, 6), np.uint8)
    label_map[1, 1] = label_map[2, 2] = LIVER
    label_map[4, 4] = HEART
    shapes = json.loads(write_labelme("s", label_map, WORDS, "s.png"))["shapes"]
    groups = sorted((one["label"], one["group_id"]) for one in shapes if one["label"] == "liver")
    assert groups == [("liver", LIVER)] * 2
    assert [one["group_id"] for one in shapes if one["label"] == "heart"] == [None]
    assert np.array_equal(read_back(label_map, pseudonymiser), label_map)


def test_a_file_says_what_a_model_proposed_and_how_sure_it_was() -> None:
    label_map = np.zeros((9, 9), np.uint8)
    label_map[1:4, 1:4], label_map[5:8, 5:8] = LIVER, HEART
    document = json.loads(write_labelme("s-1", label_map, WORDS, "slices/s-1.png", {HEART: 0.625}))
    marks = {one["label"]: (one["flags"], one["description"]) for one in document["shapes"]}
    assert marks == {"liver": ({}, ""), "heart": ({"proposal": True}, "confidence 0.62")}
    assert document["imagePath"] == "slices/s-1.png" and document["imageData"] is None
    assert (document["imageHeight"], document["imageWidth"]) == (9, 9)


def test_the_same_label_map_gives_the_same_bytes() -> None:
    label_map = np.kron(np.eye(4, dtype=np.uint8) * LIVER, np.ones((5, 5), np.uint8))
    assert write_labelme("s", label_map, WORDS, "s.png") == write_labelme("s", label_map.copy(), WORDS, "s.png")


@pytest.mark.parametrize(
    ("label_map", "image_path"),
    [
        (np.zeros((4, 4), np.uint16), "s.png"),
        (np.zeros((4, 4, 3), np.uint8), "s.png"),
        (np.full((4, 4), 255, np.uint8), "s.png"),
        (np.full((4, 4), LIVER, np.uint8), "other.png"),
    ],
)
def test_what_would_not_come_back_is_not_written(label_map: np.ndarray, image_path: str) -> None:
    with pytest.raises(ValueError):
        write_labelme("s", label_map, WORDS, image_path)
