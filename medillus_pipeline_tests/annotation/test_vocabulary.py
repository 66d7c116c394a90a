"""The vocabulary: complete, cited, unambiguous, distinguishable; and names find their structure or nothing."""

import csv
import json
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.annotation.vocabulary import Structure, load
from medillus_pipeline.errors import ConfigurationError

WORDS = load()
DISTINCT = 15.0
"""CIEDE2000 difference that colours of neighbouring structures need at least."""
NEIGHBOURS = {
    "heart": "lung_left lung_right aorta esophagus liver superior_vena_cava spine sternum trachea gtv body",
    "liver": "stomach gallbladder kidney_right lung_right inferior_vena_cava duodenum colon aorta pancreas ribs body",
    "spleen": "kidney_left stomach lung_left pancreas colon body ribs",
    "stomach": "pancreas colon small_bowel duodenum aorta esophagus body",
    "aorta": "spine spinal_cord esophagus inferior_vena_cava trachea pulmonary_artery lung_left pancreas",
    "lung_right": "lung_left lungs ribs body spine trachea esophagus gtv nodule lesion",
    "spine": "spinal_cord ribs body kidney_left kidney_right skeletal_muscle",
    "subcutaneous_fat": "body ribs spine sternum skeletal_muscle",
    "kidney_left": "kidney_right colon small_bowel adrenal_gland_left",
    "brainstem": "spinal_cord brain parotid_gland_left",
    "mandible": "parotid_gland_left parotid_gland_right larynx tongue submandibular_gland_left",
    "hippocampus_anterior": "hippocampus_posterior",
    "urinary_bladder": "prostate rectum uterus small_bowel",
}


def test_every_structure_of_totalsegmentator_keeps_its_number_and_key(shared_data: Path) -> None:
    listed = json.loads((shared_data / "totalseg_labels.json").read_text())
    assert {int(i): key for i, key in listed.items()} == {s.id: s.key for s in WORDS if s.id <= 117}


@dataclass(frozen=True)
class Cited:
    """What the terminology data say of one SNOMED CT code: its meanings, UMLS concepts by meaning, lateralities."""

    meanings: dict[str, set[str]] = field(default_factory=dict)
    concepts: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    sides: set[str] = field(default_factory=set)


def _terminology(shared_data: Path) -> dict[str, Cited]:
    cited: dict[str, Cited] = {}
    with (shared_data / "terminology" / "totalsegmentator_snomed_mapping.csv").open(encoding="utf-8") as handle:
        for line in csv.DictReader(handle):
            for role, side in (
                ("SegmentedPropertyTypeCodeSequence", "SegmentedPropertyTypeModifierCodeSequence"),
                ("AnatomicRegionSequence", "AnatomicRegionModifierSequence"),
            ):
                found = cited.setdefault(line[f"{role}.CodeValue"], Cited())
                found.meanings.setdefault("ts", set()).add(line[f"{role}.CodeMeaning"])
                found.sides.add(line[f"{side}.CodeValue"])
    for key, name in (("dm", "DICOM-Master"), ("sg", "SlicerGeneralAnatomy")):
        file = shared_data / "terminology" / f"SegmentationCategoryTypeModifier-{name}.json"
        for category in json.loads(file.read_text())["SegmentationCodes"]["Category"]:
            for kind in category["Type"]:
                if kind["CodingSchemeDesignator"] == "SCT":
                    found = cited.setdefault(kind["CodeValue"], Cited())
                    found.meanings.setdefault(key, set()).add(kind["CodeMeaning"])
                    found.concepts.setdefault((key, kind["CodeMeaning"]), set()).add(kind.get("UMLSConceptUID", ""))
                    found.sides.update(modifier["CodeValue"] for modifier in kind.get("Modifier", []))
    return cited


MISSPELT = {"Gluteus minimus muscle": "Gluteus minius muscle"}
"""Meanings that we spell right, as the source has them."""


PAIRED = {"tibia", "ulna", "radius"}
"""Paired structures whose code the data give without saying that it takes a side."""


def test_every_code_and_concept_stands_in_the_source_that_the_row_names(shared_data: Path) -> None:
    cited = _terminology(shared_data)
    for structure in WORDS:
        source = dict(part.split(":") for part in structure.source.split(";") if part)
        wanted = {
            "code": structure.code,
            "region": structure.region,
            "cui": structure.cui,
            "tg263": "".join(structure.tg263),
        }
        assert set(source) == {what for what, value in wanted.items() if value}, structure.key
        assert bool(structure.code) == bool(structure.meaning), structure.key
        assert bool(structure.region) == bool(structure.region_meaning), structure.key
        meaning = MISSPELT.get(structure.meaning, structure.meaning)
        if structure.code:
            assert meaning in cited[structure.code].meanings[source["code"]], structure.key
        if structure.region:
            assert structure.region_meaning in cited[structure.region].meanings[source["region"]], structure.key
        if structure.cui:
            assert cited[structure.code].concepts[source["cui"], meaning] == {structure.cui}, structure.key


