"""The asset `masks`: a batch of all that annotators hand in, what it publishes, says, refuses and keeps to itself."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

from medillus_pipeline.dicom.slice_names import slice_name
from medillus_pipeline.tables import (
    LEDGER,
    MASK_AGREEMENT,
    MASK_FINDINGS,
    MASK_ITEMS,
    MASK_LAYERS,
    MASKS,
    STUDY_LABELS,
    Table,
    TableStore,
)
from medillus_pipeline_tests.annotation.formats import segmentations
from medillus_pipeline_tests.annotation.formats.test_nifti import packed
from medillus_pipeline_tests.annotation.formats.test_nrrd import header, raw
from medillus_pipeline_tests.annotation.formats.test_png_masks import encoded as png
from medillus_pipeline_tests.annotation.published import (
    PATIENT,
    SERIES,
    SPACE,
    SQUARE,
    STUDY,
    labelme,
    shape,
    square_mm,
    structure_set,
)
from medillus_pipeline_tests.automation.test_sensors import tick
from medillus_pipeline_tests.deidentification.delivered_files import encoded, image
from medillus_pipeline_tests.site import Site, check, failure
from medillus_pipeline_tests.traces import clean_side

SLICES, ROWS, COLUMNS = 6, 40, 50
CANARY, READER, STRANGER = "Cunegonde", "Ada Holloway", "MRN 0099"
LEFT, RIGHT = ([[c, 10], [c + 8, 10], [c + 8, 20], [c, 20]] for c in (36, 6))
"""Where an adrenal gland lies: columns run to the patient's left."""
NEARBY = [[11, 10], [21, 10], [21, 20], [11, 20]]
BESIDE = (MASK_LAYERS, MASK_FINDINGS, MASK_AGREEMENT, STUDY_LABELS)


