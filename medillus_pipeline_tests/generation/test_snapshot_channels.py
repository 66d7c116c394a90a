"""Three channels and several modalities in one snapshot, and that no more of the arrays is read than asked for."""

import re
import tracemalloc
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.generation.config import DatasetConfig, preset
from medillus_pipeline.generation.dataset import Dataset, load_snapshot, preview
from medillus_pipeline.generation.intensity import CT
from medillus_pipeline.generation.packing import SeriesJob, adjacent, pack_series
from medillus_pipeline.generation.snapshot import Snapshot, build_snapshot
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.generation.published import Published, publish_phantoms

THREE = DatasetConfig(preset="tiny", size=32, channels=3)


def build(published: Published, config: DatasetConfig, *, workers: int = 1, **further: Any) -> Snapshot:
    return build_snapshot(
        published.slices, published.masks, published.instances, published.splits, published.clean, vocabulary.load(),
        config, partitions={}, workers=workers, **further,
    )  # fmt: skip


@pytest.fixture(scope="module")
def of_three(published: Published) -> Dataset:
    """The snapshot of `published` with neighbours."""
    return load_snapshot(published.clean, build(published, THREE).path)


def test_neighbours_are_the_slices_below_and_above_in_the_series_and_ends_repeat_themselves(
    of_three: Dataset, dataset: Dataset
) -> None:
    assert of_three.channels == 3 and of_three.neighbours is not None
    assert of_three.neighbours.shape == (64, 2, 32, 32) and of_three.neighbours.dtype == np.int16
    np.testing.assert_array_equal(of_three.values, dataset.values)
    for first in range(0, 64, 8):  # eight slices a series, feet to head
        own = of_three.values[first : first + 8]
        np.testing.assert_array_equal(of_three.neighbours[first : first + 8, 0], own[[0, 0, 1, 2, 3, 4, 5, 6]])
        np.testing.assert_array_equal(of_three.neighbours[first : first + 8, 1], own[[1, 2, 3, 4, 5, 6, 7, 7]])
        assert (own[1:] != own[:-1]).any((1, 2)).all()


def test_images_hold_below_itself_and_above_in_that_order(of_three: Dataset, dataset: Dataset) -> None:
    rows = [9, 3, 3]
    images = of_three.images(rows)
    assert images.shape == (3, 3, 32, 32) and images.dtype == np.int16
    np.testing.assert_array_equal(images[0], of_three.values[[8, 9, 10]])
    np.testing.assert_array_equal(images[1], images[2])
    assert dataset.neighbours is None and dataset.channels == 1
    np.testing.assert_array_equal(dataset.images(np.array(rows)), dataset.values[rows][:, None])
    assert of_three.images([]).shape == (0, 3, 32, 32)


def test_neighbours_of_a_split_are_views(of_three: Dataset) -> None:
    part = of_three.split("validation")
    assert part.neighbours is not None and of_three.neighbours is not None
    assert np.shares_memory(part.neighbours, of_three.neighbours)
    first = next(row["row"] for row in of_three.rows if row["split"] == "validation")
    np.testing.assert_array_equal(part.images([1])[0], of_three.images([first + 1])[0])


def test_three_channels_have_a_fingerprint_of_their_own_and_the_same_by_any_number_of_workers(
    published: Published, of_three: Dataset, dataset: Dataset
) -> None:
    assert of_three.fingerprint != dataset.fingerprint
    assert of_three.manifest["values"] == dataset.manifest["values"]
    assert build(published, THREE, workers=2).manifest == of_three.manifest


class Counting(Zone):
    """A zone that counts how often each payload is read."""

    read_paths: Counter[str]

    def read(self, path: str) -> bytes:
        self.read_paths[path] += 1
        return super().read(path)


def test_an_unlabelled_slice_is_a_neighbour_too_and_no_slice_is_read_twice(published: Published) -> None:
    series = [
        row for row in published.slices if row["series_instance_uid"] == published.slices[0]["series_instance_uid"]
    ]
    masks = {row["slice_name"]: row for row in published.masks}
    clean = Counting(published.clean.url)
    packed = {}
    for labelled in (range(8), (0, 4, 7)):
        clean.read_paths = Counter()
        chosen = {series[number]["slice_name"]: masks[series[number]["slice_name"]] for number in labelled}
        items = pack_series(SeriesJob(clean, series, chosen, "CT", 32, 420.0, channels=3))
        packed[len(chosen)] = {item.slice_name: item for item in items}
        assert set(clean.read_paths.values()) == {1}
    middle, end = series[4]["slice_name"], series[7]["slice_name"]
    beside, known = packed[3][middle].neighbours, packed[8]
    assert beside is not None
    for found, number in zip(beside, (3, 5), strict=True):  # not quite the same: there, masked pixels outside stay
        assert (found == known[series[number]["slice_name"]].values).mean() > 0.95
    above_the_last = packed[3][end].neighbours
    assert above_the_last is not None
    np.testing.assert_array_equal(above_the_last[1], packed[3][end].values)


