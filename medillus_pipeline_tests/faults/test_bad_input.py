"""Bad input: one clear message, no other file loses its place, nothing published is touched, and it can be mended."""

import base64
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from medillus_pipeline.assets.annotation import latest_storage_id, slices_seen
from medillus_pipeline.assets.imaging import slices
from medillus_pipeline.dicom.png import encode_png
from medillus_pipeline.tables import INSTANCES, LEDGER, MASK_ITEMS, MASKS, TableStore
from medillus_pipeline_tests.site import Site, check, ct, drawing, failure, series

BEFORE = ("scan", "drawn")
"""Partitions of a delivery and a batch that were published before anything bad arrived."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """An installation with one good delivery and one good batch; tests use partitions of their own."""
    site = Site(tmp_path_factory.mktemp("site"))
    site.arrive("images", "scan", series(1000))
    assert site.run("ingest_delivery", "scan").success
    site.arrive("annotations", "drawn", {f"{site.slice_name(1000)}.json": drawing("liver")})
    assert site.run("ingest_annotations", "drawn").success
    yield site


@pytest.fixture
def site(shared: Site) -> Iterator[Site]:
    """The same, and after each test the proof that what was published before is as it was, byte for byte."""
    before = _of(shared, *BEFORE)
    shared.said.clear()
    assert len(before) == 9
    yield shared
    assert _of(shared, *BEFORE) == before


def _of(site: Site, *partitions: str) -> dict[str, bytes]:
    return {path: data for path, data in site.tables().items() if path.split("=")[-1].split("/")[0] in partitions}


def warnings(site: Site) -> list[str]:
    return [line for line in site.said if "`medillus receipt" in line or "`medillus ledger" in line]


def published(site: Site, partition: str) -> bool:
    return bool(_of(site, partition).keys() - {site.store.tables.path(MASK_ITEMS, partition)})


def outcomes(site: Site, batch: str) -> list[tuple[str, str, str]]:
    rows = site.store.tables.read(MASK_ITEMS, batch).to_pylist()
    return [(row["structure"], row["outcome"], row["reason"]) for row in rows]


def accepted(site: Site, batch: str) -> list[str]:
    return site.store.tables.read(MASKS, batch)["slice_name"].to_pylist()


def test_an_empty_delivery(site: Site) -> None:
    site.arrive("images", "empty", {})
    result = site.run("ingest_delivery", "empty")
    assert "the delivery holds no file besides its marker: put the images in the folder before" in failure(result)
    assert not published(site, "empty")
    site.land("images", "empty", series(2000))
    assert site.run("ingest_delivery", "empty").success
    assert site.store.tables.read(INSTANCES, "empty").num_rows == 4


def test_a_delivery_without_any_dicom_file(site: Site) -> None:
    site.arrive("images", "letters", {"a letter.docx": b"PK\x03\x04 no archive", "notes.txt": b"nothing to see"})
    message = failure(site.run("ingest_delivery", "letters"))
    assert "none of the 2 files of the delivery could be published" in message
    assert "deliver DICOM images" in message
    assert "a letter" not in message
    assert not published(site, "letters")
    site.land("images", "letters", series(3000))
    assert site.run("ingest_delivery", "letters").success


def test_a_truncated_file_costs_no_other_its_place_and_can_be_sent_again(site: Site) -> None:
    whole = ct(4003)
    site.arrive("images", "cut", series(4000, 3) | {"IM4003": whole[: len(whole) * 3 // 4]})
    assert site.run("ingest_delivery", "cut").success
    assert site.store.tables.read(INSTANCES, "cut").num_rows == 3
    (line,) = warnings(site)
    assert "quarantined/truncated_pixels (1): the file ends before its pixels do; export it and send it again" in line
    ledger = TableStore(site.settings.vault).read(LEDGER, "images.cut").to_pylist()
    assert [row["source"].rsplit("/")[-1] for row in ledger if row["reason"] == "truncated_pixels"] == ["IM4003"]
    site.land("images", "cut", {"IM4003": whole})
    assert site.run("ingest_delivery", "cut").success
    assert site.store.tables.read(INSTANCES, "cut").num_rows == 4


def test_an_annotation_of_an_unknown_slice_waits_for_its_delivery(site: Site) -> None:
    known, unknown = site.slice_name(1001), site.slice_name(5000)
    site.arrive("annotations", "early", {f"{known}.json": drawing("liver"), f"{unknown}.json": drawing("spleen")})
    result = site.run("ingest_annotations", "early")
    assert result.success
    assert accepted(site, "early") == [known]
    evaluation = check(result, "items_accepted")
    assert not evaluation.passed
    said = "unknown_slice (1): no published slice fits; it is tried again when a delivery is published"
    assert evaluation.description == said
    assert said in warnings(site)[0]
    assert ("*", "pending", "unknown_slice") in outcomes(site, "early")
    site.arrive("images", "late", series(5000))
    assert site.run("ingest_delivery", "late").success
    assert slices_seen(site.instance, "early") < latest_storage_id(site.instance, slices)
    again = site.run("ingest_annotations", "early")
    assert slices_seen(site.instance, "early") == latest_storage_id(site.instance, slices)
    assert check(again, "items_accepted").passed
    assert sorted(accepted(site, "early")) == sorted([known, unknown])


def test_a_batch_of_unknown_slices_only_is_pending_and_no_failure(site: Site) -> None:
    unknown = site.slice_name(6000)
    site.arrive("annotations", "waiting", {f"{unknown}.json": drawing("liver")})
    result = site.run("ingest_annotations", "waiting")
    assert result.success
    assert accepted(site, "waiting") == []
    site.arrive("images", "awaited", series(6000))
    assert site.run("ingest_delivery", "awaited").success
    assert site.run("ingest_annotations", "waiting").success
    assert accepted(site, "waiting") == [unknown]


def test_an_unknown_label_leaves_the_others_of_its_file_alone_and_is_not_repeated(site: Site) -> None:
    name = f"{site.slice_name(1002)}.json"
    site.arrive("annotations", "odd-label", {name: drawing("liver", "Walthers thingamajig")})
    result = site.run("ingest_annotations", "odd-label")
    assert result.success
    evaluation = check(result, "items_accepted")
    assert evaluation.description == (
        "unknown_label (1): the name is in no row of the vocabulary; rename it, or add it as a synonym"
    )
    assert "unknown_labels" in evaluation.metadata
    assert "thingamajig" not in repr(list(result.all_events)) + "".join(site.said)
    assert ("liver", "accepted", "") in outcomes(site, "odd-label")
    site.land("annotations", "odd-label", {name: drawing("liver", "spleen")})
    assert check(site.run("ingest_annotations", "odd-label"), "items_accepted").passed


def test_broken_json_costs_no_other_file_its_place(site: Site) -> None:
    broken, whole = f"{site.slice_name(1002)}.json", f"{site.slice_name(1003)}.json"
    site.arrive("annotations", "broken", {broken: drawing("liver")[:-7], whole: drawing("liver")})
    result = site.run("ingest_annotations", "broken")
    assert result.success
    assert accepted(site, "broken") == [site.slice_name(1003)]
    assert "broken_file (1): the file cannot be read; export it again" in warnings(site)[0]
    site.land("annotations", "broken", {broken: drawing("liver")})
    assert check(site.run("ingest_annotations", "broken"), "items_accepted").passed


def test_a_mask_larger_than_its_slice(site: Site) -> None:
    large = base64.b64encode(encode_png(np.full((40, 40), 255, np.uint8))).decode()
    shape = {"label": "liver", "shape_type": "mask", "points": [[0, 0], [39, 39]], "mask": large}
    other = {"label": "spleen", "shape_type": "rectangle", "points": [[1, 1], [5, 5]]}
    names = [f"{site.slice_name(number)}.json" for number in (1000, 1001)]
    site.arrive(
        "annotations",
        "oversize",
        {names[0]: drawing(shapes=[shape, other]), names[1]: drawing("liver", imageHeight=512, imageWidth=512)},
    )
    result = site.run("ingest_annotations", "oversize")
    assert result.success
    assert accepted(site, "oversize") == [site.slice_name(1000)]
    assert ("spleen", "accepted", "") in outcomes(site, "oversize")
    assert check(result, "items_accepted").description == (
        "mask_size_differs (2): the mask or drawing does not have the size of its slice; draw on the slice as published"
    )
    site.land("annotations", "oversize", {name: drawing("liver") for name in names})
    assert check(site.run("ingest_annotations", "oversize"), "items_accepted").passed


def test_a_batch_of_which_nothing_can_be_used_publishes_a_receipt_and_no_mask(site: Site) -> None:
    name = f"{site.slice_name(1003)}.json"
    site.arrive("annotations", "useless", {name: b"{"})
    message = failure(site.run("ingest_annotations", "useless"))
    assert "broken_file (1): the file cannot be read; export it again" in message
    assert "`medillus receipt useless` lists the items" in message
    assert outcomes(site, "useless") == [("*", "refused", "broken_file")]
    assert not published(site, "useless")
    site.land("annotations", "useless", {name: drawing("spleen")})
    assert site.run("ingest_annotations", "useless").success
    assert accepted(site, "useless") == [site.slice_name(1003)]


def test_an_empty_batch(site: Site) -> None:
    site.arrive("annotations", "hollow", {})
    message = failure(site.run("ingest_annotations", "hollow"))
    assert "The batch holds no annotation: put the files in the folder before closing it" in message
    assert not published(site, "hollow")


def test_a_partition_that_no_folder_stands_behind(site: Site) -> None:
    site.instance.add_dynamic_partitions("deliveries", ["made-up"])
    message = failure(site.run("ingest_delivery", "made-up"))
    assert message == "no landing folder is registered for partition made-up: let the landing sensor see it first"


def test_slices_of_a_delivery_that_was_never_ingested(site: Site) -> None:
    import dagster as dg

    site.arrive("images", "skipped", series(7000))
    result = site.run("ingest_delivery", "skipped", asset_selection=[dg.AssetKey("slices")])
    assert failure(result) == "the table instances has no partition skipped: materialize it first"


def test_a_folder_of_the_delivery_that_cannot_be_opened_is_not_passed_over(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files would be lost without a word. (Tests may run as root, whom no mode bits stop.)"""
    import os

    site.arrive("images", "locked", {"open/IM1": ct(8000), "locked/IM2": ct(8001)})
    scandir = os.scandir

    def refuse(path: str | Path = ".") -> object:
        if str(path).endswith("/locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    result = site.run("ingest_delivery", "locked")
    assert "check the owner and mode of the folder" in failure(result)
    assert not published(site, "locked")
    monkeypatch.undo()
    assert site.run("ingest_delivery", "locked").success
