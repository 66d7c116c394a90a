"""The check `drift` on a real run of training_dataset: the first says so, a drift warns and blocks nothing."""

from collections.abc import Iterator

import dagster as dg
import numpy as np
import pytest

from medillus_pipeline import published
from medillus_pipeline.assets import drift
from medillus_pipeline.phantom.cohort import write_cohort
from medillus_pipeline.tables import SLICES
from medillus_pipeline_tests.site import Site, check, failure

DATASET = dg.AssetKey("training_dataset")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site, folder = Site(tmp_path_factory.mktemp("home")), tmp_path_factory.mktemp("cohort")
    write_cohort(folder, site.settings.pseudonymiser(), patients=8, shape=(8, 48, 48), workers=1)
    files = sorted((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.name == "_READY")
    for path in files:
        site.settings.landing.write(path.relative_to(folder).as_posix(), path.read_bytes())
    site.register("images")
    site.register("annotations")
    for job, kind in (("ingest_delivery", "deliveries"), ("ingest_annotations", "annotation_batches")):
        for key in site.instance.get_dynamic_partitions(kind):
            result = site.run(job, key)
            assert result.success, failure(result)
    yield site


def pack(site: Site, **config: object) -> dg.ExecuteInProcessResult:
    asked = {"ops": {"training_dataset": {"config": {"preset": "tiny", **config}}}}
    return site.run("retrain", asset_selection=[DATASET], run_config=asked)


def test_the_first_dataset_passes_and_says_that_there_is_nothing_to_compare_with(site: Site) -> None:
    result = pack(site)
    assert result.success
    found = check(result, "drift")
    assert found.passed and found.severity == dg.AssetCheckSeverity.WARN
    assert "nothing to compare with" in (found.description or "")


def test_a_dataset_of_another_frame_warns_with_a_table_and_is_published_all_the_same(site: Site) -> None:
    clean = site.store.clean
    assert pack(site).success
    before = published.require(clean, "training_dataset")
    document = {"version": "1", "dataset_manifest": before["manifest"]}
    published.publish(clean, "generator_checkpoint", document)
    same = check(pack(site), "drift")
    assert same.passed and "this very dataset" in (same.description or "")
    result = pack(site, size=48)
    assert result.success
    found = check(result, "drift")
    assert not found.passed and found.severity == dg.AssetCheckSeverity.WARN
    assert "pixel size" in (found.description or "") and "version 1" in (found.description or "")
    table = found.metadata["comparisons"].value
    assert "| pixel size, mm | dataset |" in table and "Holloway Imaging Tomograph 64 100%" in table
    assert published.require(clean, "training_dataset")["manifest"] != before["manifest"]


def test_a_dataset_that_cannot_be_read_any_more_warns_rather_than_passes(site: Site) -> None:
    manifest = published.require(site.store.clean, "training_dataset")["manifest"]
    found = drift.check(site.store.clean, manifest, [], {}, {"champion (version 9)": "datasets/gone.json"})
    assert not found.passed and "cannot be read" in (found.description or "")


def test_the_champion_is_compared_beside_the_last_generator(site: Site) -> None:
    clean = site.store.clean
    published.publish(clean, "generator_checkpoint", {"version": "2", "dataset_manifest": "b.json"})
    published.publish(clean, "promoted_generator", {"version": "1", "dataset_manifest": "a.json"})
    assert drift.trained_on(clean) == {"champion (version 1)": "a.json", "last generator (version 2)": "b.json"}
    published.publish(clean, "promoted_generator", {"version": "2", "dataset_manifest": "b.json"})
    assert drift.trained_on(clean) == {"champion (version 2)": "b.json"}


def test_how_a_series_was_scanned_is_read_from_its_own_header(site: Site) -> None:
    row = site.store.tables.read_all(SLICES).to_pylist()[0]
    found = drift.acquisition(site.store.clean, row | {"path": row["instance_path"]})
    assert found.terms == {"scanner": "Holloway Imaging Tomograph 64", "kernel": "B30f", "tube voltage": "120 kV"}
    assert found.millimetres["scanned pixel, mm"] == pytest.approx(row["pixel_spacing"][0])
    assert np.isfinite(found.millimetres["slice thickness, mm"])
