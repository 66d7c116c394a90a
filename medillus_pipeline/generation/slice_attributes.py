"""What is said of a slice as a whole: modality, body part, contrast phase, pathologies and stage, as "kind=value".

The last three are what annotators said of its study or series (rows of STUDY_LABELS); whose word counts where several
spoke is decided here. What is not here: how a file of labels is read (`annotation/study/labels_csv.py`), and how
attributes become a vector (the networks' side).
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from medillus_pipeline.annotation.study.label_revisions import SEVERAL, place_of
from medillus_pipeline.annotation.study.labels_csv import LABELS
from medillus_pipeline.annotation.study.pathology import NORMAL

Row = Mapping[str, Any]
Rule = Literal["primary", "majority", "staple"]
KINDS = ("modality", "body_part", "contrast_phase", "pathology", "stage")
"""The kinds of attributes, in the order in which they stand."""
WHOLE_STUDY = ""
"""The Series Instance UID of a label that is about a whole study."""


class StudyLabels:
    """Labels of studies and series, rows of STUDY_LABELS; of each annotator the greatest revision at a place counts.

    What an annotator said of a series stands before what the same one said of its study. `rule` settles several
    annotators: `primary` believes the one who labelled most places (studies, series and kinds) in all, ties go to the
    name that sorts first; `majority` takes what more than half of them say. STAPLE weighs pixels, so with `staple`
    labels go by majority too.
    """

    def __init__(self, rows: Iterable[Row], rule: Rule = "primary") -> None:
        self._rule = rule
        newest: dict[tuple[str, str, str, str], tuple[int, set[str]]] = {}
        for row in rows:
            place, revision = place_of(row), int(row["revision"])
            if place not in newest or revision > newest[place][0]:
                newest[place] = (revision, set())
            if revision == newest[place][0]:
                newest[place][1].add(row["value"])
        self._places: Counter[str] = Counter(annotator for annotator, *_ in newest)
        self._said: dict[tuple[str, str, str], dict[str, set[str]]] = {}
        for (annotator, *place), (_, values) in newest.items():
            study, series, kind = place
            self._said.setdefault((study, series, kind), {})[annotator] = values

    def of(self, study: str, series: str) -> dict[str, Any]:
        """`contrast_phase` and `stage` (text, or None where nobody says) and `pathology` (ascending list, empty where
        nobody says) of a series by its Study and Series Instance UID. What contradicts itself is not believed: two
        stages or phases, or a normal finding beside another.
        """
        found = {kind: sorted(self._values(study, series, kind)) for kind in LABELS}
        pathologies = found.pop(SEVERAL)
        if NORMAL in pathologies and len(pathologies) > 1:
            pathologies = []
        single = {kind: values[0] if len(values) == 1 else None for kind, values in found.items()}
        return {SEVERAL: pathologies, **single}

    def _values(self, study: str, series: str, kind: str) -> set[str]:
        said = self._said.get((study, WHOLE_STUDY, kind), {}) | self._said.get((study, series, kind), {})
        if not said:
            return set()
        if self._rule == "primary":
            return said[min(said, key=lambda annotator: (-self._places[annotator], annotator))]
        votes = Counter(value for values in said.values() for value in values)
        return {value for value, count in votes.items() if 2 * count > len(said)}


def attributes_of(row: Row) -> tuple[str, ...]:
    """The attributes of a row of TRAINING_SLICES, by kind, several pathologies in the row's order."""
    given = {kind: row[kind] for kind in KINDS}
    several = {kind: values if isinstance(values, list) else [values] for kind, values in given.items()}
    return tuple(f"{kind}={value}" for kind, values in several.items() for value in values if value)


def known_attributes(rows: Iterable[Row]) -> tuple[str, ...]:
    """All attributes that occur in the rows of the split `train`, by kind, then by value."""
    found = {attribute for row in rows if row["split"] == "train" for attribute in attributes_of(row)}
    return tuple(sorted(found, key=lambda attribute: (KINDS.index(attribute.partition("=")[0]), attribute)))