def scan() -> dict[str, bytes]:
    """A body of soft tissue in air on six slices, as `published.stack` describes them."""
    rows, columns = np.mgrid[:ROWS, :COLUMNS]
    body = ((rows - 19.5) / 18) ** 2 + ((columns - 24.5) / 23) ** 2 < 1
    files = {}
    for k in range(SLICES):
        pixels = np.where(body, 1074, 24).astype("<u2")
        pixels[ROWS // 2, COLUMNS // 2] += k
        dataset = image(
            number=k + 1,
            patient=PATIENT,
            SOPInstanceUID=f"{SERIES}.{k}",
            StudyInstanceUID=STUDY,
            SeriesInstanceUID=SERIES,
            FrameOfReferenceUID=SPACE,
            Rows=ROWS,
            Columns=COLUMNS,
            PixelSpacing=[2.0, 1.0],
            SliceThickness=5.0,
            ImagePositionPatient=[-20.0, -30.0, 5.0 * k],
            BodyPartExamined="ABDOMEN",
            PixelData=pixels.tobytes(),
        )
        files[f"IM{k}"] = encoded(dataset)
    return files


def name(site: Site, k: int) -> str:
    return slice_name(site.settings.pseudonymiser().uid(f"{SERIES}.{k}"), 1)


def planned(*rois: tuple[str, int], patient: str = PATIENT) -> bytes:
    """A structure set with one square per ROI, on slice k."""
    contours = {roi: [("CLOSED_PLANAR", f"{SERIES}.{k}", square_mm(5.0 * k))] for roi, k in rois}
    return structure_set(contours, patient=patient)


def segmented(k: int) -> bytes:
    pixels = np.zeros((SLICES, ROWS, COLUMNS, 1), np.uint8)
    pixels[k, 8:18, 30:40] = 1
    images = segmentations.sources(SLICES, PatientName=f"{CANARY}^Baroness", InstitutionName=CANARY)
    return segmentations.made(pixels, [segmentations.segment(1, segmentations.SPLEEN, label="spleen")], images=images)


def volume(k: int) -> np.ndarray:
    """Labels (x, y, z) of one structure on slice k."""
    values = np.zeros((COLUMNS, ROWS, SLICES), np.uint8)
    values[20:30, 15:22, k] = 1
    return values


def everything(site: Site) -> dict[str, bytes]:
    """Every format that is read, and a fault of each sort; a canary wherever people type."""
    mask = np.zeros((ROWS, COLUMNS), np.uint8)
    mask[12:20, 20:30] = 255
    at = {"series_instance_uid": SERIES}
    index = {
        "volumes": [
            {"file": f"{CANARY}.nii.gz", "labels": {"1": "pancreas"}, **at},
            {"file": f"{CANARY}.nrrd", "labels": {"1": "gallbladder"}, **at},
        ],
        "labels": {},
        "note": CANARY,
    }
    labels = f"{SERIES},emphysema,portal_venous,{CANARY}\n{SERIES},{CANARY} fever,,\n"
    liver = shape("liver", SQUARE, description=CANARY)
    lost = shape(f"bag of {CANARY}", SQUARE)
    return {
        "annotator.txt": READER.encode(),
        f"{name(site, 0)}.json": labelme(liver, lost, imagePath=f"C:\\{CANARY}\\scan.png", flags={CANARY: True}),
        f"{CANARY} RS.dcm": planned(("Heart", 1), ("PTV", 1), (f"Zz {CANARY}", 1)),
        f"{CANARY} SEG.dcm": segmented(2),
        "index.json": json.dumps(index).encode(),
        f"{CANARY}.nii.gz": packed(volume(3)),
        f"{CANARY}.nrrd": header(sizes=f"{COLUMNS} {ROWS} {SLICES}") + raw(volume(4)),
        f"{name(site, 5)}_duodenum.png": png(mask),
        f"sides of {CANARY}/{name(site, 5)}.json": labelme(
            shape("adrenal_gland_left", RIGHT), shape("adrenal_gland_right", LEFT)
        ),
        "labels.csv": f"series_instance_uid,pathology,contrast_phase,ward\n{labels}".encode(),
        f"{CANARY}/{name(site, 1)}.json": b"{",
        f"{CANARY} of another.dcm": planned(("Liver", 1), patient=STRANGER),
    }


PUBLISHED = {
    ("labelme", "liver"),
    ("rtstruct", "heart"),
    ("dicom_seg", "spleen"),
    ("nifti", "pancreas"),
    ("nrrd", "gallbladder"),
    ("png", "duodenum"),
    ("labels", "*"),
}
LEFT_OUT = {
    ("labelme", "*", "refused", "unknown_label"),
    ("rtstruct", "*", "refused", "unknown_label"),
    ("rtstruct", "ptv", "kept", "planning_target"),
    ("labelme", "adrenal_gland_left", "refused", "sides_swapped"),
    ("labelme", "adrenal_gland_right", "refused", "sides_swapped"),
    ("labels", "*", "refused", "unknown_value"),
    ("labelme", "*", "refused", "broken_file"),
    ("rtstruct", "*", "refused", "other_patient"),
}


class Handed:
    """An installation with the scan, and what became of the batch of everything."""

    def __init__(self, home: Path) -> None:
        self.site = Site(home)
        self.site.arrive("images", "scan", scan())
        upstream = [dg.AssetKey("deidentified_instances"), dg.AssetKey("slices")]
        assert self.site.run("ingest_delivery", "scan", asset_selection=upstream).success
        self.site.arrive("annotations", "mixed", everything(self.site))
        self.result = self.site.run("ingest_annotations", "mixed")

    def rows(self, table: Table, batch: str = "mixed") -> list[dict[str, Any]]:
        return self.site.store.tables.read(table, batch).to_pylist()


@pytest.fixture(scope="module")
def handed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Handed]:
    """Read once; tests add batches of their own."""
    handed = Handed(tmp_path_factory.mktemp("site"))
    assert handed.result.success
    yield handed


def metadata(result: dg.ExecuteInProcessResult) -> Mapping[str, Any]:
    (event,) = [e for e in result.get_asset_materialization_events() if e.asset_key == dg.AssetKey("masks")]
    return {key: value.value for key, value in event.materialization.metadata.items()}


def test_what_can_be_used_of_every_format_is_published(handed: Handed) -> None:
    assert {row["source_format"] for row in handed.rows(MASKS)} == {form for form, _ in PUBLISHED} - {"labels"}
    assert [row["slice_name"] for row in handed.rows(MASKS)] == sorted(name(handed.site, k) for k in range(SLICES))
    accepted = [line for line in handed.rows(MASK_ITEMS) if line["outcome"] == "accepted"]
    assert sorted((line["source_format"], line["structure"]) for line in accepted) == sorted(PUBLISHED)


def test_what_cannot_has_one_reason_each(handed: Handed) -> None:
    lines = [line for line in handed.rows(MASK_ITEMS) if line["outcome"] != "accepted"]
    told = [(line["source_format"], line["structure"], line["outcome"], line["reason"]) for line in lines]
    assert sorted(told) == sorted(LEFT_OUT)
    ledger = TableStore(handed.site.settings.vault).read(LEDGER, "annotations.mixed").to_pylist()
    assert {row["source"] for row in ledger} == set(everything(handed.site))


