"""From a request to what is to be drawn: a label map in the model's frame, what it claims, and what is said beside it.

Each way in has its own module (`composing_mask.py`, `composing_sketch.py`, `composing_text.py`); here they are brought
together and contradictions between them are refused, never decided. What is not here: real scans, of which nothing is
drawn (`composing_scan.py`), and the images (`candidates.py`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from medillus_pipeline.annotation.study import pathology
from medillus_pipeline.annotation.study.pathology import NORMAL, Pathology
from medillus_pipeline.errors import InputError
from medillus_pipeline.generation.sample_request import SampleRequest, attributes_told, modality_drawn
from medillus_pipeline.illustration.answer import IllustrationRefused, same_words
from medillus_pipeline.illustration.illustration_request import IllustrationRequest
from medillus_pipeline.illustration.models import Models
from medillus_pipeline.illustration.wording import Bilingual
from medillus_pipeline.language.text_request import TextRequest

Read = Callable[[Path], bytes]
"""The bytes of a file that a request names. Raises InputError for one that cannot be read."""

NO_PATIENT = "no-patient"
"""Stands for a patient where a label map is nobody's."""


@dataclass(frozen=True)
class Geometry:
    """What one way in gives.

    `label_map` (size, size) uint8 vocabulary ids; `drawn` (classes,) bool: what it is complete for, the rest is the
    prior's; `level` 0 feet to 1 head; `pixel_mm` the side of a pixel. `source` names it in the figure, `patient` and
    `split` are those of the slice that it was taken from; `understood` and `remarks` are for the person.
    """

    label_map: np.ndarray
    drawn: np.ndarray
    level: float
    pixel_mm: float
    source: str
    understood: Bilingual
    remarks: tuple[Bilingual, ...] = ()
    patient: str = NO_PATIENT
    split: str | None = None
    origin: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Said:
    """What is said of the picture as a whole: by the text and by the request's fields, which agree."""

    modality: str
    attributes: tuple[str, ...]
    body_part: str | None
    pathologies: tuple[Pathology, ...]


@dataclass(frozen=True)
class Composed:
    """All that candidates are drawn from: `geometry`, what is `said`, the ids to `name` in the figure, and those that
    were `asked` for by name, each of which must be recovered.
    """

    geometry: Geometry
    said: Said
    name: tuple[int, ...]
    asked: tuple[int, ...]
    understood: Bilingual
    remarks: tuple[Bilingual, ...]
    text: str | None = None


def refused(headline_en: str, headline_zh: str, reasons: tuple[Bilingual, ...]) -> IllustrationRefused:
    """The refusal of a way in."""
    return IllustrationRefused(Bilingual(headline_en, headline_zh), reasons)


def compose(request: IllustrationRequest, models: Models, read: Read) -> Composed:
    """What is to be drawn. Raises IllustrationRefused with every reason for what these models cannot draw, what is not
    understood, and what contradicts itself.
    """
    from medillus_pipeline.illustration import composing_mask, composing_sketch, composing_text

    text = None if request.text is None else composing_text.understood(request.text, models)
    said = _said(request, text, models)
    asked_by_key = _asked(request, models)
    try:
        if request.mask is not None:
            geometry = composing_mask.from_mask(request, models, read(request.mask), said.body_part)
        elif request.sketch is not None:
            geometry = composing_sketch.from_sketch(request, models, read(request.sketch), said.body_part)
        else:
            assert text is not None
            geometry = composing_text.from_text(_merged(text, request), request, models, said.body_part)
    except IllustrationRefused:
        raise
    except InputError as error:
        raise refused("the figure cannot be drawn", "无法绘图", same_words([str(error)])) from error
    named = asked_by_key
    if text is not None:
        if request.way != "text":
            geometry = composing_text.beside(text, geometry, models)
        named = tuple(dict.fromkeys((*asked_by_key, *composing_text.asked_for(text, models))))
    present = {int(v) for v in np.unique(geometry.label_map) if v}
    _refuse_lacking(named, present, request, models)
    return Composed(
        geometry=geometry,
        said=said,
        name=tuple(asked_by_key) if asked_by_key else tuple(i for i in models.classes if i in present),
        asked=named,
        understood=_understood(geometry, text, said, models),
        remarks=geometry.remarks,
        text=request.text,
    )


def _asked(request: IllustrationRequest, models: Models) -> tuple[int, ...]:
    """Ids of `structures`. Raises IllustrationRefused for unknown keys and for what cannot be drawn."""
    found: list[int] = []
    reasons: list[Bilingual] = []
    for key in request.structures:
        structure = models.vocabulary.resolve(key)
        if structure is None:
            near = ", ".join(models.vocabulary.suggest(key))
            hint = (f": did you mean {near}?", f"：是否指 {near}？") if near else ("", "")
            reasons.append(Bilingual(f"{key!r} is no structure{hint[0]}", f"“{key}”不是词表中的结构{hint[1]}"))
            continue
        parts = models.drawable.parts_of(structure.id, models.vocabulary)
        if not parts:
            en, zh = structure.name_en, structure.name_zh
            reasons.append(Bilingual(f"{en} is not in the training data", f"训练数据中没有{zh}"))
        found += parts
    if reasons:
        raise refused("this cannot be drawn", "无法绘制", tuple(reasons))
    return tuple(dict.fromkeys(found))


