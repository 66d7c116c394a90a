"""Counterfactual proof: one organ of a mask is edited, the image is made anew from the same noise, the judge looks.

The change that the judge sees (pixels that it newly calls the organ, and pixels that it no longer does) is compared
with the change of the mask: IoU of the two kinds of pixels, added up over a patient's cases. Even on real images the
judge misses part of a thin rim, so this raw IoU is divided by that between two real slices of the same patient whose
masks of the organ differ by about as many pixels as the edit: 1 means that the judge follows an edit as well as it
follows real anatomy. The edits themselves are in `mask_edits.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy import ndimage

from medillus_pipeline.validation import controls, metrics
from medillus_pipeline.validation.mask_edits import EDITS, ClassMap, Edit, Mask
from medillus_pipeline.validation.sampler import Given, Sample

Images = NDArray[np.integer]
BODY_HU = -500.0


class Labeller(Protocol):
    """A judge, as far as it is needed here."""

    def predict(self, values: Images) -> NDArray[np.floating]:
        """Class probabilities (n, classes + 1, height, width) of images (n, height, width)."""
        ...


class CounterfactualConfig(BaseModel):
    """How much is edited. Cost: at most four images a mask, one before and one after each kind of edit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    masks: int = Field(default=30, ge=1, le=10_000, description="real masks of which one organ each is edited in turn")
    least_area: float = Field(
        default=30 / 64**2, gt=0, le=1, description="least area of an organ to be edited, as a share of the frame"
    )
    batch: int = Field(default=32, ge=1, le=1024, description="images that generator and judge get at a time")
    draws: int = Field(default=1000, ge=100, le=100_000, description="bootstrap draws over patients")


@dataclass(frozen=True)
class Case:
    """One edit: which slice (row of the given arrays), which organ (class index), and both masks (h, w)."""

    row: int
    organ: int
    edit: Edit
    before: ClassMap
    after: ClassMap


@dataclass(frozen=True)
class Followed:
    """A case with its images (before, after), what the judge saw in them, and the IoU of its change."""

    case: Case
    images: tuple[Images, Images]
    judged: tuple[ClassMap, ClassMap]
    iou: float


@dataclass(frozen=True)
class Counterfactual:
    """Figures by flat key (see `figures.py`), and every case."""

    figures: dict[str, float]
    cases: tuple[Followed, ...]


def counterfactual(
    values: Images,
    class_maps: ClassMap,
    patients: Sequence[str],
    levels: NDArray[np.floating],
    *,
    sample: Sample,
    judge: Labeller,
    seed: int,
    config: CounterfactualConfig | None = None,
    given: Given | None = None,
) -> Counterfactual:
    """Edit, generate and judge; arrays are those that `evaluate` takes, (n, h, w) each, and so is what is `given`.

    Figures are left out where no mask could be edited, or the judge sees no change between any real slices.
    """
    config = config or CounterfactualConfig()
    rng = np.random.default_rng(seed)
    every, heights = np.asarray(patients, dtype=str), np.asarray(levels, dtype=np.float64)
    names, groups = np.unique(every, return_inverse=True)
    cases = edited_cases(np.asarray(values), np.asarray(class_maps), groups, heights, rng, config)
    if not cases:
        return Counterfactual({"counterfactual_cases": 0.0}, ())
    judged_real = _judged(judge, np.asarray(values), config.batch)
    images, judged = _images(cases, heights, sample, judge, seed, config, given or {})
    made = np.array([_change((c.before, c.after), seen, c.organ) for c, seen in zip(cases, judged, strict=True)])
    real = np.array([_real_change(case, np.asarray(class_maps), judged_real, groups) for case in cases])
    known = np.isfinite(real[:, 0])
    weights = metrics.bootstrap_weights(len(names), config.draws, rng)
    owner = groups[[case.row for case in cases]]
    tables: dict[Edit, NDArray[np.float64]] = {}
    for edit in EDITS:
        chosen = known & np.array([case.edit == edit for case in cases])
        if chosen.any():
            tables[edit] = metrics.sum_by(owner[chosen], np.concatenate([made, real], 1)[chosen], len(names))
    figures = {"counterfactual_cases": float(known.sum())}
    for name, statistic in (("iou", _normalised), ("raw_iou", _raw), ("real_iou", _real)):
        for suffix, used in (("", list(tables.values())), *((f"_{edit}", [own]) for edit, own in tables.items())):
            found = metrics.estimate(
                lambda drawn, u=used, s=statistic: np.mean([s(drawn @ table) for table in u], axis=0), weights
            )
            key = f"counterfactual_{name}{suffix}"
            figures |= {key: found.value, f"{key}_low": found.low, f"{key}_high": found.high}
    followed = tuple(
        Followed(case, pair, seen, float(same / max(either, 1)))
        for case, pair, seen, (same, either) in zip(cases, images, judged, made, strict=True)
    )
    return Counterfactual(figures, followed)