def test_the_tables_beside_the_masks_are_published_and_gated(handed: Handed) -> None:
    (layer,) = handed.rows(MASK_LAYERS)
    assert (layer["reason"], layer["hidden_pixels"], layer["area"]) == ("planning_target", 50, 50)
    swapped = {row["structure"] for row in handed.rows(MASK_FINDINGS) if row["severity"] == "refuse"}
    assert swapped == {"adrenal_gland_left", "adrenal_gland_right"}
    said = {(row["kind"], row["value"], row["code"]) for row in handed.rows(STUDY_LABELS)}
    assert said == {("pathology", "emphysema", "CA21"), ("contrast_phase", "portal_venous", "")}
    assert handed.rows(MASK_AGREEMENT) == []
    for gate in ("masks_gate", "mask_tables_gate"):
        assert check(handed.result, gate).passed, check(handed.result, gate).description


def test_the_checks_that_warn_say_what_to_do(handed: Handed) -> None:
    items, plausible = check(handed.result, "items_accepted"), check(handed.result, "masks_plausible")
    for evaluation in (items, plausible):
        assert not evaluation.passed and evaluation.severity == dg.AssetCheckSeverity.WARN
    for reason in {line[3] for line in LEFT_OUT} - {"planning_target"}:
        assert f"{reason} (" in items.description
    assert "other_patient (1): it names another patient than the slices that it points at" in items.description
    assert "sides_swapped (2): left and right are exchanged; exchange the names" in plausible.description


def test_the_page_and_the_counts_are_shown(handed: Handed) -> None:
    shown = metadata(handed.result)
    clean = handed.site.settings.clean
    page = clean.read(shown["report"].removeprefix(f"{clean.url}/")).decode()
    assert page.lstrip().lower().startswith("<!doctype html>") and "duodenum" in page.lower()
    assert shown["preview"].startswith("![preview](data:image/png;base64,")
    assert (shown["layers"], shown["study_labels"], shown["readers_compared"]) == (1, 2, 0)
    assert (shown["dagster/partition_row_count"], "| spleen | 1 |" in shown["structures"]) == (SLICES, True)


def test_nobody_is_named_outside_the_vault(handed: Handed) -> None:
    """File, folder and ROI names, image paths, shape notes, names of people, further columns, identifiers."""
    words = [CANARY, "Holloway", "Vogelweide", PATIENT, STRANGER, "Baroness", f"{SERIES}.1", "bag of"]
    landed = handed.site.settings.landing
    delivered = b"".join(path.encode() + landed.read(path) for path in landed.files("annotations"))
    assert not [word for word in words if word.lower().encode() not in delivered.lower()]
    places = list(clean_side(handed.site.settings))
    assert any(path.endswith(".html") for path, _ in places)
    places += [("events", "".join(map(repr, handed.result.all_events)).encode())]
    places += [("log", "\n".join(handed.site.said).encode())]
    told = {(word, path) for word in words for path, data in places if word.lower().encode() in data.lower()}
    assert not told


def test_another_reader_is_compared_with_the_first(handed: Handed) -> None:
    site = handed.site
    files = {"annotator.txt": b"Ben Okoro", f"{name(site, 0)}.json": labelme(shape("liver", NEARBY))}
    site.arrive("annotations", "second", files)
    result = site.run("ingest_annotations", "second")
    assert result.success and check(result, "mask_tables_gate").passed
    rows = {row["slice_name"]: row for row in handed.rows(MASK_AGREEMENT, "second") if row["structure"] == "liver"}
    assert set(rows) == {"*", name(site, 0)}
    assert rows["*"]["dice"] == rows[name(site, 0)]["dice"] == pytest.approx(0.9)
    names = site.settings.pseudonymiser()
    pair = sorted(names.annotator(reader) for reader in (READER, "Ben Okoro"))
    assert [rows["*"]["annotator_a"], rows["*"]["annotator_b"]] == pair
    assert metadata(result)["readers_compared"] == 1


def test_the_same_batch_under_its_key_changes_nothing(handed: Handed) -> None:
    site = handed.site
    versions = [site.store.tables.version(table, "mixed") for table in (MASKS, MASK_ITEMS, *BESIDE)]
    assert site.run("ingest_annotations", "mixed").success
    assert [site.store.tables.version(table, "mixed") for table in (MASKS, MASK_ITEMS, *BESIDE)] == versions


def test_the_same_batch_handed_in_again_makes_no_new_masks_and_is_no_failure(handed: Handed) -> None:
    site = handed.site
    site.arrive("annotations", "again", everything(site))
    result = site.run("ingest_annotations", "again")
    assert result.success
    assert handed.rows(MASKS, "again") == handed.rows(MASK_LAYERS, "again") == []
    kept = {line["structure"] for line in handed.rows(MASK_ITEMS, "again") if line["reason"] == "submitted_before"}
    assert kept == {structure for _, structure in PUBLISHED} | {"ptv"}
    assert handed.rows(STUDY_LABELS, "again") == []
    assert "what was handed in is in force already" in check(result, "masks_gate").description
    assert check(result, "masks_gate").severity == dg.AssetCheckSeverity.WARN


