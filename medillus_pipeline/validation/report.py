"""The validation report: one self-contained HTML page for a physician and an engineer, and the same as JSON.

Every figure in the page stands in a `<data value=… data-figure=…>` element whose value is the JSON's, so that the two
cannot drift apart. Numbers come from `evaluate`, the judgement from `gates`; nothing is computed here.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medillus_pipeline.validation import gates, plots, slice_groups
from medillus_pipeline.validation.confidence import DEFINITION
from medillus_pipeline.validation.confidence_section import CalibratedConfidence
from medillus_pipeline.validation.evaluate import Evaluation, Example
from medillus_pipeline.validation.figures import (
    CHAMPION,
    COMPARED,
    CONTEXT_FIGURES,
    CONTEXTS,
    CONTROLS,
    ERRORS,
    GROUP_FIGURES,
    KINDS,
    MAIN,
    Kind,
    display,
    figures_json,
    kind_of,
)
from medillus_pipeline.validation.gates import GateResult, Verdict

MARKS = {"passed": "✓ passed", "failed": "✕ failed", "inconclusive": "? not measured"}
REPORTED = ("organ_hu_sd_error", "fid", "fid_floor", "kid", "kid_floor", "ssim", "mae")
"""Figures of the second table: shown for completeness, in no gate."""

MEMORISATION = ("copy_rate", "distance_ratio", "membership_auc", "nearness_auc")
THRESHOLDS = ("copy_threshold_features", "copy_threshold_pixels")
STUDENTS = ("tstr_ratio", "tstr_dice", "trtr_dice")
CONFIDENCE = (
    "confidence_ece",
    "confidence_ece_floor",
    "confidence_ece_raw",
    "confidence_brier",
    "confidence_brier_base",
)
"""Figures of sections of their own, shown where they were measured."""

EDITED = (("all", ""), ("organ moved", "_move"), ("organ grown", "_grow"), ("organ removed", "_remove"))
MARKS_OF_INTERVALS = ("†", "‡", "§", "¶")

ORGAN_COLUMNS = (
    "judge_dice_real",
    "judge_dice_generated",
    "judge_dice_shuffled",
    "judge_dice_texture",
    "dice_recovery",
    "hu_mean_real",
    "hu_mean_generated",
    "organ_hu_error",
    "organ_hu_sd_ratio",
    "anatomical_error_rate",
)


@dataclass(frozen=True)
class Provenance:
    """Where the figures come from. `date` is passed in, never read from a clock, so equal inputs give equal pages.

    `splits` counts patients by split; `details` are further lines, shown as they are.
    """

    model: str
    model_version: str
    dataset_fingerprint: str
    split_sha256: str
    judge_sha256: str
    code_version: str
    date: str
    split: str
    splits: Mapping[str, int]
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Beside:
    """The champion's version, and why it was not measured beside this one ("" where it was)."""

    version: str | None
    why_not: str


@dataclass(frozen=True)
class Report:
    """The flat figures, the page, and everything (figures, gates, provenance) as one JSON document."""

    figures: dict[str, float]
    html: str
    document: dict[str, Any]


