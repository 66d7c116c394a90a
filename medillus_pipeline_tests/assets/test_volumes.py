"""The asset `volumes` in the job that ingests a delivery: what it publishes, shows, and refuses."""

from pathlib import Path

import dagster as dg
import numpy as np
import pytest

from medillus_pipeline.dicom import volumes as volumes_module
from medillus_pipeline.dicom.face import Face
from medillus_pipeline.tables import INSTANCES, SLICES, VOLUMES
from medillus_pipeline_tests.deidentification.delivered_files import COLUMNS, ROWS, encoded, image
from medillus_pipeline_tests.site import Site, check, ct, failure, series

VOLUMES_ALONE = [dg.AssetKey("volumes")]


def gapped(first: int) -> dict[str, bytes]:
    """A series with a slice missing."""
    return {f"IM{number}": ct(number) for number in (first, first + 1, first + 2, first + 5)}


def x_ray(number: int) -> bytes:
    ramp = np.linspace(0, 4000, ROWS * COLUMNS).astype("<u2")
    return encoded(
        image(
            number=number,
            SOPClassUID="1.2.840.10008.5.1.4.1.1.1.1",
            Modality="DX",
            SeriesInstanceUID=f"1.2.826.0.1.97.{number}",
            ImageType=["ORIGINAL", "PRIMARY"],
            BurnedInAnnotation="NO",
            ImagePositionPatient=None,
            ImageOrientationPatient=None,
            PixelData=ramp.tobytes(),
        )
    )


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def metadata(result: dg.ExecuteInProcessResult) -> dict:
    (event,) = [e for e in result.get_asset_materialization_events() if e.asset_key == dg.AssetKey("volumes")]
    return {name: value.value for name, value in event.materialization.metadata.items()}


def test_a_delivery_gets_a_verdict_for_every_series_and_a_volume_where_there_is_one(site: Site) -> None:
    site.arrive("images", "scan", series(1000, 5) | gapped(2000))
    result = site.run("ingest_delivery", "scan")
    assert result.success
    rows = site.store.tables.read(VOLUMES, "scan").to_pylist()
    assert sorted((row["slices"], row["verdict"]) for row in rows) == [(4, "gaps"), (5, "volume")]
    shown = metadata(result)
    assert (shown["volumes"], shown["dagster/partition_row_count"], shown["without_picture"]) == (1, 2, 0)
    assert "| CT | 5 | 12 × 16 × 5 | 1 × 1 × 5 | volume |  |" in shown["stacks"]
    assert "gaps, uneven_spacing" in shown["stacks"]
    assert shown["preview"].startswith("![preview](data:image/png;base64,")
    assert check(result, "volumes_gate").passed
    assert sum(row["slices"] for row in rows) == site.store.tables.read(SLICES, "scan").num_rows


def test_a_delivery_without_volumes_is_no_failure(site: Site) -> None:
    site.arrive("images", "plain", {"a": x_ray(1000), "b": x_ray(2000)})
    result = site.run("ingest_delivery", "plain")
    assert result.success
    assert {row["verdict"] for row in site.store.tables.read(VOLUMES, "plain").to_pylist()} == {"no_geometry"}
    assert "preview" not in metadata(result)


def test_building_again_writes_nothing_and_keeps_the_data_version(site: Site) -> None:
    site.arrive("images", "scan", series(1000))
    assert site.run("ingest_delivery", "scan").success
    clean = site.settings.clean
    before = {path: Path(clean.full(path)).stat().st_ino for path in clean.files()}
    version = site.store.tables.version(VOLUMES, "scan")
    result = site.run("ingest_delivery", "scan", asset_selection=VOLUMES_ALONE)
    assert result.success
    assert {path: Path(clean.full(path)).stat().st_ino for path in clean.files()} == before
    assert site.store.tables.version(VOLUMES, "scan") == version


def test_no_picture_of_a_possible_face_reaches_the_store_or_the_metadata(site: Site) -> None:
    site.arrive("images", "head", series(1000))
    assert site.run("ingest_delivery", "head", asset_selection=[dg.AssetKey(n) for n in UPSTREAM]).success
    rows = [row | {"face": str(Face.POSSIBLE)} for row in site.store.tables.read(INSTANCES, "head").to_pylist()]
    site.store.tables.publish(INSTANCES, "head", INSTANCES.to_arrow(rows))
    result = site.run("ingest_delivery", "head", asset_selection=VOLUMES_ALONE)
    assert result.success
    (row,) = site.store.tables.read(VOLUMES, "head").to_pylist()
    assert (row["verdict"], row["preview"], row["face"]) == ("volume", None, "possible")
    assert site.settings.clean.files("reformats") == []
    shown = metadata(result)
    assert (shown["without_picture"], "preview" in shown, "picture" in shown) == (1, False, False)


def test_a_picture_of_a_possible_face_is_held_back_by_the_gate(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.arrive("images", "head", series(1000))
    assert site.run("ingest_delivery", "head", asset_selection=[dg.AssetKey(n) for n in UPSTREAM]).success
    rows = [row | {"face": str(Face.UNKNOWN)} for row in site.store.tables.read(INSTANCES, "head").to_pylist()]
    site.store.tables.publish(INSTANCES, "head", INSTANCES.to_arrow(rows))
    monkeypatch.setattr(volumes_module, "PICTURED", {str(face) for face in Face})
    result = site.run("ingest_delivery", "head", asset_selection=VOLUMES_ALONE)
    message = failure(result)
    assert message.startswith("the gate volumes_gate does not hold (no_face_pictured: ")
    assert not check(result, "volumes_gate").passed
    assert site.store.tables.keys(VOLUMES) == []


def test_without_slices_it_says_what_to_materialize(site: Site) -> None:
    site.arrive("images", "scan", series(1000))
    assert "the table slices has no partition scan" in failure(
        site.run("ingest_delivery", "scan", asset_selection=VOLUMES_ALONE)
    )


UPSTREAM = ("deidentified_instances", "slices")
