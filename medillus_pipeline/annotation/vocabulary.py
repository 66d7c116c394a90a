"""The one vocabulary of structures: ids, names (en, zh), codes, colours, and how a submitted name finds its structure.

The table itself is `vocabulary.csv`. Ids 1 to 117 are those of TotalSegmentator's list; none is ever given to another
structure, because label maps and models store them. Codes are SNOMED CT concepts of the set that DICOM uses, taken
from the mapping of TotalSegmentator and the segmentation contexts of dcmqi; blank where those have none.
What is not here: what is done with overlapping structures (`label_map.py`).
"""

import csv
import difflib
import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, cast, get_args

from medillus_pipeline.errors import ConfigurationError

Kind = Literal["organ", "bone", "vessel", "muscle", "lesion", "device", "region", "target"]
TABLE = Path(__file__).with_name("vocabulary.csv")
GREATEST_ID = 255


@dataclass(frozen=True)
class Structure:
    """A row of the vocabulary.

    `code` and `meaning` are SNOMED CT (SCT), or empty; `laterality` is left, right, both or empty; `colour` is
    `#rrggbb`; of two structures that claim a pixel the one with the higher `priority` gets it; `parts` are the keys
    whose union this structure is, where it has any (lungs: lung_left, lung_right).
    """

    id: int
    key: str
    name_en: str
    name_zh: str
    code: str
    meaning: str
    laterality: str
    kind: Kind
    colour: str
    priority: int
    parts: tuple[str, ...]
    synonyms: tuple[str, ...]

    @property
    def rgb(self) -> tuple[int, int, int]:
        """The display colour, each component 0 to 255."""
        return int(self.colour[1:3], 16), int(self.colour[3:5], 16), int(self.colour[5:7], 16)


def normalised(name: str) -> str:
    """A name as compared in the last step: case, spaces, underscores, hyphens and dots do not matter."""
    return re.sub(r"[\s_\-.]+", "", name).casefold()


class Vocabulary:
    """All structures, looked up by id, key or submitted name. Immutable."""

    def __init__(self, structures: tuple[Structure, ...], version: str) -> None:
        self.structures = structures
        self.version = version
        self._by_id = {structure.id: structure for structure in structures}
        self._by_key = {structure.key: structure for structure in structures}
        self._exact: dict[str, Structure] = {}
        self._synonyms: dict[str, Structure] = {}
        self._normalised: dict[str, Structure] = {}
        for s in structures:
            for name in (s.key, s.name_en, s.name_zh):
                _claim(self._exact, name, s)
            for name in s.synonyms:
                _claim(self._synonyms, name, s)
            for name in (s.key, s.name_en, s.name_zh, *s.synonyms):
                _claim(self._normalised, normalised(name), s)

    def __iter__(self):
        return iter(self.structures)

    def __len__(self) -> int:
        return len(self.structures)

    def by_id(self, identifier: int) -> Structure:
        """The structure of an id. Raises KeyError when there is none."""
        return self._by_id[int(identifier)]

    def by_key(self, key: str) -> Structure:
        """The structure of a key. Raises KeyError when there is none."""
        return self._by_key[key]

    def resolve(self, name: str) -> Structure | None:
        """The structure that a submitted name means, or None; never a guess.

        Compared in turn: key and names as they stand, synonyms as they stand, then both normalised.
        """
        text = name.strip()
        return self._exact.get(text) or self._synonyms.get(text) or self._normalised.get(normalised(text))

    def suggest(self, name: str, maximum: int = 3) -> list[str]:
        """Keys of the structures whose names come closest to an unknown one, best first; may be empty."""
        close = difflib.get_close_matches(normalised(name), list(self._normalised), n=4 * maximum, cutoff=0.6)
        return list(dict.fromkeys(self._normalised[found].key for found in close))[:maximum]

    def palette(self) -> bytes:
        """256 RGB triples for a palette PNG whose pixel values are ids; background and unused ids are black."""
        table = bytearray(768)
        for structure in self.structures:
            table[3 * structure.id : 3 * structure.id + 3] = bytes(structure.rgb)
        return bytes(table)


def _claim(names: dict[str, Structure], name: str, structure: Structure) -> None:
    if not name:
        raise ConfigurationError(f"vocabulary.csv: structure {structure.id} has an empty name")
    if names.setdefault(name, structure) is not structure:
        raise ConfigurationError(
            f"vocabulary.csv: the name {name!r} stands for both {names[name].key} and {structure.key}; keep it at one"
        )


def _split(cell: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in cell.split(";") if part.strip())


def read(path: Path) -> Vocabulary:
    """A vocabulary from a CSV file with the columns of `vocabulary.csv`.

    Raises ConfigurationError for an id outside 1 to 255 or used twice, an unknown kind, a malformed colour, a part
    that is no key, or a name that two structures claim.
    """
    data = path.read_bytes()
    structures = []
    for row in csv.DictReader(data.decode("utf-8").splitlines()):
        identifier, kind, colour = int(row["id"]), row["kind"], row["colour"]
        if not 1 <= identifier <= GREATEST_ID:
            raise ConfigurationError(f"vocabulary.csv: id {identifier} is outside 1 to {GREATEST_ID}")
        if kind not in get_args(Kind):
            raise ConfigurationError(f"vocabulary.csv: structure {identifier} has the unknown kind {kind!r}")
        if not re.fullmatch(r"#[0-9a-f]{6}", colour):
            raise ConfigurationError(f"vocabulary.csv: structure {identifier} has the malformed colour {colour!r}")
        structures.append(
            Structure(
                id=identifier,
                key=row["key"],
                name_en=row["name_en"],
                name_zh=row["name_zh"],
                code=row["code"],
                meaning=row["meaning"],
                laterality=row["laterality"],
                kind=cast(Kind, kind),
                colour=colour,
                priority=int(row["priority"]),
                parts=_split(row["parts"]),
                synonyms=_split(row["synonyms"]),
            )
        )
    keys = {structure.key for structure in structures}
    if len({structure.id for structure in structures}) != len(structures):
        raise ConfigurationError("vocabulary.csv: an id stands twice; ids are never shared")
    for structure in structures:
        if missing := set(structure.parts) - keys:
            raise ConfigurationError(f"vocabulary.csv: {structure.key} has unknown parts {sorted(missing)}")
    return Vocabulary(tuple(sorted(structures, key=lambda s: s.id)), hashlib.sha256(data).hexdigest()[:16])


@cache
def load() -> Vocabulary:
    """The vocabulary that this release ships, read once per process."""
    return read(TABLE)
