"""From a file of a hand drawing to a label map: `read_sketch`, the one way in.

A drawing is read, never completed: what nobody drew does not appear. What was assumed is said in remarks, what no body
has in refusals. Each step has its own module; what is made of the label map is `illustration`'s affair.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.errors import InputError
from medillus_pipeline.generation.prior import Prior
from medillus_pipeline.sketches.agreement import agreement, objections, uprightness
from medillus_pipeline.sketches.found import Found, found_in
from medillus_pipeline.sketches.ink import dark_on_light, ink_of
from medillus_pipeline.sketches.legend import coloured, legend_keys
from medillus_pipeline.sketches.named import named_regions
from medillus_pipeline.sketches.picture_file import rgb_of
from medillus_pipeline.sketches.placing import Placement, candidates, placed_ink
from medillus_pipeline.sketches.segmenter import SketchSegmenter
from medillus_pipeline.sketches.strokes import enclosed, lines_of
from medillus_pipeline.sketches.svg_file import looks_like_svg, svg_drawing

ORIENTATION = "the patient's left is at the picture's right, anterior at the top, as seen from the feet"
UNSURE = 0.6
"""Confidence below which a remark asks to name the structure."""

LEAST_DRAWN = 0.6
"""Share of structures of such a score that somebody drew, below which a shape stays without a name."""

PAGE_BONUS = 0.1
"""Agreement that another placement must gain over the page as drawn."""


@dataclass(frozen=True)
class Sheet:
    """A drawing as it lies on its sheet, h × w pixels: all `lines`, and by key those that a drawer `named`."""

    lines: NDArray[np.bool_]
    named: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class SketchReading:
    """What a drawing shows.

    * `label_map` (side, side) uint8: class indices, 0 background and i for `classes[i - 1]`, vocabulary ids; row 0 is
      anterior, column 0 the patient's right;
    * `confidences`: vocabulary key → 0 … 1, the share of structures of such a score that were read right on drawings
      of other patients; 1 for those in `named`, which the drawer named;
    * `level`: 0 feet to 1 head, given or likely; `orientation`: where left and right are;
    * `mirror_suspected`: the mirrored drawing reads much more coherently; it is never flipped unasked;
    * `placement`: how the sheet was laid in the frame; `ink` (2·side, 2·side): the strokes there;
    * `remarks`: what was assumed or not understood; `refusals`: what no body has.
    """

    label_map: NDArray[np.uint8] = field(repr=False)
    classes: tuple[int, ...]
    confidences: dict[str, float]
    named: tuple[str, ...]
    level: float
    orientation: str
    flipped: bool
    mirror_suspected: bool
    placement: Placement
    ink: NDArray[np.float32] = field(repr=False)
    remarks: tuple[str, ...]
    refusals: tuple[str, ...]

    @property
    def ids(self) -> NDArray[np.uint8]:
        """(side, side) uint8: vocabulary ids, 0 background."""
        return np.array([0, *self.classes], np.uint8)[self.label_map]

    def accepted(self) -> "SketchReading":
        """This reading. Raises InputError with all refusals where there is one, and for an empty reading."""
        if self.refusals:
            raise InputError("the sketch shows what no body has: " + "; ".join(self.refusals))
        if not self.label_map.any():
            raise InputError("no organ was recognised in the sketch: close its outlines, or name them in a legend")
        return self


def read_sketch(
    data: bytes,
    *,
    segmenter: SketchSegmenter,
    prior: Prior,
    vocabulary: Vocabulary,
    legend: Mapping[str, str] | None = None,
    level: float | None = None,
    flip: bool = False,
    fit: bool = False,
) -> SketchReading:
    """Read a PNG, JPEG or SVG of a drawing.

    `legend` maps stroke colours `#rrggbb` to keys or names of structures: what such strokes enclose gets that
    structure whatever the network says; so do SVG groups that name one. `level` is where along the body the drawing
    lies, 0 feet to 1 head. `flip` mirrors the drawing first. The page is the frame; with `fit` the drawing is
    laid where it agrees best with the prior, for a drawing that is small or off the middle of its sheet.
    Raises InputError for a file that cannot be read or is not safe to, a blank sheet, a legend of unknown names, a
    structure that the segmenter does not know, and a level outside 0 to 1. What no body has is in `refusals`.
    """
    segmenter.refuse_other(prior)
    if level is not None and not 0 <= level <= 1:
        raise InputError(f"the level {level:g} is outside 0 (feet) to 1 (head)")
    sheet = sheet_of(data, vocabulary, legend or {})
    if not sheet.lines.any():
        raise InputError("the sketch is blank: no stroke stands out from the sheet")
    places = candidates(sheet.lines, prior, level) if fit else candidates(sheet.lines, prior, level)[:1]
    regions = {key: enclosed(lines) for key, lines in sheet.named.items()}
    tried = [
        _tried(sheet, regions, [replace(each, flip=turned) for each in places], segmenter, prior, vocabulary, level)
        for turned in (flip, not flip)
    ]
    best, other = tried
    margin = segmenter.calibration.mirror_margin
    suspected = margin is not None and other.uprightness - best.uprightness > margin
    likely = float(prior.likely_levels(best.labels[None], _present(best.labels, prior)[None])[0])
    at = likely if level is None else level
    remarks = [*sheet.remarks, *best.remarks]
    if flip:
        remarks.append("the drawing was mirrored before it was read, as asked")
    if suspected:
        remarks.append(
            "the drawing is probably mirrored: its mirror image reads more like anatomy; read it again "
            + ("without flip" if flip else "with flip")
        )
    confidences = {}
    for each in best.found:
        key = vocabulary.by_id(segmenter.classes[each.index - 1]).key
        sure = key in best.named
        confidences[key] = 1.0 if sure else segmenter.calibration.confidence(each.score)
        if confidences[key] < UNSURE:
            remarks.append(f"{key} is a guess (confidence {confidences[key]:.2f}): name it by a colour of the legend")
    return SketchReading(
        label_map=best.labels,
        classes=segmenter.classes,
        confidences=confidences,
        named=best.named,
        level=at,
        orientation=ORIENTATION,
        flipped=flip,
        mirror_suspected=suspected,
        placement=best.placement,
        ink=best.ink,
        remarks=tuple(remarks),
        refusals=tuple(objections(best.labels, at, prior, segmenter.calibration, vocabulary)),
    )


def sheet_of(data: bytes, vocabulary: Vocabulary, legend: Mapping[str, str]) -> Sheet:
    """The strokes of a file and what names they were given. Raises InputError as `read_sketch` does."""
    colours = legend_keys(legend, vocabulary)
    remarks: list[str] = []
    named: dict[str, NDArray[np.bool_]] = {}
    if looks_like_svg(data):
        drawing = svg_drawing(data, vocabulary)
        rgb = drawing.rgb
        named = {key: lines_of(ink_of(1 - ink, dark=True)) for key, ink in drawing.named.items()}
        remarks += [f"the SVG names {name!r}, which is no structure of the vocabulary" for name in drawing.unknown]
    else:
        rgb = rgb_of(data)
    dark = dark_on_light(rgb.mean(2))
    # A coloured stroke stands out most in the channel that it takes most from, or adds most to.
    ink = ink_of(rgb.min(2) if dark else rgb.max(2), dark=dark)
    lines = lines_of(ink)
    for key, own in coloured(rgb, ink, colours, dark=dark).items():
        own_lines = lines_of(own)
        named[key] = named[key] | own_lines if key in named else own_lines
    missing = sorted(set(colours.values()) - set(named))
    if missing:
        remarks.append(f"no stroke has the legend's colour of: {', '.join(missing)}")
    for own in named.values():
        lines = lines | own
    return Sheet(lines, {key: own for key, own in named.items() if own.any()}, tuple(remarks))


@dataclass(frozen=True)
class _Try:
    labels: NDArray[np.uint8]
    found: list[Found]
    named: tuple[str, ...]
    uprightness: float
    placement: Placement
    ink: NDArray[np.float32]
    remarks: tuple[str, ...]


def _tried(
    sheet: Sheet,
    regions: Mapping[str, list[NDArray[np.bool_]]],
    places: Sequence[Placement],
    segmenter: SketchSegmenter,
    prior: Prior,
    vocabulary: Vocabulary,
    level: float | None,
) -> _Try:
    """The reading in the placement that agrees best with the prior."""
    side = segmenter.side
    inks = np.stack([placed_ink(sheet.lines, place, side) for place in places])
    levels = None if level is None else np.full(len(places), level, np.float32)
    probabilities = segmenter.predict(inks, prior, levels)
    named = [
        named_regions(regions, place, segmenter, vocabulary, p) for place, p in zip(places, probabilities, strict=True)
    ]
    fits = [agreement(n.honoured(p), prior) for n, p in zip(named, probabilities, strict=True)]
    fits[0] += PAGE_BONUS
    chosen = int(np.argmax(fits))
    probability, given = probabilities[chosen], named[chosen]
    honoured = given.honoured(probability)
    labels = np.zeros((side, side), np.uint8)
    found, unknown = [], 0
    for each in found_in(honoured, inks[chosen]):
        if each.index in given.masks:
            continue
        if segmenter.calibration.drawn(each.score) < LEAST_DRAWN:
            unknown += 1
        else:
            labels[each.mask] = each.index
            found.append(each)
    for index, mask in given.masks.items():
        labels[mask] = index
        found.append(Found(index, mask, 1.0))
    keys = tuple(vocabulary.by_id(segmenter.classes[index - 1]).key for index in given.masks)
    remarks = (*given.remarks, *_unknown(unknown))
    return _Try(labels, found, keys, uprightness(honoured, prior), places[chosen], inks[chosen], remarks)


def _unknown(count: int) -> list[str]:
    """What is said of shapes that stay without a name."""
    if not count:
        return []
    return [f"{count} shape(s) are not recognised and left out: name them by a colour of the legend"]


def _present(labels: NDArray[np.integer], prior: Prior) -> NDArray[np.bool_]:
    """(classes,): a drawing is complete for what it shows; what it lacks may have been left out."""
    return np.isin(np.arange(1, len(prior.classes) + 1), labels)
