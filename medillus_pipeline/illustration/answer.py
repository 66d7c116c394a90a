"""What a person is told of a request: what was understood, what was assumed, how each candidate fared; or why not.

Sentences in English and Chinese, and the same as JSON data. What is not here: how any of it is found out
(`composing.py`, `compliance.py`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from medillus_pipeline.errors import InputError
from medillus_pipeline.illustration.wording import Bilingual


def same_words(texts: Sequence[str]) -> tuple[Bilingual, ...]:
    """Sentences of parts that speak English only, in both places."""
    return tuple(Bilingual(text, text) for text in texts)


@dataclass(frozen=True)
class CandidateReport:
    """How one candidate fared.

    * `reasons`: why it must not leave; empty: it passed;
    * `recovered`: key → Dice of what the organ segmenter finds with what was asked; `confidences`: key → 0 to 1, NaN
      where there is none;
    * `errors`: structures with a breach of the prior's rules, as (key, kind of `plausible_anatomy.KINDS`);
    * `similarity`: share of what the segmenter finds that lies where training patients have it;
    * `likeness`: what the candidates are ranked by, the text encoder's cosine or the mean agreement, and by which.
    """

    seed: int
    reasons: tuple[Bilingual, ...]
    recovered: Mapping[str, float]
    confidences: Mapping[str, float]
    errors: tuple[tuple[str, str], ...]
    similarity: float
    likeness: float
    ranked_by: str

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.reasons

    def facts(self) -> dict[str, Any]:
        """The same, ready for JSON."""
        return {
            "seed": self.seed,
            "passed": self.passed,
            "reasons": [reason._asdict() for reason in self.reasons],
            "recovered": _numbers(self.recovered),
            "confidences": _numbers(self.confidences),
            "errors": [{"structure": key, "kind": kind} for key, kind in self.errors],
            "similarity": _number(self.similarity),
            "likeness": _number(self.likeness),
            "ranked_by": self.ranked_by,
        }


@dataclass(frozen=True)
class Answer:
    """What a person is told with a figure.

    `understood` says the request back; `remarks` what was assumed or is to be known; `candidates` are in the order of
    their seeds, `chosen` is the taken one's place among them (None for a scan, of which nothing is drawn);
    `confidences` are the figure's, by key, NaN where there is none; `origin` is where the label map comes from, as
    JSON data; `floors` are the bounds that were asked of the candidates.
    """

    way: str
    understood: Bilingual
    remarks: tuple[Bilingual, ...] = ()
    candidates: tuple[CandidateReport, ...] = ()
    chosen: int | None = None
    confidences: Mapping[str, float] = field(default_factory=dict)
    origin: Mapping[str, Any] = field(default_factory=dict)
    floors: Mapping[str, Any] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """The same, ready for JSON."""
        return {
            "way": self.way,
            "understood": self.understood._asdict(),
            "remarks": [remark._asdict() for remark in self.remarks],
            "candidates": [candidate.facts() for candidate in self.candidates],
            "chosen": self.chosen,
            "confidences": _numbers(self.confidences),
            "origin": dict(self.origin),
            "floors": dict(self.floors),
        }


class IllustrationRefused(InputError):
    """No figure leaves: a way in is refused, or no candidate passes. `reasons` say why, one for each thing that is
    wrong; `answer` is what was understood all the same, where it came so far.
    """

    def __init__(self, headline: Bilingual, reasons: Sequence[Bilingual], answer: Answer | None = None) -> None:
        self.headline = headline
        self.reasons = tuple(reasons)
        self.answer = answer
        super().__init__(f"{headline.en}: " + "; ".join(reason.en for reason in self.reasons))


def _number(value: float) -> float | None:
    return round(float(value), 6) if math.isfinite(value) else None


def _numbers(values: Mapping[str, float]) -> dict[str, float | None]:
    return {key: _number(value) for key, value in sorted(values.items())}
