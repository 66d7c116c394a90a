"""`mask_for`: a plausible label map for a structured request, or a refusal that says why.

Two ways: `retrieve` changes the nearest training mask, `shape` draws one from the prior's shape model and starts from
no patient. Either way the mask is let through only with every structure asked for, the exact sizes, every sure order of
the training masks kept, and no training mask's copy. What is not here: how a sentence becomes a request (`parser.py`).
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import ndimage

from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.errors import InputError
from medillus_pipeline.generation.body_regions import REGIONS, level_of_classes, level_of_region
from medillus_pipeline.generation.mask_requests import MaskRequest, propose_mask
from medillus_pipeline.generation.prior import TISSUES, Prior
from medillus_pipeline.language.drawable import Drawable, drawn_classes, refuse_undrawable
from medillus_pipeline.language.mask_bank import MaskBank, broken_orders, greatest_dice
from medillus_pipeline.language.mask_change import changed, freedom, greatest_diameter, left_out, resized
from medillus_pipeline.language.mask_retrieval import Wanted, nearest_masks
from medillus_pipeline.language.text_request import TextRequest

Way = Literal["retrieve", "shape"]

GREATEST_AREA_ERROR = 0.05
GREATEST_DICE = 0.95
"""Dice to a training mask from which a mask counts as its copy."""

LEAST_TELLING = 20
"""Labelled pixels below which masks of different patients coincide, so that a Dice tells nothing of a patient."""

LEAST_PIXELS = 1
CANDIDATES = 10
STRENGTHS = (1.0, 1.5, 2.2)
ROUNDS = 2
"""Times that several sizes are set in turn, because each moves the others a little."""


@dataclass(frozen=True)
class MaskFigures:
    """What was measured of a mask.

    `area_error` is the worst share of an area (or diameter) asked for that is off, beyond the half pixel that whole
    pixels cost, `raw_area_error` the same with it, `sized` whether a size was asked for; `present` the share of the
    structures asked for that are there and of those left out that are not; `orders_kept` the share of the sure orders;
    `copy_dice` the greatest Dice to a training mask.
    """

    area_error: float
    raw_area_error: float
    sized: bool
    present: float
    orders_kept: float
    copy_dice: float


@dataclass(frozen=True)
class MaskAnswer:
    """`label_map` (h, w) uint8 vocabulary ids; `remarks` for the person who asked; `provenance` for the sidecar, where
    alone the pseudonym of a retrieved mask stands.
    """

    label_map: np.ndarray
    remarks: tuple[str, ...]
    provenance: dict[str, Any]
    figures: MaskFigures


def mask_for(
    request: TextRequest,
    bank: MaskBank,
    prior: Prior,
    vocabulary: Vocabulary,
    *,
    can: Drawable,
    seed: int = 0,
    way: Way = "retrieve",
) -> MaskAnswer:
    """A mask for a request; the same seed gives the same mask.

    Raises InputError, with the reason, for a request that is not settled (not understood, contradictory, empty), one
    that the models cannot draw, one that no training mask comes near, and one for which no candidate passes.
    """
    if not request.settled:
        raise InputError(
            "correct the request first: " + "; ".join(p.en for p in request.problems if p.kind != "assumption")
        )
    if request.empty:
        raise InputError("the request says nothing that a mask could show")
    refuse_undrawable(request, can, vocabulary)
    wanted = _wanted(request, bank, prior, vocabulary, can)
    generator = np.random.default_rng(seed)
    reasons: Counter[str] = Counter()
    candidates = (
        _retrieved(wanted, bank, vocabulary, generator)
        if way == "retrieve"
        else _drawn(wanted, bank, prior, vocabulary, seed)
    )
    for labels, free, origin in candidates:
        finished = _finished(labels, free, wanted, request, bank, can, vocabulary)
        figures = _measured(finished, wanted, request, bank, can, vocabulary)
        if reason := _fault(figures, int((finished > 0).sum())):
            reasons[reason] += 1
            continue
        return MaskAnswer(
            label_map=np.array([0, *bank.classes], np.uint8)[finished],
            remarks=_remarks(request, way, finished, can, vocabulary),
            provenance={
                "way": way,
                "seed": seed,
                "dataset": bank.fingerprint,
                "prior": prior.version,
                "vocabulary": vocabulary.version,
                "text": request.text,
                **origin,
                **vars(figures),
            },
            figures=figures,
        )
    most = reasons.most_common(1)[0][0] if reasons else "there was none"
    raise InputError(f"no mask for this request passes; of the {reasons.total()} tried most failed because {most}")


def _wanted(request: TextRequest, bank: MaskBank, prior: Prior, vocabulary: Vocabulary, can: Drawable) -> Wanted:
    """The request in the bank's terms."""
    index = {label: position for position, label in enumerate(bank.classes)}
    present = tuple(index[label] for label in drawn_classes(request.structures, can, vocabulary))
    absent = tuple(index[label] for label in drawn_classes(request.absent, can, vocabulary))
    present = tuple(position for position in present if position not in absent)
    level = _level(request, prior, vocabulary, can)
    asked = {"modality": request.modality, "contrast_phase": request.contrast_phase, "stage": request.stage}
    attributes = {f"{kind}={value}" for kind, value in asked.items() if value is not None and can.values(kind)}
    for key in request.pathologies:
        lesion = vocabulary.resolve(key)
        if key in can.values("pathology"):
            attributes.add(f"pathology={key}")
        elif lesion is not None:
            present += tuple(index[label] for label in can.parts_of(lesion.id, vocabulary))
    near = level if level is not None else level_of_classes(prior, [bank.classes[p] for p in present])
    return Wanted(
        present=tuple(dict.fromkeys(present)),
        absent=absent,
        level=level,
        pixels=_targets(request, bank, near, can, vocabulary),
        attributes=frozenset(attributes),
        only=request.only,
    )


