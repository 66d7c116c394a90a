"""The terms that a sentence is read with: every name of the tables and every word of `wording.py`, with its meaning.

A term is looked up by its words; the longest wins. A name without side ("kidney", 肾) stands for both sides or, beside
"left", for one. What is not here: how terms make a request (`parser.py`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from medillus_pipeline.annotation.study import pathology
from medillus_pipeline.annotation.vocabulary import Structure, Vocabulary
from medillus_pipeline.generation.body_regions import REGIONS
from medillus_pipeline.language import wording
from medillus_pipeline.language.tokens import Token, singular, words_of

Kind = Literal[
    "structure",
    "pathology",
    "modality",
    "sequence",
    "plane",
    "body_part",
    "chest_film",
    "region",
    "contrast_phase",
    "size",
    "factor",
    "grade",
    "usual",
    "compound",
    "without",
    "absent",
    "side",
    "only",
    "level_before",
    "level_after",
    "joiner",
    "break",
    "filler",
]

SPOKEN_PARTS = ("脏", "部")
"""What follows a Chinese organ of one character in speech: 肾脏, 肺部."""


@dataclass(frozen=True)
class Term:
    """A meaning: `value` is a key or word of its kind. For a structure, `ids` by side: "" as it stands, left, right;
    a name with side or without sides has "" alone.
    """

    kind: Kind
    value: str
    ids: tuple[tuple[str, tuple[int, ...]], ...] = ()

    def of_side(self, side: str) -> tuple[int, ...]:
        """The vocabulary ids on that side; empty where the structure has no sides."""
        return dict(self.ids).get(side, ())


@dataclass(frozen=True)
class Lexicon:
    """All terms by their words, and again with plurals taken off; `longest` words a term has at most."""

    exact: dict[tuple[str, ...], tuple[Term, ...]]
    singular: dict[tuple[str, ...], tuple[Term, ...]]
    longest: int
    names: dict[str, str]

    def longest_match(self, tokens: list[Token], start: int) -> tuple[int, tuple[Term, ...]]:
        """How many tokens from `start` on are the longest term, and its meanings; 0 and none where there is no term."""
        words = tuple(token.word for token in tokens[start : start + self.longest])
        plain = tuple(singular(word) for word in words)
        for length in range(len(words), 0, -1):
            found = self.exact.get(words[:length]) or self.singular.get(plain[:length])
            if found:
                return length, found
        return 0, ()


@lru_cache(maxsize=8)
def lexicon(vocabulary: Vocabulary) -> Lexicon:
    """The terms of a vocabulary, a site's names among them, and of all other tables."""
    exact: dict[tuple[str, ...], list[Term]] = {}
    names: dict[str, str] = {}
    for name, term in _all_terms(vocabulary):
        words = words_of(name)
        if not words:
            continue
        held = exact.setdefault(words, [])
        if not any(other.kind == term.kind for other in held):
            held.append(term)
        if term.kind in ("structure", "pathology", "modality", "plane", "body_part", "contrast_phase", "compound"):
            known = " ".join(words) if words[0].isascii() else "".join(words)
            if "_" in names.get(known, "_"):
                names[known] = name
    plain: dict[tuple[str, ...], list[Term]] = {}
    for words, terms in exact.items():
        held = plain.setdefault(tuple(singular(word) for word in words), [])
        held.extend(term for term in terms if not any(other.kind == term.kind for other in held))
    return Lexicon(
        {words: tuple(terms) for words, terms in exact.items()},
        {words: tuple(terms) for words, terms in plain.items()},
        max(len(words) for words in exact),
        names,
    )


def _all_terms(vocabulary: Vocabulary) -> Iterator[tuple[str, Term]]:
    yield from _structures(vocabulary)
    yield from _pathologies()
    tables: tuple[tuple[Kind, wording.Lines], ...] = (
        ("modality", wording.MODALITIES),
        ("sequence", wording.SEQUENCES),
        ("plane", wording.PLANES),
        ("body_part", wording.BODY_PARTS),
        ("side", wording.SIDES),
    )
    for kind, table in tables:
        for value, lines in table.items():
            yield from ((name, Term(kind, value)) for name in lines)
    yield from ((name, Term("chest_film", name)) for name in wording.CHEST_FILMS)
    yield from _regions()
    yield from _phases()
    words: tuple[tuple[Kind, str, tuple[str, ...]], ...] = (
        ("size", "enlarged", wording.ENLARGED),
        ("size", "small", wording.SMALL),
        ("usual", "", wording.USUAL_SIZE),
        ("grade", "slight", wording.SLIGHTLY),
        ("grade", "marked", wording.MARKEDLY),
        ("without", "", wording.WITHOUT),
        ("absent", "", (*wording.ABSENT, *wording.ABSENT_ZH)),
        ("only", "", wording.ONLY),
        ("level_before", "", wording.LEVEL_BEFORE),
        ("level_after", "", wording.LEVEL_AFTER),
        ("joiner", "", wording.JOINERS),
        ("break", "", wording.BREAKS),
        ("filler", "", wording.FILLERS),
    )
    for kind, value, lines in words:
        yield from ((name, Term(kind, value)) for name in lines)
    for factor, lines in wording.STATED_FACTORS.items():
        yield from ((name, Term("factor", str(factor))) for name in lines)
    for lines, (keys, said) in wording.COMPOUNDS.items():
        ids = tuple(vocabulary.by_key(key).id for key in keys)
        yield from ((name, Term("compound", said, (("", ids),))) for name in lines)


