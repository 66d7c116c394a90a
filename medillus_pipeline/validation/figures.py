"""The names of the figures: what each is called, its unit and digits, and one sentence on what it says.

A figure's key is flat: `dice_recovery`, its bounds `dice_recovery_low` and `dice_recovery_high`, the same under a
control `dice_recovery_texture`, and per organ `dice_recovery/<organ key>`. Missing figures are absent or NaN.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

MAIN = ("judge_dice_generated", "judge_dice_real", "dice_recovery", "organ_hu_error")
CONTROLS = {
    "other": "another patient's scan",
    "shuffled": "another patient's mask",
    "texture": "Gaussian texture per label",
}


@dataclass(frozen=True)
class Kind:
    """How a figure reads: title, unit ("" for none), digits after the point, meaning, and what its bounds are."""

    title: str
    unit: str
    digits: int
    meaning: str
    bounds: str = "bootstrap 95% over patients"


KINDS = {
    "judge_dice_real": Kind(
        "Judge Dice on real images", "", 3, "How well the judge itself finds organs in real scans."
    ),
    "judge_dice_generated": Kind(
        "Judge Dice on generated images", "", 3, "How well the judge finds each organ where the mask asked for it."
    ),
    "judge_dice_shuffled": Kind(
        "Judge Dice, another patient's mask",
        "",
        3,
        "Images generated from another patient's mask at the same level, scored against this patient's mask.",
    ),
    "judge_dice_texture": Kind(
        "Judge Dice, Gaussian texture", "", 3, "Masks painted with per-label noise: what no anatomy at all scores."
    ),
    "judge_dice_other": Kind(
        "Judge Dice, another patient's scan",
        "",
        3,
        "Real images of another patient at the same level, against this mask.",
    ),
    "judge_dice_gap": Kind(
        "Dice gap to another patient",
        "",
        3,
        "Judge Dice of scans on their own masks less that on another patient's masks.",
    ),
    "dice_recovery": Kind(
        "Dice recovery", "", 3, "(generated - shuffled) / (real - shuffled): 0 ignores the mask, 1 equals real images."
    ),
    "worst_organ_dice_ratio": Kind(
        "Worst organ",
        "",
        2,
        "Smallest ratio of generated to real judge Dice among organs that the judge finds in scans.",
    ),
    "organ_hu_error": Kind(
        "Organ HU error", "HU", 1, "Mean over organs of the absolute difference in mean HU, generated to real."
    ),
    "organ_hu_sd_error": Kind(
        "Organ HU spread error", "HU", 1, "Mean over organs of the absolute difference in standard deviation of HU."
    ),
    "organ_hu_sd_ratio": Kind(
        "Organ HU spread ratio", "", 2, "Standard deviation of HU in organs, generated to real; below 1 is too smooth."
    ),
    "sharpness_ratio": Kind(
        "Sharpness ratio",
        "",
        2,
        "Mean absolute Laplacian in the body, generated to real: blur is below 1, noise above.",
    ),
    "grain_ratio": Kind(
        "Grain ratio in organs",
        "",
        2,
        "Mean absolute Laplacian inside organs, away from edges, generated to real: averaging flattens it.",
    ),
    "outline_ratio": Kind(
        "Body outline ratio",
        "",
        2,
        "Perimeter over root area of the body, generated to real: a ragged body is above 1.",
    ),
    "anatomical_error_rate": Kind(
        "Anatomical error rate", "", 4, "Share of organ instances missing, duplicated, misplaced or on the wrong side."
    ),
    "diversity": Kind(
        "Diversity at a fixed mask",
        "",
        2,
        "Mean difference between samples of one mask, relative to that between patients at equal labels.",
    ),
    "fid": Kind("Fréchet distance", "", 2, "Distance of generated to other patients' real images on judge features."),
    "fid_floor": Kind("Fréchet floor", "", 2, "The same distance between real images of different patients."),
    "fid_ratio": Kind(
        "Fréchet ratio to floor",
        "",
        2,
        "Fréchet distance over its real-to-real floor at equal sample sizes; 1 is real.",
        "range over ways to halve the patients",
    ),
    "ssim": Kind("SSIM", "", 3, "Structural similarity to the real slice; a blurred image wins it, so it never gates."),
    "mae": Kind(
        "Mean absolute error", "HU", 1, "Pixel error to the real slice; a blurred image wins it, so it never gates."
    ),
    "hu_mean_real": Kind("Mean HU, real", "HU", 0, "Mean HU under the organ's mask in real images."),
    "hu_mean_generated": Kind("Mean HU, generated", "HU", 0, "Mean HU under the organ's mask in generated images."),
    "hu_sd_real": Kind("HU spread, real", "HU", 0, "Standard deviation of HU under the organ's mask, real."),
    "hu_sd_generated": Kind("HU spread, generated", "HU", 0, "Standard deviation of HU under the mask, generated."),
    "patients": Kind("Patients", "", 0, "Patients that the figures are computed on."),
    "slices": Kind("Slices", "", 0, "Slices that the figures are computed on."),
}


def kind_of(key: str) -> Kind:
    """The kind of a flat figure key, through its bound, control and organ parts. Raises KeyError when unknown."""
    stem = key.split("/", 1)[0]
    if stem in KINDS:
        return KINDS[stem]
    for suffix in ("_low", "_high", *(f"_{control}" for control in CONTROLS)):
        if stem.endswith(suffix):
            return kind_of(stem.removesuffix(suffix))
    raise KeyError(f"no figure is called {key!r}")


def display(key: str, value: float | None) -> str:
    """The figure as a person reads it, rounded to its kind's digits with its unit; a dash for a missing one."""
    if value is None or not math.isfinite(value):
        return "–"
    kind = kind_of(key)
    text = f"{value:.{kind.digits}f}"
    if float(text) == 0:
        text = text.removeprefix("-")
    return f"{text} {kind.unit}".strip().replace("-", "\N{MINUS SIGN}")


def figures_json(figures: Mapping[str, float]) -> dict[str, float]:
    """The finite figures as flat floats, sorted by key: the same for JSON, MLflow metrics and check results.

    A missing figure is left out, since neither JSON nor a metric can say "not measurable"; gates take it as failed.
    """
    return {key: float(figures[key]) for key in sorted(figures) if math.isfinite(figures[key])}
