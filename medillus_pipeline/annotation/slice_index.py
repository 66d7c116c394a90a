"""The published slices as annotations look for them: by name, by instance, by series, by place in the patient."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from medillus_pipeline.dicom.geometry import normal, slice_to_lps_affine


@dataclass(frozen=True)
class Target:
    """A published slice that can be annotated: identity, size, and where it lies (None without geometry)."""

    slice_name: str
    sop_instance_uid: str
    frame: int
    series_instance_uid: str
    study_instance_uid: str
    frame_of_reference_uid: str | None
    patient: str
    modality: str
    rows: int
    columns: int
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    pixel_spacing: tuple[float, ...] | None
    slice_spacing: float | None

    @property
    def has_geometry(self) -> bool:
        """Whether the slice has a position, an orientation and a pixel spacing."""
        return bool(self.position and self.orientation and self.pixel_spacing)

    @cached_property
    def affine(self) -> np.ndarray:
        """(4, 4): (column, row, mm above the slice, 1) to LPS mm. Raises ValueError without geometry."""
        if not (self.position and self.orientation and self.pixel_spacing):
            raise ValueError("the slice has no position, orientation or pixel spacing")
        return slice_to_lps_affine(self.position, self.orientation, self.pixel_spacing)

    @cached_property
    def inverse(self) -> np.ndarray:
        """(4, 4): LPS mm to (column, row, mm above the slice, 1)."""
        return np.linalg.inv(self.affine)

    @cached_property
    def height(self) -> float:
        """Where the slice cuts its own normal, in mm."""
        return float(np.asarray(self.position, float) @ normal(self.orientation or ()))

    @property
    def reach(self) -> float:
        """How far from its plane, in mm, something still belongs to this slice: half the slice spacing, at least 0.1,
        and 1 for a slice without neighbours.
        """
        return max(0.1, self.slice_spacing / 2) if self.slice_spacing else 1.0


class SliceIndex:
    """All slices that a batch may refer to."""

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self.by_name: dict[str, Target] = {}
        self.by_frame: dict[tuple[str, int], Target] = {}
        self.by_instance: dict[str, list[Target]] = {}
        self.by_series: dict[str, list[Target]] = {}
        self.by_study: dict[str, list[Target]] = {}
        self.by_space: dict[str, list[Target]] = {}
        for row in rows:
            target = _target(row)
            if target.slice_name in self.by_name:
                continue
            self.by_name[target.slice_name] = target
            self.by_frame[target.sop_instance_uid, target.frame] = target
            self.by_instance.setdefault(target.sop_instance_uid, []).append(target)
            self.by_series.setdefault(target.series_instance_uid, []).append(target)
            self.by_study.setdefault(target.study_instance_uid, []).append(target)
            if target.frame_of_reference_uid:
                self.by_space.setdefault(target.frame_of_reference_uid, []).append(target)

    def __len__(self) -> int:
        return len(self.by_name)


def _numbers(value: Any) -> tuple[float, ...] | None:
    return None if value is None else tuple(float(v) for v in value)


def _target(row: Mapping[str, Any]) -> Target:
    spacing = row["slice_spacing"]
    return Target(
        slice_name=row["slice_name"],
        sop_instance_uid=row["sop_instance_uid"],
        frame=int(row["frame"]),
        series_instance_uid=row["series_instance_uid"],
        study_instance_uid=row["study_instance_uid"],
        frame_of_reference_uid=row["frame_of_reference_uid"],
        patient=row["patient"],
        modality=row["modality"],
        rows=int(row["rows"]),
        columns=int(row["columns"]),
        position=_numbers(row["position"]),
        orientation=_numbers(row["orientation"]),
        pixel_spacing=_numbers(row["pixel_spacing"]),
        slice_spacing=float(spacing) if spacing and np.isfinite(spacing) else None,
    )
