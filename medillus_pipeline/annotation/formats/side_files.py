"""The files of a batch that speak for others: indices, label descriptions, and parts of another file.

A volume belongs to the series, and a picture to the slice, that an index names, else that its own name or that of the
nearest folder says (a slice name, a pseudonymous or original UID). Lying on the grid of a series makes it no part of
it: two patients scanned by one protocol share a grid. A label description speaks for the file of the same name beside
it, else, alone in its folder, for all files there and below. What is not here: who drew it (`submission.py`).
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath

from medillus_pipeline.annotation.formats import label_names, nrrd, volume_index
from medillus_pipeline.annotation.formats.label_names import LabelNames
from medillus_pipeline.annotation.formats.volume_index import SLICE_NAME, MaskEntry, VolumeEntry, named_slice
from medillus_pipeline.annotation.outcomes import Reason, Refused
from medillus_pipeline.annotation.references import References
from medillus_pipeline.annotation.slice_index import SliceIndex

INDEX, MASKS = "index.json", "masks.csv"
UID = re.compile(r"[0-9]+(?:\.[0-9]+){3,}")
SUFFIXES = re.compile(r"(\.seg)?\.(nii|nii\.gz|nrrd|nhdr|png|label|txt|ctbl)$", re.IGNORECASE)
LABEL_MAP = ("", "label", "labels", "labelmap", "mask", "masks", "seg", "segmentation")
"""What may follow a slice name in the name of a label map of several structures."""


def stem(path: str) -> str:
    """A file's name without what says its format: `a.nii.gz`, `a.seg.nrrd` and `a.png` are all `a`."""
    return SUFFIXES.sub("", PurePosixPath(path).name)


class SideFiles:
    """Filled by `add`, asked by `volume` and `picture`. Paths are those of the batch's listing."""

    def __init__(self, references: References, index: SliceIndex) -> None:
        self._references = references
        self._index = index
        self._volumes: dict[str, VolumeEntry] = {}
        self._masks: dict[str, MaskEntry] = {}
        self._names: dict[str, dict[str, list[LabelNames]]] = {}
        self.parts: set[str] = set()
        """Files that hold the data of a header beside them; they are no items of their own."""

    @staticmethod
    def wanted(path: str) -> bool:
        """Whether `add` has to see a file, by its name."""
        name = PurePosixPath(path).name
        header = name.lower().endswith(".nhdr")
        return name.casefold() in (INDEX, MASKS) or header or label_names.may_be_description(name)

    def add(self, path: str, data: bytes) -> bool:
        """Take a file in, and say whether it is a side file; if not it is an item like others (a header whose data are
        beside it, a `.txt` of another kind). Raises Refused for a broken one.
        """
        name, folder = PurePosixPath(path).name, PurePosixPath(path).parent
        if name.casefold() == INDEX:
            found = volume_index.read(data, self._references)
            self._volumes |= {str(folder / entry.file): entry for entry in found.volumes}
            self._masks |= {str(folder / entry.file): entry for entry in found.masks}
        elif name.casefold() == MASKS:
            entries = volume_index.read_csv(data, folder.name, self._references)
            self._masks |= {str(folder / entry.file): entry for entry in entries}
        elif name.lower().endswith(".nhdr"):
            if part := nrrd.data_file(data):
                self.parts.add(str(folder / part))
            return False
        else:
            try:
                names = label_names.read(path, data)
            except Refused:
                if name.lower().endswith(".txt"):
                    return False
                raise
            self._names.setdefault(str(folder), {}).setdefault(stem(name), []).append(names)
        return True

    def volume(self, path: str) -> VolumeEntry:
        """What is known of a volume. Raises Refused when nothing says which series it belongs to."""
        here = PurePosixPath(path)
        listed = next((self._volumes[str(p)] for p in (here, *here.parents) if str(p) in self._volumes), None)
        own = stem(path)
        if listed is None:
            series, from_name = self._series_by_name(path)
            listed = VolumeEntry(path, series, hint="" if from_name else own)
        else:
            listed = replace(listed, hint=own)
        described = self._described(path)
        return replace(listed, labels=listed.labels or (described.names if described else {}))

    def picture(self, path: str) -> MaskEntry:
        """What is known of a picture. Raises Refused when nothing says which slice it belongs to."""
        entry = self._masks.get(path) or self._picture_by_name(path)
        described = None if entry.structure and path in self._masks else self._described(path)
        if described is None:
            return entry
        return replace(entry, labels=entry.labels or described.names, colours=described.colours)

    def _series_by_name(self, path: str) -> tuple[str, bool]:
        """The series that a path says, and whether the file's own name does; an unknown UID is one still to come."""
        unknown: tuple[str, bool] | None = None
        for place, word in enumerate(_words(path)):
            target = self._index.by_name.get(word)
            series = target.series_instance_uid if target else self._references.series(word)
            if series in self._index.by_series:
                return series, place == 0
            if unknown is None and UID.fullmatch(word):
                unknown = series, place == 0
        if unknown is None:
            raise Refused(Reason.NOT_IN_INDEX)
        return unknown

    def _picture_by_name(self, path: str) -> MaskEntry:
        words = list(_words(path))
        for pattern in (SLICE_NAME, UID):
            if found := pattern.match(words[0]):
                rest = words[0][found.end() :]
                structure = rest.lstrip("_- .")
                if rest and structure == rest:
                    continue
                name = named_slice(found[0], 1, self._references)
                kind = "" if structure.lower() in LABEL_MAP else structure
                return MaskEntry(path, name, kind, hint=words[1] if len(words) > 1 else "")
        for word in words[1:]:
            if SLICE_NAME.fullmatch(word) or UID.fullmatch(word):
                kind = "" if words[0].lower() in LABEL_MAP else words[0]
                return MaskEntry(path, named_slice(word, 1, self._references), kind)
        raise Refused(Reason.NOT_IN_INDEX)

    def _described(self, path: str) -> LabelNames | None:
        own = stem(path)
        for depth, folder in enumerate(map(str, PurePosixPath(path).parents)):
            there = self._names.get(folder)
            if there is None:
                continue
            if depth == 0 and len(there.get(own, [])) == 1:
                return there[own][0]
            alone = [names for several in there.values() for names in several]
            return alone[0] if len(alone) == 1 else None
        return None


def _words(path: str) -> Iterator[str]:
    """A file's own name and those of its folders, nearest first."""
    yield stem(path)
    for folder in PurePosixPath(path).parents:
        if folder.name:
            yield folder.name
