"""The case library: static pages, one for each structure and pathology, with its variants and stages, to be searched.

A folder that can be copied anywhere: plain HTML, styles and script within each page, no network, opened from a file.
What is not here: which figures there are (the table `illustrations`), how they are drawn (`figure.py`).
"""

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from jinja2 import Environment, PackageLoader, StrictUndefined

from medillus_pipeline.annotation.study import pathology
from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.illustration import fonts
from medillus_pipeline.illustration.functions import function_of
from medillus_pipeline.illustration.wording import Bilingual

NO_STAGE = Bilingual("stage not told", "未分期")
PAGE_FOLDER: dict[str, str] = {"structure": "structures", "pathology": "pathologies"}

Kind = Literal["structure", "pathology"]


@dataclass(frozen=True)
class Case:
    """A figure on the pages. `svg` and `png` are its files; `structures` keys with their confidence or None;
    `approved` whether somebody approved its model; `failed` the checks that it did not pass.
    """

    figure: str
    source: str
    title: Bilingual
    caption: Bilingual
    structures: Mapping[str, float | None]
    pathologies: tuple[str, ...]
    stage: str | None
    contrast_phase: str | None
    level: float | None
    modality: str
    approved: bool
    failed: tuple[str, ...]
    svg: bytes
    png: bytes


@dataclass(frozen=True)
class Topic:
    """What a page is about, with its cases by stage, in the order of the body from the head down."""

    kind: Kind
    key: str
    name: Bilingual
    code: str
    function: Bilingual
    groups: tuple[tuple[Bilingual, tuple[Case, ...]], ...]

    @property
    def path(self) -> str:
        """Where its page stands in the library."""
        return f"{PAGE_FOLDER[self.kind]}/{self.key}.html"

    @property
    def cases(self) -> int:
        """Number of figures on its page."""
        return sum(len(cases) for _, cases in self.groups)


def build_library(cases: Sequence[Case], vocabulary: Vocabulary) -> dict[str, bytes]:
    """Path → file of the library: `index.html`, a page for each structure and pathology that a case shows, and the
    figures. The same cases give the same bytes.

    Raises InputError where a text holds a character without a glyph.
    """
    ordered = sorted(cases, key=lambda case: (-(case.level if case.level is not None else -1.0), case.figure))
    topics = [*_structures(ordered, vocabulary), *_pathologies(ordered)]
    files: dict[str, bytes] = {}
    for case in ordered:
        files[f"figures/{case.figure}.svg"] = case.svg
        files[f"figures/{case.figure}.png"] = case.png
    environment = Environment(
        loader=PackageLoader("medillus_pipeline", "illustration"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("case_library.html.j2")
    for topic in topics:
        files[topic.path] = _page(template, topic=topic, topics=topics, root="../")
    files["index.html"] = _page(template, topic=None, topics=topics, root="")
    return dict(sorted(files.items()))


def _page(template: Any, **given: Any) -> bytes:
    body = template.render(**given, face="", percent=_percent, searchable=_words_of)
    text = "".join(sorted(set(html.unescape(body))))
    return template.render(**given, face=fonts.face_rules(text), percent=_percent, searchable=_words_of).encode()


def _structures(cases: Sequence[Case], vocabulary: Vocabulary) -> Iterable[Topic]:
    for structure in vocabulary:
        shown = tuple(case for case in cases if structure.key in case.structures)
        if shown:
            told = function_of(structure) or Bilingual("", "")
            name = Bilingual(structure.name_en, structure.name_zh)
            code = f"SNOMED CT {structure.code}" if structure.code else ""
            yield Topic("structure", structure.key, name, code, told, _by_stage(shown))


def _pathologies(cases: Sequence[Case]) -> Iterable[Topic]:
    for row in pathology.load().rows:
        shown = tuple(case for case in cases if row.key in case.pathologies)
        if shown:
            code = f"ICD-11 {row.icd11}" if row.icd11 else ""
            told = Bilingual(row.title, "") if row.title else Bilingual("", "")
            yield Topic("pathology", row.key, Bilingual(row.name_en, row.name_zh), code, told, _by_stage(shown))


def _by_stage(cases: Sequence[Case]) -> tuple[tuple[Bilingual, tuple[Case, ...]], ...]:
    """Cases by stage, ascending, those of which none is told last."""
    stages = sorted({case.stage for case in cases if case.stage})
    groups = [(Bilingual(f"stage {s}", f"{s}期"), tuple(case for case in cases if case.stage == s)) for s in stages]
    rest = tuple(case for case in cases if not case.stage)
    return (*groups, *([(NO_STAGE, rest)] if rest else []))


def _words_of(topic: Topic) -> str:
    """What a search finds a page by."""
    said = {topic.key, topic.key.replace("_", " "), *topic.name, topic.code}
    for stage, cases in topic.groups:
        said |= {*stage} if stage is not NO_STAGE else set()
        for case in cases:
            said |= {case.figure, *case.title, case.modality, case.contrast_phase or "", *case.pathologies}
    return " ".join(sorted(word for word in said if word)).lower()


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"
