"""What is true of a slice, as a closed list of facts: from a snapshot's table and masks, and the prior's figures.

A fact is true, false or unknown of a slice: what nobody drew is neither present nor absent, and a phase that nobody
labelled is no phase. How facts are put into words is in `captions.py`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.errors import ConfigurationError, InputError
from medillus_pipeline.generation.body_regions import REGIONS, level_of_region
from medillus_pipeline.generation.dataset import Dataset
from medillus_pipeline.generation.prior import Prior
from medillus_pipeline.generation.slice_attributes import KINDS
from medillus_pipeline.language.encoder_config import FactsConfig

Kind = Literal[
    "modality", "body_part", "contrast_phase", "pathology", "stage", "region", "level", "present", "absent", "large",
    "small",
]  # fmt: skip
TRUE, FALSE, UNKNOWN = 1, -1, 0
LEVELS = tuple(f"{tenth / 10:.1f}" for tenth in range(11))
PHASE_NOT_KNOWN = "contrast_phase_unknown"
WIDER_PHASES = {"early_arterial": "arterial", "late_arterial": "arterial"}
"""Phases that are a part of another one, which is then true too."""


@dataclass(frozen=True)
class Fact:
    """One statement: for structures (`present`, `absent`, `large`, `small`) `key` is a key of the vocabulary, for a
    region its first English name, for a level the nearest tenth, else a value of the table (`portal_venous`).
    """

    kind: Kind
    key: str

    def __str__(self) -> str:
        return f"{self.kind}={self.key}"

    @classmethod
    def from_text(cls, text: str) -> "Fact":
        """The inverse of `str`."""
        kind, _, key = text.partition("=")
        return cls(kind, key)  # type: ignore[arg-type]


@dataclass(frozen=True)
class FactTable:
    """`truth` (n, facts) int8 of n slices: TRUE, FALSE or UNKNOWN for each of `facts`."""

    facts: tuple[Fact, ...]
    truth: np.ndarray

    def columns(self, kind: Kind) -> list[int]:
        """Positions of the facts of a kind."""
        return [number for number, fact in enumerate(self.facts) if fact.kind == kind]


def truth_of(claims: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(c, n) int8: whether captions with `claims` (c, facts) bool are true of slices with `truth` (n, facts): TRUE
    where every claimed fact is, FALSE where one is false, else UNKNOWN.
    """
    said = claims.astype(np.float32)
    wrong = said @ (truth == FALSE).T.astype(np.float32) > 0
    unsure = said @ (truth == UNKNOWN).T.astype(np.float32) > 0
    return np.where(wrong, FALSE, np.where(unsure, UNKNOWN, TRUE)).astype(np.int8)


def claims_of(claimed: Sequence[Iterable[Fact]], facts: Sequence[Fact]) -> np.ndarray:
    """(c, facts) bool: which of `facts` each caption claims. Raises InputError for a fact that is not among them."""
    place = {fact: number for number, fact in enumerate(facts)}
    claims = np.zeros((len(claimed), len(facts)), bool)
    for number, own in enumerate(claimed):
        for fact in own:
            if fact not in place:
                raise InputError(f"the text encoder knows no fact {fact}: it was trained on slices without it")
            claims[number, place[fact]] = True
    return claims


def region_names() -> dict[str, tuple[str, ...]]:
    """All names, English and Chinese, of each region of the body, by its first English one."""
    by_marks: dict[tuple[tuple[str, ...], ...], list[str]] = {}
    for name, marks in REGIONS.items():
        by_marks.setdefault(marks, []).append(name)
    return {names[0]: tuple(names) for names in by_marks.values()}


def facts_of(dataset: Dataset, prior: Prior, vocabulary: Vocabulary) -> tuple[Fact, ...]:
    """All facts that captions of the dataset may claim: its known attributes, the regions that the prior can place,
    levels in tenths, and of each class that it is there, is not, is large, is small.
    """
    attributes = [Fact.from_text(name) for name in dataset.known_attributes]
    phases = {fact.key for fact in attributes if fact.kind == "contrast_phase"} - {PHASE_NOT_KNOWN}
    phases |= {WIDER_PHASES[phase] for phase in phases if phase in WIDER_PHASES}
    facts = [fact for fact in attributes if fact.kind != "contrast_phase"]
    facts += [Fact("contrast_phase", phase) for phase in sorted(phases)]
    facts += [Fact("region", name) for name in _regions(prior, vocabulary)]
    facts += [Fact("level", level) for level in LEVELS]
    keys = [vocabulary.by_id(label).key for label in dataset.classes]
    for kind in ("present", "absent", "large", "small"):
        facts += [Fact(kind, key) for key in keys]
    return tuple(facts)


