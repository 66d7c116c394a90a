"""Words that may stay in free text under Clean Descriptors (PS3.15 E.3.5): modalities, anatomy, technique, contrast.

What stays is decided by an allow-list, `terms.txt`, and by the shape of a token (slice thickness, kernel, b-value);
everything else goes, so a name need not be known to be removed. Which attributes are cleaned is not here: see
`profile.py`; nor is the search for the patient's own values in what was kept: see `residual.py`.

Latin words are compared without case. Chinese is cut into the longest listed terms from left to right.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from functools import cache
from importlib import resources
from itertools import groupby

REMEMBERED = 10_000
"""Texts whose cleaned form is remembered: the descriptions of a delivery repeat from instance to instance."""

SHORT = frozenset(["l", "r", "x"])
"""Single letters that can stay, on the terms of an ambiguous word: left, right, and `0.6 x 0.6`."""

_HAN = "\u3400-\u9fff\uf900-\ufaff"
_LETTER = rf"[^\W_{_HAN}]"
_NUMBER = r"[0-9]{1,4}(?:[.,][0-9]{1,3})?"
_UNIT = r"mm|ms|msec|sec|min|kvp?|kev|mas?|mgy|gy|mbq|mci|k?hz|mhz|ml|mg|hu|deg|ppm"
_TOKEN = re.compile(
    rf"t2\*|{_NUMBER}(?:x{_NUMBER}){{1,2}}(?:mm)?(?!{_LETTER})|{_NUMBER} ?(?:{_UNIT})(?!{_LETTER})|{_NUMBER}%"
    rf"|{_NUMBER}[st](?!{_LETTER})|[0-9]+(?:[.,][0-9]+)?(?!{_LETTER})|{_LETTER}+|[{_HAN}]+",
    re.IGNORECASE,
)
_BARE = re.compile(r"[0-9]+(?:[.,][0-9]+)?")
_HAN_RUN = re.compile(f"[{_HAN}]+")
_YEAR = re.compile(r"(?<![0-9])(?:19|20)[0-9]{2}(?![0-9])")
_DAY_MONTH = re.compile(r"0[0-9][.,][0-9]+|[0-9]{1,2}[.,](?:0[1-9]|1[0-2])")
_TECHNICAL = re.compile(
    rf"{_NUMBER}(?:x{_NUMBER}){{1,2}}(?:mm)?|{_NUMBER} ?(?:{_UNIT})|{_NUMBER}[st%]"
    r"|[234]d|1st|2nd|3rd|[4-9]th|[2-8]ch|[1-9]ph|p[234]|r[234]"
    r"|b[0-9]{1,2}|b[0-9]{1,2}[05]0|(?:te|tr|ti|fa)[0-9]{1,4}"
    r"|(?:c[1-7]|th?(?:[1-9]|1[0-2])|d(?:[1-9]|1[0-2])|l[1-5]|s[1-5])"
    r"|(?:[bdhijtu]|br|bl|bv|hr|hv|qr|sa|sb|ub|ur)[0-9]{2}[a-z]?[0-9]?|fc[0-9]{2}|t[12](?:w|wi|se|tse|fs|flair)",
)
"""Whole tokens in lower case: sizes, amounts, dimensions, b-values, echo and repetition times, acceleration,
vertebrae, reconstruction kernels."""


class _Kind(Enum):
    KEPT = "kept"
    BESIDE = "beside"
    """Stays only in a text that has other words, and where no word was dropped before or after the run of such tokens
    that it stands in: an ambiguous word, a number."""
    DROPPED = "dropped"


@dataclass(frozen=True)
class _Token:
    start: int
    end: int
    text: str
    kind: _Kind


class Terms:
    """The allow-list, and a site's own terms besides it.

    `extra` terms may have several words and hold numbers or identifiers of the site's choice; several words stay only
    as a whole. Terms without a letter or digit are ignored. Pickles without what it remembers of texts.
    """

    def __init__(self, extra: Iterable[str] = ()) -> None:
        listed, self._ambiguous = _listed()
        own = {_words(term) for term in extra} - {()}
        self._words = {words[0] for words in (*listed, *own) if len(words) == 1}
        self._ambiguous -= self._words
        self._phrases: dict[str, list[tuple[str, ...]]] = {}
        for words in sorted({*listed, *own}, key=lambda words: (-len(words), words)):
            if len(words) > 1:
                self._phrases.setdefault(words[0], []).append(words)
        self._longest = max((len(word) for word in self._words if _HAN_RUN.fullmatch(word)), default=0)
        self._remembered: dict[str, str] = {}

    def cleaned(self, text: str) -> str:
        """The allowed words of one value, in order and in their own case; empty when none is left.

        Where something was dropped, and for any other separator, one space stands. Bare numbers stay when they have at
        most four digits, are no year (1900 to 2099), do not look like part of a date, time or number of a person, and
        stand beside kept words. The result is never longer than `text` and holds no backslash, caret, equals sign or
        control character; cleaning it again changes nothing. For attributes with several values, clean each.
        """
        found = self._remembered.get(text)
        if found is None:
            if len(self._remembered) >= REMEMBERED:
                self._remembered.clear()
            found = self._remembered[text] = self._to_the_end(text)
        return found

    def _to_the_end(self, text: str) -> str:
        """Dropping a word gives its neighbours new neighbours, so cleaning goes on until nothing changes."""
        while (cleaned := self._once(text)) != text:
            text = cleaned
        return text

    def _once(self, text: str) -> str:
        text = unicodedata.normalize("NFC", text)
        tokens = self._judged([(match.start(), match.end(), match.group()) for match in _TOKEN.finditer(text)])
        kept: list[_Token] = []
        runs = [list(alike) for _, alike in groupby(tokens, key=lambda token: token.kind)]
        for place, run in enumerate(runs):
            beside = {runs[near][0].kind for near in (place - 1, place + 1) if 0 <= near < len(runs)}
            kind = run[0].kind
            if kind is _Kind.KEPT or (kind is _Kind.BESIDE and _Kind.DROPPED not in beside):
                kept += run
        if all(token.kind is _Kind.BESIDE for token in kept):
            return ""
        parts = []
        for before, token in zip([None, *kept], kept, strict=False):
            parts.append(token.text if before is None or before.end == token.start else f" {token.text}")
        return "".join(parts)

    def _judged(self, found: list[tuple[int, int, str]]) -> list[_Token]:
        tokens: list[_Token] = []
        lower = [text.lower() for _, _, text in found]
        place = 0
        while place < len(found):
            start, end, text = found[place]
            if length := self._phrase(lower, place):
                tokens += [_Token(*each, _Kind.KEPT) for each in found[place : place + length]]
                place += length
            elif _HAN_RUN.fullmatch(text):
                tokens += self._segmented(start, text)
                place += 1
            elif self._is_bare(text):
                run = place
                while run < len(found) and self._is_bare(found[run][2]):
                    run += 1
                kind = _Kind.BESIDE if _are_measures(lower[place:run]) else _Kind.DROPPED
                tokens += [_Token(*each, kind) for each in found[place:run]]
                place = run
            else:
                tokens.append(_Token(start, end, text, self._kind(lower[place])))
                place += 1
        return tokens

    def _phrase(self, lower: list[str], place: int) -> int:
        """Number of tokens of the longest phrase that begins here."""
        for words in self._phrases.get(lower[place], ()):
            if tuple(lower[place : place + len(words)]) == words:
                return len(words)
        return 0

    def _is_bare(self, text: str) -> bool:
        return _BARE.fullmatch(text) is not None and text not in self._words

    def _kind(self, word: str) -> _Kind:
        if word in self._words:
            return _Kind.KEPT
        if word in self._ambiguous or word in SHORT:
            return _Kind.BESIDE
        return _Kind.KEPT if _TECHNICAL.fullmatch(word) and not _has_a_year(word) else _Kind.DROPPED

    def _segmented(self, start: int, run: str) -> list[_Token]:
        tokens = []
        place = 0
        while place < len(run):
            for length in range(min(self._longest, len(run) - place), 0, -1):
                word = run[place : place + length]
                if word in self._words:
                    tokens.append(_Token(start + place, start + place + length, word, _Kind.KEPT))
                    break
            else:
                length = 1
                tokens.append(_Token(start + place, start + place + 1, run[place], _Kind.DROPPED))
            place += length
        return tokens


def _are_measures(numbers: list[str]) -> bool:
    """Whether bare numbers that follow each other can stay: one, or two decimals (slice thickness and increment).

    Three are a date, a telephone number or a UID in parts; two whole ones a time, a day and month, a house and a room.
    """
    if len(numbers) > 2 or (len(numbers) == 2 and not all(re.search("[.,]", number) for number in numbers)):
        return False
    return all(
        len(re.split("[.,]", number)[0]) <= 4
        and len(number.replace(".", "").replace(",", "")) <= 4
        and not _YEAR.search(number)
        and not _DAY_MONTH.fullmatch(number)
        for number in numbers
    )


def _has_a_year(word: str) -> bool:
    return _YEAR.search(word) is not None and not re.fullmatch("b[0-9]{2}[05]0", word)


def _words(term: str) -> tuple[str, ...]:
    return tuple(match.group().lower() for match in _TOKEN.finditer(unicodedata.normalize("NFC", term)))


@cache
def _listed() -> tuple[frozenset[tuple[str, ...]], frozenset[str]]:
    """The terms of `terms.txt` as words, and the ambiguous single words (`~`)."""
    text = (resources.files("medillus_pipeline.deidentification") / "terms.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    ambiguous = frozenset(line[1:] for line in lines if line.startswith("~"))
    return frozenset(_words(line) for line in lines if not line.startswith("~")), ambiguous
