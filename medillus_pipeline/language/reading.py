"""From tokens to items: terms, amounts, stages, and what is neither. Each token belongs to exactly one item.

What is not here: how items stand to each other (`grammar.py`).
"""

from dataclasses import dataclass, field
from typing import Literal

from medillus_pipeline.annotation.study.labels_csv import stage
from medillus_pipeline.language import wording
from medillus_pipeline.language.terms import Lexicon, Term
from medillus_pipeline.language.text_request import Role
from medillus_pipeline.language.tokens import Token, singular, words_of

ItemKind = Literal["term", "length", "percent", "times", "number", "stage", "unknown"]

_ROMAN = {"1": "I", "2": "II", "3": "III", "4": "IV"}


@dataclass
class Item:
    """A piece of the sentence. `terms` are its meanings where it is a term; `value` a number, in mm for a length.

    The grammar writes `role` and `meaning`, `ids` for a structure once its side is known, and `beside` a size word the
    grades and amounts that say how much. An amount after "to" is `up_to` that much.
    """

    kind: ItemKind
    tokens: list[Token]
    terms: tuple[Term, ...] = ()
    value: float = 0.0
    text: str = ""
    role: Role | None = None
    meaning: str = ""
    ids: tuple[int, ...] = ()
    taken: bool = False
    beside: list["Item"] = field(default_factory=list)
    up_to: bool = False

    @property
    def start(self) -> int:
        return self.tokens[0].start

    @property
    def end(self) -> int:
        return self.tokens[-1].end

    @property
    def word(self) -> str:
        return (" " if self.latin else "").join(token.word for token in self.tokens)

    @property
    def latin(self) -> bool:
        """Whether it is written in Latin letters."""
        return self.tokens[0].latin

    def term(self, *kinds: str) -> Term | None:
        """Its meaning of one of these kinds, or None."""
        return next((term for kind in kinds for term in self.terms if term.kind == kind), None)

    def take(self, role: Role, meaning: str = "") -> None:
        """Notes that the item is accounted for."""
        self.role, self.meaning, self.taken = role, meaning, True


def items_of(tokens: list[Token], lexicon: Lexicon) -> list[Item]:
    """The items of a sentence in order: amounts and stages first, then the longest term, else an unknown token."""
    items: list[Item] = []
    place = 0
    while place < len(tokens):
        item = _amount(tokens, place) or _stage(tokens, place)
        if item is None:
            length, terms = lexicon.longest_match(tokens, place)
            if length:
                item = Item("term", tokens[place : place + length], terms)
            else:
                number = tokens[place].number
                item = Item("unknown" if number is None else "number", [tokens[place]], value=number or 0.0)
        item.up_to = bool(items) and items[-1].word in wording.UP_TO
        items.append(item)
        place += len(item.tokens)
    return _swallowed(items)


def _amount(tokens: list[Token], place: int) -> Item | None:
    number = tokens[place].number
    if number is None or number > 1e6:
        return None
    all_units: tuple[tuple[tuple[str, ...], ItemKind], ...] = (
        (tuple(wording.UNITS_MM), "length"),
        (wording.PER_CENT, "percent"),
        (wording.TIMES, "times"),
    )
    for units, kind in all_units:
        for unit in units:
            words = words_of(unit)
            following = tokens[place + 1 : place + 1 + len(words)]
            if tuple(token.word for token in following) == words:
                value = number * wording.UNITS_MM.get(unit, 1.0)
                return Item(kind, tokens[place : place + 1 + len(words)], value=value)
    return None


def _stage(tokens: list[Token], place: int) -> Item | None:
    """A stage group beside "stage" or 期, or TNM in one word or three."""
    word = tokens[place].word
    after = tokens[place + 1].word if place + 1 < len(tokens) else ""
    if word in wording.STAGE_WORDS or tuple(t.word for t in tokens[place : place + 2]) == ("分", "期"):
        skipped = 1 if word in wording.STAGE_WORDS else 2
        given = tokens[place + skipped : place + skipped + 1]
        if given and (found := stage(_ROMAN.get(given[0].word, given[0].word))):
            return Item("stage", tokens[place : place + skipped + 1], text=found)
        return None
    if after == "期" and tokens[place].latin and (found := stage(_ROMAN.get(word, word))):
        return Item("stage", tokens[place : place + 2], text=found)
    for length in (1, 3):
        joined = "".join(token.word for token in tokens[place : place + length])
        if "t" in joined and "n" in joined and "m" in joined and len(joined) < 24 and (found := stage(joined)):
            return Item("stage", tokens[place : place + length], text=found)
    return None


def _swallowed(items: list[Item]) -> list[Item]:
    """A structure that is only part of an unknown name (胰腺炎, hepatic haemangioma) goes with it."""
    adjectives = {singular(" ".join(words_of(name))) for names in wording.ADJECTIVES.values() for name in names}
    result: list[Item] = []
    for item in items:
        before = result[-1] if result else None
        if item.kind == "unknown" and before is not None and before.term("structure"):
            touching = before.end == item.start and item.word in wording.DISEASE_ENDINGS
            if touching or (before.latin and item.latin and singular(before.word) in adjectives):
                result[-1] = Item("unknown", [*before.tokens, *item.tokens])
                continue
        result.append(item)
    return result
