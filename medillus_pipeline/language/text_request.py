"""What a sentence asks for, as a structure: nothing in it that no part of the sentence says.

Every part of the sentence stands in `spans` with what it was taken for, and what went wrong in `problems`. What is not
here: how a sentence is read (`parser.py`), how the request is said again (`shown_back.py`), and whether it can be drawn
(`drawable.py`).
"""

from dataclasses import dataclass
from typing import Literal

Role = Literal[
    "structure",
    "pathology",
    "modality",
    "sequence",
    "plane",
    "body_part",
    "level",
    "contrast_phase",
    "stage",
    "size",
    "amount",
    "absence",
    "side",
    "only",
    "filler",
    "not_understood",
]
ProblemKind = Literal["not_understood", "conflict", "assumption"]


@dataclass(frozen=True)
class Span:
    """Characters `start` to `end` of the text, taken as `role`; `meaning` names what, as "spleen" or "CT"."""

    start: int
    end: int
    role: Role
    meaning: str = ""


@dataclass(frozen=True)
class Problem:
    """A thing to correct, or to know. `near` are names that come close to a word that was not understood."""

    kind: ProblemKind
    en: str
    zh: str
    near: tuple[str, ...] = ()


@dataclass(frozen=True)
class SizeChange:
    """A structure (vocabulary id) with `factor` times its usual area in the slice, or `millimetres` as its greatest
    diameter; `stated` says whether the sentence gave the figure, else it is the default of the word.
    """

    structure: int
    factor: float | None = None
    millimetres: float | None = None
    stated: bool = False


@dataclass(frozen=True)
class Level:
    """Where along the body: `value`, 0 feet to 1 head, or a `region` of `body_regions.REGIONS`, or where the
    `structures` (vocabulary ids) are largest. Exactly one of them is given.
    """

    value: float | None = None
    region: str = ""
    structures: tuple[int, ...] = ()


@dataclass(frozen=True)
class TextRequest:
    """What is asked for. Structures are vocabulary ids, a pathology is a key of `pathology.csv`, a contrast phase one
    of `CONTRAST_PHASES`, modality and body part are values of DICOM (CT, MR; CHEST). Empty or None: nothing was said.

    `usual` are structures of which the sentence says that their size is usual; `absent_pathologies` what is ruled out.
    """

    text: str
    modality: str | None = None
    sequence: str | None = None
    plane: str | None = None
    body_part: str | None = None
    level: Level | None = None
    contrast_phase: str | None = None
    pathologies: tuple[str, ...] = ()
    icd11: tuple[str, ...] = ()
    absent_pathologies: tuple[str, ...] = ()
    stage: str | None = None
    structures: tuple[int, ...] = ()
    absent: tuple[int, ...] = ()
    only: bool = False
    sizes: tuple[SizeChange, ...] = ()
    usual: tuple[int, ...] = ()
    spans: tuple[Span, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def settled(self) -> bool:
        """Whether there is nothing to correct: all was understood, and nothing contradicts itself."""
        return all(problem.kind == "assumption" for problem in self.problems)

    @property
    def empty(self) -> bool:
        """Whether nothing at all was understood."""
        said = (self.modality, self.sequence, self.plane, self.body_part, self.level, self.contrast_phase, self.stage)
        named = (self.pathologies, self.absent_pathologies, self.structures, self.absent, self.sizes, self.usual)
        return not any(said) and not any(named)

    def of_kind(self, kind: ProblemKind) -> tuple[Problem, ...]:
        """The problems of one kind."""
        return tuple(problem for problem in self.problems if problem.kind == kind)
