"""Clean frames for every suite, as the assets hand them over: made of rows, through the table's own Arrow schema."""

import hashlib
from typing import Any

import pandas as pd

from medillus_pipeline.annotation.label_map import OVERLAP_POLICY
from medillus_pipeline.annotation.vocabulary import load
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.dicom.slice_names import slice_name
from medillus_pipeline.tables import (
    ILLUSTRATIONS,
    INSTANCES,
    MASK_AGREEMENT,
    MASK_FINDINGS,
    MASK_LAYERS,
    MASKS,
    SLICE_WINDOWS,
    SLICES,
    STUDY_LABELS,
    TRAINING_SLICES,
    VOLUMES,
    Table,
)

PSEUDONYMISER = Pseudonymiser(key=bytes(32), split_salt=bytes(32))
PATIENTS = ("one", "two", "three", "four")
SLICES_OF_EACH = 2
SPLITS = ("train", "judge", "validation", "locked_test")
AFFINE = [1.6, 0, 0, -200, 0, 1.6, 0, -200, 0, 0, 6, 40, 0, 0, 0, 1]


def digest(*words: object) -> str:
    return hashlib.sha256("/".join(map(str, words)).encode()).hexdigest()


def path(folder: str, sha256: str, suffix: str) -> str:
    return f"{folder}/{sha256[:2]}/{sha256}{suffix}"


def _each() -> list[tuple[str, int, str]]:
    return [(p, n, PSEUDONYMISER.uid(f"{p}.{n}")) for p in PATIENTS for n in range(SLICES_OF_EACH)]


def _identity(patient: str) -> dict[str, Any]:
    return {
        "series_instance_uid": PSEUDONYMISER.uid(f"series {patient}"),
        "study_instance_uid": PSEUDONYMISER.uid(f"study {patient}"),
        "frame_of_reference_uid": PSEUDONYMISER.uid(f"frame {patient}"),
        "patient": PSEUDONYMISER.patient(patient),
        "split_token": PSEUDONYMISER.split_token(patient),
        "modality": "CT",
        "body_part": None,
    }


def instances() -> list[dict[str, Any]]:
    return [
        {
            "sop_instance_uid": uid,
            "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
            **_identity(patient),
            "rows": 64,
            "columns": 48,
            "frames": 1,
            "transfer_syntax_uid": "1.2.840.10008.1.2.1",
            "pixel_hash": digest("pixels", uid)[:32],
            "face": "none",
            "path": path("instances", digest("file", uid), ".dcm"),
            "sha256": digest("file", uid),
            "bytes": 6500,
        }
        for patient, _, uid in _each()
    ]


def slices() -> list[dict[str, Any]]:
    return [
        {
            "slice_name": slice_name(uid, 1),
            "sop_instance_uid": uid,
            "frame": 1,
            **_identity(patient),
            "ordinal": number,
            "rows": 64,
            "columns": 48,
            "pixel_spacing": [1.6, 1.6],
            "position": [-50.0, -40.0, 6.0 * number],
            "orientation": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
            "slice_spacing": 6.0,
            "window": "soft-tissue",
            "window_center": 50.0,
            "window_width": 350.0,
            "transform": "rescale 1.0 -1024.0; LINEAR 50.0 350.0",
            "minimum": -1000.0,
            "maximum": 900.0,
            "mean": -200.0,
            "instance_path": path("instances", digest("file", uid), ".dcm"),
            "path": path("slices", digest("png", uid), ".png"),
            "sha256": digest("png", uid),
        }
        for patient, number, uid in _each()
    ]


def slice_windows() -> list[dict[str, Any]]:
    return [
        {
            "slice_name": slice_name(uid, 1),
            "window": "lossless" if number else "lung",
            "output": "lossless" if number else "grey8",
            "window_center": 31743.5 if number else -600.0,
            "window_width": 65535.0 if number else 1500.0,
            "slope": 1.0 if number else None,
            "intercept": -1024.0 if number else None,
            "transform": "rescale 1.0 -1024.0; " + ("lossless 1.0 -1024.0" if number else "LINEAR -600.0 1500.0"),
            "path": path("slices", digest("further", uid), ".png"),
            "sha256": digest("further", uid),
        }
        for _, number, uid in _each()
    ]


