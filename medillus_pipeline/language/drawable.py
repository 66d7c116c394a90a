"""What models can draw, and what of a request they cannot: said with its reason, never drawn.

A model draws the classes and knows the attributes of its training data. What is not here: whether a mask of all that is
asked for together can be found (`mask_answer.py`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from medillus_pipeline.annotation.study import pathology
from medillus_pipeline.annotation.study.pathology import NORMAL
from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.errors import InputError
from medillus_pipeline.generation.dataset import Dataset
from medillus_pipeline.language.text_request import TextRequest
from medillus_pipeline.language.wording import PARTS_WITHIN

Refused = Literal[
    "structure", "level", "pathology", "contrast_phase", "stage", "modality", "sequence", "plane", "body_part"
]


@dataclass(frozen=True)
class Drawable:
    """`classes` are vocabulary ids, `attributes` "kind=value" as in `slice_attributes.py`; slices are axial."""

    classes: tuple[int, ...]
    attributes: tuple[str, ...]

    @classmethod
    def of_dataset(cls, dataset: Dataset) -> "Drawable":
        """What models trained on a dataset can draw: classes that occur in its split `train`, and its attributes."""
        shown = {label for row in dataset.rows if row["split"] == "train" for label in row["labels"]}
        return cls(tuple(label for label in dataset.classes if label in shown), dataset.known_attributes)

    def values(self, kind: str) -> frozenset[str]:
        """The values of a kind of attribute that occur."""
        return frozenset(value for name, _, value in (a.partition("=") for a in self.attributes) if name == kind)

    def parts_of(self, label: int, vocabulary: Vocabulary) -> tuple[int, ...]:
        """The classes that a structure stands for: itself, or those of its parts that can be drawn; maybe none."""
        if label in self.classes:
            return (label,)
        parts = (vocabulary.by_key(key).id for key in vocabulary.by_id(label).parts)
        return tuple(part for part in parts if part in self.classes)


@dataclass(frozen=True)
class Undrawable:
    """A part of a request that cannot be drawn, and why, as sentences."""

    kind: Refused
    value: str
    en: str
    zh: str


def undrawable(request: TextRequest, can: Drawable, vocabulary: Vocabulary) -> tuple[Undrawable, ...]:
    """All of a request that these models cannot draw; empty when they can draw it. What is to be absent needs no model
    that could draw it.
    """
    found: list[Undrawable] = []
    for label in dict.fromkeys([*request.structures, *(change.structure for change in request.sizes)]):
        if not can.parts_of(label, vocabulary):
            found.append(_missing("structure", vocabulary.by_id(label).key, *_names(label, vocabulary)))
    for label in request.level.structures if request.level else ():
        if not can.parts_of(label, vocabulary):
            en, zh = _names(label, vocabulary)
            found.append(
                Undrawable(
                    "level",
                    vocabulary.by_id(label).key,
                    f"the level of {en} cannot be found: it is not in the training data",
                    f"无法定位{zh}层面：训练数据中没有{zh}",
                )
            )
    found += _labels(request, can, vocabulary)
    for kind, said in (("modality", request.modality), ("body_part", request.body_part)):
        known = can.values(kind)
        if said is not None and known and not _covered(said, known):
            found.append(_missing("modality" if kind == "modality" else "body_part", said, said, said))
    if request.sequence is not None:
        found.append(
            Undrawable(
                "sequence",
                request.sequence,
                f"{request.sequence} cannot be asked for: the training data do not tell sequences apart",
                f"无法指定{request.sequence}：训练数据不区分序列",
            )
        )
    if request.plane not in (None, "axial"):
        found.append(
            Undrawable(
                "plane",
                str(request.plane),
                f"{request.plane} slices are not in the training data, which are axial",
                "训练数据均为横断面，没有所要求的切面",
            )
        )
    return tuple(found)


def refuse_undrawable(request: TextRequest, can: Drawable, vocabulary: Vocabulary) -> None:
    """Raises InputError with every reason when part of the request cannot be drawn."""
    if reasons := undrawable(request, can, vocabulary):
        raise InputError("this cannot be drawn: " + "; ".join(reason.en for reason in reasons))


def _labels(request: TextRequest, can: Drawable, vocabulary: Vocabulary) -> Iterable[Undrawable]:
    table = {row.key: row for row in pathology.load().rows}
    known = can.values("pathology")
    for key in request.pathologies:
        row = table[key]
        lesion = vocabulary.resolve(key)
        drawn = lesion is not None and can.parts_of(lesion.id, vocabulary)
        if key not in known and not drawn and key != NORMAL:
            yield _missing("pathology", key, row.name_en, row.name_zh)
    phases = {phase.key: phase for phase in pathology.CONTRAST_PHASES}
    if request.contrast_phase is not None and request.contrast_phase not in can.values("contrast_phase"):
        phase = phases[request.contrast_phase]
        yield _missing("contrast_phase", phase.key, phase.name_en, phase.name_zh)
    if request.stage is not None and request.stage not in can.values("stage"):
        yield _missing("stage", request.stage, f"stage {request.stage}", f"{request.stage}期")


def _covered(said: str, known: Iterable[str]) -> bool:
    """Whether a body part or modality is among those known, or within one, or holds one."""
    return any(said == one or said in PARTS_WITHIN.get(one, ()) or one in PARTS_WITHIN.get(said, ()) for one in known)


def _missing(kind: Refused, value: str, en: str, zh: str) -> Undrawable:
    return Undrawable(kind, value, f"{en} is not in the training data", f"训练数据中没有{zh}")


def _names(label: int, vocabulary: Vocabulary) -> tuple[str, str]:
    structure = vocabulary.by_id(label)
    return structure.name_en, structure.name_zh


def drawn_classes(labels: Sequence[int], can: Drawable, vocabulary: Vocabulary) -> tuple[int, ...]:
    """The classes that structures stand for, each once."""
    return tuple(dict.fromkeys(part for label in labels for part in can.parts_of(label, vocabulary)))