def test_every_laterality_beside_a_code_is_one_that_the_terminology_data_allow(shared_data: Path) -> None:
    cited = _terminology(shared_data)
    for structure in WORDS:
        side = WORDS.laterality_code(structure)
        if structure.code and side and structure.laterality != "both":
            allowed = cited[structure.region or structure.code].sides - {""}
            assert side in allowed or (not allowed and structure.key.rpartition("_")[0] in PAIRED), structure.key


def test_totalsegmentator_structures_carry_the_codes_that_its_own_mapping_gives(shared_data: Path) -> None:
    with (shared_data / "terminology" / "totalsegmentator_snomed_mapping.csv").open(encoding="utf-8") as handle:
        rows = {r["Structure"]: r for r in csv.DictReader(handle)}
    for structure in WORDS:
        row = rows.get(structure.key)
        assert row is not None or structure.id > 117, structure.key
        if row is None or not structure.code:
            continue
        assert structure.code == row["SegmentedPropertyTypeCodeSequence.CodeValue"]
        assert structure.region == row["AnatomicRegionSequence.CodeValue"]
        side = (
            row["SegmentedPropertyTypeModifierCodeSequence.CodeValue"]
            or row["AnatomicRegionModifierSequence.CodeValue"]
        )
        assert structure.laterality == "both" or WORDS.laterality_code(structure) == side, structure.key


@pytest.mark.parametrize("kind", ["organ", "bone", "vessel", "muscle"])
def test_every_structure_that_does_something_says_what_in_one_line(kind: str) -> None:
    for structure in WORDS:
        if structure.kind == kind:
            assert structure.function_en.endswith(".") and len(structure.function_en) <= 75, structure.key
            assert structure.function_zh.endswith("。") and len(structure.function_zh) <= 26, structure.key
            assert structure.function_en.count(".") == 1 and structure.function_zh.count("。") == 1, structure.key


@pytest.mark.parametrize(
    ("concept", "key"),
    [
        (("SCT", "10200004"), "liver"),
        (("SRT", "T-62000"), "liver"),
        (("SNM3", "T-62000"), "liver"),
        (("SCT", "64033007", "7771000"), "kidney_left"),
        (("SRT", "T-71000", "24028007"), "kidney_right"),
        (("SCT", "64033007", "51440002"), "kidneys"),
        (("SCT", "82471001"), "heart_atrium_left"),
        (("SCT", "82471001", "7771000"), "heart_atrium_left"),
        (("SCT", "108369006"), "tumor"),
        (("SCT", "108369006", "", "10200004"), "liver_tumor"),
        (("SCT", "108369006", "", "53620006"), "tumor"),
        (("SCT", "27925004", "", "39607008"), "lung_nodule"),
        (("SCT", "367643001", "7771000", "64033007"), "kidney_cyst_left"),
        (("SCT", "113197003"), "ribs"),
    ],
)
def test_a_coded_concept_finds_its_structure(concept: tuple[str, ...], key: str) -> None:
    found = WORDS.by_code(*concept)
    assert found is not None and found.key == key


@pytest.mark.parametrize(
    "concept",
    [
        ("SCT", ""),
        ("", "10200004"),
        ("FMA", "10200004"),
        ("SRT", "T-99999999"),
        ("SCT", "64033007"),
        ("SCT", "5366008"),
        ("SCT", "10200004", "7771000"),
        ("SCT", "82471001", "24028007"),
        ("SCT", "64033007", "12345"),
        ("SCT", "41699000"),
        ("SCT", "367643001", "7771000"),
    ],
)
def test_a_concept_that_is_unknown_or_fits_several_is_not_guessed(concept: tuple[str, ...]) -> None:
    assert WORDS.by_code(*concept) is None


