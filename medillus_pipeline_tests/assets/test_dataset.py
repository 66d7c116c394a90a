"""What the dataset asset joins, of which published partitions, and who gets a place in the frozen split."""

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import dagster as dg
import pytest

from medillus_pipeline import published
from medillus_pipeline.assets.dataset import _splits
from medillus_pipeline.generation.dataset import load_snapshot
from medillus_pipeline.phantom.cohort import write_cohort
from medillus_pipeline.tables import PATIENT_SPLITS, STUDY_LABELS, TRAINING_SLICES, TableStore
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.site import Site, check, failure

DATASET = dg.AssetKey("training_dataset")


@dataclass
class Packed:
    """A site whose cohort of eight patients with lesions and labels is published and packed; lines of its labels.csv
    by value."""

    site: Site
    said: Counter[str]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Packed]:
    site, folder = Site(tmp_path_factory.mktemp("home")), tmp_path_factory.mktemp("cohort")
    naming = site.settings.pseudonymiser()
    cohort = write_cohort(folder, naming, patients=8, shape=(8, 48, 48), lesions=True, labels=True, workers=1)
    files = sorted((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.name == "_READY")
    for path in files:
        site.settings.landing.write(path.relative_to(folder).as_posix(), path.read_bytes())
    site.register("images")
    site.register("annotations")
    for job, kind in (("ingest_delivery", "deliveries"), ("ingest_annotations", "annotation_batches")):
        for key in site.instance.get_dynamic_partitions(kind):
            result = site.run(job, key)
            assert result.success, failure(result)
    assert pack(site).success
    lines = [line for path in folder.rglob("labels.csv") for line in csv.DictReader(path.open())]
    assert len(lines) == sum(cohort.labels.values())
    yield Packed(site, Counter(line["pathology"] for line in lines))


def pack(site: Site, **config: object) -> dg.ExecuteInProcessResult:
    asked = {"ops": {"training_dataset": {"config": {"preset": "tiny", **config}}}}
    return site.run("retrain", asset_selection=[DATASET], run_config=asked)


def test_the_labels_of_each_study_reach_the_slices_of_its_series(packed: Packed) -> None:
    tables = packed.site.store.tables
    rows = tables.read(TRAINING_SLICES, "current").to_pylist()
    labels = tables.read_all(STUDY_LABELS).to_pylist()
    expected = {row["patient"]: row["value"] for row in labels if row["kind"] == "pathology"}
    assert len(expected) == 8 and Counter(expected.values()) == packed.said
    assert len(packed.said) > 1, "patients with lesions and without"
    assert {(row["patient"], *row["pathology"]) for row in rows} == set(expected.items())
    assert {(row["modality"], row["contrast_phase"], row["stage"]) for row in rows} == {("CT", "portal_venous", None)}
    dataset = load_snapshot(
        packed.site.store.clean, published.require(packed.site.store.clean, "training_dataset")["manifest"]
    )
    assert {"modality=CT", "contrast_phase=portal_venous", "pathology=normal"} <= set(dataset.known_attributes)
    assert dataset.rows == rows


def test_the_manifest_names_the_labels_that_were_joined_with_their_data_versions(packed: Packed) -> None:
    store = packed.site.store
    document = published.require(store.clean, "training_dataset")
    found = load_snapshot(store.clean, document["manifest"]).manifest["partitions"]["study_labels"]
    keys = store.tables.keys(STUDY_LABELS)
    assert keys and found == {key: store.tables.version(STUDY_LABELS, key) for key in keys}
    assert document["inputs"]["study_labels"] == found


def test_a_run_may_ask_for_neighbours_and_is_told_what_cannot_be_packed(packed: Packed) -> None:
    site = packed.site
    before = published.require(site.store.clean, "training_dataset")
    assert "channels" in failure(pack(site, channels=2))
    assert published.require(site.store.clean, "training_dataset") == before
    result = pack(site, channels=3, size=64, modalities=["CT", "MR"])
    assert result.success and check(result, "dataset_gate").passed
    dataset = load_snapshot(site.store.clean, published.require(site.store.clean, "training_dataset")["manifest"])
    assert dataset.images([0]).shape == (1, 3, 64, 64) and dataset.modalities == ("CT", "MR")
    assert pack(site).success
    assert published.require(site.store.clean, "training_dataset") == before


def test_a_slice_delivered_again_under_another_patient_id_keeps_its_first_patient(clean: Zone) -> None:
    slices = [{"slice_name": f"s-{n}", "split_token": f"token-{n}"} for n in range(9)]
    again = [{"slice_name": "s-0", "split_token": "token-corrected"}]
    masks = [{"slice_name": row["slice_name"]} for row in slices]
    existing, newcomers = _splits(TableStore(clean), slices + again, masks)
    assert existing == {}
    assert set(newcomers) == {f"token-{n}" for n in range(9)}


def test_patients_on_record_stay_where_they_are(clean: Zone) -> None:
    tables = TableStore(clean)
    before = [{"split_token": f"token-{n}", "split": "train", "round": 1} for n in range(4)]
    tables.publish(PATIENT_SPLITS, "round-000001", PATIENT_SPLITS.to_arrow(before))
    slices = [{"slice_name": f"s-{n}", "split_token": f"token-{n}"} for n in range(8)]
    existing, newcomers = _splits(tables, slices, [{"slice_name": row["slice_name"]} for row in slices])
    assert existing == {f"token-{n}": "train" for n in range(4)}
    assert set(newcomers) == {f"token-{n}" for n in range(4, 8)}
    assert "train" not in newcomers.values()
