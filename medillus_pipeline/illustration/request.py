"""What a figure is asked to show, and the provenance that goes with it. Nothing here draws."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from medillus_pipeline.annotation.study.pathology import Pathology
from medillus_pipeline.annotation.vocabulary import Structure
from medillus_pipeline.dicom.windows import PRESETS, Window
from medillus_pipeline.errors import InputError

Language = Literal["en", "zh", "both"]
Source = Literal["generated", "scan"]
LabelledBy = Literal["annotator", "organ_segmenter"]
Style = Literal["radiology", "textbook", "patient", "summary", "journal", "quiz"]
Marks = Literal["outlines", "fills"]
PaletteName = Literal["vocabulary", "colour-blind"]
Letters = tuple[str, str, str, str]

PLANES: dict[str, Letters] = {
    "axial": ("R", "L", "A", "P"),
    "coronal": ("R", "L", "H", "F"),
    "sagittal": ("A", "P", "H", "F"),
}
"""Edge letters (left, right, top, bottom) of the three planes as radiologists hang them."""

JOURNAL_WIDTHS_MM = (85, 180)
"""One column and two columns of a journal."""

SIDECAR_VERSION = 2


@dataclass(frozen=True, kw_only=True)
class FigureRequest:
    """One figure: image, label map, and where both come from. Every name in it must be pseudonymous.

    Attributes:
        image: (h, w) calibrated values, HU for CT.
        labels: (h, w) vocabulary ids, 0 for background.
        structures: the structures to outline and name; ids of `labels` not among them are left alone.
        modality: DICOM Modality.
        pixel_mm: row spacing, column spacing in mm (PS3.3 10.7.1.3).
        source: `generated` by a model, or a `scan`.
        slice_name: slice whose mask conditioned the figure, or that is shown.
        patient: patient pseudonym of that slice.
        confidences: vocabulary id → score 0 to 1, NaN where there is none (see `confidence.py`); empty: no column.
        calibration: where the confidences are calibrated, what calibrated them (see `confidence.provenance`), with
            `found_dice`, the Dice from which on a structure counts as found; None: they are raw agreement.
        body_part: BodyPartExamined.
        level: position along the body axis in the series, 0 feet to 1 head.
        window: how values become greys; by default soft tissue for CT, else the 0.5 to 99.5 percentiles.
        orientation: letters at the image's left, right, top and bottom edge, of R L A P H F; see `PLANES`.
        labelled_by: who drew the labels of a scan.
        split: split of that patient.
        model_name, model_version, dataset_fingerprint, seed, steps, code_version, vocabulary_version: how it was made.
        model_stale: why the report that the model was promoted by holds no longer, a sentence each; empty: it holds.
        run_ids: names → ids of the runs behind it (Dagster, MLflow).
        ethics: what the figures are for, who answers for it and since when, where somebody recorded it.
        language: languages of names and captions; the warning stands in both, always.
        style: for whom the figure is; see `styles.py`.
        marks: outlines or fills; None: as the style has it.
        palette: the vocabulary's colours, or colours that dichromats tell apart (see `palette.py`).
        journal_width_mm: printed width of a `journal` figure, 85 or 180.
        pathologies: what the figure shows beside the structures; listed with ICD-11 codes where they have one.
    """

    image: np.ndarray
    labels: np.ndarray
    structures: tuple[Structure, ...]
    modality: str
    pixel_mm: tuple[float, float]
    source: Source
    slice_name: str
    patient: str
    confidences: Mapping[int, float] = field(default_factory=dict)
    calibration: Mapping[str, Any] | None = None
    body_part: str | None = None
    level: float | None = None
    window: Window | None = None
    orientation: Letters = PLANES["axial"]
    labelled_by: LabelledBy = "annotator"
    split: str | None = None
    model_name: str | None = None
    model_version: str | None = None
    dataset_fingerprint: str | None = None
    seed: int | None = None
    steps: int | None = None
    code_version: str | None = None
    vocabulary_version: str | None = None
    model_stale: tuple[str, ...] = ()
    run_ids: Mapping[str, str] = field(default_factory=dict)
    ethics: Mapping[str, str] | None = None
    language: Language = "both"
    style: Style = "radiology"
    marks: Marks | None = None
    palette: PaletteName = "vocabulary"
    journal_width_mm: int = 180
    pathologies: tuple[Pathology, ...] = ()

    def __post_init__(self) -> None:
        if self.image.ndim != 2 or self.image.shape != self.labels.shape or 0 in self.image.shape:
            raise InputError(f"image {self.image.shape} and label map {self.labels.shape} must be of one shape")
        if not np.isfinite(self.image).all():
            raise InputError(f"the image of slice {self.slice_name} holds values that are not finite")
        if not all(math.isfinite(mm) and mm > 0 for mm in self.pixel_mm):
            raise InputError("pixel spacing must be positive, in mm: without it a figure has no scale")
        if not _is_plane(self.orientation):
            raise InputError(
                f"{', '.join(self.orientation)} are no edge letters: left and right, then top and bottom, each pair "
                "of R-L, A-P or H-F and no pair twice"
            )
        if self.journal_width_mm not in JOURNAL_WIDTHS_MM:
            raise InputError(f"a journal figure is 85 or 180 mm wide, not {self.journal_width_mm:g} mm")
        if len({s.id for s in self.structures}) != len(self.structures):
            raise InputError("a structure is named twice in the request")
        if self.source == "generated" and (self.model_version is None or self.seed is None):
            raise InputError("a generated figure must state the model version and the seed that made it")
        if self.calibration is not None and self.source != "generated":
            raise InputError("a scan has no calibrated confidence: the calibration is of a generator's images")
        for identifier, score in self.confidences.items():
            if not (math.isnan(score) or 0 <= score <= 1):
                raise InputError(f"the confidence of structure {identifier} is outside 0 to 1")

    def effective_window(self) -> Window:
        """The window asked for, or the default."""
        if self.window is not None:
            return self.window
        if self.modality == "CT":
            return PRESETS["soft-tissue"]
        low, high = (float(v) for v in np.percentile(self.image, (0.5, 99.5)))
        return Window("percentiles", round((low + high) / 2, 1), round(max(high - low, 1.0), 1))

    def facts(self) -> dict[str, Any]:
        """Everything but the arrays, ready for JSON; arrays by SHA-256 of their bytes in C order."""
        window = self.effective_window()
        return {
            "source": self.source,
            "slice_name": self.slice_name,
            "patient": self.patient,
            "split": self.split,
            "modality": self.modality,
            "body_part": self.body_part,
            "level": self.level,
            "pixel_mm": list(self.pixel_mm),
            "window": {"name": window.name, "center": window.center, "width": window.width},
            "orientation": list(self.orientation),
            "labelled_by": self.labelled_by if self.source == "scan" else None,
            "language": self.language,
            "style": self.style,
            "marks": self.marks,
            "palette": self.palette,
            "journal_width_mm": self.journal_width_mm if self.style == "journal" else None,
            "pathologies": [p.key for p in self.pathologies],
            "model": {
                "name": self.model_name,
                "version": self.model_version,
                **({"stale": list(self.model_stale)} if self.model_stale else {}),
            },
            "dataset_fingerprint": self.dataset_fingerprint,
            "seed": self.seed,
            "steps": self.steps,
            "code_version": self.code_version,
            "vocabulary_version": self.vocabulary_version,
            "run_ids": dict(sorted(self.run_ids.items())),
            "ethics": None if self.ethics is None else dict(self.ethics),
            "requested": [s.key for s in self.structures],
            "confidences": {
                str(identifier): None if math.isnan(score) else round(float(score), 6)
                for identifier, score in sorted(self.confidences.items())
            },
            "confidence_calibration": None if self.calibration is None else dict(self.calibration),
            "image": _array_facts(self.image),
            "labels": _array_facts(self.labels),
        }

    def name(self) -> str:
        """The figure's name, f-<12 hex>, from everything that it shows."""
        return "f-" + hashlib.sha256(canonical_json(self.facts())).hexdigest()[:12]


def canonical_json(value: object) -> bytes:
    """UTF-8 JSON with sorted keys, the same bytes for the same value; NaN is refused."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, indent=1, allow_nan=False).encode() + b"\n"


def _is_plane(letters: Letters) -> bool:
    pairs = [frozenset(letters[:2]), frozenset(letters[2:])]
    return len(letters) == 4 and pairs[0] != pairs[1] and all(p in map(frozenset, ("RL", "AP", "HF")) for p in pairs)


def _array_facts(array: np.ndarray) -> dict[str, Any]:
    return {
        "shape": list(array.shape),
        "type": array.dtype.name,
        "sha256": hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest(),
    }
