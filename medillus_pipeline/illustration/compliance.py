"""Whether a candidate may leave: anatomy, recovery and confidence, as the organ segmenter sees the image.

The judge, which measures models, takes no part. The rules are those that validation counts errors by
(`generation/plausible_anatomy.py`); how high the bar is depends on whom figures are for, see `FLOORS`.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from medillus_pipeline.errors import NotEnoughDataError
from medillus_pipeline.generation.dataset import Dataset
from medillus_pipeline.generation.plausibility_rules import prediction_spreads
from medillus_pipeline.generation.plausible_anatomy import KINDS, PlausibilityConfig, Rules, calibrate
from medillus_pipeline.generation.prior import Prior
from medillus_pipeline.illustration.answer import CandidateReport
from medillus_pipeline.illustration.candidates import Candidates
from medillus_pipeline.illustration.composing import Composed
from medillus_pipeline.illustration.confidence import agreement, calibrated
from medillus_pipeline.illustration.models import Models
from medillus_pipeline.illustration.wording import Bilingual
from medillus_pipeline.validation.confidence import Calibration


@dataclass(frozen=True)
class Floors:
    """What a candidate must reach under one profile, and why.

    * `dice`: Dice of what the organ segmenter finds with what was asked, from which on a structure counts as recovered;
    * `share`: of the drawn structures that must be recovered; those asked for by name must be, all of them;
    * `calibrated`, `agreement`: mean confidence of the structures, where it is calibrated, and where it is raw;
    * `errors`: share of the structures that may break a rule of the prior;
    * `similarity`: share of what is found that must lie where training patients have it;
    * `strange_mask`: whether a mask that itself breaks the rules is drawn (and said) or refused.
    """

    dice: float
    share: float
    calibrated: float
    agreement: float
    errors: float
    similarity: float
    strange_mask: bool
    reason: str


FLOORS: dict[str, Floors] = {
    "demo": Floors(
        dice=0.5,
        share=0.5,
        calibrated=0.4,
        agreement=0.25,
        errors=0.2,
        similarity=0.8,
        strange_mask=True,
        reason="nobody learns from synthetic patients: what is no picture of the mask at all is held back",
    ),
    "research": Floors(
        dice=0.6,
        share=0.7,
        calibrated=0.5,
        agreement=0.35,
        errors=0.1,
        similarity=0.9,
        strange_mask=True,
        reason="readers are experts who see the confidence: most structures must be there, a rare breach is said",
    ),
    "clinical-education": Floors(
        dice=0.7,
        share=0.9,
        calibrated=0.7,
        agreement=0.45,
        errors=0.0,
        similarity=0.95,
        strange_mask=False,
        reason="learners cannot tell a wrong picture: outlines as a reader takes for the same, and no breach",
    ),
}
"""By profile of gates. `dice` of clinical education is the calibration's own bound of a structure that is found."""

LEAST_JUDGED = 24
"""Pixels below which a drawn structure is only grazed by the slice: neither demanded, unless by name, nor counted."""

LEAST_OCCUPANCY = 0.02
"""Share of training patients below which a structure is not at home at a pixel."""

_BREACHES = {
    "missing": Bilingual("is missing", "缺失"),
    "duplicated": Bilingual("appears twice", "重复出现"),
    "misplaced": Bilingual("is out of place", "位置异常"),
    "wrong_side": Bilingual("is on the wrong side", "左右颠倒"),
    "size": Bilingual("has a size that no training patient has", "大小异常"),
    "adjacency": Bilingual("touches what it never touches", "毗邻关系异常"),
}


def rules_of(prior: Prior, dataset: Dataset | None) -> Rules:
    """The prior's rules with tolerances of the dataset's training masks, or their stated ones without a dataset (or of
    a single patient); an order of structures is then sure where all patients of the prior have it.
    """
    config = PlausibilityConfig()
    if dataset is not None:
        try:
            return calibrate(prior, dataset, config)
        except NotEnoughDataError:
            pass
    spreads = prediction_spreads(max(prior.patients, 2), config.false_alarms / 2)
    limits = np.tile([config.second_part, spreads, spreads, config.foreign_border], (len(prior.classes), 1))
    return Rules(prior, limits, np.nan_to_num(prior.order) == 1, config)