def test_slices_at_one_height_are_no_neighbours_of_each_other() -> None:
    heights = [0.0, 5.0, 5.0, 10.0]
    assert [adjacent(heights, number) for number in range(4)] == [(0, 1), (0, 3), (0, 3), (2, 3)]
    assert adjacent([7.0], 0) == (0, 0)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Eight CT patients, and eight whose values have no unit, told to be MR: a tenth of HU, shifted, one with an
    outlier; three slices each.
    """
    published = publish_phantoms(
        Zone(tmp_path_factory.mktemp("clean").as_uri()), 8, shape=(3, 48, 48), spacing=(80.0, 8.5, 8.5)
    )
    of_ct = publish_phantoms(
        Zone(tmp_path_factory.mktemp("other").as_uri()), 8, shape=(3, 48, 48), spacing=(80.0, 8.5, 8.5), seed=9
    )
    for number in range(8):
        rows = [row for row in of_ct.slices if row["patient"] == f"p-{number:016x}"]
        hu, labels = pixels(of_ct, rows)
        spacing = (80.0, 8.5, 8.5)
        origin = tuple(rows[0]["position"])
        published.add_volume(100 + number, hu // 10 + 500, labels, spacing=spacing, origin=origin, modality="MR")
    config = DatasetConfig(preset="tiny", size=32, modalities=("MR", "CT"))
    return load_snapshot(published.clean, build(published, config).path)


def pixels(published: Published, rows: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Values and label maps of slices, as published."""
    from medillus_pipeline.dicom.png import decode_png
    from medillus_pipeline.dicom.slice_values import SliceValues

    reader, masks = SliceValues(published.clean), {row["slice_name"]: row for row in published.masks}
    values = np.stack([reader.values(row) for row in rows]).astype(np.int16)
    return values, np.stack([decode_png(published.clean.read(masks[row["slice_name"]]["path"])) for row in rows])


def test_a_snapshot_holds_several_modalities_and_says_which_slice_is_of_which(mixed: Dataset) -> None:
    assert mixed.modalities == ("CT", "MR") and mixed.intensity is CT
    assert mixed.known_attributes == ("modality=CT", "modality=MR", "body_part=CHESTABDOMEN")
    of_mr = np.array([row["modality"] == "MR" for row in mixed.rows])
    assert of_mr.sum() == (~of_mr).sum() == 24
    assert all((f"modality={row['modality']}" in said) for row, said in zip(mixed.rows, mixed.attributes, strict=True))
    assert mixed.values[of_mr].min() == -1000 and mixed.values[of_mr].max() == 1000
    assert mixed.values[~of_mr].min() == -1024 and mixed.values[~of_mr].max() > 200


def test_the_one_intensity_map_of_a_mixed_snapshot_loses_nothing(mixed: Dataset) -> None:
    back = mixed.intensity.inverse(mixed.intensity.forward(np.asarray(mixed.values)))
    np.testing.assert_array_equal(back, mixed.values)


def test_the_preview_shows_each_modality_in_its_own_range(mixed: Dataset) -> None:
    from medillus_pipeline.dicom.png import decode_png

    picture = decode_png(preview(mixed, vocabulary.load(), columns=12))
    tiles = picture.reshape(8, 64, 12, 64, 3).swapaxes(1, 2)[0]
    shown = np.unique(np.linspace(0, len(mixed.split("train")) - 1, 12).round().astype(int))
    for tile, number in zip(tiles, shown, strict=True):
        row = mixed.split("train").rows[number]
        body = tile[tile > 0]
        assert 40 < body.mean() < 250, row["modality"]


def test_modalities_are_one_set_whatever_their_order_and_spelling() -> None:
    config = DatasetConfig(modalities=("mr", "CT", "MR"))
    assert config.modalities == ("CT", "MR")
    assert DatasetConfig.model_validate(config.model_dump(mode="json")) == config
    with pytest.raises(ValueError, match="modalities"):
        DatasetConfig(modalities=())