def build_report(
    evaluation: Evaluation,
    verdict: Verdict,
    provenance: Provenance,
    *,
    window: tuple[float, float] = (50.0, 350.0),
    edits: bytes | None = None,
    champion: Beside | None = None,
    confidence: CalibratedConfidence | None = None,
) -> Report:
    """The report of one model version. `window` is (centre, width) in HU for the sample grid; `edits` is a PNG of
    edited masks (`counterfactual_strip.py`); `champion` is what the version is shown beside, and `confidence`
    the calibration of what its figures print, whose figures the evaluation holds.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    figures = figures_json(evaluation.figures)
    document = {
        "verdict": {"status": verdict.status, "sentence": verdict.sentence, "profile": verdict.profile.name},
        "figures": figures,
        "gates": [_gate_row(result) for result in verdict.results],
        "gates_sha256": gates.fingerprint(),
        "feature_extractor": {"name": "judge", "sha256": provenance.judge_sha256},
        "champion": None if champion is None else asdict(champion),
        "confidence": None if confidence is None else confidence.document(),
        "remarks": list(evaluation.remarks),
        "worst": [
            {"patient": e.patient, "level": e.level, "nearest_training_patient": e.nearest, "copy": e.copied}
            for e in evaluation.examples
        ],
        "provenance": {**asdict(provenance), "seed": evaluation.seed, "config": evaluation.config.model_dump()},
    }

    def figure(key: str) -> Markup:
        value = figures.get(key)
        number = Markup("") if value is None else Markup(' value="{}"').format(repr(value))
        return Markup('<data class="figure"{} data-figure="{}">{}</data>').format(number, key, display(key, value))

    environment = Environment(
        loader=PackageLoader("medillus_pipeline.validation", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    palette = _palette([organ.colour for organ in evaluation.organs])
    page = environment.get_template("report.html.j2").render(
        evaluation=evaluation,
        verdict=verdict,
        profile=verdict.profile,
        provenance=provenance,
        gates_sha256=document["gates_sha256"],
        figure=figure,
        known=figures,
        kinds=KINDS,
        kind_of=kind_of,
        main=MAIN,
        controls=CONTROLS,
        control_name=_control_name,
        bounds=_bounds_text,
        marks=MARKS,
        reported=REPORTED,
        errors=ERRORS,
        memorised=MEMORISATION if "copy_rate" in figures else (),
        thresholds=THRESHOLDS,
        students=STUDENTS if "trtr_dice" in figures else (),
        edits=[(name, f"counterfactual_{{}}{suffix}") for name, suffix in EDITED] if edits else [],
        strip=None if edits is None else _uri(edits, "image/png"),
        champion=champion,
        compared=[key for key in COMPARED if f"{key}_{CHAMPION}" in figures],
        confidence=confidence,
        confidence_figures=CONFIDENCE,
        confidence_definition=DEFINITION,
        confidence_plot=None if confidence is None else _uri(confidence.plot, "image/svg+xml"),
        groups=_groups(figures),
        group_figures=[
            key for key in GROUP_FIGURES if any(f"{key}/{name}" in figures for _, _, name in _groups(figures))
        ],
        interval_marks=_interval_marks(verdict),
        contexts=[(suffix, name) for suffix, name in CONTEXTS.items() if f"dice_recovery_{suffix}" in figures],
        context_figures=CONTEXT_FIGURES,
        organ_columns=ORGAN_COLUMNS,
        examples=[_example_pictures(example, window, palette) for example in evaluation.examples],
        window=window,
        dice_plot=_uri(plots.dice_plot(figures, evaluation.organs), "image/svg+xml"),
        hu_plot=_uri(plots.hu_plot(figures, evaluation.organs), "image/svg+xml"),
        document=Markup(_script_json(document)),
    )
    return Report(figures=figures, html=page, document=document)


def verdict_lines(verdict: Verdict, report: Report) -> list[str]:
    """The verdict in sentences for the model card: on what it rests, and each gate with its figure and threshold."""
    provenance = report.document["provenance"]
    patients, slices = (display(key, report.figures.get(key)) for key in ("patients", "slices"))
    lines = [
        verdict.sentence,
        f"Measured on {slices} slices of {patients} {provenance['split']} patients under profile "
        f"{verdict.profile.name}, by the judge with SHA-256 `{provenance['judge_sha256']}`.",
    ]
    for result in verdict.results:
        key = result.gate.figure
        lines.append(f"{kind_of(key).title}: {display(key, result.value)}, {_bounds_text(result)}: {result.status}.")
    return lines


def _groups(figures: Mapping[str, float]) -> list[tuple[str, str, str]]:
    """(kind, value, name) of the groups of slices that were measured, such as ("modality", "MR", "modality.MR")."""
    names = sorted(key.removeprefix("slices/") for key in figures if key.startswith("slices/"))
    parts = [(name.partition(".")[0], name.partition(".")[2], name) for name in names]
    return sorted(parts, key=lambda part: (slice_groups.GROUPED.index(part[0]), part[1]))


def _interval_marks(verdict: Verdict) -> dict[str, str]:
    """A mark for each way of making an interval that differs from the usual one, by its words."""
    usual = Kind("", "", 0, "").bounds
    words = [kind_of(result.gate.figure).bounds for result in verdict.results]
    return dict(zip(dict.fromkeys(word for word in words if word != usual), MARKS_OF_INTERVALS, strict=False))


def _gate_row(result: GateResult) -> dict[str, Any]:
    return {
        "figure": result.gate.figure,
        "status": result.status,
        "value": result.value,
        "low": result.low,
        "high": result.high,
        "minimum": result.gate.minimum,
        "maximum": result.gate.maximum,
        "on_interval": result.gate.on_interval,
        "reason": result.gate.reason,
    }


def _bounds_text(result: GateResult) -> str:
    """The threshold in words, for example `at least 0.50 (lower bound)`."""
    gate = result.gate
    ends = [("at least", gate.minimum, "lower"), ("at most", gate.maximum, "upper")]
    parts = [
        f"{word} {display(gate.figure, limit)}{f' ({end} bound)' if gate.on_interval else ''}"
        for word, limit, end in ends
        if limit is not None
    ]
    return ", ".join(parts)


def _control_name(key: str) -> str:
    """What a control's figure was computed on, for example `Gaussian texture per label`."""
    return next((name for suffix, name in CONTROLS.items() if key.endswith(f"_{suffix}")), kind_of(key).title)


def _example_pictures(example: Example, window: tuple[float, float], palette: bytes) -> dict[str, Any]:
    from medillus_pipeline.dicom.png import encode_png

    def grey(values: NDArray[np.integer]) -> str:
        centre, width = window
        scaled = np.clip((values.astype(np.float64) - centre + width / 2) / width, 0, 1)
        return _uri(encode_png(np.rint(255 * scaled).astype(np.uint8)), "image/png")

    def labels(class_map: NDArray[np.uint8]) -> str:
        return _uri(encode_png(np.ascontiguousarray(class_map), palette), "image/png")

    return {
        "patient": example.patient,
        "level": example.level,
        "dice": example.dice,
        "nearest": example.nearest,
        "copied": example.copied,
        "pictures": [
            ("mask", labels(example.mask)),
            ("real", grey(example.real)),
            *((f"generated {i}", grey(image)) for i, image in enumerate(example.generated, start=1)),
            ("judge on 1", labels(example.judged)),
        ],
    }


def _palette(colours: list[str]) -> bytes:
    """Bytes of a palette whose index 0 is near black and index i the i-th `#rrggbb` colour."""
    return bytes.fromhex("14171c" + "".join(colour.removeprefix("#") for colour in colours))


def _uri(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _script_json(document: Mapping[str, Any]) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(document, ensure_ascii=True, sort_keys=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