def _level(request: TextRequest, prior: Prior, vocabulary: Vocabulary, can: Drawable) -> float | None:
    if request.level is not None:
        if request.level.value is not None:
            return request.level.value
        if request.level.region:
            return level_of_region(prior, request.level.region, vocabulary)
        return level_of_classes(prior, drawn_classes(request.level.structures, can, vocabulary))
    if request.structures or request.body_part is None:
        return None
    name = request.body_part.casefold()
    if name not in REGIONS:
        return None
    try:
        return level_of_region(prior, name, vocabulary)
    except InputError:  # a prior of that body part alone has no structure that marks it, and lies in it anyway
        return None


def _targets(
    request: TextRequest, bank: MaskBank, level: float, can: Drawable, vocabulary: Vocabulary
) -> dict[int, float]:
    """Pixels by class for sizes given as factors."""
    result: dict[int, float] = {}
    for change in request.sizes:
        for label in can.parts_of(change.structure, vocabulary):
            index = bank.classes.index(label)
            if change.factor is not None:
                result[index] = max(change.factor * bank.usual_pixels(index, level), 1.0)
    for structure in request.usual:
        for label in can.parts_of(structure, vocabulary):
            index = bank.classes.index(label)
            result[index] = max(bank.usual_pixels(index, level), 1.0)
    return result


Candidate = tuple[np.ndarray, np.ndarray, dict[str, Any]]


def _retrieved(
    wanted: Wanted, bank: MaskBank, vocabulary: Vocabulary, generator: np.random.Generator
) -> Iterator[Candidate]:
    """The nearest training masks, each changed more and more, with where their pixels may move."""
    rigid = _rigid(bank, vocabulary)
    for rank, row in enumerate(nearest_masks(wanted, bank, generator)[:CANDIDATES]):
        source = bank.labels[row]
        body = bank.body(int(row))
        loose = freedom(body, np.zeros_like(body), bank.pixel_mm)
        for strength in STRENGTHS:
            labels = changed(source, loose, bank.pixel_mm, generator, strength)
            free = freedom(body, np.isin(labels, rigid), bank.pixel_mm)
            yield (
                labels,
                free,
                {
                    "source_patient": bank.patients[row],
                    "source_slice": bank.names[row],
                    "rank": rank,
                    "strength": strength,
                    "level": float(bank.levels[row]),
                },
            )


def _drawn(wanted: Wanted, bank: MaskBank, prior: Prior, vocabulary: Vocabulary, seed: int) -> Iterator[Candidate]:
    """Masks of the prior's shape model, most plausible first."""
    request = MaskRequest(
        wanted.level,
        tuple(bank.classes[index] for index in wanted.present),
        tuple(bank.classes[index] for index in wanted.absent),
        wanted.only,
    )
    proposed = propose_mask(prior, vocabulary, request, count=CANDIDATES, seed=seed)
    table = np.zeros(256, np.uint8)
    table[list(bank.classes)] = np.arange(1, len(bank.classes) + 1)
    rigid = _rigid(bank, vocabulary)
    order = np.argsort(~proposed.plausible, kind="stable")
    for rank, row in enumerate(order):
        labels = table[proposed.ids[row]]
        level = float(proposed.levels[row])
        tissue = prior.tissue[round(level * (len(prior.tissue) - 1)), TISSUES.index("air")]
        body = np.asarray(ndimage.binary_fill_holes((tissue < 0.5) | (labels > 0)))
        free = freedom(body, np.isin(labels, rigid), bank.pixel_mm)
        yield labels, free, {"source": "shape model", "rank": rank, "level": level}


