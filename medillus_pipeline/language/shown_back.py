"""A request said again, in English or Chinese, for the person to correct: what was understood, assumed, and what not.

Of `TextRequest` alone, so that nothing is shown that is not in it. What is not here: what cannot be drawn
(`drawable.py` has sentences of its own).
"""

from typing import Literal

from medillus_pipeline.annotation.study import pathology
from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.language.text_request import Level, Problem, SizeChange, TextRequest

Language = Literal["en", "zh"]

_PLANES = {"axial": "横断面", "coronal": "冠状面", "sagittal": "矢状面"}
_PARTS = {
    "HEAD": ("head", "头部"),
    "NECK": ("neck", "颈部"),
    "HEADNECK": ("head and neck", "头颈部"),
    "CHEST": ("chest", "胸部"),
    "ABDOMEN": ("abdomen", "腹部"),
    "CHESTABDOMEN": ("chest and abdomen", "胸腹部"),
    "PELVIS": ("pelvis", "盆腔"),
    "ABDOMENPELVIS": ("abdomen and pelvis", "腹盆部"),
}


def shown_back(request: TextRequest, vocabulary: Vocabulary, language: Language) -> str:
    """A few sentences on all that the request holds, its problems last."""
    zh = language == "zh"
    table = {row.key: row for row in pathology.load().rows}
    phases = {phase.key: phase for phase in pathology.CONTRAST_PHASES}

    def structures(ids: tuple[int, ...]) -> str:
        return ("、" if zh else ", ").join(_name(label, vocabulary, zh) for label in ids)

    def diseases(keys: tuple[str, ...]) -> str:
        named = [(table[key].name_zh if zh else table[key].name_en, table[key].icd11) for key in keys]
        return ("、" if zh else ", ").join(f"{name} (ICD-11 {code})" if code else name for name, code in named)

    parts: list[tuple[str, str, str]] = [
        ("modality", "成像方式", request.modality or ""),
        ("sequence", "序列", request.sequence or ""),
        ("plane", "切面", (_PLANES[request.plane] if zh else request.plane) if request.plane else ""),
        ("body part", "部位", _PARTS[request.body_part][zh] if request.body_part else ""),
        ("level", "层面", _level(request.level, vocabulary, zh) if request.level else ""),
        ("contrast phase", "增强时期", _phase(phases, request.contrast_phase, zh)),
        ("pathology", "病变", diseases(request.pathologies)),
        ("ruled out", "排除", diseases(request.absent_pathologies)),
        ("stage", "分期", request.stage or ""),
        ("only" if request.only else "with", "只显示" if request.only else "显示", structures(request.structures)),
        ("without", "不显示", structures(request.absent)),
        ("size", "大小", ("；" if zh else "; ").join(_size(change, vocabulary, zh) for change in request.sizes)),
        ("of usual size", "大小正常", structures(request.usual)),
    ]
    said = [(f"{chinese}：{value}" if zh else f"{english}: {value}") for english, chinese, value in parts if value]
    nothing = "没有可绘制的内容" if zh else "nothing that could be drawn"
    first = (
        ("理解为：" if zh else "Understood: ") + (("；" if zh else "; ").join(said) or nothing) + ("。" if zh else ".")
    )
    return " ".join([first, *(_problem(problem, zh) for problem in request.problems)])


def _name(label: int, vocabulary: Vocabulary, zh: bool) -> str:
    structure = vocabulary.by_id(label)
    return structure.name_zh if zh else structure.name_en


def _phase(phases: dict[str, pathology.ContrastPhase], key: str | None, zh: bool) -> str:
    return "" if key is None else (phases[key].name_zh if zh else phases[key].name_en)


def _level(level: Level, vocabulary: Vocabulary, zh: bool) -> str:
    if level.value is not None:
        return f"{level.value:g}（0足1头）" if zh else f"{level.value:g} (0 feet, 1 head)"
    if level.region:
        return level.region
    names = ("、" if zh else ", ").join(_name(label, vocabulary, zh) for label in level.structures)
    return f"{names}所在处" if zh else f"where {names} is"


def _size(change: SizeChange, vocabulary: Vocabulary, zh: bool) -> str:
    name = _name(change.structure, vocabulary, zh)
    default = "" if change.stated else ("（默认值）" if zh else " (a default)")
    if change.millimetres is not None:
        return f"{name}最大径{change.millimetres:g}毫米" if zh else f"{name} {change.millimetres:g} mm across at most"
    factor = f"{change.factor:.3g}"
    return (f"{name}为通常面积的{factor}倍" if zh else f"{name} {factor} times its usual area") + default


def _problem(problem: Problem, zh: bool) -> str:
    near = ("、" if zh else ", ").join(problem.near)
    hint = (f"（是否指：{near}？）" if zh else f" (did you mean: {near}?)") if near else ""
    return (problem.zh if zh else problem.en[:1].upper() + problem.en[1:]) + hint + ("。" if zh else ".")
