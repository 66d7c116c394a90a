"""The confidence of a drawn structure: the organ segmenter's raw scores, calibrated on what the judge then finds.

`DEFINITION` says what the number means. The calibration is Platt's regression (Platt 1999, Probabilistic outputs for
support vector machines) on three scores, with an offset for each structure that is pulled towards zero, so that a rare
structure takes the curve of all. What is not here: how good a calibration is (`reliability.py`), its picture
(`reliability_plot.py`), and how a figure prints it (`illustration/confidence.py`).
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from medillus_pipeline.errors import InputError, NotEnoughDataError
from medillus_pipeline.validation.metrics import MINIMUM_PIXELS

FOUND_DICE = 0.7
"""Dice with the asked mask from which on a structure counts as found: outlines that a reader takes for the same."""

DEFINITION = (
    "The confidence of a structure is the probability that an independent segmenter (the judge), which sees only the "
    f"generated image, finds the structure where the figure draws it, with a Dice of at least {FOUND_DICE:.1f}."
)
"""One sentence for the report: what a printed confidence claims."""

FORMAT = 1
MINIMUM_INSTANCES = 40
"""Structures drawn (one in one image) below which nothing is fitted: four parameters need ten each."""

_EDGE = 0.01  # Scores are probabilities; below 1% and above 99% a segmenter's own number is not to be believed.
_OFFSET_SD = 1.0  # Prior standard deviation of a structure's offset, in logits: about ten instances outweigh it.
_SLOPE_RIDGE = 0.05  # Keeps slopes finite where the scores separate the outcomes.
_SLOPES = ("probability", "dice", "size")


class RawScores(NamedTuple):
    """Of one structure in one image: the organ segmenter's mean probability inside the asked region (0 to 1), the Dice
    of what it finds with that region (0 to 1), and the region's size in pixels.
    """

    probability: float
    dice: float
    pixels: int


class Predictor(Protocol):
    """The organ segmenter."""

    def predict(self, values: NDArray[np.integer]) -> NDArray[np.floating]:
        """Class probabilities (n, classes + 1, height, width) of images (n, height, width)."""
        ...


@dataclass(frozen=True)
class Instances:
    """Structures drawn in generated images, one entry each: vocabulary id (k,), patient (k,), `scores` (k, 3) in the
    order of RawScores, and `found` (k,) bool, whether the judge found it.
    """

    structures: NDArray[np.int64]
    patients: NDArray[np.str_]
    scores: NDArray[np.float64]
    found: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.structures)


@dataclass(frozen=True)
class Calibration:
    """A fitted calibration, and what it holds for: one version of the generator, one judge, one organ segmenter.

    `centre`, `scale` and `slopes` belong to the scores of `RawScores` (logit, logit, log2 of pixels); `offsets` and
    `counts` to the vocabulary ids that the judge can find, `fitted_patients` are the pseudonyms that no figure with
    this calibration may show. `limits` are the least and greatest confidence that so many instances can support
    (Laplace's rule of succession). `evaluated` is the summary of its reliability on other patients, where there is one.
    """

    model_version: str
    judge_sha256: str
    segmenter_sha256: str
    dataset_fingerprint: str
    centre: tuple[float, float, float]
    scale: tuple[float, float, float]
    slopes: tuple[float, float, float]
    intercept: float
    offsets: Mapping[int, float]
    counts: Mapping[int, int]
    limits: tuple[float, float]
    fitted_patients: tuple[str, ...]
    instances: int
    found: int
    found_dice: float = FOUND_DICE
    minimum_pixels: int = MINIMUM_PIXELS
    evaluated: Mapping[str, Any] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """JSON with sorted keys: the same calibration, the same bytes."""
        document = asdict(self) | {"format": FORMAT, "definition": DEFINITION}
        return json.dumps(document, sort_keys=True, indent=1, allow_nan=False).encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes) -> "Calibration":
        """The inverse of `to_bytes`. Raises InputError for what is none, or another release's."""
        try:
            document = json.loads(data)
            if document["format"] != FORMAT:
                raise InputError(
                    f"the confidence calibration has format {document['format']}, and this release reads {FORMAT}: "
                    "materialise validation_report again"
                )
            given = {each.name: document[each.name] for each in fields(cls)}
        except (ValueError, KeyError, TypeError) as error:
            raise InputError("the file is not a confidence calibration: materialise validation_report again") from error
        for name in ("offsets", "counts"):
            given[name] = {int(identifier): value for identifier, value in given[name].items()}
        for name in ("centre", "scale", "slopes", "limits", "fitted_patients"):
            given[name] = tuple(given[name])
        return cls(**given)

    @property
    def sha256(self) -> str:
        """Of `to_bytes`: what a figure names its calibration by."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def unfit_for(self, model_version: str, segmenter_sha256: str) -> str | None:
        """Why it says nothing of this generator's images as this organ segmenter sees them, or None where it does."""
        if self.model_version != model_version:
            return f"it was fitted for model version {self.model_version}, the figures are of version {model_version}"
        if self.segmenter_sha256 != segmenter_sha256:
            return "the organ segmenter was trained again since it was fitted"
        return None


def raw_scores(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer], channels: Mapping[int, int]
) -> dict[int, RawScores]:
    """Scores of each id in `labels` (h, w) but 0 that has a channel in `probabilities` (channels, h, w).

    Raises ValueError when the shapes differ.
    """
    if probabilities.ndim != 3 or probabilities.shape[1:] != labels.shape:
        raise ValueError(f"probabilities {probabilities.shape} do not lie on the label map {labels.shape}")
    winner = probabilities.argmax(axis=0)
    scores = {}
    for value in (int(v) for v in np.unique(labels) if v):
        channel = channels.get(value)
        if channel is not None:
            region, found = labels == value, winner == channel
            dice = 2.0 * float((region & found).sum()) / float(region.sum() + found.sum())
            mean = min(1.0, max(0.0, float(probabilities[channel][region].mean())))
            scores[value] = RawScores(mean, dice, int(region.sum()))
    return scores