def _rigid(bank: MaskBank, vocabulary: Vocabulary) -> list[int]:
    """Labels that a growing organ does not push: bones, and the spinal cord within."""
    structures = [vocabulary.by_id(label) for label in bank.classes]
    return [i + 1 for i, s in enumerate(structures) if s.kind == "bone" or s.key in ("spinal_cord", "spinal_canal")]


def _finished(
    labels: np.ndarray,
    free: np.ndarray,
    wanted: Wanted,
    request: TextRequest,
    bank: MaskBank,
    can: Drawable,
    vocabulary: Vocabulary,
) -> np.ndarray:
    """Without what is to be absent, and with the sizes that were asked for."""
    out = wanted.absent
    if wanted.only:
        out = tuple(index for index in range(len(bank.classes)) if index not in wanted.present)
    for index in out:
        labels = left_out(labels, index + 1)
    diameters = {
        bank.classes.index(label): change.millimetres / bank.pixel_mm
        for change in request.sizes
        if change.millimetres is not None
        for label in can.parts_of(change.structure, vocabulary)
    }
    protected = {index + 1 for index in (*wanted.pixels, *diameters)}
    for _ in range(ROUNDS if len(protected) > 1 else 1):
        for index, diameter in diameters.items():
            labels = resized(labels, index + 1, free, greatest_diameter, diameter, exact=False)
        for index, pixels in wanted.pixels.items():
            labels = resized(labels, index + 1, free, _count, pixels, exact=True, protected=protected - {index + 1})
    return labels


def _count(mask: np.ndarray) -> float:
    return float(mask.sum())


def _measured(
    labels: np.ndarray, wanted: Wanted, request: TextRequest, bank: MaskBank, can: Drawable, vocabulary: Vocabulary
) -> MaskFigures:
    sizes = np.bincount(labels.ravel(), minlength=len(bank.classes) + 1)[1:]
    off = [(abs(float(sizes[index]) - pixels), pixels) for index, pixels in wanted.pixels.items()]
    for change in request.sizes:
        for label in can.parts_of(change.structure, vocabulary) if change.millimetres is not None else ():
            target = (change.millimetres or 0.0) / bank.pixel_mm
            found = greatest_diameter(labels == bank.classes.index(label) + 1)
            off.append((abs(found - target), target))
    shown = [sizes[index] >= LEAST_PIXELS for index in wanted.present]
    gone = [sizes[index] == 0 for index in wanted.absent]
    broken, kept = broken_orders(labels, bank.right_of, bank.below)
    return MaskFigures(
        area_error=max((max(gap - 0.5, 0.0) / target for gap, target in off), default=0.0),
        raw_area_error=max((gap / target for gap, target in off), default=0.0),
        sized=bool(off),
        present=float(np.mean([*shown, *gone])) if shown or gone else 1.0,
        orders_kept=1.0 - broken / max(kept, 1),
        copy_dice=greatest_dice(labels, bank.labels),
    )


def _fault(figures: MaskFigures, labelled: int) -> str:
    """Why a mask is not let through; empty for one that is."""
    if labelled == 0:
        return "nothing was left to show"
    if figures.present < 1:
        return "a structure asked for was lost"
    if figures.area_error > GREATEST_AREA_ERROR:
        return "there is no room for the size asked for"
    if figures.orders_kept < 1:
        return "structures changed places"
    if figures.copy_dice > GREATEST_DICE and labelled >= LEAST_TELLING:
        return "it was too near to a training mask"
    return ""


def _remarks(
    request: TextRequest, way: Way, labels: np.ndarray, can: Drawable, vocabulary: Vocabulary
) -> tuple[str, ...]:
    remarks = [problem.en for problem in request.of_kind("assumption")]
    for label in request.absent:
        if not can.parts_of(label, vocabulary):
            name = vocabulary.by_id(label).name_en
            remarks.append(f"{name} is never drawn by these models: leaving it out changes nothing")
    if way == "shape" and (request.pathologies or request.contrast_phase or request.stage):
        remarks.append("the shape model knows no pathology, phase or stage: they decide the image, not this mask")
    if int((labels > 0).sum()) < LEAST_TELLING:
        remarks.append(f"under {LEAST_TELLING} labelled pixels: too few to tell whether it is like a training mask")
    return tuple(remarks)
