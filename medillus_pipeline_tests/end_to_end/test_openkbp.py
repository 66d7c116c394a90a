"""Research volumes of the head and neck, wrapped as DICOM, through the same door as a hospital's images."""

import json
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.filebase import DicomBytesIO

from medillus_pipeline import published
from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.dicom.from_nifti import import_nifti
from medillus_pipeline.dicom.geometry import slice_to_lps_affine
from medillus_pipeline.dicom.pixels import calibrated
from medillus_pipeline.dicom.png import decode_png
from medillus_pipeline.run_all import Flow
from medillus_pipeline.settings import Settings
from medillus_pipeline.tables import (
    ILLUSTRATIONS,
    MASK_ITEMS,
    MASKS,
    PATIENT_SPLITS,
    SLICES,
    TRAINING_SLICES,
    TableStore,
)
from medillus_pipeline.validation.figures import MAIN
from medillus_pipeline_tests.flow import flow

OFFSET = -1000.0
"""Stored values of the set are about HU + 1000."""


@dataclass
class Imported:
    settings: Settings
    source: Path
    flow: Flow

    @property
    def tables(self) -> TableStore:
        return TableStore(self.settings.clean)

    def patient(self, folder: Path) -> str:
        """The pseudonym of the patient whose volumes lie in a folder of the set."""
        return self.settings.pseudonymiser().patient(folder.name)


@pytest.fixture(scope="module")
def openkbp(shared_data: Path) -> Path:
    """The folder of the set."""
    return shared_data / "ct_headneck_openkbp"


@pytest.fixture(scope="module")
def two(openkbp: Path, tmp_path_factory: pytest.TempPathFactory) -> Imported:
    """The first two patients, from import to masks; too few to train on."""
    settings = _settings(tmp_path_factory.mktemp("two"))
    _import(openkbp, settings, limit=2)
    return Imported(settings, openkbp, flow(settings))


def test_two_patients_come_through_without_a_failure(two: Imported) -> None:
    assert [run.job for run in two.flow.runs] == [
        "ingest_delivery",
        "ingest_annotations",
        "label_scans",
        "make_case_library",
    ]
    assert not [name for run in two.flow.runs for name in run.failed_checks]
    assert two.flow.remark is not None and "2 patients" in two.flow.remark


def test_the_name_of_the_import_is_the_partition_key(two: Imported) -> None:
    assert two.tables.keys(SLICES) == ["openkbp"]
    assert two.tables.keys(MASKS) == ["openkbp-labels"]


def test_every_structure_is_accepted(two: Imported) -> None:
    items = two.tables.read_all(MASK_ITEMS).to_pylist()
    assert {item["outcome"] for item in items} == {"accepted"}
    assert {item["structure"] for item in items} == {
        vocabulary.load().resolve(name).key  # type: ignore[union-attr]
        for name in json.loads((two.source / "labels.json").read_text()).values()
    }


def test_slices_hold_the_values_of_the_volume_and_masks_its_labels_voxel_by_pixel(two: Imported) -> None:
    words = vocabulary.load()
    names = json.loads((two.source / "labels.json").read_text())
    identifiers = np.zeros(256, np.uint8)
    for value, name in names.items():
        identifiers[int(value)] = words.resolve(name).id  # type: ignore[union-attr]
    masks = {row["slice_name"]: row for row in two.tables.read_all(MASKS).to_pylist()}
    slices = two.tables.read_all(SLICES).to_pylist()
    assert len(slices) == 256
    compared = 0
    for folder in sorted(two.source.glob("pt_*"))[:2]:
        image, labels = nib.load(folder / "ct.nii.gz"), nib.load(folder / "seg.nii.gz")
        hu = np.asarray(image.dataobj) + OFFSET  # type: ignore[attr-defined]
        ids = identifiers[np.asarray(labels.dataobj)]  # type: ignore[attr-defined]
        own = [row for row in slices if row["patient"] == two.patient(folder)]
        assert len(own) == 128
        for row in own:
            x, y, z = _voxels(row, image.affine)  # type: ignore[attr-defined]
            dataset = dcmread(DicomBytesIO(two.settings.clean.read(row["instance_path"])))
            assert np.array_equal(calibrated(dataset, 1), hu[x, y, z])
            expected = ids[x, y, z]
            if row["slice_name"] in masks:
                assert np.array_equal(decode_png(two.settings.clean.read(masks[row["slice_name"]]["path"])), expected)
                compared += 1
            else:
                assert not expected.any()
    assert compared == len(masks) > 150


@pytest.mark.slow
def test_the_whole_set_trains_a_generator_and_is_reported(openkbp: Path, tmp_path: Path) -> None:
    """All 24 patients with the demo's presets: minutes. Whether the gates let it be promoted is not asked: at this
    size many organs are a few pixels. Either way there are figures, of the champion or of the scans.
    """
    settings = _settings(tmp_path, threads="2")
    _import(openkbp, settings)
    whole = flow(settings, configs={})
    tables = TableStore(settings.clean)
    assert [run.job for run in whole.runs][:4] == ["ingest_delivery", "ingest_annotations", "retrain", "promote"]
    assert not [run for run in whole.runs if run.failure and run.job != "promote"]
    assert tables.read_all(ILLUSTRATIONS).num_rows >= 3
    assert tables.read_all(SLICES).num_rows == 24 * 128
    assert tables.read_all(MASKS).num_rows == 2334
    splits = tables.read_all(PATIENT_SPLITS)["split"].to_pylist()
    counts = {name: splits.count(name) for name in ("train", "judge", "validation", "locked_test")}
    assert counts == {"train": 12, "judge": 6, "validation": 3, "locked_test": 3}
    assert {row["body_part"] for row in tables.read(TRAINING_SLICES, "current").to_pylist()} == {"HEADNECK"}
    report = published.require(settings.clean, "validation_report")
    assert b"<html" in settings.clean.read(report["html"])
    figures = report["figures"]
    assert set(MAIN) <= set(figures)
    assert figures["judge_dice_generated"] > figures["judge_dice_shuffled"]


def _settings(home: Path, *, threads: str = "1") -> Settings:
    """A home with a key of its own: research volumes are no synthetic data."""
    return Settings.from_environment(
        {"MEDILLUS_HOME": str(home), "MEDILLUS_PROFILE": "demo", "MEDILLUS_WORKERS": "2", "MEDILLUS_THREADS": threads}
    )


def _import(source: Path, settings: Settings, limit: int | None = None) -> None:
    landing = Path(settings.landing.full(""))
    import_nifti(source, landing, name="openkbp", body_part="HEADNECK", offset=OFFSET, limit=limit)


def _voxels(row: dict, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each pixel (rows, columns) of a slice, the voxel indices in a NIfTI volume (RAS) at its centre."""
    to_lps = slice_to_lps_affine(row["position"], row["orientation"], row["pixel_spacing"])
    to_voxel = np.linalg.inv(affine) @ np.diag([-1.0, -1.0, 1.0, 1.0]) @ to_lps
    down, across = np.mgrid[: row["rows"], : row["columns"]]
    exact = np.tensordot(to_voxel, np.stack([across, down, np.zeros_like(down), np.ones_like(down)]), axes=1)[:3]
    whole = np.rint(exact).astype(int)
    assert np.abs(exact - whole).max() < 1e-3
    return whole[0], whole[1], whole[2]