def test_a_configuration_of_an_earlier_manifest_is_still_read(of_three: Dataset) -> None:
    earlier = {
        name: value for name, value in THREE.model_dump(mode="json").items() if name not in ("modalities", "channels")
    }
    assert DatasetConfig.model_validate(earlier | {"modality": "MR"}).modalities == ("MR",)
    assert DatasetConfig.model_validate(of_three.manifest["config"]) == THREE
    with pytest.raises(ValueError, match="modality"):
        DatasetConfig.model_validate(THREE.model_dump() | {"modality": "MR"})


@pytest.mark.parametrize("size", [64, 256, 512])
def test_a_snapshot_of_any_size_is_read_in_parts(clean: Zone, size: int) -> None:
    published = publish_phantoms(clean, 8, shape=(2, 64, 64), spacing=(110.0, 6.4, 6.4))
    config = DatasetConfig(size=size, channels=3)
    dataset = load_snapshot(clean, build(published, config).path)
    assert len(dataset) == 16 and dataset.values.shape == dataset.labels.shape == (16, size, size)
    assert dataset.pixel_mm == pytest.approx(420 / size)
    assert dataset.images([7]).shape == (1, 3, size, size)
    assert isinstance(dataset.neighbours, np.memmap) and not dataset.neighbours.flags.writeable
    if size == 512 and Path("/proc/self/smaps").exists():
        file = clean.local(dataset.manifest["neighbours"])
        assert file.stat().st_size > 16 * 2 * 512 * 512 * 2
        assert mapped_bytes(file) < file.stat().st_size / 4


def test_a_larger_snapshot_takes_no_more_memory_to_pack(clean: Zone) -> None:
    published = publish_phantoms(clean, 20, shape=(3, 48, 48), spacing=(80.0, 8.5, 8.5))
    few = replace(published, masks=[row for row in published.masks if int(row["patient"][2:], 16) < 6])
    config = DatasetConfig(size=256, channels=3, minimum_class_patients=1)
    build(few, config)
    (less, small), (more, large) = (traced(each, config) for each in (few, published))
    assert large - small > 40 * 256 * 256 * 7
    assert more - less < (large - small) / 8


def traced(published: Published, config: DatasetConfig) -> tuple[int, int]:
    """Greatest memory while a snapshot is built, and the size of its arrays, in bytes."""
    tracemalloc.start()
    snapshot = build(published, config)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    files = [published.clean.local(snapshot.manifest[name]) for name in ("values", "labels", "neighbours")]
    return peak, sum(file.stat().st_size for file in files)


def mapped_bytes(file: Path) -> int:
    """So many bytes of a mapped file does this process hold in memory."""
    found = re.search(rf"{re.escape(str(file))}\n(?:.*\n)*?Rss:\s+(\d+) kB", Path("/proc/self/smaps").read_text())
    assert found is not None
    return int(found[1]) * 1024


def test_labels_of_studies_reach_the_slices_of_their_series(published: Published) -> None:
    first, second = published.slices[0], published.slices[8]
    said = [
        {"kind": "contrast_phase", "value": "venous", "series_instance_uid": first["series_instance_uid"]},
        {"kind": "pathology", "value": "emphysema", "series_instance_uid": ""},
        {"kind": "pathology", "value": "lung_nodule", "series_instance_uid": ""},
        {"kind": "stage", "value": "IA1", "series_instance_uid": second["series_instance_uid"]},
    ]
    labels = [
        {"annotator": "a-1", "revision": 1, "study_instance_uid": row["study_instance_uid"]} | label
        for row, label in zip((first, first, first, second), said, strict=True)
    ]
    config = preset("tiny").dataset
    snapshot = build(published, config, study_labels=labels)
    dataset = load_snapshot(published.clean, snapshot.path)
    of = {row["series_instance_uid"]: row for row in dataset.rows}
    expected = ("venous", ["emphysema", "lung_nodule"], None)
    found = of[first["series_instance_uid"]]
    assert (found["contrast_phase"], found["pathology"], found["stage"]) == expected
    assert of[second["series_instance_uid"]]["stage"] == "IA1"
    assert sum(bool(row["pathology"]) for row in dataset.rows) == 8
    assert snapshot.fingerprint != build(published, config).fingerprint
    trained = {split: published.splits[row["split_token"]] for split, row in (("first", first), ("second", second))}
    assert ("pathology=emphysema" in dataset.known_attributes) == (trained["first"] == "train")
    assert ("stage=IA1" in dataset.known_attributes) == (trained["second"] == "train")
    assert dataset.split("judge").known_attributes == dataset.known_attributes
