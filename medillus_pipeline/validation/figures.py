"""The names of the figures: what each is called, its unit and digits, and one sentence on what it says.

A figure's key is flat: `dice_recovery`, its bounds `dice_recovery_low` and `dice_recovery_high`, the same under a
control `dice_recovery_texture`, per organ `dice_recovery/<organ key>`, and of the slices of one modality or pathology
`dice_recovery/modality.MR`. Missing figures are absent or NaN.
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
CONTEXTS = {
    "true_context": "true",
    "proposed_context": "proposed",
    "no_context": "none",
}
"""Suffix of a figure measured under a tissue context, and what the context was: the real slice's, the prior's, none."""

CONTEXT_FIGURES = (
    "judge_dice_generated",
    "dice_recovery",
    "organ_hu_error",
    "organ_hu_sd_ratio",
    "fid_ratio",
    "mae",
)
"""Figures that are measured under each context, on the same slices."""

GROUP_FIGURES = (
    "patients",
    "slices",
    "judge_dice_real",
    "judge_dice_generated",
    "dice_recovery",
    "organ_hu_error",
    "organ_value_error",
    "fid_ratio",
)
"""Figures that are also measured of the slices of one modality or pathology (`slice_groups.py`)."""

CHAMPION = "champion"
"""Suffix of a figure of the champion, measured beside the version that the report is about."""

COMPARED = (
    "judge_dice_generated",
    "dice_recovery",
    "worst_organ_dice_ratio",
    "organ_hu_error",
    "organ_hu_sd_ratio",
    "sharpness_ratio",
    "grain_ratio",
    "outline_ratio",
    "fid_ratio",
    "mirrored_share",
    "anatomical_error_rate",
)
"""Figures that are measured of the champion too, on the same slices with the same seeds."""

ERRORS = {
    "missing": ("missing", "asked for and found with less than a quarter of its area"),
    "duplicated": ("duplicated", "found in more parts than asked for"),
    "misplaced": ("misplaced", "away from where the mask or the prior has it"),
    "wrong_side": ("on the wrong side", "left and right of another organ exchanged"),
    "size": ("of a strange size", "larger or smaller than training patients have it"),
    "adjacency": ("with a strange neighbour", "bordering on what it touches in no training mask"),
}
"""Kinds of anatomical errors: in words, and what each means."""


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
    "worst_organ_hu_error": Kind(
        "Worst organ's HU error",
        "HU",
        1,
        "Largest absolute difference in mean HU of one organ: a mean over organs hides it.",
    ),
    "worst_organ_hu_excess": Kind(
        "Worst organ's HU error beyond patients' own spread",
        "HU",
        1,
        "The same beyond what the spread of that organ between real patients explains at so few patients: what a gut "
        "holds differs by more than 100 HU.",
        "bootstrap 95% over patients, their spread as it is",
    ),
    "organ_hu_sd_error": Kind(
        "Organ HU spread error", "HU", 1, "Mean over organs of the absolute difference in standard deviation of HU."
    ),
    "organ_hu_sd_ratio": Kind(
        "Organ HU spread ratio", "", 2, "Standard deviation of HU in organs, generated to real; below 1 is too smooth."
    ),
    "organ_value_error": Kind(
        "Organ value error", "", 1, "The HU error where there is no HU: of series-normalised values, -1000 to 1000."
    ),
    "worst_organ_value_error": Kind(
        "Worst organ's value error", "", 1, "Largest difference in mean value of one organ of one modality without HU."
    ),
    "worst_organ_value_excess": Kind(
        "Worst organ's value error beyond patients' own spread",
        "",
        1,
        "The same beyond what the spread of that organ between real patients explains at so few patients.",
        "bootstrap 95% over patients, their spread as it is",
    ),
    "organ_value_sd_error": Kind(
        "Organ value spread error", "", 1, "The HU spread error where there is no HU: of series-normalised values."
    ),
    "organ_value_sd_ratio": Kind(
        "Organ value spread ratio", "", 2, "The HU spread ratio where there is no HU: of series-normalised values."
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
        "Anatomical error rate",
        "",
        4,
        "Share of organs missing, duplicated, misplaced, on the wrong side, or of a strange size or neighbour.",
        "one-sided 95% bounds, the larger of bootstrap and exact; none while there are too few instances",
    ),
    "anatomical_error_rate_real": Kind(
        "Anatomical error rate, real images",
        "",
        4,
        "The same of what the judge sees in the real images: its own mistakes.",
        "one-sided 95% bounds, the larger of bootstrap and exact",
    ),
    "anatomical_error_excess": Kind(
        "Anatomical errors beyond real", "", 4, "Anatomical error rate of generated images less that of real ones."
    ),
    "worst_class_error_excess": Kind(
        "Worst structure's errors beyond real",
        "",
        3,
        "Anatomical errors of the structure that fares worst, beyond the judge's own in the real images of the same "
        "masks; held-out and training masks together. Structures seen too seldom are counted as one.",
        "largest bound of any structure, the wider of bootstrap and exact",
    ),
    "class_error_excess": Kind(
        "Anatomical errors beyond real", "", 3, "The same of one structure.", "the wider of bootstrap and exact"
    ),
    "anatomical_instances": Kind("Organ instances", "", 0, "Organs in slices that could have an anatomical error."),
    "anatomical_instances_needed": Kind(
        "Organ instances needed",
        "",
        0,
        "Instances from which on a flawless model could show an error rate under 0.5%; infinite for one patient.",
    ),
    **{
        f"anatomical_error_{kind}{suffix}": Kind(
            f"Organs {name}{', real images' if suffix else ''}", "", 4, f"Share of organ instances {meaning}."
        )
        for kind, (name, meaning) in ERRORS.items()
        for suffix in ("", "_real")
    },
    "mirrored_share": Kind(
        "Mirrored images", "", 3, "Share of the images that fit their mask better with left and right exchanged."
    ),
    "copy_rate": Kind(
        "Copy rate",
        "",
        3,
        "Share of the images of unseen masks that are nearer to a training slice than real images of others ever are.",
    ),
    "copy_threshold_features": Kind(
        "Copy threshold, features", "", 3, "Distance of judge features below which an image counts as a copy."
    ),
    "copy_threshold_pixels": Kind(
        "Copy threshold, pixels", "", 3, "Distance of aligned pixels below which an image counts as a copy."
    ),
    "distance_ratio": Kind(
        "Distance to training slices",
        "",
        2,
        "Distance to training over held-out slices, relative to real images: 1 is no nearer than they, 0 a copy.",
    ),
    "distance_ratio_nearest": Kind(
        "Nearest to training slices",
        "",
        2,
        "Distance of the nearest images to training slices, over that of the nearest real slices of other patients, in "
        "aligned pixels (1% quantiles): some images that are copies in disguise lie far below 1.",
    ),
    "membership_auc": Kind(
        "Membership by reconstruction",
        "",
        3,
        "How well one tells from the image of its mask whether a slice was trained on: 0.5 is not at all.",
    ),
    "nearness_auc": Kind(
        "Membership by nearness",
        "",
        3,
        "How well one tells from the nearest generated image whether a slice was trained on: 0.5 is not at all.",
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
    "kid": Kind(
        "Kernel distance",
        "",
        4,
        "Distance of generated to other patients' real images on judge features, free of small-sample inflation.",
        "range over ways to halve the patients",
    ),
    "kid_floor": Kind("Kernel floor", "", 4, "The same distance between real images of different patients."),
    "tstr_ratio": Kind(
        "Train on synthetic ÷ train on real",
        "",
        3,
        "Dice on real images of a segmenter that learned from generated ones, over that of one taught by real ones.",
    ),
    "tstr_dice": Kind("Dice, trained on synthetic", "", 3, "On real images, of a segmenter that saw generated ones."),
    "trtr_dice": Kind("Dice, trained on real", "", 3, "On real images, of the same segmenter taught by real ones."),
    **{
        f"{name}{suffix}": Kind(f"{title}{' ' + edit if edit else ''}", "", 3, meaning)
        for name, title, meaning in (
            (
                "counterfactual_iou",
                "Counterfactual IoU",
                "How well the judge's labels follow an edit of the mask, relative to real pairs of slices.",
            ),
            (
                "counterfactual_raw_iou",
                "Counterfactual IoU, not normalised",
                "Overlap of the judge's change with the mask's change, before and after an edit of the mask.",
            ),
            (
                "counterfactual_real_iou",
                "The judge's change in real pairs, IoU",
                "The same overlap between two real slices of a patient whose masks differ by about as much.",
            ),
        )
        for suffix, edit in (
            ("", ""),
            ("_move", "(organ moved)"),
            ("_grow", "(organ grown)"),
            ("_remove", "(organ removed)"),
        )
    },
    "counterfactual_cases": Kind("Edited masks", "", 0, "Edits that the counterfactual figures are computed on."),
    "confidence_ece": Kind(
        "Calibration error of the confidence",
        "",
        3,
        "Mean distance of the confidence and the share that the judge finds, over bins of equal counts; 0 is exact.",
    ),
    "confidence_ece_floor": Kind(
        "Calibration error, floor", "", 3, "What an exact confidence would score with so few structures."
    ),
    "confidence_ece_raw": Kind(
        "Calibration error, uncalibrated", "", 3, "The same of the organ segmenter's raw score, without calibration."
    ),
    "confidence_brier": Kind(
        "Brier score of the confidence", "", 3, "Mean squared distance of confidence and outcome; lower is better."
    ),
    "confidence_brier_base": Kind(
        "Brier score, one number for all", "", 3, "What printing the mean found share on every structure would score."
    ),
    "ssim": Kind("SSIM", "", 3, "Structural similarity to the real slice; a blurred image wins it, so it never gates."),
    "mae": Kind(
        "Mean absolute error", "HU", 1, "Pixel error to the real slice; a blurred image wins it, so it never gates."
    ),
    "value_mae": Kind(
        "Mean absolute error of values", "", 1, "The same where there is no HU: of series-normalised values."
    ),
    "value_mean_real": Kind("Mean value, real", "", 0, "Mean normalised value under the organ's mask in real images."),
    "value_mean_generated": Kind("Mean value, generated", "", 0, "Mean normalised value under the mask, generated."),
    "value_sd_real": Kind("Value spread, real", "", 0, "Standard deviation of values under the organ's mask, real."),
    "value_sd_generated": Kind("Value spread, generated", "", 0, "Standard deviation of values, generated."),
    "hu_mean_real": Kind("Mean HU, real", "HU", 0, "Mean HU under the organ's mask in real images."),
    "hu_mean_generated": Kind("Mean HU, generated", "HU", 0, "Mean HU under the organ's mask in generated images."),
    "hu_sd_real": Kind("HU spread, real", "HU", 0, "Standard deviation of HU under the organ's mask, real."),
    "hu_sd_generated": Kind("HU spread, generated", "HU", 0, "Standard deviation of HU under the mask, generated."),
    "patients": Kind("Patients", "", 0, "Patients that the figures are computed on."),
    "slices": Kind("Slices", "", 0, "Slices that the figures are computed on."),
    "slices_in_hu": Kind("CT slices", "", 0, "Slices whose values are HU: figures in HU are of these alone."),
    "slices_in_values": Kind("Slices without HU", "", 0, "Slices of other modalities, series-normalised."),
}


def kind_of(key: str) -> Kind:
    """The kind of a flat figure key, through its bound, control and organ parts. Raises KeyError when unknown."""
    stem = key.split("/", 1)[0]
    if stem in KINDS:
        return KINDS[stem]
    for suffix in ("_low", "_high", *(f"_{part}" for part in (*CONTROLS, *CONTEXTS, CHAMPION))):
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