def collect(
    images: NDArray[np.integer],
    class_maps: NDArray[np.uint8],
    judged: NDArray[np.integer],
    patients: Sequence[str],
    classes: Sequence[int],
    segmenter: Predictor,
    *,
    judge_knows: Sequence[int] | None = None,
    batch: int = 32,
) -> Instances:
    """The drawn structures of generated `images` (n, h, w): what the organ segmenter scores and what the judge finds.

    `class_maps` (n, h, w) are the asked masks and `judged` (n, h, w) the judge's labels of the same images, both 0 for
    background and i for `classes[i - 1]` (vocabulary ids), which is also the order of the segmenter's channels.
    Structures under `MINIMUM_PIXELS`, and those not among `judge_knows` (ids; None: all), are left out: of these no
    outcome is known. Raises ValueError when lengths differ.
    """
    if not len(images) == len(class_maps) == len(judged) == len(patients):
        raise ValueError("images, masks, judged labels and patients must have one entry per image")
    known = {i + 1: int(c) for i, c in enumerate(classes) if judge_knows is None or c in judge_knows}
    rows: list[tuple[int, str, RawScores, bool]] = []
    for start in range(0, len(images), batch):
        probabilities = segmenter.predict(images[start : start + batch])
        for i, each in enumerate(probabilities, start):
            scores = raw_scores(each, class_maps[i], {index: index for index in known})
            for index, score in scores.items():
                if score.pixels >= MINIMUM_PIXELS:
                    there, seen = class_maps[i] == index, judged[i] == index
                    dice = 2.0 * float((there & seen).sum()) / float(there.sum() + seen.sum())
                    rows.append((known[index], patients[i], score, dice >= FOUND_DICE))
    return Instances(
        structures=np.array([row[0] for row in rows], np.int64),
        patients=np.array([row[1] for row in rows], np.str_),
        scores=np.array([row[2] for row in rows], np.float64).reshape(len(rows), len(_SLOPES)),
        found=np.array([row[3] for row in rows], bool),
    )


