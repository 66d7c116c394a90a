"""A sentence as the geometry of a figure, or beside a mask or sketch: sizes, structures to recover, contradictions.

What is not here: how a sentence is read (`language/parser.py`) and how its mask is found (`language/mask_answer.py`).
"""

import hashlib
from dataclasses import replace

import numpy as np
from scipy import ndimage

from medillus_pipeline.errors import InputError
from medillus_pipeline.generation.prior import TISSUES
from medillus_pipeline.illustration.composing import NO_PATIENT, Geometry, refused
from medillus_pipeline.illustration.composing_mask import shown
from medillus_pipeline.illustration.illustration_request import IllustrationRequest
from medillus_pipeline.illustration.models import Models
from medillus_pipeline.illustration.wording import Bilingual
from medillus_pipeline.language.drawable import drawn_classes, undrawable
from medillus_pipeline.language.mask_answer import GREATEST_AREA_ERROR, MaskAnswer, mask_for
from medillus_pipeline.language.mask_change import freedom, greatest_diameter, resized
from medillus_pipeline.language.parser import understand
from medillus_pipeline.language.text_request import SizeChange, TextRequest


def understood(text: str, models: Models) -> TextRequest:
    """What a sentence asks for. Raises IllustrationRefused for what is not understood, contradictory, empty, or not in
    the models' training data, with every reason.
    """
    found = understand(text, models.vocabulary)
    if not found.settled:
        problems = tuple(p for p in found.problems if p.kind != "assumption")
        reasons = tuple(
            Bilingual(
                p.en + (f" (did you mean {', '.join(p.near)}?)" if p.near else ""),
                p.zh + (f"（是否指：{'、'.join(p.near)}？）" if p.near else ""),
            )
            for p in problems
        )
        raise refused("correct the text first", "请先更正文字", reasons)
    if found.empty:
        raise refused(
            "correct the text first",
            "请先更正文字",
            (Bilingual("it says nothing that a figure could show", "文字中没有可绘制的内容"),),
        )
    if cannot := undrawable(found, models.drawable, models.vocabulary):
        raise refused("this cannot be drawn", "无法绘制", tuple(Bilingual(each.en, each.zh) for each in cannot))
    return found


def asked_for(text: TextRequest, models: Models) -> tuple[int, ...]:
    """Ids that a sentence names to be seen: structures, lesions of its pathologies, and what it gives a size."""
    lesions = (models.vocabulary.resolve(key) for key in text.pathologies)
    named = (
        *text.structures,
        *(change.structure for change in text.sizes),
        *text.usual,
        *(lesion.id for lesion in lesions if lesion is not None),
    )
    absent = drawn_classes(text.absent, models.drawable, models.vocabulary)
    return tuple(i for i in drawn_classes(named, models.drawable, models.vocabulary) if i not in absent)


def from_text(text: TextRequest, request: IllustrationRequest, models: Models, body_part: str | None) -> Geometry:
    """A mask for the sentence: the nearest training mask, changed; where none passes, one of the prior's shape model.

    Such a mask is complete. Raises InputError where neither passes, or where there is no dataset to retrieve from.
    """
    bank = models.bank
    if bank is None:
        raise InputError("a text needs the training masks, and there is no dataset here: give a mask or a sketch")
    text = replace(text, structures=tuple(dict.fromkeys((*text.structures, *_keys(request, models)))))
    remarks: tuple[Bilingual, ...] = ()
    try:
        answer = mask_for(text, bank, models.prior, models.vocabulary, can=models.drawable, seed=request.seed)
    except InputError as first:
        if text.pathologies or text.contrast_phase or text.stage:
            raise
        try:
            answer = mask_for(
                text, bank, models.prior, models.vocabulary, can=models.drawable, seed=request.seed, way="shape"
            )
        except InputError:
            raise first from None
        remarks = (
            Bilingual(
                "no training mask could be changed to this: drawn from the shape model, which starts from no patient",
                "训练标注图均无法满足要求：改由形状模型绘制，不来自任何患者",
            ),
        )
    return _geometry(answer, text, models, body_part, remarks)


def _keys(request: IllustrationRequest, models: Models) -> tuple[int, ...]:
    found = (models.vocabulary.resolve(key) for key in request.structures)
    return tuple(structure.id for structure in found if structure is not None)


def _geometry(
    answer: MaskAnswer, text: TextRequest, models: Models, body_part: str | None, remarks: tuple[Bilingual, ...]
) -> Geometry:
    bank = models.bank
    assert bank is not None
    digest = hashlib.sha256(text.text.encode()).hexdigest()
    source = answer.provenance.get("source_patient")
    row = bank.names.index(answer.provenance["source_slice"]) if source else None
    assumed = {problem.en: problem for problem in text.of_kind("assumption")}
    said = tuple(Bilingual(remark, assumed[remark].zh if remark in assumed else remark) for remark in answer.remarks)
    level = float(answer.provenance["level"])
    return Geometry(
        label_map=answer.label_map,
        drawn=np.ones(len(models.classes), bool),
        level=level,
        pixel_mm=bank.pixel_mm if source else models.field_of_view(body_part) / models.size,
        source=f"text-{digest[:12]}",
        understood=shown(answer.label_map, level, "label map found for the text", "依文字得到的标注图", models),
        remarks=(*said, *remarks),
        patient=source or NO_PATIENT,
        split=None if row is None else "train",
        origin={"way": "text", **answer.provenance},
    )


