"""What label values mean, from the files that annotation tools write beside a label map.

ITK-SNAP label descriptions (index, red, green, blue, opacity, visibility, mesh, "name"), colour tables of 3D Slicer
(index name red green blue opacity), and JSON: `labels.json` ({"1": "liver"}) and nnU-Net's `dataset.json`
({"labels": {"background": 0, "liver": 1}}). Value 0 is background whatever it is called. What is not here: which label
map a description speaks for (`side_files.py`).
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from medillus_pipeline.annotation.formats.label_volume import GREATEST_LABEL
from medillus_pipeline.annotation.formats.labelme import parse
from medillus_pipeline.annotation.outcomes import Reason, Refused
from medillus_pipeline.annotation.vocabulary import Structure

MAXIMUM_BYTES = 2**23
JSON_NAMES = ("labels.json", "dataset.json")
SUFFIXES = (".label", ".txt", ".ctbl")
ITK_SNAP = re.compile(r'\s*(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+[\d.eE+-]+\s+[01]\s+[01]\s+"([^"]*)"\s*')
COLOUR_TABLE = re.compile(r'\s*(\d+)\s+"?(\S.*?)"?\s+(\d+)\s+(\d+)\s+(\d+)\s+\d+\s*')

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class LabelNames:
    """Names by value, and values by display colour where no two share one."""

    names: dict[int, str]
    colours: dict[Colour, int]


def may_be_description(path: str) -> bool:
    """Whether a file is a label description by its name; a `.txt` may still be something else."""
    name = PurePosixPath(path).name
    return name in JSON_NAMES or name.lower().endswith(SUFFIXES)


def read(path: str, data: bytes) -> LabelNames:
    """The label description in a file of that path. Raises Refused when it is none, or is broken."""
    if len(data) > MAXIMUM_BYTES:
        raise Refused(Reason.TOO_LARGE)
    if PurePosixPath(path).name in JSON_NAMES:
        return _from_json(parse(data))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeError as error:
        raise Refused(Reason.BROKEN_FILE) from error
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    rows = []
    for line in lines:
        if found := ITK_SNAP.fullmatch(line):
            value, red, green, blue, name = found.groups()
        elif (found := COLOUR_TABLE.fullmatch(line)) and path.lower().endswith(".ctbl"):
            value, name, red, green, blue = found.groups()
        else:
            raise Refused(Reason.BROKEN_FILE)
        rows.append((_number(value, GREATEST_LABEL), name.strip(), tuple(_number(c, 255) for c in (red, green, blue))))
    if not rows:
        raise Refused(Reason.BROKEN_FILE)
    return _described(rows)


def _number(text: str, greatest: int) -> int:
    if len(text) > 9 or int(text) > greatest:
        raise Refused(Reason.BROKEN_FILE)
    return int(text)


def _described(rows: list[tuple[int, str, Any]]) -> LabelNames:
    names: dict[int, str] = {}
    for value, name, _ in rows:
        if value and name and names.setdefault(value, name) != name:
            raise Refused(Reason.BROKEN_FILE)
    shown = Counter(colour for _, _, colour in rows)
    colours = {colour: value for value, _, colour in rows if value in names and shown[colour] == 1}
    return LabelNames(names, colours)


def _from_json(document: Any) -> LabelNames:
    try:
        labels = document.get("labels", document)
        pairs = [(key, value) for key, value in labels.items()]
        if all(isinstance(value, str) for _, value in pairs):
            names = {int(key): value for key, value in pairs}
        elif not all(type(value) is int or isinstance(value, list) for _, value in pairs):
            raise Refused(Reason.BROKEN_FILE)
        else:  # a region of nnU-Net is a list of values, and no label of its own
            names = {value: key for key, value in pairs if type(value) is int}
    except (AttributeError, TypeError, ValueError) as error:
        raise Refused(Reason.BROKEN_FILE) from error
    names = {value: name for value, name in names.items() if value}
    if not names or not all(0 < value <= GREATEST_LABEL for value in names):
        raise Refused(Reason.BROKEN_FILE)
    return LabelNames(names, {})


def write_itk_snap(structures: Iterable[Structure]) -> bytes:
    """A label description for ITK-SNAP in which every value is a vocabulary id, with our keys and colours."""
    lines = ["# IDX R G B A VIS MSH LABEL", '0 0 0 0 0 0 0 "Clear Label"']
    for structure in sorted(structures, key=lambda s: s.id):
        red, green, blue = structure.rgb
        lines.append(f'{structure.id} {red} {green} {blue} 1 1 1 "{structure.key}"')
    return ("\n".join(lines) + "\n").encode()