def floors_of(models: Models, calibration: Calibration | None) -> Floors:
    """The floors of the installation's profile; where a calibration fits, its bound of a structure that is found is
    the highest Dice that is demanded.
    """
    floors = FLOORS[models.facts.profile]
    if calibration is None:
        return floors
    return replace(floors, dice=min(floors.dice, calibration.found_dice))


def calibration_for(composed: Composed, models: Models) -> Calibration | None:
    """The calibration where it may be used: not for a picture of a patient whom it was fitted on."""
    calibration = models.calibration
    if calibration is None or composed.geometry.patient in calibration.fitted_patients:
        return None
    return calibration


def objections(composed: Composed, models: Models) -> tuple[Bilingual, ...]:
    """What in the label map itself no training patient shows, a sentence each."""
    labels = models.index_of_id[composed.geometry.label_map][None]
    levels = np.array([composed.geometry.level])
    findings = models.rules.check(labels, levels, composed.geometry.pixel_mm)
    return tuple(_sentence(key, kind, models) for key, kind in _broken(findings.broken[0], models))


def confidences_of(
    probabilities: np.ndarray, composed: Composed, models: Models, calibration: Calibration | None
) -> dict[int, float]:
    """Confidence by id of one image, from `probabilities` (channels, h, w); NaN where there is none."""
    ids, channels = composed.geometry.label_map, models.segmenter_channels
    if calibration is None:
        return agreement(probabilities, ids, channels)
    return calibrated(calibration, probabilities, ids, channels, composed.geometry.patient)


def check(candidates: Candidates, composed: Composed, models: Models) -> tuple[CandidateReport, ...]:
    """How each candidate fares, in their order."""
    geometry = composed.geometry
    calibration = calibration_for(composed, models)
    floors = floors_of(models, calibration)
    channels = np.array([0, *models.organ_segmenter.classes], np.uint8)
    found_ids = channels[candidates.probabilities.argmax(1)]
    found = models.index_of_id[found_ids]
    asked = np.repeat(models.index_of_id[geometry.label_map][None], len(found), 0)
    levels = np.full(len(found), geometry.level)
    findings = models.rules.check(found, levels, geometry.pixel_mm, asked)
    reports = []
    for i, seed in enumerate(candidates.seeds):
        recovered = recovery(found_ids[i], geometry.label_map, models)
        scores = confidences_of(candidates.probabilities[i], composed, models, calibration)
        breaches = _broken(findings.broken[i], models)
        counted = max(int(findings.counted[i].sum()), 1)
        wrong = int((findings.wrong[i] & findings.counted[i]).sum())
        alike = similarity(found[i], geometry.level, models.prior)
        reasons = [
            *_unrecovered(recovered, composed, floors, models),
            *_doubtful(scores, recovered, composed, floors, calibration is not None, models),
        ]
        if wrong > floors.errors * counted:
            reasons += [_sentence(key, kind, models) for key, kind in breaches]
        if alike < floors.similarity:
            reasons.append(
                Bilingual(
                    f"only {alike:.0%} of what it shows lies where training patients have it ({floors.similarity:.0%} "
                    "are needed)",
                    f"仅{alike:.0%}的结构位于训练患者的相应部位（需{floors.similarity:.0%}）",
                )
            )
        reports.append(
            CandidateReport(
                seed=seed,
                reasons=tuple(reasons),
                recovered={models.vocabulary.by_id(k).key: v for k, v in recovered.items()},
                confidences={models.vocabulary.by_id(k).key: v for k, v in scores.items()},
                errors=tuple(breaches),
                similarity=alike,
                likeness=float(candidates.likeness[i]),
                ranked_by=candidates.ranked_by,
            )
        )
    return tuple(reports)


def recovery(found: np.ndarray, asked: np.ndarray, models: Models) -> dict[int, float]:
    """Dice by id of what is found with what was asked, both (h, w) ids; structures that the segmenter knows."""
    known = set(models.organ_segmenter.classes)
    return {
        i: 2.0 * float(((found == i) & (asked == i)).sum()) / float((found == i).sum() + (asked == i).sum())
        for i in (int(v) for v in np.unique(asked) if v)
        if i in known
    }


def similarity(found: np.ndarray, level: float, prior: Prior) -> float:
    """Share of the labelled pixels of a label map (h, w), class indices, at which training patients near the level have
    that structure; 1 where nothing is labelled, and for structures that the prior knows nothing of.
    """
    count = len(prior.occupancy)
    middle = round(level * (count - 1))
    near = prior.occupancy[max(middle - 1, 0) : middle + 2].max(0)
    rows, columns = np.nonzero(found)
    if not len(rows):
        return 1.0
    share = near[found[rows, columns] - 1, rows, columns]
    return float((np.isnan(share) | (share >= LEAST_OCCUPANCY)).mean())


