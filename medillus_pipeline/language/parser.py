"""`understand`: a sentence in Chinese or English as a structured request, every part of it accounted for.

    "axial abdominal CT, portal venous phase, enlarged spleen"    急性胰腺炎CT表现    "no gallbladder"    左肾缺如

Nothing is guessed: a word that is no term stands in `problems` as not understood, with names near it where there are
any. What is not here: whether models can draw it (`drawable.py`).
"""

from collections.abc import Iterable, Sequence

from medillus_pipeline.annotation.study import pathology
from medillus_pipeline.annotation.study.pathology import NORMAL
from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.errors import InputError
from medillus_pipeline.language.did_you_mean import close_names
from medillus_pipeline.language.grammar import read_items
from medillus_pipeline.language.reading import Item, items_of
from medillus_pipeline.language.sizes import Reading
from medillus_pipeline.language.terms import Lexicon, lexicon
from medillus_pipeline.language.text_request import Problem, Role, Span, TextRequest
from medillus_pipeline.language.tokens import tokens_of
from medillus_pipeline.language.wording import PARTS_WITHIN

GREATEST_LENGTH = 1000
"""Characters of a request; a longer text is no description of one figure."""

MOST_SUGGESTED = 8
"""Words for which near names are looked up."""

_SINGLE: tuple[tuple[Role, str, str], ...] = (
    ("modality", "modality", "成像方式"),
    ("sequence", "sequence", "序列"),
    ("plane", "plane", "切面"),
    ("contrast_phase", "contrast phase", "增强时期"),
    ("stage", "stage", "分期"),
    ("body_part", "body part", "部位"),
)


def understand(text: str, vocabulary: Vocabulary) -> TextRequest:
    """What a sentence asks for. The vocabulary may have a site's names (`Vocabulary.with_names`).

    Raises InputError for a text of more than 1000 characters; everything else is a request, if one with problems.
    """
    if len(text) > GREATEST_LENGTH:
        raise InputError(f"a request has up to {GREATEST_LENGTH} characters, not {len(text)}: describe one figure")
    words = lexicon(vocabulary)
    items = items_of(tokens_of(text), words)
    reading = read_items(items, vocabulary)
    conflicts = list(reading.conflicts)
    single = _single_values(items, conflicts)
    pathologies = tuple(dict.fromkeys(reading.pathologies))
    if NORMAL in pathologies and len(pathologies) > 1:
        conflicts.append(("normal beside a pathology", "“正常”与病变同时出现"))
    structures = tuple(dict.fromkeys(label for label in reading.structures if label not in reading.absent))
    conflicts += _contradictions(reading, vocabulary)
    if reading.only and not structures:
        conflicts.append(("'only' needs the structures that are to be seen", "“只要”之后需要写明结构"))
    levels = list(dict.fromkeys(reading.levels))
    if len(levels) > 1:
        conflicts.append(("more than one level or region of the body: give one", "层面或区域多于一个，请只给一个"))
    spans, unknown = _spans(items, text)
    table = {row.key: row for row in pathology.load().rows}
    problems = [Problem("conflict", en, zh) for en, zh in dict.fromkeys(conflicts)]
    problems += [
        Problem("not_understood", f"not understood: {said!r}{of[0]}", f"未能理解：“{said}”{of[1]}", near)
        for said, near, of in _with_names_near(unknown, words)
    ]
    problems += [Problem("assumption", en, zh) for en, zh in dict.fromkeys(reading.notes)]
    return TextRequest(
        text=text,
        level=levels[0] if len(levels) == 1 else None,
        pathologies=pathologies,
        icd11=tuple(table[key].icd11 for key in pathologies if table[key].icd11),
        absent_pathologies=tuple(dict.fromkeys(reading.absent_pathologies)),
        structures=structures,
        absent=tuple(dict.fromkeys(reading.absent)),
        only=reading.only,
        sizes=tuple(dict.fromkeys(reading.sizes)),
        usual=tuple(dict.fromkeys(reading.usual)),
        spans=spans,
        problems=tuple(problems),
        **single,
    )