def _refuse_lacking(named: tuple[int, ...], present: set[int], request: IllustrationRequest, models: Models) -> None:
    lacking = [models.vocabulary.by_id(i) for i in named if i not in present]
    if lacking:
        what = {"mask": ("mask", "标注图"), "sketch": ("sketch", "草图")}.get(request.way, ("label map", "标注图"))
        raise refused(
            "a structure that was asked for is not there",
            "缺少所要求的结构",
            tuple(Bilingual(f"the {what[0]} shows no {s.name_en}", f"{what[1]}中没有{s.name_zh}") for s in lacking),
        )


_KINDS = (
    ("modality", "modality", "成像方式"),
    ("body_part", "body part", "部位"),
    ("contrast_phase", "contrast phase", "增强时期"),
    ("stage", "stage", "分期"),
)


def _said(request: IllustrationRequest, text: TextRequest | None, models: Models) -> Said:
    """Field and text together. Raises IllustrationRefused where they contradict each other, or the models know none of
    it.
    """
    values: dict[str, str | None] = {}
    reasons: list[Bilingual] = []
    for kind, en, zh in _KINDS:
        field_, spoken = getattr(request, kind), None if text is None else getattr(text, kind)
        if field_ is not None and spoken is not None and field_.casefold() != spoken.casefold():
            reasons.append(
                Bilingual(f"{en}: {field_} is chosen, the text says {spoken}", f"{zh}：选择{field_}，文字为{spoken}")
            )
        values[kind] = field_ if field_ is not None else spoken
    spoken = () if text is None else text.pathologies
    if request.pathology is not None and spoken and request.pathology not in spoken:
        said = ", ".join(spoken)
        reasons.append(
            Bilingual(
                f"pathology: {request.pathology} is chosen, the text says {said}",
                f"疾病：选择{request.pathology}，文字为{said}",
            )
        )
    if reasons:
        raise refused("the request contradicts itself", "请求自相矛盾", tuple(reasons))
    keys = tuple(dict.fromkeys((*([request.pathology] if request.pathology else ()), *spoken)))
    table = {row.key: row for row in pathology.load().rows}
    if unknown := [key for key in keys if key not in table]:
        text_ = ", ".join(unknown)
        raise refused("this is not known", "未知内容", (Bilingual(f"no pathology {text_}", f"没有该疾病：{text_}"),))
    learned = models.drawable.values("body_part")
    if values["body_part"] is None and len(learned) == 1:
        values["body_part"] = next(iter(learned))
    described = models.generator.describe()
    known = models.drawable.values("pathology")
    drawn_as_lesion = [key for key in keys if key not in known and _lesion_drawn(key, models)]
    told = tuple(key for key in keys if key in known or (key not in drawn_as_lesion and key != NORMAL))
    sample = SampleRequest(
        modality=values["modality"],
        body_part=_learned(values["body_part"], models),
        contrast_phase=values["contrast_phase"],
        pathologies=told,
        stage=values["stage"],
    )
    try:
        modality, attributes = modality_drawn(sample, described), attributes_told(sample, described)
    except InputError as error:
        raise refused("this cannot be drawn", "无法绘制", same_words([str(error)])) from error
    return Said(modality, attributes, values["body_part"], tuple(table[key] for key in keys if key != NORMAL))


def _lesion_drawn(key: str, models: Models) -> bool:
    lesion = models.vocabulary.resolve(key)
    return lesion is not None and bool(models.drawable.parts_of(lesion.id, models.vocabulary))


def _learned(body_part: str | None, models: Models) -> str | None:
    """The body part as the generator can be told it; None where it was told of none, which refuses nobody."""
    known = {value.casefold() for value in models.drawable.values("body_part")}
    return body_part if body_part is not None and body_part.casefold() in known else None


def _merged(text: TextRequest, request: IllustrationRequest) -> TextRequest:
    """The text with the request's fields, which do not contradict it; a chosen level is the text's."""
    from medillus_pipeline.language.text_request import Level

    chosen = {kind: getattr(request, kind) for kind, *_ in _KINDS if getattr(request, kind) is not None}
    if request.pathology is not None:
        chosen["pathologies"] = tuple(dict.fromkeys((request.pathology, *text.pathologies)))
    if request.level is not None:
        chosen["level"] = Level(value=request.level)
    return replace(text, **chosen)


def _understood(geometry: Geometry, text: TextRequest | None, said: Said, models: Models) -> Bilingual:
    from medillus_pipeline.language.shown_back import shown_back

    parts_en, parts_zh = [geometry.understood.en], [geometry.understood.zh]
    if text is not None:
        parts_en.append(shown_back(text, models.vocabulary, "en"))
        parts_zh.append(shown_back(text, models.vocabulary, "zh"))
    told = ", ".join(said.attributes)
    if told:
        parts_en.append(f"The model is told {told}.")
        parts_zh.append(f"告知模型：{told}。")
    return Bilingual(" ".join(parts_en), "".join(parts_zh))
