"""The one vocabulary of structures: ids, names (en, zh), codes, colours, and how a submitted name finds its structure.

The table itself is `vocabulary.csv`. Ids 1 to 117 are those of TotalSegmentator's list; none is ever given to another
structure, because label maps and models store them. Its column `source` says where a code (and the anatomic region
beside it), a UMLS concept (cui) and the TG-263 names come from; a blank means that no source has one:

    ts  TotalSegmentator, resources/totalsegmentator_snomed_mapping.csv, commit 0e65a448
    dm  dcmqi, doc/segContexts/SegmentationCategoryTypeModifier-DICOM-Master.json, commit b6137d9e
    sg  dcmqi, doc/segContexts/SegmentationCategoryTypeModifier-SlicerGeneralAnatomy.json, commit b6137d9e
    tg  AAPM TG-263 worksheet v20170815 as in github kildealab/TG263ComplianceTool, commit 13cfbe9f: the primary name
        and the same in reverse order

Codes are SNOMED CT concepts of the set that DICOM uses. Functions of the organs are sentences of our own.
What is not here: what is done with overlapping structures (`label_map.py`), what a site adds (`site_names.py`),
diseases (`pathology.py`).
"""

import csv
import difflib
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal, cast, get_args

from pydicom.sr.coding import Code

from medillus_pipeline.annotation import site_names
from medillus_pipeline.errors import ConfigurationError

Kind = Literal["organ", "bone", "vessel", "muscle", "lesion", "device", "region", "target"]
TABLE = Path(__file__).with_name("vocabulary.csv")
GREATEST_ID = 255
SIDES = {"left": "7771000", "right": "24028007", "both": "51440002"}
"""SNOMED CT codes of the lateralities (PS3.16 CID 244)."""
RETIRED_SCHEMES = ("SRT", "SNM3", "99SDM")
"""Designators under which older files give SNOMED codes of the former style (PS3.16 section 8)."""


