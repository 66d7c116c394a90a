"""Labels of whole studies and series: the file `labels.csv` of an annotation batch.

    series_instance_uid,pathology,stage,contrast_phase
    1.2.840.1,lung_cancer,IIIA,portal_venous
    1.2.840.1,CA21,,

A line says what it is about by `study_instance_uid`, `series_instance_uid` or `slice_name` (which stands for its
series), with the hospital's identifiers or ours; where it gives several, they must agree. `patient_id` is compared
where it is given. Every filled cell of `pathology` (key, name or ICD-11 code), `stage` and `contrast_phase` is a label;
further columns are not read. No text of the file reaches a label: all values come from closed lists.
What is not here: the lists themselves (`pathology.py`).
"""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from medillus_pipeline.annotation.outcomes import Outcome, Reason, Refused
from medillus_pipeline.annotation.references import References
from medillus_pipeline.annotation.slice_index import SliceIndex
from medillus_pipeline.annotation.study import pathology
from medillus_pipeline.annotation.study.studies import Studies

NAME = "labels.csv"
REFERENCES = ("study_instance_uid", "series_instance_uid", "slice_name")
LABELS = ("pathology", "stage", "contrast_phase")
PATIENT = "patient_id"
MAXIMUM_BYTES = 4 * 2**20

_GROUP = re.compile(r"(?:stage)?(0|I{1,3}|IV)([ABC]?)([123]?)", re.IGNORECASE)
_TNM = re.compile(r"([cpyar]{0,2})T(is|X|[0-4][a-d]?)N(X|[0-3][a-c]?)M(X|[01][a-c]?)", re.IGNORECASE)

Cells = dict[str, str]


@dataclass(frozen=True)
class Problem:
    """Why a line (from 1, the header's) or one column of it is no label; `column` is * for the whole line."""

    line: int
    column: str
    reason: Reason
    outcome: Outcome


@dataclass(frozen=True)
class Place:
    """What a line is about: a published study, or one series of it (else empty)."""

    study: str
    series: str


@dataclass(frozen=True)
class _Label:
    line: int
    place: Place
    kind: str
    value: str
    code: str


def read_labels(
    data: bytes, references: References, index: SliceIndex, studies: Studies, *, annotator: str, revision: int
) -> tuple[list[dict[str, Any]], list[Problem]]:
    """The labels as rows of STUDY_LABELS, each once, and what is wrong with the others, by line.

    Two different stages or contrast phases of one study or series contradict each other, and so do a normal finding and
    another: none of them is believed. Raises Refused for a file that is too large, no CSV in UTF-8, or has no header.
    """
    problems: list[Problem] = []
    labels: list[_Label] = []
    for line, cells in _lines(data, problems):
        place = _place(cells, references, index, studies)
        if isinstance(place, Reason):
            outcome = Outcome.PENDING if place is Reason.UNKNOWN_SLICE else Outcome.REFUSED
            problems.append(Problem(line, "*", place, outcome))
            continue
        for kind in LABELS:
            if cells.get(kind):
                label = _label(line, place, kind, cells[kind], studies)
                if isinstance(label, Reason):
                    problems.append(Problem(line, kind, label, Outcome.REFUSED))
                else:
                    labels.append(label)
    rows = [
        {
            "study_instance_uid": label.place.study,
            "series_instance_uid": label.place.series,
            "patient": studies.patient_of[label.place.study],
            "kind": label.kind,
            "value": label.value,
            "code": label.code,
            "annotator": annotator,
            "revision": revision,
        }
        for label in _agreeing(labels, problems)
    ]
    return rows, sorted(problems, key=lambda problem: (problem.line, problem.column))


def stage(text: str) -> str | None:
    """A stage group (0, IA1, IVB) or TNM (cT2aN1M0) as it is usually written; None for anything else."""
    compact = re.sub(r"\s+", "", text)
    if found := _GROUP.fullmatch(compact):
        return "".join(found.groups()).upper()
    if found := _TNM.fullmatch(compact):
        prefix, *parts = (part.lower() for part in found.groups())
        return prefix + "".join(letter + part.replace("x", "X") for letter, part in zip("TNM", parts, strict=True))
    return None


def _lines(data: bytes, problems: list[Problem]) -> Iterator[tuple[int, Cells]]:
    if len(data) > MAXIMUM_BYTES:
        raise Refused(Reason.TOO_LARGE)
    try:
        text = data.decode("utf-8-sig")
        first = text.partition("\n")[0]
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count), strict=True)
        lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise Refused(Reason.BROKEN_FILE) from error
    header = [name.lower() for name in lines[0][1]] if lines else []
    known = [name for name in header if name in (*REFERENCES, *LABELS, PATIENT)]
    if len(set(known)) < len(known) or not set(known) & set(REFERENCES) or not set(known) & set(LABELS):
        raise Refused(Reason.NO_LABEL_COLUMNS)
    for number, cells in lines[1:]:
        if len(cells) > len(header):
            problems.append(Problem(number, "*", Reason.BROKEN_LINE, Outcome.REFUSED))
        elif any(cells):
            yield number, dict(zip(header, cells, strict=False))


def _place(cells: Cells, references: References, index: SliceIndex, studies: Studies) -> Place | Reason:
    places: list[Place] = []
    if name := cells.get("slice_name"):
        target = index.by_name.get(name.removesuffix(".png"))
        if target is None or target.series_instance_uid not in studies.study_of:
            return Reason.UNKNOWN_SLICE
        places.append(Place(studies.study_of[target.series_instance_uid], target.series_instance_uid))
    if uid := cells.get("series_instance_uid"):
        series = references.series(uid)
        if series not in studies.study_of:
            return Reason.UNKNOWN_SLICE
        places.append(Place(studies.study_of[series], series))
    if uid := cells.get("study_instance_uid"):
        study = studies.find(uid)
        if study is None:
            return Reason.UNKNOWN_SLICE
        places.append(Place(study, places[0].series if places and places[0].study == study else ""))
    if not places:
        return Reason.BROKEN_LINE
    if len(set(places)) > 1:
        return Reason.OTHER_SERIES
    if references.patient(cells.get(PATIENT, "")) not in (None, studies.patient_of[places[0].study]):
        return Reason.OTHER_PATIENT
    return places[0]


def _label(line: int, place: Place, kind: str, text: str, studies: Studies) -> _Label | Reason:
    value, code = "", ""
    if kind == "pathology":
        found = pathology.load().resolve(text)
        value, code = (found.key, found.icd11) if found else ("", "")
    elif kind == "stage":
        value = stage(text) or ""
    else:
        phase = pathology.contrast_phase(text)
        value = phase.key if phase else ""
        if not place.series:
            series = studies.series[place.study]
            if len(series) > 1:
                return Reason.AMBIGUOUS_SERIES
            place = Place(place.study, *series)
    return _Label(line, place, kind, value, code) if value else Reason.UNKNOWN_VALUE


def _agreeing(labels: list[_Label], problems: list[Problem]) -> list[_Label]:
    """Each label once, without those that contradict another."""
    groups: dict[tuple[Place, str], list[_Label]] = {}
    for label in labels:
        groups.setdefault((label.place, label.kind), []).append(label)
    kept: list[_Label] = []
    for (_, kind), group in groups.items():
        values = {label.value: label for label in reversed(group)}
        if len(values) > 1 and (kind != "pathology" or pathology.NORMAL in values):
            problems += [Problem(label.line, kind, Reason.LABELS_DIFFER, Outcome.REFUSED) for label in group]
        else:
            kept += values.values()
    return sorted(kept, key=lambda label: label.line)