def _single_values(items: Iterable[Item], conflicts: list[tuple[str, str]]) -> dict[str, str | None]:
    """Modality, sequence, plane, phase, stage and body part, one of each at most; more are a conflict and none."""
    found: dict[str, list[str]] = {role: [] for role, *_ in _SINGLE}
    for item in items:
        if item.role == "sequence":
            found["sequence"].append(item.meaning)
        if item.taken:
            continue
        if item.kind == "stage":
            found["stage"].append(item.text)
            item.take("stage", item.text)
        elif item.term("chest_film"):
            found["modality"].append("DX")
            found["body_part"].append("CHEST")
            item.take("modality", "DX CHEST")
        else:
            for role in ("modality", "sequence", "plane", "body_part", "contrast_phase"):
                if term := item.term(role):
                    found[role].append(term.value)
                    item.take(role, term.value)
                    break
    chosen: dict[str, str | None] = {}
    for role, en, zh in _SINGLE:
        values = list(dict.fromkeys(found[role]))
        if role == "body_part" and len(values) > 1:
            values = [whole for whole, parts in PARTS_WITHIN.items() if set(values) <= {whole, *parts}] or values
        if role == "contrast_phase" and len(values) > 1:  # "enhanced" beside a phase says nothing more
            values = [value for value in values if value != "contrast_phase_unknown"]
        if role == "sequence" and values and not found["modality"]:
            found["modality"].append("MR")
        if len(values) > 1:
            said = ", ".join(values)
            conflicts.append((f"more than one {en}: {said}", f"{zh}多于一个：{said}"))
        chosen[role] = values[0] if len(values) == 1 else None
    return chosen


def _contradictions(reading: Reading, vocabulary: Vocabulary) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    sizes: dict[int, set[tuple[float | None, float | None]]] = {}
    for change in reading.sizes:
        sizes.setdefault(change.structure, set()).add((change.factor, change.millimetres))
    sized = [*sizes, *reading.usual]
    for label in dict.fromkeys(reading.absent):
        structure = vocabulary.by_id(label)
        if label in sized:
            found.append((f"{structure.name_en}: sized and absent", f"{structure.name_zh}：既描述大小又缺如"))
        elif label in reading.structures:
            found.append((f"both asks for and leaves out: {structure.name_en}", f"既要求又排除：{structure.name_zh}"))
    for label, values in sizes.items():
        structure = vocabulary.by_id(label)
        if len(values) > 1 or label in reading.usual:
            found.append((f"{structure.name_en}: more than one size", f"{structure.name_zh}：大小描述不一致"))
    table = {row.key: row for row in pathology.load().rows}
    for key in dict.fromkeys(reading.absent_pathologies):
        if key in reading.pathologies:
            row = table[key]
            found.append((f"both asks for and rules out: {row.name_en}", f"既要求又排除：{row.name_zh}"))
    return found


def _spans(items: Sequence[Item], text: str) -> tuple[tuple[Span, ...], list[tuple[str, str]]]:
    """Every item as a span; and what was not understood, neighbours together, as written and as compared."""
    spans: list[Span] = []
    unknown: list[tuple[str, str]] = []
    for item in items:
        if item.role is not None:
            spans.append(Span(item.start, item.end, item.role, item.meaning))
            continue
        compared = item.word
        last = spans[-1] if spans else None
        between = text[last.end : item.start] if last is not None else "-"
        alike = bool(unknown) and bool(unknown[-1][1]) != bool(item.terms)
        if last is not None and last.role == "not_understood" and not between.strip() and alike:
            spans[-1] = Span(last.start, item.end, "not_understood")
            glue = " " if between or item.latin else ""
            unknown[-1] = (text[last.start : item.end], "" if item.terms else unknown[-1][1] + glue + compared)
        else:
            spans.append(Span(item.start, item.end, "not_understood"))
            unknown.append((text[item.start : item.end], "" if item.terms else compared))
    return tuple(spans), unknown


def _with_names_near(
    unknown: list[tuple[str, str]], words: Lexicon
) -> list[tuple[str, tuple[str, ...], tuple[str, str]]]:
    """What was not understood, the names near it, and why a known word was not."""
    result: list[tuple[str, tuple[str, ...], tuple[str, str]]] = []
    for number, (said, compared) in enumerate(unknown):
        near: tuple[str, ...] = ()
        if number < MOST_SUGGESTED:
            near = close_names(compared, words)
            for word in compared.split()[:MOST_SUGGESTED] if not near else ():
                near += close_names(word, words)
        alone = ("", "") if compared else (" belongs to nothing that was named", "没有对应的结构")
        result.append((said, tuple(dict.fromkeys(near)), alone))
    return result