@dataclass(frozen=True)
class Structure:
    """A row of the vocabulary.

    `code` and `meaning` are SNOMED CT (SCT), or empty; `laterality` is left, right, both or empty; `colour` is
    `#rrggbb`; of two structures that claim a pixel the one with the higher `priority` gets it; `parts` are the keys
    whose union this structure is, where it has any (lungs: lung_left, lung_right).
    `region` is the SNOMED CT code of the anatomic region that a code as wide as Neoplasm needs beside it, or empty;
    the laterality is then the region's. `cui` is the UMLS concept of the code, `function_en` and `function_zh` say in a
    line what an organ, bone, vessel or muscle is for; each may be empty.
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
    region: str = ""
    region_meaning: str = ""
    cui: str = ""
    tg263: tuple[str, ...] = ()
    function_en: str = ""
    function_zh: str = ""
    source: str = ""

    @property
    def one_sided(self) -> bool:
        """Whether the code itself says the side (Left atrium), so that no laterality is given beside it."""
        return bool(re.search(r"\b(left|right)\b", self.meaning, re.IGNORECASE))

    @property
    def rgb(self) -> tuple[int, int, int]:
        """The display colour, each component 0 to 255."""
        return int(self.colour[1:3], 16), int(self.colour[3:5], 16), int(self.colour[5:7], 16)


def normalised(name: str) -> str:
    """A name as compared in the last step: case, spaces, underscores, hyphens and dots do not matter, unless they part
    two numbers (rib 1-1 is not rib 11).
    """
    return re.sub(r"[\s_\-.]+", "", re.sub(r"(?<=\d)[\s_\-.]+(?=\d)", ",", name)).casefold()


class Vocabulary:
    """All structures, looked up by id, key or submitted name. Immutable."""

    def __init__(self, structures: tuple[Structure, ...], version: str) -> None:
        self.structures = structures
        self.version = version
        self._by_id = {structure.id: structure for structure in structures}
        self._by_key = {structure.key: structure for structure in structures}
        self._by_code: dict[str, list[Structure]] = {}
        for structure in structures:
            if structure.code:
                self._by_code.setdefault(structure.code, []).append(structure)
        self._exact: dict[str, Structure] = {}
        self._synonyms: dict[str, Structure] = {}
        self._normalised: dict[str, Structure] = {}
        for s in structures:
            for name in (s.key, s.name_en, s.name_zh):
                _claim(self._exact, name, s)
            for name in (*s.synonyms, *s.tg263):
                _claim(self._synonyms, name, s)
            for name in (s.key, s.name_en, s.name_zh, *s.synonyms, *s.tg263):
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

    def with_names(self, names: Mapping[str, str]) -> "Vocabulary":
        """This vocabulary with a site's own names (name to key) among the synonyms; its version tells them apart.

        Raises ConfigurationError for a key that no structure has and for a name that already means another structure.
        """
        added: dict[str, list[str]] = {}
        for name, key in names.items():
            if key not in self._by_key:
                hint = ", ".join(self.suggest(key)) or "none comes close"
                raise ConfigurationError(f"MEDILLUS_VOCABULARY: {name!r} is given the unknown key {key!r} ({hint})")
            found = self.resolve(name)
            if found is not None and found.key != key:
                raise ConfigurationError(f"MEDILLUS_VOCABULARY: {name!r} already means {found.key}, it cannot be {key}")
            if found is None:
                added.setdefault(key, []).append(name)
        if not added:
            return self
        structures = tuple(replace(s, synonyms=(*s.synonyms, *added.get(s.key, ()))) for s in self.structures)
        lines = sorted(f"{key}={name}" for key, given in added.items() for name in given)
        version = hashlib.sha256("\n".join([self.version, *lines]).encode()).hexdigest()[:16]
        return Vocabulary(structures, version)

    def by_code(self, scheme: str, value: str, laterality: str = "", region: str = "") -> Structure | None:
        """The one structure that a coded concept means, or None; never a guess.

        `scheme` is a Coding Scheme Designator: SCT, or a retired one, whose codes are mapped as PS3.16 annex O does.
        `laterality` is the SCT code of a type modifier (or of the region's), `region` the SCT code of an anatomic
        region; a row without region stands for its code in any. Kidney without laterality is None: there are two.
        """
        rows = self._by_code.get(_current(scheme, value, self._by_code), [])
        side = laterality.strip()
        for place in dict.fromkeys((region.strip(), "")):
            there = [s for s in rows if s.region == place]
            if found := [s for s in there if _fits(s, side, alone=len(there) == 1)]:
                return found[0] if len(found) == 1 else None
        return None

    @staticmethod
    def laterality_code(structure: Structure) -> str:
        """The SCT code to give beside the structure's own; empty where it has no side, or its code says it."""
        return "" if structure.one_sided else SIDES.get(structure.laterality, "")

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


def _current(scheme: str, value: str, known: Iterable[str]) -> str:
    """The SCT code, among those known, of a code in any scheme; empty where there is none."""
    designator, code = scheme.strip(), value.strip()
    if designator == "SCT":
        return code
    if designator not in RETIRED_SCHEMES:
        return ""
    given = Code(code, "SRT", "")
    return next((current for current in known if Code(current, "SCT", "") == given), "")


def _fits(structure: Structure, laterality: str, *, alone: bool) -> bool:
    if laterality:
        return SIDES.get(structure.laterality) == laterality
    return structure.one_sided or not structure.laterality or (structure.laterality == "both" and alone)


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
                region=row["region"],
                region_meaning=row["region_meaning"],
                cui=row["cui"],
                tg263=_split(row["tg263"]),
                function_en=row["function_en"],
                function_zh=row["function_zh"],
                source=row["source"],
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
def _shipped() -> Vocabulary:
    return read(TABLE)


def load(site: Path | None = None) -> Vocabulary:
    """The vocabulary that this release ships, read once per process; with the names of a site's file, read each time.

    Raises ConfigurationError for a site's file that cannot be read or contradicts the table.
    """
    return _shipped() if site is None else _shipped().with_names(site_names.read(site))
