"""The words for each fact, in English and Chinese: several ways to say the same, and how clauses are joined.

Names of structures, pathologies and phases come from their tables; here are the words around them. Which facts a
caption claims is decided in `captions.py`.
"""

import re
from typing import Literal

from medillus_pipeline.annotation.study import pathology
from medillus_pipeline.annotation.vocabulary import Structure, Vocabulary
from medillus_pipeline.generation.body_regions import REGIONS
from medillus_pipeline.language.encoder_facts import Fact, region_names

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")

_MODALITIES: dict[str, dict[Language, tuple[str, ...]]] = {
    "CT": {
        "en": ("CT", "CT scan", "CT image", "CT slice", "computed tomography"),
        "zh": ("CT", "CT图像", "CT扫描", "CT表现", "计算机断层扫描"),
    },
    "MR": {
        "en": ("MR", "MRI", "MR image", "magnetic resonance image"),
        "zh": ("MR", "MRI", "磁共振", "核磁共振图像"),
    },
}
_BODY_PARTS: dict[str, dict[Language, tuple[str, ...]]] = {
    "CHESTABDOMEN": {"en": ("chest and abdomen", "thorax and abdomen"), "zh": ("胸腹部", "胸部和腹部")},
    "CHEST": {"en": ("chest", "thorax"), "zh": ("胸部",)},
    "ABDOMEN": {"en": ("abdomen", "abdominal"), "zh": ("腹部",)},
    "ABDOMENPELVIS": {"en": ("abdomen and pelvis",), "zh": ("腹盆部", "腹部和盆腔")},
    "CHESTABDPELVIS": {"en": ("chest, abdomen and pelvis",), "zh": ("胸腹盆部",)},
    "PELVIS": {"en": ("pelvis", "pelvic"), "zh": ("盆腔", "骨盆")},
    "HEAD": {"en": ("head",), "zh": ("头部",)},
    "BRAIN": {"en": ("brain", "cranial"), "zh": ("颅脑", "脑部")},
    "NECK": {"en": ("neck",), "zh": ("颈部",)},
    "HEADNECK": {"en": ("head and neck",), "zh": ("头颈部",)},
}
_NATIVE: dict[Language, tuple[str, ...]] = {
    "en": ("without contrast agent", "non-contrast", "unenhanced", "without contrast", "native phase"),
    "zh": ("平扫", "平扫期", "未增强", "无造影剂", "未注射造影剂"),
}
_FORMS: dict[str, dict[Language, tuple[str, ...]]] = {
    "contrast_phase": {
        "en": ("{} phase", "in the {} phase", "{}", "{} phase contrast", "contrast-enhanced, {} phase"),
        "zh": ("{}", "增强{}", "{}图像", "处于{}", "{}增强"),
    },
    "stage": {"en": ("stage {}", "at stage {}", "disease stage {}"), "zh": ("{}期", "分期{}", "疾病分期{}")},
    "region": {"en": ("{}", "at the {}", "in the {} region"), "zh": ("{}", "位于{}", "{}区域")},
    "level": {"en": ("at level {}", "level {}", "at {}"), "zh": ("水平{}", "在{}水平", "位置{}")},
    "present": {
        "en": ("{}", "with {}", "showing the {}", "{} visible", "the {} is seen", "{} in view", "{} present"),
        "zh": ("{}", "可见{}", "显示{}", "有{}", "能看到{}", "含{}", "{}可见"),
    },
    "absent": {
        "en": ("without {}", "no {}", "{} not visible", "the {} is not seen", "{} absent", "no {} in view", "not {}"),
        "zh": ("无{}", "未见{}", "不含{}", "没有{}", "看不到{}", "不显示{}", "{}不可见"),
    },
    "large": {
        "en": ("enlarged {}", "large {}", "{} larger than usual", "a big {}", "{} is enlarged"),
        "zh": ("{}增大", "{}偏大", "增大的{}", "{}较大", "{}肿大"),
    },
    "small": {
        "en": ("small {}", "{} smaller than usual", "reduced {}", "a small {}", "{} is small"),
        "zh": ("{}缩小", "{}偏小", "缩小的{}", "{}较小", "小{}"),
    },
    "pathology": {
        "en": ("{}", "showing {}", "with {}", "patient with {}", "{} findings"),
        "zh": ("{}", "{}表现", "提示{}", "{}患者", "诊断{}"),
    },
}
PLANES: dict[Language, tuple[str, ...]] = {
    "en": ("axial", "axial slice", "transverse"),
    "zh": ("轴位", "横断面", "横轴位"),
}
"""Every packed slice is axial, so the plane may be said of each and tells none apart."""
JOINTS: dict[Language, tuple[str, ...]] = {"en": (", ", "; ", ", "), "zh": ("，", "；", "，")}
CLEAR_JOINT: dict[Language, str] = {"en": "; ", "zh": "；"}
PAIRS: dict[str, dict[Language, tuple[str, ...]]] = {
    "present": {"en": ("{} and {}", "with {} and {}", "showing {} and {}"), "zh": ("{}和{}", "可见{}和{}", "{}、{}")},
    "absent": {
        "en": ("without {} or {}", "neither {} nor {}", "no {} and no {}"),
        "zh": ("无{}和{}", "未见{}或{}", "没有{}和{}", "不含{}、{}"),
    },
}


def ways_to_say(fact: Fact, language: Language, vocabulary: Vocabulary) -> tuple[str, ...]:
    """All phrases for a fact in a language, at least one."""
    if fact.kind == "modality":
        return _MODALITIES.get(fact.key, {}).get(language, (fact.key,))
    if fact.kind == "body_part":
        names = _BODY_PARTS.get(fact.key, {}).get(language, (fact.key.lower(),))
        forms = ("{} examination", "{} study") if language == "en" else ("{}检查", "{}扫描")
        said = (form.format(name) for name in names for form in ("{}", *forms))
        return tuple(phrase for phrase in said if phrase not in REGIONS)
    if fact.kind == "contrast_phase" and fact.key == "none":
        return _NATIVE[language]
    names = names_of(fact, language, vocabulary)
    return tuple(dict.fromkeys(form.format(name) for name in names for form in _FORMS[fact.kind][language]))


def names_of(fact: Fact, language: Language, vocabulary: Vocabulary) -> tuple[str, ...]:
    """What a fact is about, without the words around it: names of a structure, a region, a pathology, a phase."""
    if fact.kind in ("present", "absent", "large", "small"):
        return structure_names(vocabulary.by_key(fact.key), language)
    if fact.kind == "region":
        return tuple(name for name in region_names()[fact.key] if name.isascii() == (language == "en"))
    if fact.kind == "contrast_phase":
        phase = pathology.contrast_phase(fact.key)
        return (
            (fact.key.replace("_", " "),) if phase is None else (phase.name_en if language == "en" else phase.name_zh,)
        )
    if fact.kind == "pathology":
        found = pathology.load().resolve(fact.key)
        if found is None:
            return (fact.key.replace("_", " "),)
        name = found.name_en if language == "en" else found.name_zh
        return (name, f"{name} ({found.icd11})") if found.icd11 else (name,)
    return (fact.key,)


def structure_names(structure: Structure, language: Language) -> tuple[str, ...]:
    """Names and synonyms of a structure that read as words of the language; the vocabulary's own name first."""
    if language == "zh":
        return tuple(dict.fromkeys((structure.name_zh, *(s for s in structure.synonyms if not s.isascii()))))
    words = (s for s in structure.synonyms if re.fullmatch(r"[A-Za-z]?[a-z]+( [a-z]+)*", s))
    return tuple(dict.fromkeys((structure.name_en, *words)))