def volumes() -> list[dict[str, Any]]:
    return [
        {
            **_identity(patient),
            "stack": number,
            "face": "none",
            "verdict": "volume",
            "notes": ["mixed_orientation"],
            "slices": 1,
            "shape": [48, 64, 1],
            "spacing": [1.6, 1.6, 6.0],
            "affine": [float(value) for value in AFFINE],
            "unit": "HU",
            "minimum": -1000.0,
            "maximum": 900.0,
            "padding": None,
            "path": path("volumes", digest("volume", uid), ".nii.gz"),
            "sha256": digest("volume", uid),
            "bytes": 9000,
            "preview": path("reformats", digest("planes", uid), ".png"),
        }
        for patient, number, uid in _each()
    ]


def masks() -> list[dict[str, Any]]:
    return [
        {
            "slice_name": slice_name(uid, 1),
            "sop_instance_uid": uid,
            "frame": 1,
            "patient": PSEUDONYMISER.patient(patient),
            "annotator": PSEUDONYMISER.annotator("reader"),
            "revision": 1,
            "source_format": "labelme",
            "item": PSEUDONYMISER.item(digest(uid), "file"),
            "rows": 64,
            "columns": 48,
            "labels": [1, 5],
            "areas": [900, 30],
            "overlap_pixels": 3,
            "overlap_policy": OVERLAP_POLICY,
            "vocabulary": "0123456789abcdef",
            "path": path("masks", digest("mask", uid), ".png"),
            "sha256": digest("mask", uid),
        }
        for patient, _, uid in _each()
    ]


def mask_layers() -> list[dict[str, Any]]:
    """On the first slice of each patient a liver that another covers in part, on the second a planning target."""
    return [
        {
            "slice_name": slice_name(uid, 1),
            "annotator": PSEUDONYMISER.annotator("reader"),
            "revision": 1,
            "label": load().by_key("ptv" if number else "liver").id,
            "reason": "planning_target" if number else "overlap",
            "item": PSEUDONYMISER.item(digest(uid), "file"),
            "rows": 64,
            "columns": 48,
            "area": 10,
            "hidden_pixels": 10 if number else 4,
            "top": 60,
            "left": 40,
            "height": 4,
            "width": 8,
            "runs": [0, 6, 20, 4, 2],
        }
        for _, number, uid in _each()
    ]


def mask_findings() -> list[dict[str, Any]]:
    """Of each patient a structure that was taken off a slice, and one of an odd volume."""
    return [
        {
            "series_instance_uid": PSEUDONYMISER.uid(f"series {patient}"),
            "annotator": PSEUDONYMISER.annotator("reader"),
            "structure": "liver" if number else "kidney_left",
            "finding": "volume" if number else "sides_swapped",
            "slice_name": "*" if number else slice_name(uid, 1),
            "value": 9000.0 if number else -40.0,
            "low": 300.0 if number else -5.0,
            "high": 4000.0 if number else None,
            "unit": "ml" if number else "mm",
            "severity": "warn" if number else "refuse",
        }
        for patient, number, uid in _each()
    ]


def mask_agreement() -> list[dict[str, Any]]:
    """Of each patient one comparison: the structure on one slice, and in the whole series."""
    first, second = sorted(PSEUDONYMISER.annotator(name) for name in ("reader", "second reader"))
    return [
        {
            "series_instance_uid": PSEUDONYMISER.uid(f"series {patient}"),
            "slice_name": "*" if number else slice_name(uid, 1),
            "structure": "liver",
            "annotator_a": first,
            "annotator_b": second,
            "patient": PSEUDONYMISER.patient(patient),
            "drawn_by": "both",
            "slices": 1,
            "slices_only_a": 0,
            "slices_only_b": 0,
            "dice": 0.9,
            "mean_surface_distance_mm": 0.8,
            "hausdorff_95_mm": 2.0,
            "area_a_mm2": 400.0,
            "area_b_mm2": 500.0,
            "area_difference_percent": 22.0,
        }
        for patient, number, uid in _each()
    ]