def beside(text: TextRequest, geometry: Geometry, models: Models) -> Geometry:
    """The geometry of a mask or sketch with the sizes that the sentence gives.

    Raises IllustrationRefused where the sentence leaves out what is drawn, asks for another level or for "only" some of
    it, or where there is no room for a size.
    """
    present = {int(v) for v in np.unique(geometry.label_map) if v}
    reasons: list[Bilingual] = []
    gone = drawn_classes(text.absent, models.drawable, models.vocabulary)
    for identifier in (i for i in gone if i in present):
        s = models.vocabulary.by_id(identifier)
        reasons.append(
            Bilingual(f"the text leaves out {s.name_en}, and it is drawn", f"文字排除{s.name_zh}，而图中已画")
        )
    if text.only:
        wanted = set(drawn_classes(text.structures, models.drawable, models.vocabulary))
        for identifier in sorted(present - wanted):
            s = models.vocabulary.by_id(identifier)
            reasons.append(
                Bilingual(
                    f"the text says only, and {s.name_en} is drawn beside", f"文字限定“只”，而图中还有{s.name_zh}"
                )
            )
    if reasons:
        raise refused("text and drawing contradict each other", "文字与图形相互矛盾", tuple(reasons))
    remarks = list(geometry.remarks) + [Bilingual(p.en, p.zh) for p in text.of_kind("assumption")]
    if text.level is not None or text.body_part is not None:
        remarks.append(
            Bilingual("the drawing decides the level, the text does not", "层面由图形决定，文字中的层面不起作用")
        )
    labels = models.index_of_id[geometry.label_map]
    for change in text.sizes:
        labels, told = _sized(labels, change, geometry, models)
        remarks += told
    drawn = geometry.drawn | np.isin(np.array(models.classes), gone)
    return replace(geometry, label_map=models.id_of_index[labels], remarks=tuple(remarks), drawn=drawn)


def _sized(
    labels: np.ndarray, change: SizeChange, geometry: Geometry, models: Models
) -> tuple[np.ndarray, list[Bilingual]]:
    """The label map with one change of size. A size word alone never goes against it: what is drawn large stays so."""
    remarks: list[Bilingual] = []
    free = _free(labels, geometry, models)
    for identifier in models.drawable.parts_of(change.structure, models.vocabulary):
        index = models.classes.index(identifier) + 1
        own = labels == index
        structure = models.vocabulary.by_id(identifier)
        if not own.any():
            continue
        if change.millimetres is not None:
            target, exact, measured = change.millimetres / geometry.pixel_mm, False, greatest_diameter
        else:
            usual = float("nan") if models.bank is None else models.bank.usual_pixels(index - 1, geometry.level)
            factor = change.factor or 1.0
            target, exact, measured = factor * (float(own.sum()) if np.isnan(usual) else usual), True, _count
            now = float(own.sum())
            if not change.stated and (now >= target if factor > 1 else now <= target):
                remarks.append(
                    Bilingual(
                        f"{structure.name_en} is drawn {now / target * factor:.2g} times its usual area already: kept",
                        f"{structure.name_zh}所画面积已为通常的{now / target * factor:.2g}倍，保持不变",
                    )
                )
                continue
        target = max(target, 1.0)
        labels = resized(labels, index, free, measured, target, exact=exact)
        found = measured(labels == index)
        if max(abs(found - target) - 0.5, 0) / target > GREATEST_AREA_ERROR:
            raise refused(
                "text and drawing contradict each other",
                "文字与图形相互矛盾",
                (
                    Bilingual(
                        f"there is no room in the drawing for {structure.name_en} of the size asked for",
                        f"图中没有空间容纳所要求大小的{structure.name_zh}",
                    ),
                ),
            )
        remarks.append(
            Bilingual(f"{structure.name_en} was resized as the text asks", f"已按文字调整{structure.name_zh}的大小")
        )
    return labels, remarks


def _free(labels: np.ndarray, geometry: Geometry, models: Models) -> np.ndarray:
    """(h, w) 0 … 1: where an organ may push: not through the skin, and not through bone."""
    prior = models.prior
    tissue = prior.tissue[round(geometry.level * (len(prior.tissue) - 1)), TISSUES.index("air")]
    body = np.asarray(ndimage.binary_fill_holes((tissue < 0.5) | (labels > 0)))
    structures = [models.vocabulary.by_id(i) for i in models.classes]
    rigid = [i + 1 for i, s in enumerate(structures) if s.kind == "bone" or s.key in ("spinal_cord", "spinal_canal")]
    return freedom(body, np.isin(labels, rigid), geometry.pixel_mm)


def _count(mask: np.ndarray) -> float:
    return float(mask.sum())