def floors_facts(models: Models, composed: Composed) -> dict[str, Any]:
    """The bounds that were asked, ready for JSON."""
    return {"profile": models.facts.profile, **asdict(floors_of(models, calibration_for(composed, models)))}


def _judged(composed: Composed, recovered: dict[int, float]) -> list[int]:
    """Ids of drawn structures that are large enough to be demanded."""
    areas = np.bincount(composed.geometry.label_map.ravel(), minlength=256)
    return [i for i in recovered if areas[i] >= LEAST_JUDGED]


def _unrecovered(recovered: dict[int, float], composed: Composed, floors: Floors, models: Models) -> list[Bilingual]:
    judged = _judged(composed, recovered)
    reasons = []
    for identifier in (i for i in composed.asked if recovered.get(i, 1.0) < floors.dice):
        s = models.vocabulary.by_id(identifier)
        dice = f"Dice {recovered[identifier]:.2f} < {floors.dice:.2f}"
        reasons.append(Bilingual(f"{s.name_en} is not recovered ({dice})", f"{s.name_zh}未能在图像中识别（{dice}）"))
    there = [i for i in judged if recovered[i] >= floors.dice]
    if judged and len(there) < floors.share * len(judged):
        reasons.append(
            Bilingual(
                f"only {len(there)} of {len(judged)} structures are recovered ({floors.share:.0%} are needed)",
                f"{len(judged)}个结构中仅识别出{len(there)}个（需{floors.share:.0%}）",
            )
        )
    return reasons


def _doubtful(
    scores: dict[int, float],
    recovered: dict[int, float],
    composed: Composed,
    floors: Floors,
    is_calibrated: bool,
    models: Models,
) -> list[Bilingual]:
    floor = floors.calibrated if is_calibrated else floors.agreement
    judged = _judged(composed, recovered)
    known = {i: scores[i] for i in judged if math.isfinite(scores.get(i, math.nan))}
    reasons = []
    if known and (mean := sum(known.values()) / len(known)) < floor:
        reasons.append(
            Bilingual(f"mean confidence {mean:.2f} is below {floor:.2f}", f"平均置信度{mean:.2f}低于{floor:.2f}")
        )
    for identifier in (i for i in composed.asked if i in known and known[i] < floor):
        s = models.vocabulary.by_id(identifier)
        reasons.append(
            Bilingual(
                f"{s.name_en} has confidence {known[identifier]:.2f}, below {floor:.2f}",
                f"{s.name_zh}置信度{known[identifier]:.2f}，低于{floor:.2f}",
            )
        )
    return reasons


def _broken(broken: np.ndarray, models: Models) -> list[tuple[str, str]]:
    """(key, kind) of each breach in (classes, kinds)."""
    keys = [models.vocabulary.by_id(c).key for c in models.classes]
    return [(keys[c], KINDS[k]) for c, k in np.argwhere(broken).tolist()]


def _sentence(key: str, kind: str, models: Models) -> Bilingual:
    s, breach = models.vocabulary.by_key(key), _BREACHES[kind]
    return Bilingual(f"{s.name_en} {breach.en}", f"{s.name_zh}{breach.zh}")


def recognised(report: CandidateReport, composed: Composed, models: Models) -> tuple[int, ...]:
    """Ids to name in the figure: of those that nobody asked for by name, what the organ segmenter recovers.

    A name at a place where the image shows something else teaches what is wrong.
    """
    dice = floors_of(models, calibration_for(composed, models)).dice
    keys = {i: models.vocabulary.by_id(i).key for i in composed.name}
    return tuple(i for i in composed.name if i in composed.asked or report.recovered.get(keys[i], 1.0) >= dice)


def refusals(reports: Sequence[CandidateReport]) -> tuple[Bilingual, ...]:
    """Why no candidate leaves, one sentence a candidate."""
    return tuple(
        Bilingual(
            f"candidate {number} (seed {report.seed}): " + ", ".join(reason.en for reason in report.reasons),
            f"候选{number}（种子{report.seed}）：" + "，".join(reason.zh for reason in report.reasons),
        )
        for number, report in enumerate(reports, 1)
    )