def study_labels() -> list[dict[str, Any]]:
    """Of each patient a pathology of the study, and the contrast phase of its series."""
    return [
        {
            "study_instance_uid": PSEUDONYMISER.uid(f"study {patient}"),
            "series_instance_uid": PSEUDONYMISER.uid(f"series {patient}") if number else "",
            "patient": PSEUDONYMISER.patient(patient),
            "kind": "contrast_phase" if number else "pathology",
            "value": "portal_venous" if number else "emphysema",
            "code": "" if number else "CA21",
            "annotator": PSEUDONYMISER.annotator("reader"),
            "revision": 1,
        }
        for patient, number, _ in _each()
    ]


def training_slices() -> list[dict[str, Any]]:
    return [
        {
            "row": row,
            "slice_name": slice_name(uid, 1),
            "patient": PSEUDONYMISER.patient(patient),
            "split": SPLITS[PATIENTS.index(patient)],
            "series_instance_uid": PSEUDONYMISER.uid(f"series {patient}"),
            "annotator": PSEUDONYMISER.annotator("reader"),
            "modality": "CT",
            "body_part": None,
            "contrast_phase": "portal_venous",
            "pathology": ["emphysema", "liver_cyst"],
            "stage": "IA1",
            "level": number / SLICES_OF_EACH,
            "affine": [float(value) for value in AFFINE],
            "labels": [1, 5],
            "body_fraction": 0.4,
            "mean": 20.0,
            "source_value_sha256": digest("values", uid),
        }
        for row, (patient, number, uid) in enumerate(_each())
    ]


def illustrations() -> list[dict[str, Any]]:
    return [
        {
            "figure": f"f-{digest(uid)[:12]}",
            "source": "generated" if number else "scan",
            "slice_name": slice_name(uid, 1),
            "patient": PSEUDONYMISER.patient(patient),
            "split": "validation" if number else None,
            "labels": [1, 5],
            "confidences": [0.9, float("nan")],
            "seed": 7 if number else None,
            "model_version": "3" if number else None,
            "dataset_fingerprint": digest("dataset") if number else None,
            "svg_path": path("illustrations", digest("svg", uid), ".svg"),
            "png_path": path("illustrations", digest("picture", uid), ".png"),
            "sidecar_path": path("illustrations", digest("sidecar", uid), ".json"),
            "sha256": digest("svg", uid),
        }
        for patient, number, uid in _each()
    ]


_TABLES: dict[str, tuple[Table, Any]] = {
    "instances": (INSTANCES, instances),
    "slices": (SLICES, slices),
    "slice_windows": (SLICE_WINDOWS, slice_windows),
    "volumes": (VOLUMES, volumes),
    "masks": (MASKS, masks),
    "mask_layers": (MASK_LAYERS, mask_layers),
    "mask_findings": (MASK_FINDINGS, mask_findings),
    "mask_agreement": (MASK_AGREEMENT, mask_agreement),
    "study_labels": (STUDY_LABELS, study_labels),
    "training_slices": (TRAINING_SLICES, training_slices),
    "illustrations": (ILLUSTRATIONS, illustrations),
}


def frame(name: str) -> pd.DataFrame:
    """A clean frame of eight rows."""
    table, rows = _TABLES[name]
    return table.to_arrow(rows()).to_pandas()


def related() -> dict[str, pd.DataFrame]:
    """The frames that suites compare with."""
    return {"instances": frame("instances"), "slices": frame("slices")}
