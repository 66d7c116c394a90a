"""A clinic's CT of the thorax with the contours of a treatment plan, from landing to masks, figures and training."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.filebase import DicomBytesIO

from medillus_pipeline import landings
from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.automation.instance import local_instance
from medillus_pipeline.dicom.geometry import slice_to_lps_affine
from medillus_pipeline.dicom.pixels import calibrated
from medillus_pipeline.dicom.png import decode_png
from medillus_pipeline.phantom.keys import DEMO_KEY
from medillus_pipeline.run_all import Flow
from medillus_pipeline.settings import Settings
from medillus_pipeline.tables import (
    ILLUSTRATIONS,
    INSTANCES,
    LEDGER,
    MASK_ITEMS,
    MASKS,
    SLICES,
    TRAINING_SLICES,
    TableStore,
)
from medillus_pipeline_tests.flow import flow, land_cohort, lower_gates
from medillus_pipeline_tests.traces import clean_side, elements, identifies, identifying_values, traces

FOLDER = "Muster^Erika 1946-03-05"
READER = "Anneliese Beispiel"
STRUCTURES = {
    "LUNG_R": "lung_right",
    "LUNG_L": "lung_left",
    "HEART": "heart",
    "SPINALCORD": "spinal_cord",
    "LIVER": "liver",
    "GTVp": "gtv",
}
"""ROI name in the file → structure. The others: LUNGS is the union of two of them, CTVp and PTV4140 are margins."""


@dataclass
class Thorax:
    settings: Settings
    source: Path
    flow: Flow
    delivery: str
    said: list[str] = field(repr=False)

    @property
    def tables(self) -> TableStore:
        return TableStore(self.settings.clean)

    @property
    def files(self) -> list[Path]:
        return sorted(self.source.rglob("*.dcm"))

    @property
    def batch(self) -> str:
        return f"from-{self.delivery}"

    def masks(self) -> list[dict]:
        return self.tables.read(MASKS, self.batch).to_pylist()

    def slices(self) -> dict[str, dict]:
        return {row["slice_name"]: row for row in self.tables.read_all(SLICES).to_pylist()}


@pytest.fixture(scope="module")
def thorax(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Thorax:
    """The delivery as it came, RTSTRUCT among the images, in a folder whose name tells who it is; a key of its own."""
    source = shared_data / "ct_thorax_rt"
    home = tmp_path_factory.mktemp("thorax")
    settings = Settings.from_environment(
        {"MEDILLUS_HOME": str(home), "MEDILLUS_PROFILE": "demo", "MEDILLUS_WORKERS": "2", "MEDILLUS_THREADS": "1"}
    )
    landings.land_folder(settings.landing, "images", source, name=FOLDER)
    said: list[str] = []
    done = flow(settings, said)
    [delivery] = TableStore(settings.clean).keys(INSTANCES)
    return Thorax(settings, source, done, delivery, said)


@pytest.fixture(scope="module")
def read_twice(thorax: Thorax, tmp_path_factory: pytest.TempPathFactory) -> Thorax:
    """The same contours once more, delivered as annotations by somebody with a name."""
    folder = tmp_path_factory.mktemp("contours")
    (folder / "RS.dcm").write_bytes((thorax.source / "RS.dcm").read_bytes())
    (folder / "annotator.txt").write_text(READER)
    landings.land_folder(thorax.settings.landing, "annotations", folder, name=f"{READER} fuer {FOLDER}")
    again = flow(thorax.settings, thorax.said)
    assert [run.job for run in again.runs] == ["ingest_annotations", "label_scans", "make_case_library"]
    return thorax


@pytest.fixture(scope="module")
def trained(read_twice: Thorax, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Thorax]:
    """The real patient among synthetic ones, so that there are enough to train on."""
    land_cohort(read_twice.settings, tmp_path_factory.mktemp("cohort"))
    with pytest.MonkeyPatch.context() as patch:
        lower_gates(patch)
        whole = flow(read_twice.settings, read_twice.said)
    assert not whole.failures
    yield read_twice


def test_the_key_is_this_installations_own(thorax: Thorax) -> None:
    assert thorax.settings.pseudonymiser().key != DEMO_KEY


def test_images_and_contours_take_their_ways_without_a_failure(thorax: Thorax) -> None:
    assert [run.job for run in thorax.flow.runs] == [
        "ingest_delivery",
        "ingest_annotations",
        "label_scans",
        "make_case_library",
    ]
    assert not thorax.flow.failures
    assert not [name for run in thorax.flow.runs for name in run.failed_checks]


def test_every_file_is_accounted_for(thorax: Thorax) -> None:
    ledger = TableStore(thorax.settings.vault).read(LEDGER, f"images.{thorax.delivery}").to_pylist()
    assert {row["source"] for row in ledger} == {
        f"images/{FOLDER}/{file.relative_to(thorax.source)}" for file in thorax.files
    }
    outcomes = [(row["outcome"], row["reason"]) for row in ledger]
    assert outcomes.count(("published", "")) == 105
    assert outcomes.count(("annotation", "rtstruct")) == 1
    assert len(outcomes) == 106


def test_instances_keep_their_pixels_and_their_place(thorax: Thorax) -> None:
    pseudonymiser = thorax.settings.pseudonymiser()
    rows = {row["sop_instance_uid"]: row for row in thorax.tables.read_all(INSTANCES).to_pylist()}
    assert len(rows) == 105
    assert len({row["patient"] for row in rows.values()}) == 1
    for file in thorax.files[:: len(thorax.files) // 6]:
        source = dcmread(file)
        if source.Modality != "CT":
            continue
        row = rows[pseudonymiser.uid(source.SOPInstanceUID)]
        clean = dcmread(DicomBytesIO(thorax.settings.clean.read(row["path"])))
        assert np.array_equal(clean.pixel_array, source.pixel_array)
        assert clean.ImagePositionPatient == source.ImagePositionPatient
        assert clean.RescaleIntercept == source.RescaleIntercept


def test_slices_are_one_volume_in_the_order_of_the_body(thorax: Thorax) -> None:
    rows = sorted(thorax.slices().values(), key=lambda row: row["ordinal"])
    assert [row["ordinal"] for row in rows] == list(range(105))
    assert len({row["series_instance_uid"] for row in rows}) == 1
    assert np.allclose(np.diff([row["position"][2] for row in rows]), 4.0)
    assert {row["slice_spacing"] for row in rows} == {4.0}
    assert {(row["window"], row["window_center"], row["window_width"]) for row in rows} == {("soft-tissue", 50, 350)}


def test_masks_stand_on_the_slices_that_the_contours_were_drawn_on(thorax: Thorax) -> None:
    pseudonymiser, words = thorax.settings.pseudonymiser(), vocabulary.load()
    drawn = {
        STRUCTURES[name]: {pseudonymiser.uid(c.ContourImageSequence[0].ReferencedSOPInstanceUID) for c in contours}
        for name, contours in _contours(thorax).items()
        if name in STRUCTURES
    }
    masks = thorax.masks()
    assert len(masks) == len(set().union(*drawn.values())) == 96
    for key, on in drawn.items():
        identifier = words.by_key(key).id
        assert {row["sop_instance_uid"] for row in masks if identifier in row["labels"]} == on


def test_the_receipt_names_what_was_left_out_and_why(thorax: Thorax) -> None:
    rows = thorax.tables.read(MASK_ITEMS, thorax.batch).to_pylist()
    assert {row["structure"] for row in rows if row["outcome"] == "accepted"} == set(STRUCTURES.values())
    assert {(row["structure"], row["reason"]) for row in rows if row["outcome"] != "accepted"} == {
        ("lungs", "union_of_parts"),
        ("ctv", "planning_target"),
        ("ptv", "planning_target"),
    }


def test_contours_lie_on_their_organs(thorax: Thorax) -> None:
    """Hounsfield units below each label, and each lung on its side of the spinal cord (LPS: left is positive x)."""
    words, slices = vocabulary.load(), thorax.slices()
    values: dict[str, list[np.ndarray]] = {}
    sides: dict[str, list[np.ndarray]] = {}
    for row in thorax.masks():
        shown = slices[row["slice_name"]]
        labels = decode_png(thorax.settings.clean.read(row["path"]))
        hu = calibrated(dcmread(DicomBytesIO(thorax.settings.clean.read(shown["instance_path"]))), shown["frame"])
        affine = slice_to_lps_affine(shown["position"], shown["orientation"], shown["pixel_spacing"])
        for identifier, area in zip(row["labels"], row["areas"], strict=True):
            inside = np.argwhere(labels == identifier)
            assert len(inside) == area
            key = words.by_id(identifier).key
            values.setdefault(key, []).append(hu[labels == identifier])
            sides.setdefault(key, []).append(affine[0, 0] * inside[:, 1] + affine[0, 1] * inside[:, 0] + affine[0, 3])
    median = {key: float(np.median(np.concatenate(found))) for key, found in values.items()}
    assert -900 < median["lung_left"] < -600
    assert -900 < median["lung_right"] < -600
    assert 40 < median["liver"] < 120
    assert 0 < median["heart"] < 100
    assert 0 < median["spinal_cord"] < 60
    at = {key: float(np.concatenate(found).mean()) for key, found in sides.items()}
    assert at["lung_right"] < at["spinal_cord"] - 30 and at["spinal_cord"] + 30 < at["lung_left"]
    assert at["liver"] < at["spinal_cord"] < at["heart"]


def test_masks_are_as_large_as_the_contours(thorax: Thorax) -> None:
    """Areas by the shoelace formula, in mm², against counted pixels; organs without holes and without neighbours."""
    words, slices = vocabulary.load(), thorax.slices()
    spacing = next(iter(slices.values()))["pixel_spacing"]
    for name in ("SPINALCORD", "LIVER", "HEART"):
        identifier = words.by_key(STRUCTURES[name]).id
        pixels = sum(dict(zip(r["labels"], r["areas"], strict=True)).get(identifier, 0) for r in thorax.masks())
        points = [np.array(c.ContourData, float).reshape(-1, 3) for c in _contours(thorax)[name]]
        area = sum(abs(np.cross(p[:, :2], np.roll(p[:, :2], -1, axis=0)).sum()) / 2 for p in points)
        assert pixels * spacing[0] * spacing[1] == pytest.approx(area, rel=0.03)


def test_too_few_patients_end_with_figures_and_what_training_needs(thorax: Thorax) -> None:
    assert thorax.flow.remark is not None
    assert "1 patient" in thorax.flow.remark and "at least 8" in thorax.flow.remark
    rows = thorax.tables.read(ILLUSTRATIONS, thorax.batch).to_pylist()
    assert len(rows) == 3
    for row in rows:
        assert row["source"] == "scan" and row["model_version"] is None
        assert hashlib.sha256(thorax.settings.clean.read(row["svg_path"])).hexdigest() == row["sha256"]
    assert max(len(row["labels"]) for row in rows) == len(STRUCTURES)
    with local_instance(thorax.settings.home) as instance:
        assert instance.get_latest_materialization_event(dg.AssetKey("training_dataset")) is None


def test_the_same_contours_as_annotations_of_somebody_else_are_a_second_reading(read_twice: Thorax) -> None:
    [other] = set(read_twice.tables.keys(MASKS)) - {read_twice.batch}
    second = {row["slice_name"]: row for row in read_twice.tables.read(MASKS, other).to_pylist()}
    first = {row["slice_name"]: row for row in read_twice.masks()}
    assert {name: row["sha256"] for name, row in second.items()} == {name: row["sha256"] for name, row in first.items()}
    assert {row["annotator"] for row in second.values()} == {read_twice.settings.pseudonymiser().annotator(READER)}
    assert {row["annotator"] for row in second.values()}.isdisjoint(row["annotator"] for row in first.values())


def test_with_more_patients_the_real_one_is_trained_on_too(trained: Thorax) -> None:
    patient = next(iter(trained.masks()))["patient"]
    rows = trained.tables.read(TRAINING_SLICES, "current").to_pylist()
    assert 48 < sum(row["patient"] == patient for row in rows) <= 96
    assert len({row["split"] for row in rows if row["patient"] == patient}) == 1


def test_no_date_and_no_short_identifier_is_as_it_was(thorax: Thorax) -> None:
    """Element by element: a date may stand nowhere where the source had it, nor may any other short value."""
    pseudonymiser = thorax.settings.pseudonymiser()
    path_of = {row["sop_instance_uid"]: row["path"] for row in thorax.tables.read_all(INSTANCES).to_pylist()}
    compared = 0
    for file in thorax.files:
        source = dcmread(file, stop_before_pixels=True)
        if source.Modality != "CT":
            continue
        data = thorax.settings.clean.read(path_of[pseudonymiser.uid(source.SOPInstanceUID)])
        clean = {(path, text) for path, _, _, text in elements(dcmread(DicomBytesIO(data), stop_before_pixels=True))}
        for path, keyword, vr, text in elements(source):
            if text and identifies(keyword, vr) and not text.startswith("1.2.840.10008."):
                compared += 1
                assert (path, text) not in clean, f"{keyword} is unchanged"
    assert compared > 105 * 10


def test_nothing_that_identifies_is_on_the_clean_side(trained: Thorax) -> None:
    """Clean zone, Dagster's databases and logs, MLflow's database and artifacts, and what was said on the terminal."""
    names = {FOLDER, FOLDER.split()[0], "Muster", "Erika", READER, *READER.split(), "ct_thorax_rt"}
    values = identifying_values(trained.files) | names | {file.stem for file in trained.files if len(file.stem) >= 5}
    assert len(values) > 220
    places = [*clean_side(trained.settings), ("terminal", "\n".join(trained.said).encode())]
    kinds = {Path(place.split()[0]).suffix for place, _ in places}
    assert {".dcm", ".png", ".parquet", ".db", ".svg", ".html", ".json", ".npy", ".safetensors"} <= kinds
    assert traces(values, places) == set()


def test_the_search_finds_what_is_there(trained: Thorax) -> None:
    """The landing zone and the vault do hold the identifiers; a search that found none there would prove nothing."""
    values = identifying_values(trained.files)
    zone = trained.settings.landing
    source = [(path, zone.read(path)) for path in zone.files("images") if FOLDER in path]
    assert {value for value, _ in traces(values, source)} == values


def _contours(thorax: Thorax) -> dict[str, list]:
    """ROI name → its contours, as the file has them."""
    structures = dcmread(thorax.source / "RS.dcm")
    names = {roi.ROINumber: str(roi.ROIName) for roi in structures.StructureSetROISequence}
    return {names[roi.ReferencedROINumber]: list(roi.ContourSequence) for roi in structures.ROIContourSequence}
