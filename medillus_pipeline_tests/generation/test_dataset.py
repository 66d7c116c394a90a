import hashlib
import json

import numpy as np
import pytest

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.dicom.png import decode_png
from medillus_pipeline.errors import InputError, NotEnoughDataError
from medillus_pipeline.generation.config import DatasetConfig, preset
from medillus_pipeline.generation.dataset import Dataset, load_snapshot, preview
from medillus_pipeline.generation.selection import masks_in_force
from medillus_pipeline.generation.snapshot import Snapshot, build_snapshot
from medillus_pipeline.tables import TRAINING_SLICES
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.generation.published import Published, publish_phantoms

TINY = preset("tiny").dataset


def build(published: Published, config: DatasetConfig = TINY, **changes) -> Snapshot:
    given = {
        "slices": published.slices,
        "masks": published.masks,
        "instances": published.instances,
        "splits": published.splits,
    } | changes
    return build_snapshot(
        given["slices"], given["masks"], given["instances"], given["splits"], published.clean, vocabulary.load(),
        config, partitions={"slices": {"d-1": "version"}}, workers=given.get("workers", 1),
    )  # fmt: skip


def mask_row(name: str, annotator: str, revision: int = 1) -> dict:
    return {"slice_name": name, "annotator": annotator, "revision": revision}


def test_the_newest_revision_of_the_annotator_with_most_slices_is_in_force():
    rows = [
        mask_row("s1", "a-2"),
        mask_row("s2", "a-2"),
        mask_row("s1", "a-1", 1),
        mask_row("s1", "a-1", 3),
        mask_row("s1", "a-1", 2),
        mask_row("s3", "a-1"),
        mask_row("s4", "a-1"),
    ]
    chosen = masks_in_force(rows)
    assert {name: (row["annotator"], row["revision"]) for name, row in chosen.items()} == {
        "s1": ("a-1", 3),
        "s2": ("a-2", 1),
        "s3": ("a-1", 1),
        "s4": ("a-1", 1),
    }


def test_annotators_with_equally_many_slices_are_ordered_by_name():
    assert masks_in_force([mask_row("s1", "a-2"), mask_row("s1", "a-1")])["s1"]["annotator"] == "a-1"


def test_arrays_and_index_agree(dataset: Dataset):
    assert len(dataset) == 64 and dataset.values.shape == dataset.labels.shape == (64, 32, 32)
    assert dataset.values.dtype == np.int16 and dataset.labels.dtype == np.uint8
    assert isinstance(dataset.values, np.memmap) and not dataset.values.flags.writeable
    TRAINING_SLICES.to_arrow(dataset.rows)
    for i, row in enumerate(dataset.rows):
        assert row["row"] == i
        assert row["source_value_sha256"] == hashlib.sha256(dataset.values[i].tobytes()).hexdigest()
        present = [dataset.classes[k - 1] for k in np.unique(dataset.labels[i]) if k]
        assert present == row["labels"] and present
        assert 0.1 < row["body_fraction"] < 0.9
        assert dataset.values[i][0, 0] == -1024


def test_organs_have_the_values_of_their_tissue(dataset: Dataset):
    words = vocabulary.load()
    means = {words.by_id(c).key: dataset.values[dataset.labels == i].mean() for i, c in enumerate(dataset.classes, 1)}
    assert -950 < means["lung_left"] < -500
    assert 20 < means["liver"] < 160
    assert means["spine"] > 100


def test_left_is_left_and_feet_come_first(dataset: Dataset):
    words = vocabulary.load()
    index = {words.by_id(c).key: i for i, c in enumerate(dataset.classes, 1)}
    column = {key: np.nonzero(dataset.labels == i)[2].mean() for key, i in index.items()}
    assert column["lung_right"] < column["spine"] < column["lung_left"]
    assert (
        np.nonzero(dataset.labels == index["spine"])[1].mean() > np.nonzero(dataset.labels == index["liver"])[1].mean()
    )
    level = {key: dataset.levels[(dataset.labels == i).any((1, 2))].mean() for key, i in index.items()}
    assert level["kidney_left"] < level["lung_left"]


def test_a_patient_is_in_one_split_and_splits_are_views(dataset: Dataset):
    parts = {name: dataset.split(name) for name in ("train", "judge", "validation", "locked_test")}
    assert sum(map(len, parts.values())) == len(dataset)
    patients = [set(part.patients) for part in parts.values()]
    assert len(set.union(*patients)) == sum(map(len, patients)) == 8
    assert dataset.manifest["counts"] == {
        name: {"patients": len(set(part.patients)), "slices": len(part)} for name, part in parts.items()
    }
    assert np.shares_memory(parts["judge"].values, dataset.values)
    assert len(dataset.split("nobody")) == 0


