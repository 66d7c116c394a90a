"""The suites of the tables beside `illustrations`: clean rows pass, each planted defect is found by name."""

import json
from typing import Any

import pandas as pd
import pytest

from medillus_pipeline.quality import illustration_suites as suites
from medillus_pipeline.quality.expectations import Suite
from medillus_pipeline.quality.gate import audit
from medillus_pipeline.tables import (
    ILLUSTRATION_RECORDS,
    ILLUSTRATION_REQUESTS,
    VOLUME_ILLUSTRATIONS,
    Table,
)

HASH = "ab" * 32
PATIENT = "p-0123456789abcdef"
SLICE = "s-0123456789abcdef-0001"
FIGURE = "f-0123456789ab"


def path(folder: str, ending: str) -> str:
    return f"{folder}/ab/{HASH}{ending}"


RECORD: dict[str, Any] = {
    "figure": FIGURE,
    "slice_name": SLICE,
    "patient": PATIENT,
    "request": None,
    "style": "radiology",
    "modality": "CT",
    "level": 0.5,
    "contrast_phase": "portal_venous",
    "pathologies": ["liver_cyst"],
    "stage": None,
    "endings": [".json", ".manifest.json", ".png", ".svg"],
    "paths": [path("figures", ending) for ending in (".json", ".json", ".png", ".svg")],
    "made_at": "2026-03-01T10:00:00+00:00",
    "failed_checks": [],
    "approved_by": ["r-0123abcd"],
    "publication": True,
}
MASK = path("request_masks", ".png")
REQUEST: dict[str, Any] = {
    "request": "q-0123456789ab",
    "ways": ["sketch", "text"],
    "document": json.dumps({"name": "q-0123456789ab", "mask": MASK, "sketch": None}),
    "mask_path": MASK,
    "mask_sha256": HASH,
    "remarks": [],
}
VOLUME: dict[str, Any] = {
    "volume": "v-0123456789ab",
    "patient": PATIENT,
    "series_instance_uid": "2.25.1",
    "split": "validation",
    "modality": "CT",
    "slices": 40,
    "side": 64,
    "spacing": [3.0, 6.0, 6.0],
    "labels": [1, 5],
    "seed": 1,
    "model_version": "3",
    "dataset_fingerprint": HASH,
    "flicker": 0.9,
    "lag": 0.9,
    "texture_spread": 0.9,
    "neighbour_correlation": 0.4,
    "neighbour_correlation_real": 0.4,
    "dice_ratio": None,
    "failed_checks": [],
    "nifti_path": path("volume_files", ".nii.gz"),
    "labels_path": path("volume_files", ".nii.gz"),
    "dicom_path": path("volume_files", ".zip"),
    "surfaces_path": path("volume_files", ".glb"),
    "scene_path": path("volume_files", ".zip"),
    "picture_path": path("volume_files", ".png"),
    "manifest_path": path("volume_files", ".json"),
    "made_at": "2026-03-01T10:00:00+00:00",
    "approved_by": [],
    "sha256": HASH,
}
CLEAN: dict[str, tuple[Suite, Table, dict[str, Any]]] = {
    "records": (suites.illustration_records, ILLUSTRATION_RECORDS, RECORD),
    "requests": (suites.illustration_requests, ILLUSTRATION_REQUESTS, REQUEST),
    "volumes": (suites.volume_illustrations, VOLUME_ILLUSTRATIONS, VOLUME),
}


def broken(name: str, **changes: Any) -> tuple[str, ...]:
    suite, table, row = CLEAN[name]
    related = {"illustrations": pd.DataFrame([{"figure": FIGURE, "slice_name": SLICE}])}
    frame = table.to_arrow([row | changes]).to_pandas()
    return tuple(audit(suite, frame, related=related).broken)


@pytest.mark.parametrize("name", CLEAN)
def test_clean_rows_pass_and_every_column_that_may_not_be_null_is_looked_at(name: str) -> None:
    assert broken(name) == ()
    suite, table, _ = CLEAN[name]
    required = {column.name for column in table.columns if not column.nullable}
    assert required <= {e.column for e in suite.expectations if e.type == "expect_column_values_to_not_be_null"}


def test_a_request_without_a_label_map_passes_beside_one_with_a_label_map() -> None:
    name = "q-ffffffffffff"
    bare = {"request": name, "ways": ["scan"], "document": json.dumps({"name": name, "mask": None})}
    rows = [REQUEST, REQUEST | bare | {"mask_path": None, "mask_sha256": None}]
    assert not audit(suites.illustration_requests, ILLUSTRATION_REQUESTS.to_arrow(rows).to_pandas()).broken


@pytest.mark.parametrize(
    ("name", "changes", "column"),
    [
        ("records", {"approved_by": []}, "approved_for_publication"),
        ("records", {"approved_by": ["Ada Holloway"]}, "reviewers_pseudonymous"),
        ("records", {"paths": RECORD["paths"][:3]}, "files_whole"),
        ("records", {"paths": ["../vault/key", *RECORD["paths"][1:]]}, "files_whole"),
        ("records", {"figure": "f-ffffffffffff"}, "figure_known"),
        ("records", {"pathologies": ["as Walther has"]}, "pathologies_are_keys"),
        ("records", {"patient": "Walther"}, "patient"),
        ("records", {"made_at": "yesterday"}, "made_at"),
        ("requests", {"ways": ["telephone"]}, "ways_listed"),
        ("requests", {"mask_sha256": "cd" * 32}, "mask_hash_in_path"),
        ("requests", {"mask_path": None, "mask_sha256": None}, "document_names_itself"),
        ("requests", {"document": json.dumps({"name": "Walther", "mask": MASK})}, "document_names_itself"),
        ("volumes", {"split": "locked_test"}, "split"),
        ("volumes", {"spacing": [3.0, 0.0, 6.0]}, "spacing_positive"),
        ("volumes", {"labels": []}, "label_count"),
        ("volumes", {"sha256": "cd" * 32}, "hash_in_path"),
        ("volumes", {"dicom_path": "landing/series"}, "dicom_path"),
    ],
)
def test_a_planted_defect_is_found_where_it_is(name: str, changes: dict[str, Any], column: str) -> None:
    assert any(column in line for line in broken(name, **changes))
