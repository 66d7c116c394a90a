"""The segments of a `.seg.nrrd`: which layer and value each has, and what it means.

3D Slicer keeps them as keys of the NRRD header: SegmentN_Layer, SegmentN_LabelValue, SegmentN_Name, and SegmentN_Tags
with a terminology entry (context~category~type~modifier~context~region~modifier, each scheme^code^meaning). Releases
before 4.11 give every segment a layer of its own, in order, whose value is 1. The codes are those of a DICOM
segmentation, so the same rule decides what they mean (`segment_identity.py`).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydicom import DataElement, Dataset
from pydicom.config import IGNORE
from pydicom.datadict import tag_for_keyword

from medillus_pipeline.annotation.drawing import WHOLE_ITEM, Drawing
from medillus_pipeline.annotation.formats.label_volume import Meanings
from medillus_pipeline.annotation.formats.segment_identity import identify
from medillus_pipeline.annotation.outcomes import Reason, Refused
from medillus_pipeline.annotation.vocabulary import Structure, Vocabulary

KEY = re.compile(r"Segment(\d{1,5})_(\w+)")
TERMINOLOGY = "TerminologyEntry"
TYPE, TYPE_MODIFIER, REGION, REGION_MODIFIER = 2, 3, 5, 6
"""Places of what counts within a terminology entry."""
MAXIMUM_SEGMENTS = 10_000


@dataclass(frozen=True)
class Segment:
    """One segment: its place in the file, and its name and codes as the Segment Sequence of DICOM would hold them."""

    layer: int
    value: int
    name: str
    described: Dataset


def read(keys: Mapping[str, str], layers: int) -> list[Segment]:
    """The segments that header keys describe; none for a plain NRRD.

    Raises Refused when one has no place among `layers`, or shares its place with another.
    """
    found: dict[int, dict[str, str]] = {}
    for key, value in keys.items():
        if match := KEY.fullmatch(key):
            found.setdefault(int(match[1]), {})[match[2]] = value
    if len(found) > MAXIMUM_SEGMENTS:
        raise Refused(Reason.TOO_LARGE)
    segments = [_segment(number, said) for number, said in sorted(found.items())]
    places = {(segment.layer, segment.value) for segment in segments}
    if len(places) < len(segments) or any(segment.layer >= layers for segment in segments):
        raise Refused(Reason.BROKEN_FILE)
    return segments


def _segment(number: int, said: Mapping[str, str]) -> Segment:
    placed = "LabelValue" in said
    try:
        layer = int(said.get("Layer", "0") if placed else number)
        value = int(said.get("LabelValue", "1"))
    except ValueError as error:
        raise Refused(Reason.BROKEN_FILE) from error
    if layer < 0 or value < 1:
        raise Refused(Reason.BROKEN_FILE)
    tags = dict(tag.split(":", 1) for tag in said.get("Tags", "").split("|") if ":" in tag)
    codes = [*tags.get(TERMINOLOGY, "").split("~"), *[""] * 7]
    described = Dataset()
    _put(described, "SegmentLabel", said.get("Name", ""))
    kind, region = _code(codes[TYPE]), _code(codes[REGION])
    if kind is not None:
        if (modifier := _code(codes[TYPE_MODIFIER])) is not None:
            kind.SegmentedPropertyTypeModifierCodeSequence = [modifier]
        described.SegmentedPropertyTypeCodeSequence = [kind]
    if region is not None:
        if (modifier := _code(codes[REGION_MODIFIER])) is not None:
            region.AnatomicRegionModifierSequence = [modifier]
        described.AnatomicRegionSequence = [region]
    return Segment(layer, value, said.get("Name", ""), described)


def _code(text: str) -> Dataset | None:
    scheme, _, rest = text.partition("^")
    value = rest.partition("^")[0]
    if not scheme or not value:
        return None
    item = Dataset()
    _put(item, "CodeValue", value)
    _put(item, "CodingSchemeDesignator", scheme)
    return item


def _put(item: Dataset, keyword: str, text: str) -> None:
    # Text of unlimited length: what others typed is neither cut nor split at a backslash.
    item.add(DataElement(tag_for_keyword(keyword) or 0, "UT", text, validation_mode=IGNORE))


def meanings(
    segments: list[Segment], names: Mapping[int, str], layers: int, vocabulary: Vocabulary, drawing: Drawing
) -> Sequence[Meanings]:
    """What each value of each layer stands for. `names` by value (an index or a label description) help out where a
    file of one layer has no name or code that the vocabulary knows. A segment whose name and code differ is noted, and
    its value passed over.
    """
    found: list[dict[int, Structure | str]] = [{} for _ in range(layers)]
    for segment in segments:
        name = segment.name or f"value {segment.value}"
        meant = identify(segment.described, vocabulary)
        if meant is Reason.UNKNOWN_LABEL:
            given = names.get(segment.value, "") if layers == 1 else ""
            found[segment.layer][segment.value] = vocabulary.resolve(given) or name
        elif isinstance(meant, Reason):
            drawing.note(WHOLE_ITEM, meant, "")
            found[segment.layer][segment.value] = ""
        else:
            found[segment.layer][segment.value] = meant
    return found