def fact_table(
    dataset: Dataset, prior: Prior, vocabulary: Vocabulary, facts: Sequence[Fact], config: FactsConfig
) -> FactTable:
    """Which of `facts` are true of each slice of the dataset.

    A structure of fewer pixels than `smallest_share` of the frame is neither present nor absent. Large and small are
    about the area in the slice, in standard deviations from the prior's mean at its level, and not known where that
    mean is less than `size_share`. Raises ConfigurationError when prior and dataset have other classes.
    """
    if prior.classes != dataset.classes:
        raise ConfigurationError("the prior is of other classes than the dataset: materialize anatomical_prior again")
    pixels = _pixels(np.asarray(dataset.labels), len(dataset.classes))
    claimed, levels = dataset.claimed, dataset.levels
    smallest = config.smallest_share * dataset.labels.shape[1] * dataset.labels.shape[2]
    deviation = _deviation(dataset, prior, pixels, config.size_share)
    place = {vocabulary.by_id(label).key: number for number, label in enumerate(dataset.classes)}
    regions = _regions(prior, vocabulary)
    columns = []
    for fact in facts:
        if fact.kind in ("present", "absent", "large", "small"):
            number = place[fact.key]
            there = _three(pixels[:, number] >= max(smallest, 1), (pixels[:, number] == 0) & claimed[:, number])
            if fact.kind == "absent":
                there = -there
            elif fact.kind != "present":
                score = deviation[:, number] * (1 if fact.kind == "large" else -1)
                sized = _three(score >= config.size_deviations, score < config.size_deviations - config.size_margin)
                there = np.where(there == TRUE, sized, there)
            columns.append(there)
        elif fact.kind in ("region", "level"):
            middle = regions[fact.key] if fact.kind == "region" else float(fact.key)
            reach = config.region_reach if fact.kind == "region" else 0.05
            away = np.abs(levels - middle)
            columns.append(_three(away <= reach + 1e-6, away > reach + config.level_margin))
        else:
            columns.append(np.array([_said(row, fact) for row in dataset.rows], np.int8))
    return FactTable(tuple(facts), np.stack(columns, 1).astype(np.int8))


def _three(true: np.ndarray, false: np.ndarray) -> np.ndarray:
    return np.where(true, TRUE, np.where(false, FALSE, UNKNOWN)).astype(np.int8)


def _said(row: Mapping[str, Any], fact: Fact) -> int:
    assert fact.kind in KINDS
    given = row[fact.kind]
    values = set(given) if isinstance(given, list) else {given} - {None, "", PHASE_NOT_KNOWN}
    if not values:
        return UNKNOWN
    if fact.kind == "contrast_phase":
        values |= {WIDER_PHASES[value] for value in values & WIDER_PHASES.keys()}
        if WIDER_PHASES.get(fact.key) in values and fact.key not in values and len(values) == 1:
            return UNKNOWN
    return TRUE if fact.key in values else FALSE


def _pixels(labels: np.ndarray, classes: int) -> np.ndarray:
    """(n, classes): how many pixels each structure has in each label map (n, h, w)."""
    return np.stack([np.bincount(plane.ravel(), minlength=classes + 1)[1:] for plane in labels])


def _deviation(dataset: Dataset, prior: Prior, pixels: np.ndarray, least: float) -> np.ndarray:
    """(n, classes): areas as standard deviations from the prior's mean at the nearest level; NaN where it has none, or
    one below the share `least` of the frame.
    """
    area = pixels * np.array([abs(row["affine"][0] * row["affine"][5]) for row in dataset.rows])[:, None]
    figures = prior.area[np.rint(dataset.levels * (len(prior.area) - 1)).astype(int)]
    frame = prior.pixel_mm**2 * prior.tissue.shape[-1] * prior.tissue.shape[-2]
    told = (figures[..., 1] > 0) & (figures[..., 0] >= least * frame)
    spread = np.where(told, figures[..., 1], np.nan)
    return (area - figures[..., 0]) / spread


def _regions(prior: Prior, vocabulary: Vocabulary) -> dict[str, float]:
    """Levels of the regions that the prior has the structures for."""
    placed = {}
    for name in region_names():
        try:
            placed[name] = level_of_region(prior, name, vocabulary)
        except InputError:
            continue
    return placed
