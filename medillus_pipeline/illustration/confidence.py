"""The confidence that a figure prints: calibrated where there is a calibration for it, else a raw agreement.

The raw score is **not calibrated**: 0.8 does not mean right in four cases of five. It is good for ranking structures
and candidates within one model version. The segmenter must be `organ_segmenter`, never the judge, which only measures.
How a calibration is fitted, and what it claims, is in `validation/confidence.py`.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from medillus_pipeline.validation.confidence import DEFINITION, Calibration, confidence, raw_scores

UNKNOWN = math.nan


def agreement(probabilities: np.ndarray, labels: np.ndarray, classes: Mapping[int, int]) -> dict[int, float]:
    """Raw score per structure, 0 to 1: mean probability inside the requested region times Dice with that region.

    The first factor is low where the image looks like something else inside the region, the second where the structure
    has spilled over or moved; each alone can be fooled.

    Args:
        probabilities: (channels, h, w) of the segmenter on the image, summing to 1 over channels.
        labels: (h, w) vocabulary ids that the image was made from (or that annotators drew on a scan).
        classes: vocabulary id of a structure → its channel in `probabilities`.

    Returns:
        A score for each id of `labels` but 0; NaN for a structure that the segmenter was not trained on.

    Raises:
        ValueError: shapes differ.
    """
    scores = raw_scores(probabilities, labels, classes)
    return _drawn(labels) | {value: score.probability * score.dice for value, score in scores.items()}


def calibrated(
    calibration: Calibration, probabilities: np.ndarray, labels: np.ndarray, classes: Mapping[int, int], patient: str
) -> dict[int, float]:
    """Calibrated confidence per structure, 0 to 1, of an image made from a mask of `patient`; arguments as above.

    Returns:
        A confidence for each id of `labels` but 0; NaN for a structure that the segmenter or the judge does not know,
        and for one of fewer pixels than outcomes are known of.

    Raises:
        ValueError: shapes differ, or the calibration was fitted on this patient.
    """
    return _drawn(labels) | confidence(calibration, raw_scores(probabilities, labels, classes), patient)


def provenance(calibration: Calibration) -> dict[str, Any]:
    """What a figure tells of its calibration, ready for JSON; the patients whom it was fitted on only by number."""
    return {
        "definition": DEFINITION,
        "sha256": calibration.sha256,
        "found_dice": calibration.found_dice,
        "model_version": calibration.model_version,
        "judge_sha256": calibration.judge_sha256,
        "segmenter_sha256": calibration.segmenter_sha256,
        "dataset_fingerprint": calibration.dataset_fingerprint,
        "fitted_on": {"patients": len(calibration.fitted_patients), "structures": calibration.instances},
        "evaluated": dict(calibration.evaluated),
    }


def _drawn(labels: np.ndarray) -> dict[int, float]:
    return {int(value): UNKNOWN for value in np.unique(labels) if value}