def _structures(vocabulary: Vocabulary) -> Iterator[tuple[str, Term]]:
    by_key = {structure.key: structure for structure in vocabulary}
    sided = _sided_names(vocabulary)
    whole: dict[str, tuple[tuple[str, tuple[int, ...]], ...]] = {}
    for name, sides in sided.items():
        if (alone := vocabulary.resolve(name)) and alone.laterality in ("", "both"):
            whole[alone.key] = sides
    for structure in vocabulary:
        ids = (("", (structure.id,)), *whole.get(structure.key, ()))
        term = Term("structure", structure.key, ids)
        for name in (structure.key, structure.name_en, structure.name_zh, *structure.synonyms, *structure.tg263):
            yield name, term
            if len(name) == 1 and not name.isascii():
                yield from ((name + part, term) for part in SPOKEN_PARTS)
        if structure.key.startswith("vertebrae_"):
            yield structure.key.removeprefix("vertebrae_"), Term("structure", structure.key, ids)
            yield from ((name, term) for name in _vertebra_zh(structure))
    for key, names in wording.ADJECTIVES.items():
        if structure := by_key.get(key.strip()):
            term = Term("structure", structure.key, (("", (structure.id,)), *whole.get(structure.key, ())))
            yield from ((name, term) for name in names)
    for name, sides in sided.items():
        if not vocabulary.resolve(name):
            both = tuple(label for _, labels in sides for label in labels)
            term = Term("structure", name, (("", both), *sides))
            yield name, term
            if len(name) == 1 and not name.isascii():
                yield from ((name + part, term) for part in SPOKEN_PARTS)


def _sided_names(vocabulary: Vocabulary) -> dict[str, tuple[tuple[str, tuple[int, ...]], ...]]:
    """Names without their side, with the structures of either side; those only that have both."""
    found: dict[str, dict[str, tuple[int, ...]]] = {}
    for structure in vocabulary:
        if structure.laterality not in ("left", "right"):
            continue
        side_zh = {"left": "左", "right": "右"}[structure.laterality]
        for name in (structure.name_en, structure.name_zh, *structure.synonyms):
            spaced = name.replace("_", " ")
            parts = spaced.split(" ")
            if structure.laterality in parts:
                bare = " ".join(part for part in parts if part != structure.laterality)
            elif side_zh in spaced:
                bare = spaced.replace(side_zh, "", 1)
            else:
                continue
            found.setdefault(bare, {}).setdefault(structure.laterality, (structure.id,))
    return {name: tuple(sorted(sides.items())) for name, sides in found.items() if len(sides) == 2 and name}


def _vertebra_zh(structure: Structure) -> tuple[str, ...]:
    """胸12椎体, 胸12 for 第十二胸椎."""
    code = structure.key.removeprefix("vertebrae_")
    part = {"C": "颈", "T": "胸", "L": "腰", "S": "骶"}[code[0]]
    number = code[1:]
    return (
        f"{part}{number}",
        f"{part}{number}椎体",
        f"{code}椎体",
        f"{code}椎",
        f"{part}椎{number}",
        f"{part}椎{code}",
    )


def _pathologies() -> Iterator[tuple[str, Term]]:
    for row in pathology.load().rows:
        term = Term("pathology", row.key)
        for name in (row.key, row.name_en, row.name_zh):
            yield name, term
        if row.icd11:
            yield row.icd11, term
        for joint in (" of the ", " in the ", " in ", " of "):
            head, found, place = row.name_en.partition(joint)
            if found:
                yield from ((f"{place} {noun}", term) for noun in (head, *head.split(" or ")))
                break
        yield from ((name, term) for name in wording.SYNONYMS.get(row.key, ()))


def _regions() -> Iterator[tuple[str, Term]]:
    parts = {" ".join(words_of(name)) for lines in wording.BODY_PARTS.values() for name in lines}
    for name in REGIONS:
        if " ".join(words_of(name)) not in parts:
            yield name, Term("region", name)
    for value, names in wording.REGION_FORMS.items():
        yield from ((name, Term("region", value)) for name in names)


def _phases() -> Iterator[tuple[str, Term]]:
    for phase in pathology.CONTRAST_PHASES:
        term = Term("contrast_phase", phase.key)
        names = [phase.name_en, phase.name_zh, *wording.PHASES.get(phase.key, ())]
        if phase.key not in ("none", "venous"):
            names.append(phase.key)
        for name in names:
            if name not in wording.NEEDS_PHASE_WORD:
                yield name, term
            if not name.endswith(wording.PHASE_WORD):
                yield from ((name + word, term) for word in wording.PHASE_WORD)
