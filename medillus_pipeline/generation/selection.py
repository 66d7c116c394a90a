"""Which slices and which masks a dataset snapshot takes, and why the others are left out.

Works on table rows only; no pixel is read here.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from medillus_pipeline.generation.canonical import is_axial
from medillus_pipeline.generation.config import DatasetConfig
from medillus_pipeline.generation.series_frame import affine_of

Row = dict[str, Any]


def masks_in_force(masks: Iterable[Row]) -> dict[str, Row]:
    """One mask per slice name: the primary annotator's greatest revision.

    The primary annotator of a slice is, among those who annotated it, the one with most slices in all; ties go to the
    name that sorts first. Of two rows with the same identity the first wins.
    """
    newest: dict[tuple[str, str], Row] = {}
    for row in masks:
        key = (row["slice_name"], row["annotator"])
        if key not in newest or row["revision"] > newest[key]["revision"]:
            newest[key] = row
    slices_of = Counter(annotator for _, annotator in newest)
    chosen: dict[str, Row] = {}
    for (name, annotator), row in sorted(newest.items()):
        if name not in chosen or slices_of[annotator] > slices_of[chosen[name]["annotator"]]:
            chosen[name] = row
    return chosen


def select(
    slices: Sequence[Row],
    labelled: Mapping[str, Row],
    instances: Sequence[Row],
    splits: Mapping[str, str],
    config: DatasetConfig,
    left_out: Counter[str],
) -> tuple[dict[str, list[Row]], dict[str, str]]:
    """Usable axial slices by series (unlabelled ones too: they tell its extent), and the split of those to pack.

    `labelled` are the masks in force. Adds to `left_out` why the others are not packed: duplicate, no_instance,
    other_modality, no_geometry, not_axial, unlabelled, mask_of_other_size, patient_without_split.
    """
    published = {row["sop_instance_uid"] for row in instances}
    series: dict[str, list[Row]] = defaultdict(list)
    split_of: dict[str, str] = {}
    seen: set[str] = set()
    for row in slices:
        name = row["slice_name"]
        if name in seen:
            left_out["duplicate"] += 1
            continue
        seen.add(name)
        mask = labelled.get(name)
        if reason := _unusable(row, published, config):
            left_out[reason] += 1
            continue
        series[row["series_instance_uid"]].append(row)
        if mask is None or not mask["labels"]:
            left_out["unlabelled"] += 1
        elif (mask["rows"], mask["columns"]) != (row["rows"], row["columns"]):
            left_out["mask_of_other_size"] += 1
        elif row["split_token"] not in splits:
            left_out["patient_without_split"] += 1
        else:
            split_of[name] = splits[row["split_token"]]
    used = {uid: rows for uid, rows in series.items() if any(row["slice_name"] in split_of for row in rows)}
    return used, split_of


def _unusable(row: Row, published: set[str], config: DatasetConfig) -> str | None:
    """Why a slice cannot stand in the canonical frame, or None."""
    if row["sop_instance_uid"] not in published:
        return "no_instance"
    if row["modality"] not in config.modalities:
        return "other_modality"
    if row["position"] is None or row["orientation"] is None or row["pixel_spacing"] is None:
        return "no_geometry"
    return None if is_axial(affine_of(row), config.axial_tolerance_degrees) else "not_axial"