def test_the_affine_leads_back_to_the_patient(published: Published, dataset: Dataset):
    by_name = {row["slice_name"]: row for row in published.slices}
    for row in dataset.rows[::9]:
        affine = np.array(row["affine"]).reshape(4, 4)
        assert affine[2, 3] == pytest.approx(by_name[row["slice_name"]]["position"][2])
        assert affine[0, 0] * 32 == pytest.approx(TINY.default_field_of_view_mm)


def test_the_same_input_gives_the_same_snapshot_by_any_number_of_workers(published: Published, dataset: Dataset):
    again = build(published, workers=2)
    assert again.fingerprint == dataset.fingerprint
    assert again.manifest == dataset.manifest


def test_another_configuration_or_mask_gives_another_fingerprint(clean: Zone):
    published = publish_phantoms(clean, 8, shape=(3, 48, 48), spacing=(80.0, 8.5, 8.5))
    first = build(published)
    wider = build(published, TINY.model_copy(update={"default_field_of_view_mm": 500.0}))
    row = published.slices[0]
    published.add_mask(row, np.full((48, 48), 5, np.uint8), revision=2)
    corrected = build(published)
    assert len({first.fingerprint, wider.fingerprint, corrected.fingerprint}) == 3
    dataset = load_snapshot(clean, corrected.path)
    packed = next(r["row"] for r in dataset.rows if r["slice_name"] == row["slice_name"])
    assert set(np.unique(dataset.labels[packed])) - {0} == {dataset.classes.index(5) + 1}


def test_what_is_left_out_is_counted_by_reason(clean: Zone):
    published = publish_phantoms(clean, 8, shape=(4, 48, 48), spacing=(60.0, 8.5, 8.5))
    blank = np.zeros((2, 48, 48), np.int16)
    common = {"spacing": (5.0, 8.5, 8.5), "origin": (0.0, 0.0, 0.0)}
    ones = np.ones((2, 48, 48), np.uint8)
    published.add_volume(90, blank, ones, orientation=[0.0, 1.0, 0.0, 0.0, 0.0, -1.0], **common)
    published.add_volume(91, blank, ones, modality="MR", **common)
    splits = published.splits
    published.add_volume(92, blank, ones, **common)
    gone = published.slices[0]["sop_instance_uid"]
    published.masks = [row for row in published.masks if row["slice_name"] != published.slices[1]["slice_name"]]
    next(row for row in published.masks if row["slice_name"] == published.slices[2]["slice_name"])["rows"] = 47
    published.slices[3]["pixel_spacing"] = None
    snapshot = build(
        published,
        slices=[*published.slices, published.slices[5]],
        instances=[row for row in published.instances if row["sop_instance_uid"] != gone],
        splits=splits,
    )
    assert snapshot.manifest["left_out"] == {
        "duplicate": 1,
        "mask_of_other_size": 1,
        "no_geometry": 1,
        "no_instance": 1,
        "not_axial": 2,
        "other_modality": 2,
        "patient_without_split": 2,
        "unlabelled": 1,
    }
    assert len(snapshot.rows) == 8 * 4 - 4


def test_structures_of_too_few_training_patients_become_background_and_are_listed(clean: Zone):
    published = publish_phantoms(clean, 8, shape=(3, 48, 48), spacing=(80.0, 8.5, 8.5))
    train = [row for row in published.slices if published.splits[row["split_token"]] == "train"]
    rare = np.zeros((48, 48), np.uint8)
    rare[10:20, 10:20] = 7
    published.add_mask(train[0], rare, revision=2)
    snapshot = build(published)
    assert 7 not in snapshot.manifest["classes"]
    assert snapshot.manifest["dropped_classes"]["7"] == 1
    assert snapshot.manifest["left_out"] == {"no_class": 1}


def test_without_labelled_slices_the_error_says_what_is_missing(clean: Zone):
    published = publish_phantoms(clean, 8, shape=(2, 48, 48), spacing=(80.0, 8.5, 8.5))
    with pytest.raises(NotEnoughDataError, match=r"unlabelled.*16"):
        build(published, masks=[])


def test_a_snapshot_of_an_earlier_release_is_refused_with_what_to_do(published: Published, dataset: Dataset):
    earlier = published.clean.put("datasets", json.dumps(dataset.manifest | {"format": 1}).encode(), ".json")
    with pytest.raises(InputError, match="materialise training_dataset again"):
        load_snapshot(published.clean, earlier.path)


def test_no_origin_but_pseudonyms_stands_in_the_manifest(dataset: Dataset):
    assert dataset.manifest["partitions"] == {"slices": {"d-1": "version"}}
    assert dataset.manifest["vocabulary_version"] == vocabulary.load().version
    assert dataset.preset == "tiny"


def test_the_preview_shows_every_split(dataset: Dataset):
    picture = decode_png(preview(dataset, vocabulary.load(), columns=3))
    assert picture.shape == (4 * 2 * 64, 3 * 64, 3)
    assert picture.reshape(8, -1).any(1).all()
