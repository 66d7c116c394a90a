"""Captions of slices in English and Chinese, made from what is known of them; each carries the facts that it claims.

A caption never says what its slice's table and masks do not: for which further slices it is true can be decided
exactly (`encoder_facts.truth_of`). The words are in `captions_phrases.py`. What is not here: captions of figures
(`illustration/captions.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.errors import InputError
from medillus_pipeline.language.captions_phrases import (
    CLEAR_JOINT,
    JOINTS,
    PAIRS,
    PLANES,
    Language,
    names_of,
    ways_to_say,
)
from medillus_pipeline.language.encoder_config import CaptionsConfig
from medillus_pipeline.language.encoder_facts import TRUE, Fact, Kind

_SHARES: tuple[Kind, ...] = ("modality", "body_part", "contrast_phase", "pathology", "stage", "region", "level")
_PLACES: dict[Kind, int] = {"modality": 0, "body_part": 0, "region": 0, "contrast_phase": 0, "level": 0, "absent": 2}
"""Clauses of the heading stand first and what is missing last; all others between."""
_PAIRED, _PLANE, _SHUFFLED = 0.4, 0.4, 0.35
"""Shares of captions that name two structures in one clause, say the plane, and give clauses in any order."""


@dataclass(frozen=True)
class Caption:
    """A text, its language, and all that it claims of an image."""

    text: str
    language: Language
    facts: tuple[Fact, ...]


class CaptionWriter:
    """Writes captions that claim some of `facts`; phrases are looked up once."""

    def __init__(self, facts: Sequence[Fact], vocabulary: Vocabulary, config: CaptionsConfig) -> None:
        self.facts, self.config = tuple(facts), config
        self._words = vocabulary
        self._of_kind: dict[str, list[int]] = {}
        for number, fact in enumerate(self.facts):
            self._of_kind.setdefault(fact.kind, []).append(number)
        self._ways: dict[tuple[Fact, Language], tuple[str, ...]] = {}

    def write(self, truth: np.ndarray, language: Language, random: np.random.Generator) -> Caption:
        """A caption of a slice with `truth` (facts,). The same state of `random` writes the same caption.

        Raises InputError where nothing at all is true of the slice.
        """
        chosen = self._chosen(np.asarray(truth) == TRUE, random)
        if not chosen:
            raise InputError("nothing is known of a slice, so that there is nothing to say of it")
        text = self.say(chosen, language, random)
        # An enlarged spleen is a spleen that is there: that is claimed without being said.
        implied = [Fact("present", fact.key) for fact in chosen if fact.kind in ("large", "small")]
        return Caption(text, language, tuple(dict.fromkeys([*chosen, *implied])))

    def say(self, facts: Sequence[Fact], language: Language, random: np.random.Generator) -> str:
        """These facts in words, in an order and with phrases drawn from `random`."""
        clauses: list[tuple[float, str]] = []
        waiting = list(facts)
        if random.random() < _PLANE:
            clauses.append((random.random(), _one_of(PLANES[language], random)))
        for kind in ("present", "absent"):
            own = [fact for fact in waiting if fact.kind == kind][:2]
            if len(own) == 2 and random.random() < _PAIRED:
                names = [_one_of(names_of(fact, language, self._words), random) for fact in own]
                place = _PLACES.get(kind, 1) + random.random()
                clauses.append((place, _one_of(PAIRS[kind][language], random).format(*names)))
                waiting = [fact for fact in waiting if fact not in own]
        for fact in waiting:
            clauses.append((_PLACES.get(fact.kind, 1) + random.random(), self._phrase(fact, language, random)))
        shuffled = random.random() < _SHUFFLED
        if shuffled:
            random.shuffle(clauses)
        else:
            clauses.sort()
        # "without liver, spleen" may mean either: in any order only a semicolon parts what is there from what is not.
        joint = CLEAR_JOINT[language] if shuffled else _one_of(JOINTS[language], random)
        return joint.join(text for _, text in clauses)

    def _chosen(self, true: np.ndarray, random: np.random.Generator) -> list[Fact]:
        config, chosen = self.config, []
        for kind in _SHARES:
            able = [number for number in self._of_kind.get(kind, ()) if true[number]]
            if able and random.random() < getattr(config, kind):
                chosen.append(able[int(random.integers(len(able)))])
        sizes = [number for kind in ("large", "small") for number in self._of_kind.get(kind, ()) if true[number]]
        if sizes and random.random() < config.size:
            chosen.append(sizes[int(random.integers(len(sizes)))])
        sized = {self.facts[number].key for number in chosen if self.facts[number].kind in ("large", "small")}
        for kind, most in (("present", config.most_present), ("absent", config.most_absent)):
            able = [n for n in self._of_kind.get(kind, ()) if true[n] and self.facts[n].key not in sized]
            count = min(int(random.integers(most + 1)), len(able))
            chosen += [able[int(place)] for place in random.permutation(len(able))[:count]]
        if not chosen and true.any():
            able = np.flatnonzero(true)
            chosen.append(int(able[int(random.integers(len(able)))]))
        return [self.facts[number] for number in chosen]

    def _phrase(self, fact: Fact, language: Language, random: np.random.Generator) -> str:
        place = (fact, language)
        if place not in self._ways:
            self._ways[place] = ways_to_say(fact, language, self._words)
        return _one_of(self._ways[place], random)


def _one_of(ways: Sequence[str], random: np.random.Generator) -> str:
    return ways[int(random.integers(len(ways)))]