def test_findings_that_a_run_spares_take_nothing_off(handed: Handed) -> None:
    site = handed.site
    drawing = labelme(shape("adrenal_gland_left", RIGHT), shape("adrenal_gland_right", LEFT))
    site.arrive("annotations", "mirrored", {"annotator.txt": b"Cy", f"{name(site, 5)}.json": drawing})
    assert "sides_swapped (2)" in failure(site.run("ingest_annotations", "mirrored"))
    config = {"ops": {"masks": {"config": {"warn_only": ["sides_swapped"]}}}}
    result = site.run("ingest_annotations", "mirrored", run_config=config)
    assert result.success and check(result, "items_accepted").passed
    assert len(handed.rows(MASKS, "mirrored")) == 1
    assert {row["severity"] for row in handed.rows(MASK_FINDINGS, "mirrored")} == {"warn"}
    assert not check(result, "masks_plausible").passed


def test_a_batch_of_labels_alone_is_in_order(handed: Handed) -> None:
    site = handed.site
    files = {"annotator.txt": b"Di", "labels.csv": f"study_instance_uid,stage\n{STUDY},cT2N0M0\n".encode()}
    site.arrive("annotations", "labels", files)
    result = site.run("ingest_annotations", "labels")
    assert result.success
    assert [row["value"] for row in handed.rows(STUDY_LABELS, "labels")] == ["cT2N0M0"]
    assert handed.rows(MASKS, "labels") == []


def test_a_table_beside_the_masks_that_does_not_hold_keeps_all_of_them_back(
    handed: Handed, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medillus_pipeline.annotation import publication

    site, layer_of = handed.site, publication.layer_of
    monkeypatch.setattr(publication, "layer_of", lambda region: layer_of(region) | {"runs": [0, 7]})
    drawing = labelme(shape("liver", SQUARE), shape("ptv", NEARBY))
    site.arrive("annotations", "garbled", {"annotator.txt": b"Ed", f"{name(site, 0)}.json": drawing})
    result = site.run("ingest_annotations", "garbled")
    assert failure(result).startswith("the gate mask_tables_gate does not hold (mask_layers.runs_fill_box: ")
    assert check(result, "masks_gate").passed and not check(result, "mask_tables_gate").passed
    assert not [table.name for table in (MASKS, *BESIDE) if "garbled" in site.store.tables.keys(table)]
    assert len(handed.rows(MASK_ITEMS, "garbled")) == 2, "the receipt is there above all when a gate does not hold"


def test_an_empty_batch_fails_its_gate_and_says_what_to_do(handed: Handed) -> None:
    site = handed.site
    site.arrive("annotations", "hollow", {"annotator.txt": READER.encode()})
    result = site.run("ingest_annotations", "hollow")
    message = failure(result)
    assert message.startswith("the gate masks_gate does not hold (the table: the batch holds at least one mask")
    assert "The batch holds no annotation: put the files in the folder before closing it" in message
    assert check(result, "masks_gate").severity == dg.AssetCheckSeverity.ERROR
    assert "hollow" not in site.store.tables.keys(MASKS)


def test_a_batch_ahead_of_its_slices_waits_and_is_asked_for_again(tmp_path: Path) -> None:
    site = Site(tmp_path)
    pending = {"annotator.txt": READER.encode(), f"{CANARY}.dcm": segmented(2), "RS.dcm": planned(("Heart", 1))}
    site.arrive("annotations", "early", pending)
    result = site.run("ingest_annotations", "early")
    assert result.success and "items wait for their slices" in check(result, "masks_gate").description
    lines = site.store.tables.read(MASK_ITEMS, "early").to_pylist()
    assert {(line["source_format"], line["structure"], line["outcome"]) for line in lines} == {
        ("dicom_seg", "spleen", "pending"),
        ("rtstruct", "heart", "pending"),
    }
    before = tick(site, "pending_masks")
    assert before.run_requests == []
    site.arrive("images", "scan", scan())
    assert site.run("ingest_delivery", "scan").success
    after = tick(site, "pending_masks", before.cursor)
    assert after.partition_keys == ["early"]
    again = site.run("ingest_annotations", "early")
    assert again.success and check(again, "items_accepted").passed
    formats = site.store.tables.read(MASKS, "early")["source_format"].to_pylist()
    assert sorted(formats) == ["dicom_seg", "rtstruct"]
    assert tick(site, "pending_masks", after.cursor).run_requests == []
