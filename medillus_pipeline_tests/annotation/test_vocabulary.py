"""The vocabulary: complete, cited, unambiguous, distinguishable; and names find their structure or nothing."""

import csv
import json
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


def test_every_code_stands_in_the_terminology_data_with_its_meaning(shared_data: Path) -> None:
    cited: dict[str, set[str]] = {}
    with (shared_data / "terminology" / "totalsegmentator_snomed_mapping.csv").open(encoding="utf-8") as handle:
        for line in csv.DictReader(handle):
            for role in ("SegmentedPropertyTypeCodeSequence", "AnatomicRegionSequence"):
                cited.setdefault(line[f"{role}.CodeValue"], set()).add(line[f"{role}.CodeMeaning"])
    for file in (shared_data / "terminology").glob("*.json"):
        for category in json.loads(file.read_text())["SegmentationCodes"]["Category"]:
            for kind in category["Type"]:
                if kind["CodingSchemeDesignator"] == "SCT":
                    cited.setdefault(kind["CodeValue"], set()).add(kind["CodeMeaning"])
    misspelt = {"Gluteus minimus muscle": "Gluteus minius muscle"}
    for structure in WORDS:
        assert bool(structure.code) == bool(structure.meaning), structure.key
        if structure.code:
            assert misspelt.get(structure.meaning, structure.meaning) in cited[structure.code], structure.key


def test_totalsegmentator_structures_carry_the_code_that_its_own_mapping_gives(shared_data: Path) -> None:
    with (shared_data / "terminology" / "totalsegmentator_snomed_mapping.csv").open(encoding="utf-8") as handle:
        codes = {r["Structure"]: r["SegmentedPropertyTypeCodeSequence.CodeValue"] for r in csv.DictReader(handle)}
    assert {s.key: s.code for s in WORDS if s.id <= 117} == {s.key: codes[s.key] for s in WORDS if s.id <= 117}


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
        if structure.laterality == "left" and "left" in structure.key and structure.key != "atrial_appendage_left":
            if structure.key.startswith("heart_") or structure.key.startswith("lung_"):
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
    text = vocabulary.TABLE.read_text(encoding="utf-8").replace(",脾脏\n", ",脾脏;Liver\n")
    copy = tmp_path / "vocabulary.csv"
    copy.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"both spleen and liver|both liver and spleen"):
        vocabulary.read(copy)