def _images(
    cases: Sequence[Case],
    heights: NDArray[np.floating],
    sample: Sample,
    judge: Labeller,
    seed: int,
    config: CounterfactualConfig,
    given: Given,
) -> tuple[list[tuple[Images, Images]], list[tuple[ClassMap, ClassMap]]]:
    """Images before and after each case, and what the judge sees in them.

    A mask is drawn once before its edits. An image's noise is that of its place in the batch, so each kind of edit is
    drawn in a batch of its own with every mask at its place; where a mask has no such edit, its place is filled.
    """
    images: dict[int, tuple[Images, Images]] = {}
    judged: dict[int, tuple[ClassMap, ClassMap]] = {}
    masks = {case.row: case.before for case in cases}
    rows = list(masks)
    for start in range(0, len(rows), config.batch):
        part = rows[start : start + config.batch]
        noise = int(np.random.SeedSequence([seed, start]).generate_state(1)[0])
        said = {name: np.asarray(column)[part] for name, column in given.items()}
        before = np.asarray(sample(np.stack([masks[row] for row in part]), heights[part], noise, **said))
        seen_before = _judged(judge, before, config.batch)
        for edit in EDITS:
            own = {case.row: number for number, case in enumerate(cases) if case.edit == edit and case.row in part}
            last = max((part.index(row) for row in own), default=-1) + 1
            if not last:
                continue
            maps = np.stack([cases[own[row]].after if row in own else masks[row] for row in part[:last]])
            after = np.asarray(
                sample(maps, heights[part[:last]], noise, **{name: column[:last] for name, column in said.items()})
            )
            seen_after = _judged(judge, after, config.batch)
            for row, number in own.items():
                place = part.index(row)
                images[number] = before[place], after[place]
                judged[number] = seen_before[place], seen_after[place]
    return [images[number] for number in range(len(cases))], [judged[number] for number in range(len(cases))]


def edited_cases(
    values: Images,
    class_maps: ClassMap,
    groups: NDArray[np.integer],
    levels: NDArray[np.floating],
    rng: np.random.Generator,
    config: CounterfactualConfig,
) -> list[Case]:
    """Up to three cases a mask, one an edit; of the organs that can be edited, one that was edited least so far."""
    least = max(config.least_area * class_maps[0].size, metrics.MINIMUM_PIXELS)
    cases, done = [], dict.fromkeys(((edit, organ) for edit in EDITS for organ in range(1, 256)), 0)
    for row in controls.evenly_over_patients(groups, levels, config.masks).tolist():
        areas = np.bincount(class_maps[row].ravel(), minlength=256)
        organs = [organ for organ in range(1, 256) if areas[organ] >= least]
        body = np.asarray(ndimage.binary_fill_holes((values[row] > BODY_HU) | (class_maps[row] > 0)))
        for edit, change in EDITS.items():
            for organ in sorted(rng.permutation(organs).tolist(), key=lambda one, e=edit: done[e, one]):
                after = change(class_maps[row], organ, body, rng)
                if after is not None:
                    cases.append(Case(row, organ, edit, class_maps[row], after))
                    done[edit, organ] += 1
                    break
    return cases


def _change(masks: Sequence[ClassMap], judged: Sequence[ClassMap], organ: int) -> tuple[float, float]:
    """Pixels where the judge's change is the mask's change, and pixels where either changes."""
    asked, seen = ([one == organ for one in maps] for maps in (masks, judged))
    came = [after & ~before for before, after in (asked, seen)]
    went = [before & ~after for before, after in (asked, seen)]
    same = sum(np.count_nonzero(a & b) for a, b in (came, went))
    either = sum(np.count_nonzero(a | b) for a, b in (came, went))
    return float(same), float(either)


def _real_change(
    case: Case, class_maps: ClassMap, judged: ClassMap, groups: NDArray[np.integer]
) -> tuple[float, float]:
    """The same between the case's real slice and the patient's slice whose mask of the organ differs by as much."""
    own: Mask = class_maps == case.organ
    asked = np.count_nonzero((case.before == case.organ) != (case.after == case.organ))
    others = np.flatnonzero((groups == groups[case.row]) & (np.arange(len(groups)) != case.row))
    differs = (own[others] != own[case.row]).sum(axis=(1, 2))
    if not differs.any():
        return float("nan"), float("nan")
    partner = others[np.where(differs > 0, np.abs(differs - asked), np.iinfo(np.int64).max).argmin()]
    return _change((class_maps[case.row], class_maps[partner]), (judged[case.row], judged[partner]), case.organ)


def _judged(judge: Labeller, images: Images, batch: int) -> ClassMap:
    parts = [judge.predict(images[start : start + batch]).argmax(axis=1) for start in range(0, len(images), batch)]
    return np.concatenate(parts).astype(np.uint8)


def _ratio(above: NDArray[np.floating], below: NDArray[np.floating]) -> NDArray[np.floating]:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(below > 0, above / below, np.nan)


def _raw(sums: NDArray[np.floating]) -> NDArray[np.floating]:
    return _ratio(sums[:, 0], sums[:, 1])


def _real(sums: NDArray[np.floating]) -> NDArray[np.floating]:
    return _ratio(sums[:, 2], sums[:, 3])


def _normalised(sums: NDArray[np.floating]) -> NDArray[np.floating]:
    return _ratio(_raw(sums), _real(sums))
