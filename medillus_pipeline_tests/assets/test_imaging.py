"""The asset `slices`: further windows and depths, what goes when they are no longer asked for, what the UI shows."""

from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
from pydicom import dcmread

from medillus_pipeline.dicom.png import decode_png
from medillus_pipeline.dicom.slices_folder import slices_of_folder
from medillus_pipeline.tables import SLICE_WINDOWS, SLICES, from_parquet
from medillus_pipeline_tests.site import Site, check, ct, series

SLICES_ALONE = [dg.AssetKey("slices")]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A delivery of one CT series that was ingested."""
    site = Site(tmp_path)
    site.arrive("images", "scan", series(1000, 5) | {"other": ct(2000)})
    assert site.run("ingest_delivery", "scan", asset_selection=[dg.AssetKey("deidentified_instances")]).success
    return site


def materialize(site: Site, **config: Any) -> tuple[dg.ExecuteInProcessResult, dict[str, Any]]:
    """Run the asset alone; the result and its metadata."""
    result = site.run(
        "ingest_delivery",
        "scan",
        asset_selection=SLICES_ALONE,
        run_config={"ops": {"slices": {"config": config}}},
    )
    assert result.success
    (event,) = result.get_asset_materialization_events()
    return result, {name: value.value for name, value in event.materialization.metadata.items()}


def further(site: Site) -> list[dict[str, Any]]:
    return site.store.tables.read(SLICE_WINDOWS, "scan").to_pylist()


def test_several_windows_and_depths_stand_beside_the_slices_and_are_gated(site: Site) -> None:
    result, shown = materialize(site, window="soft-tissue,lung", sixteen_bit=True, lossless=True)
    kinds = sorted((row["window"], row["output"]) for row in further(site))
    expected = [("lossless", "lossless"), ("lung", "grey16"), ("lung", "grey8"), ("soft-tissue", "grey16")]
    assert kinds == sorted(expected * 6)
    assert check(result, "slice_windows_gate").passed
    assert "| lung, grey16 | 6 |" in shown["further_pictures"]
    slices = {row["slice_name"]: row for row in site.store.tables.read(SLICES, "scan").to_pylist()}
    for row in (row for row in further(site) if row["output"] == "lossless"):
        picture = decode_png(site.settings.clean.read(row["path"]))
        values = dcmread(site.settings.clean.full(slices[row["slice_name"]]["instance_path"])).pixel_array
        hounsfield = picture * row["slope"] + row["intercept"]
        assert np.array_equal(hounsfield, values.astype(float) + (hounsfield - values).flat[0])
        assert hounsfield.min() == slices[row["slice_name"]]["minimum"]
        assert hounsfield.max() == slices[row["slice_name"]]["maximum"]


def test_what_is_no_longer_asked_for_disappears_and_the_slices_stay(site: Site) -> None:
    materialize(site, window="soft-tissue,lung,bone", lossless=True)
    before = site.store.tables.version(SLICES, "scan")
    materialize(site, window="soft-tissue,bone")
    assert {(row["window"], row["output"]) for row in further(site)} == {("bone", "grey8")}
    result, shown = materialize(site)
    assert further(site) == [] and shown["further_pictures"] == 0
    assert "no further windows" in check(result, "slice_windows_gate").description
    assert site.store.tables.version(SLICES, "scan") == before


def test_the_command_makes_the_bytes_that_the_asset_makes_at_every_depth(site: Site, tmp_path: Path) -> None:
    materialize(site, window="lung,bone", sixteen_bit=True, lossless=True)
    clean = site.settings.clean
    slices_of_folder(
        Path(clean.full("instances")), tmp_path / "dst", window="lung,bone", outputs=("grey16", "lossless")
    )
    for table, file in ((SLICES, "slices"), (SLICE_WINDOWS, "slice_windows")):
        mine = from_parquet((tmp_path / "dst" / f"{file}.parquet").read_bytes()).to_pylist()
        asset = site.store.tables.read(table, "scan").to_pylist()
        assert len(mine) == len(asset) > 0
        for made, row in zip(mine, asset, strict=True):
            assert (tmp_path / "dst" / made["path"]).read_bytes() == clean.read(row["path"])
            assert {name for name in row if row[name] != made[name]} <= {"path", "split_token"}


def test_the_ui_gets_series_with_verdicts_a_histogram_and_a_contact_sheet(site: Site) -> None:
    _, shown = materialize(site)
    head, _, *lines = shown["stacks"].splitlines()
    assert head == "| modality | slices | size | spacing (mm) | window | verdict by geometry | notes |"
    assert [line.split(" | ")[5] for line in lines] == ["volume", "too_few_slices"]
    for name in ("preview", "intensities"):
        assert "](data:image/png;base64," in shown[name]
        assert len(shown[name]) < 21_000
    assert shown["frames_left_out"] == 0