def test_a_structure_is_found_again_by_the_codes_that_it_gives() -> None:
    shared = {"hippocampus_anterior", "hippocampus_posterior"}
    for structure in WORDS:
        if structure.code:
            found = WORDS.by_code("SCT", structure.code, WORDS.laterality_code(structure), structure.region)
            assert found is (None if structure.key in shared else structure), structure.key


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("lung_left", "lung_left"),
        ("Lung_L", "lung_left"),
        ("LUNG_R", "lung_right"),
        ("LUNGS", "lungs"),
        ("HEART", "heart"),
        ("SPINALCORD", "spinal_cord"),
        ("SpinalCord", "spinal_cord"),
        ("LIVER", "liver"),
        ("GTVp", "gtv"),
        ("GTV_Mass_CT", "gtv"),
        ("CTVp", "ctv"),
        ("PTV4140", "ptv"),
        ("RightParotid", "parotid_gland_right"),
        ("LeftParotid", "parotid_gland_left"),
        ("Brainstem", "brainstem"),
        ("Mandible", "mandible"),
        ("Kidney_R", "kidney_right"),
        ("left kidney", "kidney_left"),
        (" Left-KIDNEY ", "kidney_left"),
        ("肝", "liver"),
        ("左肺上叶", "lung_upper_lobe_left"),
        ("vertebral column", "spine"),
    ],
)
def test_a_name_finds_its_structure(name: str, key: str) -> None:
    found = WORDS.resolve(name)
    assert found is not None and found.key == key


@pytest.mark.parametrize("name", ["", "hart", "livre", "lung left upper", "T2", "organ 5", "Ms Holloway's liver"])
def test_a_name_that_is_not_known_is_not_guessed(name: str) -> None:
    assert WORDS.resolve(name) is None


def test_suggestions_are_keys_of_our_own() -> None:
    assert WORDS.suggest("hart")[0] == "heart"
    assert WORDS.suggest("kidny left")[0] == "kidney_left"
    assert WORDS.suggest("Xyzzy Q.") == []


def test_left_and_right_come_in_pairs_that_differ_in_side_only() -> None:
    swap = str.maketrans({"左": "右", "右": "左"})
    for structure in WORDS:
        if structure.laterality == "left" and "left" in structure.key:
            if structure.key.startswith(("heart_", "lung_", "atrial_appendage_", "left_anterior_descending_")):
                continue
            other = WORDS.by_key(structure.key.replace("left", "right"))
            assert other.laterality == "right" and other.kind == structure.kind
            assert other.name_zh == structure.name_zh.translate(swap)
            assert other.name_en == structure.name_en.replace("left", "right")
            assert other.priority == structure.priority


def test_chinese_names_are_chinese_unique_and_say_the_side() -> None:
    names = [s.name_zh for s in WORDS]
    assert len(set(names)) == len(names)
    for structure in WORDS:
        assert all("\u4e00" <= letter <= "\u9fff" for letter in structure.name_zh), structure.key
        side = {"left": "左", "right": "右"}.get(structure.laterality)
        assert side is None or side in structure.name_zh


def test_priorities_put_lesions_over_organs_over_regions() -> None:
    def priorities(kind: str) -> list[int]:
        return [s.priority for s in WORDS if s.kind == kind]

    organs = priorities("organ") + priorities("bone") + priorities("vessel") + priorities("muscle")
    assert min(priorities("lesion")) > max(priorities("device")) >= min(priorities("device")) > max(organs)
    assert min(organs) > max(priorities("region")) > max(priorities("target"))
    order = ["spinal_cord", "esophagus", "heart", "lung_left", "lungs", "body"]
    ranks = [WORDS.by_key(key).priority for key in order]
    assert ranks == sorted(ranks, reverse=True)


def test_structures_that_touch_have_colours_that_differ() -> None:
    pairs = [(one, other) for one, others in NEIGHBOURS.items() for other in others.split()]
    spine = [s.key for s in WORDS if s.key.startswith("vertebrae_")]
    pairs += list(pairwise(spine))
    pairs += [(f"rib_{side}_{n}", f"rib_{side}_{n + 1}") for side in ("left", "right") for n in range(1, 12)]
    for one, other in pairs:
        assert deltaE_ciede2000(_lab(WORDS.by_key(one)), _lab(WORDS.by_key(other))) >= DISTINCT, (one, other)
    assert len({s.colour for s in WORDS}) == len(WORDS)


def _lab(structure: Structure) -> np.ndarray:
    return rgb2lab(np.array(structure.rgb)[None] / 255)[0]


def test_the_palette_holds_each_colour_at_its_id() -> None:
    palette = WORDS.palette()
    assert len(palette) == 768 and palette[:3] == b"\0\0\0"
    for structure in WORDS:
        assert tuple(palette[3 * structure.id : 3 * structure.id + 3]) == structure.rgb


def test_a_name_that_two_structures_claim_is_refused(tmp_path: Path) -> None:
    text = vocabulary.TABLE.read_text(encoding="utf-8").replace(",脾脏,", ",脾脏;Liver,")
    copy = tmp_path / "vocabulary.csv"
    copy.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"both spleen and liver|both liver and spleen"):
        vocabulary.read(copy)
