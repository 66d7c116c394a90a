"""What a dataset is made of, slice by slice: statistics of the values, geometry, structures, and where it comes from.

The measures of drift between two such profiles are in `drift.py`. Patients of the locked test are left out: nothing
looks at them before a promotion.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medillus_pipeline.errors import NotEnoughDataError
from medillus_pipeline.generation.canonical import AIR, NORMALISED_RANGE
from medillus_pipeline.generation.dataset import Dataset
from medillus_pipeline.validation.controls import evenly_over_patients

Unit = Literal["value", "share", "millimetre", "level"]

NOT_SAID = "not said"
LOCKED = "locked_test"


@dataclass(frozen=True)
class Acquisition:
    """How a series was scanned: numbers in mm by name, and terms (scanner, kernel, tube voltage) by name."""

    millimetres: Mapping[str, float] = field(default_factory=dict)
    terms: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class DatasetProfile:
    """One entry a slice: its patient (n,), `numbers` by name (n,) with NaN where unknown, `terms` by name (n,), and
    whether it shows a structure, by the structure's name (n,). `units` says what each number is measured in, `classes`
    names the structures that a model of this dataset knows.
    """

    patients: NDArray[np.str_]
    numbers: Mapping[str, NDArray[np.float64]]
    units: Mapping[str, Unit]
    terms: Mapping[str, NDArray[np.str_]]
    shown: Mapping[str, NDArray[np.bool_]]
    classes: tuple[str, ...]

    def of(self, patients: Set[str]) -> "DatasetProfile":
        """The slices of these patients."""
        kept = np.isin(self.patients, sorted(patients))
        return DatasetProfile(
            self.patients[kept],
            {name: column[kept] for name, column in self.numbers.items()},
            self.units,
            {name: column[kept] for name, column in self.terms.items()},
            {name: column[kept] for name, column in self.shown.items()},
            self.classes,
        )


def profile(
    dataset: Dataset,
    names: Mapping[int, str],
    acquisitions: Mapping[str, Acquisition] | None = None,
    *,
    most_slices: int = 600,
) -> DatasetProfile:
    """The profile of a dataset without its locked test. `names` are those of the vocabulary ids, `acquisitions` by
    Series Instance UID; the pixels of at most `most_slices` slices are read, evenly over patients and body levels.

    Raises NotEnoughDataError for a dataset of locked patients only.
    """
    kept = np.array([i for i, row in enumerate(dataset.rows) if row["split"] != LOCKED], np.int64)
    if not len(kept):
        raise NotEnoughDataError("the dataset holds patients of the locked test only: there is nothing to compare")
    rows = [dataset.rows[i] for i in kept]
    patients = np.array([row["patient"] for row in rows], np.str_)
    levels = np.array([row["level"] for row in rows], np.float64)
    numbers: dict[str, NDArray[np.float64]] = {
        "pixel size, mm": np.array([row["affine"][0] for row in rows], np.float64),
        "body level": levels,
    }
    units: dict[str, Unit] = {"pixel size, mm": "millimetre", "body level": "level"}
    for i in evenly_over_patients(patients.astype(object), levels, most_slices):
        modality = rows[i]["modality"]
        for name, unit, value in _of_values(np.asarray(dataset.values[kept[i]]), modality):
            units[name] = unit
            numbers.setdefault(name, np.full(len(rows), np.nan))[i] = value
    scanned = [(acquisitions or {}).get(row["series_instance_uid"], Acquisition()) for row in rows]
    for name in sorted({name for each in scanned for name in each.millimetres}):
        units[name] = "millimetre"
        numbers[name] = np.array([each.millimetres.get(name, np.nan) for each in scanned], np.float64)
    terms = {
        "modality": [row["modality"] for row in rows],
        "body part": [row["body_part"] or NOT_SAID for row in rows],
        "contrast phase": [row.get("contrast_phase") or NOT_SAID for row in rows],
        "pathology": ["+".join(row.get("pathology") or ()) or NOT_SAID for row in rows],
    }
    for name in sorted({name for each in scanned for name in each.terms}):
        terms[name] = [each.terms.get(name, NOT_SAID) for each in scanned]
    return DatasetProfile(
        patients=patients,
        numbers=numbers,
        units=units,
        terms={name: np.array(column, np.str_) for name, column in terms.items()},
        shown={names[c]: np.array([c in row["labels"] for row in rows], bool) for c in dataset.classes},
        classes=tuple(names[c] for c in dataset.classes),
    )


def _of_values(values: NDArray[np.integer], modality: str) -> Sequence[tuple[str, Unit, float]]:
    """Statistics of one packed slice: what is not the value that packing puts outside the body is inside."""
    outside = AIR if modality == "CT" else NORMALISED_RANGE[0]
    inside = values[values > outside].astype(np.float64)
    found: list[tuple[str, Unit, float]] = [("body fraction", "share", inside.size / values.size)]
    if inside.size:
        low, middle, high = (float(v) for v in np.percentile(inside, (5, 50, 95)))
        of_values = {
            "mean": float(inside.mean()),
            "spread": float(inside.std()),
            "5th percentile": low,
            "median": middle,
            "95th percentile": high,
        }
        found.extend((f"{modality} {name}", "value", value) for name, value in of_values.items())
    return found
