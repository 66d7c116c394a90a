"""The validation report: one self-contained HTML page for a physician and an engineer, and the same as JSON.

Every figure in the page stands in a `<data value=… data-figure=…>` element whose value is the JSON's, so that the two
cannot drift apart. Numbers come from `evaluate`, the judgement from `gates`; nothing is computed here.
"""

import base64
import json
from collections.abc import Mapping, Sequence
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
from medillus_pipeline.validation.measures import Organ
from medillus_pipeline.validation.windows import window_for

MARKS = {"passed": "✓ passed", "failed": "✕ failed", "inconclusive": "? not measured"}
REPORTED = ("organ_hu_sd_error", "fid", "fid_floor", "kid", "kid_floor", "ssim", "mae", "value_mae")
"""Figures of the second table: shown for completeness, in no gate."""

MEMORISATION = ("copy_rate", "distance_ratio_nearest", "distance_ratio", "membership_auc", "nearness_auc")
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
)
ERROR_COLUMNS = (("anatomical_error_rate", "Anatomical errors"), ("class_error_excess", "Errors beyond real"))


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
    edits: bytes | None = None,
    champion: Beside | None = None,
    confidence: CalibratedConfidence | None = None,
) -> Report:
    """The report of one model version. `edits` is a PNG of edited masks (`counterfactual_strip.py`); `champion` is what
    the version is shown beside, and `confidence` the calibration of what its figures print, whose figures the
    evaluation holds.
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
        examples=[_example_pictures(example, palette) for example in evaluation.examples],
        organ_columns=_organ_columns(figures),
        worst_structure=_worst_structure(figures, evaluation.organs),
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
        "proven": result.gate.proven,
        "highest_bound": result.gate.highest_bound,
        "reason": result.gate.reason,
    }


def _bounds_text(result: GateResult) -> str:
    """The threshold in words, for example `at least 0.50 (lower bound)`."""
    gate = result.gate
    ends = [("at least", gate.minimum, "lower", "upper"), ("at most", gate.maximum, "upper", "lower")]
    parts = [
        f"{word} {display(gate.figure, limit)}"
        + (f" ({worse} bound)" if gate.on_interval else f" ({better} bound)" if gate.proven else "")
        for word, limit, worse, better in ends
        if limit is not None
    ]
    if gate.highest_bound is not None:
        parts.append(f"upper bound at most {display(gate.figure, gate.highest_bound)}, or too little was seen")
    return ", ".join(parts)


def _control_name(key: str) -> str:
    """What a control's figure was computed on, for example `Gaussian texture per label`."""
    return next((name for suffix, name in CONTROLS.items() if key.endswith(f"_{suffix}")), kind_of(key).title)


def _organ_columns(figures: Mapping[str, float]) -> list[tuple[str, str]]:
    """(figure, heading) of the organ table: those in HU where a slice is CT, those of normalised values where not."""
    values = []
    for unit, heading in (("hu", "HU"), ("value", "value")):
        if any(key.startswith(f"{unit}_mean_real/") for key in figures):
            values += [
                (f"{unit}_mean_real", f"Mean {heading}, real"),
                (f"{unit}_mean_generated", f"Mean {heading}, generated"),
                (f"organ_{unit}_error", f"{heading} error"),
                (f"organ_{unit}_sd_ratio", f"{heading} spread ratio"),
            ]
    dice = [(key, kind_of(key).title) for key in ORGAN_COLUMNS]
    return [*dice, *values, *ERROR_COLUMNS]


def _worst_structure(figures: Mapping[str, float], organs: Sequence[Organ]) -> str:
    """Names of the structures whose excess of errors is the worst; "" where none was counted."""
    excess = {
        o.name_en: figures[f"class_error_excess/{o.key}"] for o in organs if f"class_error_excess/{o.key}" in figures
    }
    worst = max(excess.values(), default=0.0)
    return ", ".join(name for name, value in excess.items() if value == worst)


def _example_pictures(example: Example, palette: bytes) -> dict[str, Any]:
    from medillus_pipeline.dicom.png import encode_png

    window = window_for(example.real, example.modality)

    def grey(values: NDArray[np.integer]) -> str:
        return _uri(encode_png(window.grey(values)), "image/png")

    def labels(class_map: NDArray[np.uint8]) -> str:
        return _uri(encode_png(np.ascontiguousarray(class_map), palette), "image/png")

    return {
        "patient": example.patient,
        "level": example.level,
        "dice": example.dice,
        "nearest": example.nearest,
        "copied": example.copied,
        "window": (f"{example.modality} {window.name}", f"{window.centre:.0f}/{window.width:.0f}"),
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
