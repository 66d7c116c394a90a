"""Proposals: the segmenter sees a slice as the dataset shows it, and its labels land on the slice's own pixels."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.dicom.png import decode_png
from medillus_pipeline.generation.canonical import resample_labels, source_grid
from medillus_pipeline.generation.config import DatasetConfig, preset
from medillus_pipeline.generation.dataset import Dataset
from medillus_pipeline.generation.packing import SeriesJob, pack_series
from medillus_pipeline.generation.proposals import candidates, most_uncertain, propose, uncertainty
from medillus_pipeline.generation.segmenter import Segmenter, train_segmenter
from medillus_pipeline.generation.series_frame import SeriesFrame, affine_of
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.generation.published import AXIAL, Published, publish_phantoms

CONFIG = preset("tiny").dataset


def of_series(published: Published, number: int = 0) -> list[dict[str, Any]]:
    first = sorted({row["series_instance_uid"] for row in published.slices})[number]
    return [row for row in published.slices if row["series_instance_uid"] == first]


def frame_of(rows: list[dict[str, Any]], clean: Zone, config: DatasetConfig) -> SeriesFrame:
    width = config.default_field_of_view_mm
    return SeriesFrame(rows, clean, modality="CT", size=config.size, field_of_view=width)


def masks_of(published: Published) -> dict[str, dict[str, Any]]:
    return {row["slice_name"]: row for row in published.masks}


@pytest.fixture(scope="module")
def segmenter(dataset: Dataset) -> Segmenter:
    """Trained for a moment on the phantoms of the split train."""
    part = dataset.split("train")
    config = preset("tiny").organ_segmenter.model_copy(update={"steps": 150})
    return train_segmenter(part.values, part.labels, dataset.classes, config=config, seed=3)


def test_a_slice_looks_to_the_segmenter_as_it_does_in_the_dataset(published: Published):
    rows = of_series(published)
    masks = masks_of(published)
    job = SeriesJob(published.clean, rows, masks, "CT", CONFIG.size, CONFIG.default_field_of_view_mm)
    packed = {item.slice_name: item for item in pack_series(job)}
    frame = frame_of(rows, published.clean, CONFIG)
    assert len(packed) == len(rows) > 3
    for row in rows:
        found = frame.slice(row)
        np.testing.assert_array_equal(found.values, packed[row["slice_name"]].values)
        np.testing.assert_array_equal(frame.frame.affine(0)[:2], packed[row["slice_name"]].affine[:2])
        assert 0 < found.inside.mean() < 1


@dataclass(frozen=True)
class Oracle:
    """A segmenter that knows the labels of one slice in the canonical frame."""

    truth: np.ndarray
    classes: tuple[int, ...]

    def predict(self, values: np.ndarray) -> np.ndarray:
        channels = [self.truth == 0, *(self.truth == label for label in self.classes)]
        return np.repeat(np.stack(channels)[None].astype(np.float32), len(values), 0)


@pytest.mark.parametrize("turned", [False, True])
def test_labels_come_back_to_the_pixels_that_they_were_taken_from(clean: Zone, turned: bool):
    published = Published(clean)
    hu = np.full((3, 96, 80), -1000)
    hu[:, 8:88, 6:74] = 40
    labels = np.zeros((96, 80), np.uint8)
    labels[20:60, 12:40], labels[50:80, 45:70] = 5, 3
    orientation = [-1.0, 0.0, 0.0, 0.0, -1.0, 0.0] if turned else AXIAL
    published.add_volume(
        0, hu, np.stack([labels] * 3), spacing=(5, 3.0, 4.0), origin=(-150, -140, 0), orientation=list(orientation)
    )
    config = DatasetConfig(size=128)
    frame = frame_of(published.slices, clean, config).frame
    grid, k = source_grid(affine_of(published.slices[0]), frame)
    oracle: Any = Oracle(resample_labels(labels, grid, k), (3, 5))
    for proposal in propose(published.slices, clean, oracle, config):
        assert proposal.label_map.shape == (96, 80) and proposal.label_map.dtype == np.uint8
        assert (proposal.label_map != labels).mean() < 0.02
        for label, least in ((3, 0.96), (5, 0.96)):
            both = ((proposal.label_map == label) & (labels == label)).sum()
            assert 2 * both / ((proposal.label_map == label).sum() + (labels == label).sum()) > least
        assert proposal.uncertainty < 1e-6 and set(proposal.confidence) == {3, 5}
        assert all(0.9 < value <= 1 for value in proposal.confidence.values())


def test_outside_the_frame_nothing_is_proposed(clean: Zone):
    published = Published(clean)
    published.add_volume(0, np.full((3, 64, 200), 40), None, spacing=(5, 4.0, 4.0), origin=(-400, -128, 0))
    config = DatasetConfig(size=32, default_field_of_view_mm=200.0)
    frame = frame_of(published.slices, clean, config).frame
    everywhere: Any = Oracle(np.full((32, 32), 5), (5,))
    (first, *_) = propose(published.slices, clean, everywhere, config)
    x = -400 + 4.0 * np.arange(200)
    np.testing.assert_array_equal(first.label_map.any(0), np.abs(x - frame.x) <= 100)


def test_a_trained_segmenter_proposes_what_the_phantoms_have(published: Published, segmenter: Segmenter):
    splits = published.splits
    held_out = next(row for row in published.slices if splits[row["split_token"]] == "validation")
    rows = [row for row in published.slices if row["series_instance_uid"] == held_out["series_instance_uid"]]
    masks, right, drawn = masks_of(published), 0, 0
    for proposal in propose(rows, published.clean, segmenter, CONFIG):
        truth = decode_png(published.clean.read(masks[proposal.slice_name]["path"]))
        known = np.isin(truth, segmenter.classes)
        right += int((proposal.label_map[known] == truth[known]).sum())
        drawn += int(known.sum())
        assert set(np.unique(proposal.label_map)) - {0} == set(proposal.confidence)
        assert 0 < proposal.uncertainty < 1
    assert right / drawn > 0.6


def test_uncertainty_is_the_share_of_the_greatest_entropy_inside_the_body():
    sure, torn = np.zeros((4, 2, 2)), np.full((4, 2, 2), 0.25)
    sure[0] = 1
    inside = np.array([[True, False], [False, False]])
    assert uncertainty(sure, inside) == pytest.approx(0, abs=1e-9) and uncertainty(torn, inside) == pytest.approx(1)
    mixed = np.where(inside, torn, sure)
    assert uncertainty(mixed, inside) == pytest.approx(1) and uncertainty(mixed, ~inside) == pytest.approx(0, abs=1e-9)
    assert uncertainty(torn, np.zeros((2, 2), bool)) == 0


def test_only_unlabelled_slices_of_the_split_train_are_offered(published: Published):
    splits = published.splits
    unsplit = next(token for token, split in splits.items() if split == "train")
    known = {token: split for token, split in splits.items() if token != unsplit}
    labelled = {row["slice_name"] for row in published.slices[::2]}
    found = candidates([*published.slices, *published.slices], labelled, known, CONFIG)
    offered = {name for names in found.wanted.values() for name in names}
    rows = {row["slice_name"]: row for row in published.slices}
    assert offered and not offered & labelled
    assert {known[rows[name]["split_token"]] for name in offered} == {"train"}
    assert set(found.held_back) == {"no split yet", "split judge", "split validation", "split locked_test"}
    assert sum(found.held_back.values()) + len(offered) == len(rows) - len(labelled)
    assert all(len(found.series[uid]) == 8 for uid in found.wanted)


def test_slices_that_the_dataset_would_not_take_are_not_offered(published: Published):
    rows = [dict(row) for row in of_series(published)]
    rows[0]["modality"], rows[1]["position"] = "MR", None
    rows[2]["orientation"] = [1.0, 0.0, 0.0, 0.0, 0.0, -1.0]
    found = candidates(rows, set(), {row["split_token"]: "train" for row in rows}, CONFIG)
    (names,) = found.wanted.values()
    assert names == {row["slice_name"] for row in rows[3:]}
    assert found.held_back == {"not an axial slice of the dataset's modalities": 3}


def test_the_least_sure_come_first_and_no_more_than_asked(published: Published, segmenter: Segmenter):
    splits = dict.fromkeys(published.splits, "train")
    found = candidates(of_series(published, 0) + of_series(published, 1), set(), splits, CONFIG)
    seen: list[tuple[int, int]] = []
    best = most_uncertain(
        found, 5, published.clean, segmenter, CONFIG, progress=lambda done, total: seen.append((done, total))
    )
    every = most_uncertain(found, 99, published.clean, segmenter, CONFIG)
    assert [each.slice_name for each in best] == [each.slice_name for each in every[:5]]
    uncertain = [each.uncertainty for each in every]
    assert uncertain == sorted(uncertain, reverse=True) and 5 < len(every) <= 16
    assert seen == [(number, 16) for number in range(1, 17)]


def test_what_is_proposed_is_in_the_vocabulary(published: Published, segmenter: Segmenter):
    known = {structure.id for structure in vocabulary.load()}
    for proposal in propose(of_series(published), published.clean, segmenter, CONFIG):
        assert set(np.unique(proposal.label_map)) - {0} <= known


def test_series_without_a_body_still_has_a_frame(tmp_path_factory: pytest.TempPathFactory, segmenter: Segmenter):
    published = Published(Zone(f"file://{tmp_path_factory.mktemp('air')}"))
    published.add_volume(0, np.full((2, 64, 64), -1000), None, spacing=(5, 5.0, 5.0), origin=(-157.5, -157.5, 0))
    frame = frame_of(published.slices, published.clean, CONFIG).frame
    assert (frame.x, frame.y) == (0.0, 0.0)
    assert all(each.uncertainty == 0 for each in propose(published.slices, published.clean, segmenter, CONFIG))


def test_the_same_slices_give_the_same_proposals(segmenter: Segmenter, tmp_path_factory: pytest.TempPathFactory):
    published = publish_phantoms(Zone(f"file://{tmp_path_factory.mktemp('same')}"), 1)
    first, second = (list(propose(published.slices, published.clean, segmenter, CONFIG)) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.label_map, other.label_map)
        assert (one.slice_name, one.confidence, one.uncertainty) == (
            other.slice_name,
            other.confidence,
            other.uncertainty,
        )
