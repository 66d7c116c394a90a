"""What the report says of the calibrated confidence: its figures, its diagram, and the calibration that is published.

The fit is in `confidence.py`, the measures in `reliability.py`; what is drawn and judged for it in `one_pass.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from medillus_pipeline.errors import NotEnoughDataError
from medillus_pipeline.validation.confidence import DEFINITION, Calibration, Instances, fit_confidence
from medillus_pipeline.validation.reliability import Reliability, reliability_of
from medillus_pipeline.validation.reliability_plot import reliability_plot


@dataclass(frozen=True)
class CalibratedConfidence:
    """A calibration, how far it can be trusted on other patients, and `raw`, the same of the score without it.

    `plot` is the reliability diagram as SVG.
    """

    calibration: Calibration
    reliable: Reliability
    raw: Reliability
    plot: bytes

    def figures(self) -> dict[str, float]:
        """By flat key; NaN where a figure could not be measured."""
        return {
            **{
                f"confidence_{name}{bound}": getattr(getattr(self.reliable, name), part)
                for name in ("ece", "brier")
                for bound, part in (("", "value"), ("_low", "low"), ("_high", "high"))
            },
            "confidence_ece_floor": self.reliable.ece_floor,
            "confidence_ece_raw": self.raw.ece.value,
            "confidence_brier_base": self.reliable.brier_base,
        }

    def document(self) -> dict[str, Any]:
        """For the report's JSON; the patients whom it was fitted on only by number."""
        return {
            "definition": DEFINITION,
            "calibration_sha256": self.calibration.sha256,
            "segmenter_sha256": self.calibration.segmenter_sha256,
            "fitted_on": {
                "patients": len(self.calibration.fitted_patients),
                "structures": self.calibration.instances,
                "found": self.calibration.found,
            },
            "reliability": self.reliable.document(),
            "uncalibrated": self.raw.document(),
        }


def calibrated_confidence(
    trained: Instances | None,
    held: Instances | None,
    judge_knows: Sequence[int],
    names: Mapping[int, str],
    *,
    model_version: str,
    judge_sha256: str,
    segmenter_sha256: str,
    dataset_fingerprint: str,
    seed: int,
) -> CalibratedConfidence:
    """Fitted on structures drawn from training masks, judged on those drawn from held-out ones; None where none were.

    `judge_knows` are the vocabulary ids that the judge was trained on, `names` the name of each id. The calibration
    carries the summary of its reliability. Raises NotEnoughDataError for too few structures or patients of either,
    ValueError for a patient in both.
    """
    if trained is None or held is None:
        raise NotEnoughDataError("no training mask was drawn to calibrate it on: set training_masks above 0")
    fitted = fit_confidence(
        trained,
        judge_knows,
        model_version=model_version,
        judge_sha256=judge_sha256,
        segmenter_sha256=segmenter_sha256,
        dataset_fingerprint=dataset_fingerprint,
    )
    reliable, raw = reliability_of(fitted, held, seed=seed)
    return CalibratedConfidence(
        calibration=replace(fitted, evaluated=reliable.summary()),
        reliable=reliable,
        raw=raw,
        plot=reliability_plot(reliable, raw, names),
    )