def fit_confidence(
    instances: Instances,
    judge_knows: Sequence[int],
    *,
    model_version: str,
    judge_sha256: str,
    segmenter_sha256: str,
    dataset_fingerprint: str,
) -> Calibration:
    """The calibration of a generator from instances of its training patients.

    More probability or more overlap never lowers a confidence. `judge_knows` are the vocabulary ids that the judge was
    trained on; the fit takes Platt's targets, so that outcomes that are all alike give no certainty. Raises
    NotEnoughDataError for under `MINIMUM_INSTANCES` instances or two patients.
    """
    names = sorted(set(instances.patients.tolist()))
    if len(instances) < MINIMUM_INSTANCES or len(names) < 2:
        raise NotEnoughDataError(
            f"{len(instances)} drawn structures of {len(names)} training patients are too few to calibrate the "
            f"confidence on: {MINIMUM_INSTANCES} of 2 patients are needed, so figures print it as uncalibrated"
        )
    structures = sorted({int(s) for s in judge_knows})
    columns = _columns(instances.scores)
    centre, scale = columns.mean(0), np.maximum(columns.std(0), 1e-3)
    standard = (columns - centre) / scale
    member = (instances.structures[:, None] == np.array(structures)[None]).astype(np.float64)
    design = np.concatenate([np.ones((len(columns), 1)), standard, member], axis=1)
    found, total = int(instances.found.sum()), len(instances)
    target = np.where(instances.found, (found + 1) / (found + 2), 1 / (total - found + 2))
    ridge = np.array([0.0, *[_SLOPE_RIDGE] * len(_SLOPES), *[1 / _OFFSET_SD**2] * len(structures)])

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logit = design @ weights
        value = float((np.logaddexp(0, logit) - target * logit).sum() + 0.5 * (ridge * weights**2).sum())
        return value, design.T @ (special.expit(logit) - target) + ridge * weights

    free: list[tuple[float | None, float | None]] = [(None, None)] * design.shape[1]
    free[1] = free[2] = (0.0, None)  # the segmenter's agreement may count for nothing, never against
    fitted = optimize.minimize(loss, np.zeros(design.shape[1]), jac=True, method="L-BFGS-B", bounds=free).x
    counts = {s: int((instances.structures == s).sum()) for s in structures}
    return Calibration(
        model_version=model_version,
        judge_sha256=judge_sha256,
        segmenter_sha256=segmenter_sha256,
        dataset_fingerprint=dataset_fingerprint,
        centre=_triple(centre),
        scale=_triple(scale),
        slopes=_triple(fitted[1:4]),
        intercept=float(fitted[0]),
        offsets={s: float(w) for s, w in zip(structures, fitted[4:], strict=True)},
        counts=counts,
        limits=(1 / (total + 2), (total + 1) / (total + 2)),
        fitted_patients=tuple(names),
        instances=total,
        found=found,
    )


def predicted(calibration: Calibration, instances: Instances) -> NDArray[np.float64]:
    """Calibrated confidence of each instance (k,), 0 to 1; NaN where the calibration does not know the structure.

    Raises ValueError for an instance of a patient whom it was fitted on.
    """
    if set(instances.patients.tolist()) & set(calibration.fitted_patients):
        raise ValueError("a calibration must not be used on the patients that it was fitted on")
    offsets = np.array([calibration.offsets.get(int(s), math.nan) for s in instances.structures])
    standard = (_columns(instances.scores) - np.array(calibration.centre)) / np.array(calibration.scale)
    logit = calibration.intercept + standard @ np.array(calibration.slopes) + offsets
    value = np.clip(special.expit(logit), *calibration.limits)
    return np.where(instances.scores[:, 2] >= calibration.minimum_pixels, value, np.nan)


def confidence(calibration: Calibration, scores: Mapping[int, RawScores], patient: str) -> dict[int, float]:
    """Calibrated confidence by vocabulary id for one image that was made from a mask of `patient`; NaN where nothing
    was calibrated: a structure that the judge does not know, or one of a few pixels. Raises ValueError for a patient
    whom the calibration was fitted on.
    """
    drawn = list(scores)
    rows = Instances(
        structures=np.array(drawn, np.int64),
        patients=np.array([patient] * len(drawn), np.str_),
        scores=np.array([scores[s] for s in drawn], np.float64).reshape(len(drawn), len(_SLOPES)),
        found=np.zeros(len(drawn), bool),
    )
    return dict(zip(drawn, predicted(calibration, rows).tolist(), strict=True))


def uncalibrated(instances: Instances) -> NDArray[np.float64]:
    """Mean probability × Dice of each instance (k,): what figures print without a calibration, its control."""
    return instances.scores[:, 0] * instances.scores[:, 1]


def _columns(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    shares = special.logit(np.clip(scores[:, :2], _EDGE, 1 - _EDGE))
    return np.concatenate([shares, np.log2(np.maximum(scores[:, 2:], 1))], axis=1)


def _triple(values: NDArray[np.float64]) -> tuple[float, float, float]:
    first, second, third = (float(v) for v in values)
    return first, second, third
