"""Which structure of the vocabulary a segment means, from its codes and its label (PS3.3 C.8.20.2 and C.8.20.4).

The property type counts, with its laterality and the anatomic region that it lies in. A type that the vocabulary does
not know (many programs write Tissue for everything) leaves the decision to the label. Where both are known and name
different structures, neither is believed. What is not here: pixels.
"""

from collections.abc import Iterable

from pydicom import Dataset
from pydicom.sr._snomed_dict import mapping

from medillus_pipeline.annotation.outcomes import Reason
from medillus_pipeline.annotation.vocabulary import RETIRED_SCHEMES, SIDES, Structure, Vocabulary

OWN_SCHEME = "99MEDILLUS"
"""Coding Scheme Designator (private, PS3.16 section 8) whose code values are keys of the vocabulary."""
GENERIC_LESION = "lesion"


def identify(segment: Dataset, vocabulary: Vocabulary) -> Structure | Reason:
    """The structure that a segment (an item of the Segment Sequence) means, or why none can be said:
    UNKNOWN_LABEL, or CODE_AND_LABEL_DIFFER.
    """
    scheme, value = _code(segment.get("SegmentedPropertyTypeCodeSequence"))
    side = _side(segment)
    coded = _by_code(segment, scheme, value, side, vocabulary)
    labelled = vocabulary.resolve(label(segment))
    if coded is None or labelled is None:
        found = coded or labelled
        if found is None:
            return Reason.UNKNOWN_LABEL
        return Reason.CODE_AND_LABEL_DIFFER if _other_side(found, side) else found
    if coded is labelled:
        return coded
    if scheme == OWN_SCHEME:
        return Reason.CODE_AND_LABEL_DIFFER
    if labelled.code and labelled.code == coded.code and not _other_side(labelled, side):
        if not labelled.region:
            return coded if coded.region else labelled
        if not coded.region and _region(segment) in ("", labelled.region):
            return labelled
    if labelled.key == GENERIC_LESION and coded.kind == "lesion":
        return coded
    return Reason.CODE_AND_LABEL_DIFFER


def label(segment: Dataset) -> str:
    """The label as typed: free text."""
    return str(segment.get("SegmentLabel", "") or "")


def _by_code(segment: Dataset, scheme: str, value: str, side: str, vocabulary: Vocabulary) -> Structure | None:
    if scheme == OWN_SCHEME:
        return next((structure for structure in vocabulary if structure.key == value), None)
    if not value:
        return None
    return vocabulary.by_code(scheme, value, side, _region(segment))


def _region(segment: Dataset) -> str:
    """The SCT code of the anatomic region; empty without one."""
    return _current(*_code(segment.get("AnatomicRegionSequence")))


def _side(segment: Dataset) -> str:
    """The SCT code of the laterality that stands beside the type, or else beside the region; empty without one."""
    types = segment.get("SegmentedPropertyTypeCodeSequence") or []
    regions = segment.get("AnatomicRegionSequence") or []
    modifiers = [
        *(m for item in types[:1] for m in item.get("SegmentedPropertyTypeModifierCodeSequence") or []),
        *(m for item in regions[:1] for m in item.get("AnatomicRegionModifierSequence") or []),
    ]
    sides = set(SIDES.values())
    return next((code for m in modifiers if (code := _current(*_code([m]))) in sides), "")


def _other_side(structure: Structure, side: str) -> bool:
    return bool(side and structure.laterality and SIDES[structure.laterality] != side)


def _current(scheme: str, value: str) -> str:
    """The SCT code of a SNOMED code in any style; empty for any other scheme."""
    if scheme == "SCT":
        return value
    return mapping["SRT"].get(value, "") if scheme in RETIRED_SCHEMES else ""


def _code(sequence: Iterable[Dataset] | None) -> tuple[str, str]:
    """Coding scheme designator and value, short or long (PS3.3 table 8.8-1), of the first item; empty without one."""
    for item in sequence or ():
        value = item.get("CodeValue") or item.get("LongCodeValue") or ""
        return str(item.get("CodingSchemeDesignator", "") or "").strip(), str(value).strip()
    return "", ""
