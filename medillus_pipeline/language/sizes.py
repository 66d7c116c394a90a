"""What a size word, with the grade and amount beside it, comes to; and the record that the grammar fills.

What is not here: which structures a size is about (`grammar.py`), and the words themselves (`wording.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.language import wording
from medillus_pipeline.language.reading import Item
from medillus_pipeline.language.text_request import Level, SizeChange


@dataclass
class Reading:
    """What the grammar found; `notes` are assumptions as (English, Chinese)."""

    structures: list[int] = field(default_factory=list)
    absent: list[int] = field(default_factory=list)
    pathologies: list[str] = field(default_factory=list)
    absent_pathologies: list[str] = field(default_factory=list)
    sizes: list[SizeChange] = field(default_factory=list)
    usual: list[int] = field(default_factory=list)
    levels: list[Level] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    conflicts: list[tuple[str, str]] = field(default_factory=list)
    only: bool = False


def note_size(ids: tuple[int, ...], item: Item, reading: Reading, vocabulary: Vocabulary) -> None:
    """Adds the change of size that an item, with the grade and amount beside it, means for structures."""
    term = item.term("factor", "size", "compound")
    if item.kind == "length":
        _length(ids, item.value, item, reading)
        return
    if item.kind == "times":
        _factor(ids, item.value, item, reading, stated=True)
        return
    if term is None:
        reading.usual.extend(ids)
        return
    if term.kind == "factor":
        _factor(ids, float(term.value), item, reading, stated=True)
        return
    grows, grade = term.value == "enlarged", ""
    for beside in item.beside:
        if beside.kind == "length":
            _length(ids, beside.value, item, reading)
            return
        if beside.kind in ("percent", "times"):
            _factor(ids, _amounted(beside, grows), item, reading, stated=True)
            return
        if found := beside.term("grade"):
            grade = found.value
    factor = (wording.ENLARGED_BY if grows else wording.SHRUNKEN_TO)[grade]
    names, chinese = names_of(ids, vocabulary), "、".join(vocabulary.by_id(label).name_zh for label in ids)
    reading.notes.append(
        (
            f"'{item.word}' without a figure: {names} gets {factor:.3g} times its usual area",
            f"“{item.word}”未给数值：{chinese}按通常面积的{factor:.3g}倍",
        )
    )
    _factor(ids, factor, item, reading, stated=False)


def _amounted(beside: Item, grows: bool) -> float:
    """The factor of "enlarged by 30%", "to 130%", "1.5 times"."""
    if beside.kind == "times":
        return beside.value if grows or beside.value < 1 else 1 / max(beside.value, 1e-9)
    share = beside.value / 100
    if beside.up_to:
        return share
    return 1 + share if grows else 1 - share


def _factor(ids: tuple[int, ...], factor: float, item: Item, reading: Reading, *, stated: bool) -> None:
    low, high = wording.LEAST_FACTOR, wording.GREATEST_FACTOR
    if not low <= factor <= high:
        reading.conflicts.append(
            (
                f"'{item.word}' comes to {factor:.3g} times the usual area; {low:g} to {high:g} can be drawn",
                f"“{item.word}”相当于通常面积的{factor:.3g}倍，可绘制{low:g}至{high:g}倍",
            )
        )
        return
    reading.sizes.extend(SizeChange(label, factor=round(factor, 6), stated=stated) for label in ids)


def _length(ids: tuple[int, ...], millimetres: float, item: Item, reading: Reading) -> None:
    low, high = wording.LEAST_MM, wording.GREATEST_MM
    if not low <= millimetres <= high:
        reading.conflicts.append(
            (
                f"{millimetres:g} mm is no diameter that can be drawn: {low:g} to {high:g} mm",
                f"{millimetres:g}毫米不是可绘制的径线，范围为{low:g}至{high:g}毫米",
            )
        )
        return
    reading.sizes.extend(SizeChange(label, millimetres=millimetres, stated=True) for label in ids)


def names_of(ids: Sequence[int], vocabulary: Vocabulary) -> str:
    """English names of vocabulary ids, for notes and spans."""
    return ", ".join(vocabulary.by_id(label).name_en for label in ids)
