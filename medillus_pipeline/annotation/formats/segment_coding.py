"""How a structure of the vocabulary is described as a segment (PS3.3 C.8.20.4): codes, side, region, colour, origin.

A structure is coded in SNOMED CT where the code, with its side and region, leads back to it and to no other, else in a
private scheme of ours, by key. `segment_identity.py` reads both.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from medillus_pipeline.annotation.formats.segment_identity import OWN_SCHEME
from medillus_pipeline.annotation.vocabulary import Kind, Structure, Vocabulary

if TYPE_CHECKING:
    from highdicom.seg import SegmentDescription

ANATOMY = Code("123037004", "SCT", "Anatomical Structure")
CATEGORIES: dict[Kind, Code] = {
    "lesion": Code("49755003", "SCT", "Morphologically Altered Structure"),
    "device": Code("260787004", "SCT", "Physical object"),
    "target": Code("309825002", "SCT", "Spatial and Relational Concept"),
}
"""Segmented property categories (PS3.16 CID 7150) of the kinds that are no anatomy."""
SIDE_MEANINGS = {"7771000": "Left", "24028007": "Right", "51440002": "Right and left"}


@dataclass(frozen=True)
class Algorithm:
    """The program that drew the segments: its name and version, both of our own choice."""

    name: str
    version: str


def description(
    number: int, structure: Structure, vocabulary: Vocabulary, algorithm: Algorithm | None
) -> "SegmentDescription":
    """Segment `number` (from 1) of a structure, drawn by hand or by an algorithm."""
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentDescription
    from highdicom.sr import CodedConcept

    side = vocabulary.laterality_code(structure)
    coded = structure.code and vocabulary.by_code("SCT", structure.code, side, structure.region) is structure
    modifier = CodedConcept(side, "SCT", SIDE_MEANINGS[side]) if side else None
    kind = (
        Code(structure.code, "SCT", structure.meaning) if coded else Code(structure.key, OWN_SCHEME, structure.name_en)
    )
    identification = algorithm and AlgorithmIdentificationSequence(
        algorithm.name, codes.cid7162.ArtificialIntelligence, algorithm.version
    )
    made = SegmentDescription(
        segment_number=number,
        segment_label=structure.name_en,
        segmented_property_category=CATEGORIES.get(structure.kind, ANATOMY),
        segmented_property_type=kind,
        algorithm_type="AUTOMATIC" if algorithm else "MANUAL",
        algorithm_identification=identification,
        anatomic_regions=(
            [Code(structure.region, "SCT", structure.region_meaning)] if coded and structure.region else None
        ),
        display_color=CIELabColor.from_rgb(*structure.rgb),
    )
    if coded and modifier is not None:
        if structure.region:
            made.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = [modifier]
        else:
            made.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [modifier]
    return made
