"""Planted drifts trip the row that names them; more patients of the same kind trip nothing."""

import math
import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.errors import NotEnoughDataError
from medillus_pipeline.generation.canonical import AIR
from medillus_pipeline.generation.config import preset
from medillus_pipeline.generation.dataset import Dataset, build_snapshot, load_snapshot
from medillus_pipeline.validation.drift import Drift, Row, compare, load_limits
from medillus_pipeline.validation.drift_profile import Acquisition, DatasetProfile, profile
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.generation.published import Published, publish_phantoms

PATIENTS, MORE = 20, 22
NAMES = {structure.id: structure.name_en for structure in vocabulary.load().structures}


def packed(published: Published, patients: set[int], **config: object) -> Dataset:
    tiny = preset("tiny").dataset
    kept = {f"p-{number:016x}" for number in patients}
    snapshot = build_snapshot(
        [row for row in published.slices if row["patient"] in kept],
        [row for row in published.masks if row["patient"] in kept],
        published.instances,
        published.splits,
        published.clean,
        vocabulary.load(),
        type(tiny).model_validate(tiny.model_dump() | config),
        partitions={},
    )
    return load_snapshot(published.clean, snapshot.path)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    yield publish_phantoms(Zone(f"file://{tmp_path_factory.mktemp('clean')}"), 2 * PATIENTS, shape=(5, 48, 48))


@pytest.fixture(scope="module")
def reference(cohort: Published) -> Dataset:
    return packed(cohort, set(range(PATIENTS)))


def against(reference: Dataset, new: Dataset) -> Drift:
    return compare(profile(reference, NAMES), profile(new, NAMES))


def names(drift: Drift) -> set[str]:
    return {row.name for row in drift.drifted}


def test_a_tenth_more_patients_of_the_same_kind_drift_in_nothing(cohort: Published, reference: Dataset) -> None:
    found = against(reference, packed(cohort, set(range(MORE))))
    assert not found.drifted and len(found.rows) > 15
    assert "none drifted" in found.sentence() and found.patients > found.reference_patients


def test_wholly_other_patients_of_the_same_kind_drift_in_nothing(cohort: Published, reference: Dataset) -> None:
    assert not against(reference, packed(cohort, set(range(PATIENTS, 2 * PATIENTS)))).drifted


def test_another_scanners_forty_units_trip_the_mean_and_the_median(reference: Dataset) -> None:
    body = np.asarray(reference.values) > AIR
    shifted = replace(reference, values=np.where(body, reference.values + 40, reference.values))
    assert {"CT mean", "CT median"} <= names(against(reference, shifted)) <= {
        "CT mean", "CT median", "CT 5th percentile", "CT 95th percentile",
    }  # fmt: skip


def test_newcomers_from_another_scanner_do_not_drown_among_those_who_stayed(
    cohort: Published, reference: Dataset
) -> None:
    grown = packed(cohort, set(range(PATIENTS + 6)))
    new = np.array([row["patient"] >= f"p-{PATIENTS:016x}" for row in grown.rows])
    values = np.where(new[:, None, None] & (np.asarray(grown.values) > AIR), grown.values + 40, grown.values)
    drifted = against(reference, replace(grown, values=values)).drifted
    assert ("CT mean", "newcomers") in {(row.name, row.scope) for row in drifted}


def test_a_class_that_nobody_drew_any_more_is_named(cohort: Published, reference: Dataset) -> None:
    lost = reference.classes[2]
    without = replace(
        reference,
        classes=tuple(c for c in reference.classes if c != lost),
        rows=[row | {"labels": [label for label in row["labels"] if label != lost]} for row in reference.rows],
    )
    found = against(reference, without)
    assert names(found) == {NAMES[lost]}
    assert found.rows[0].remark and NAMES[lost] in found.sentence()


def test_a_class_drawn_in_few_patients_only_is_named_although_it_is_still_a_class(reference: Dataset) -> None:
    rare = reference.classes[2]
    few = sorted(set(reference.patients))[:2]
    rows = [
        row if row["patient"] in few else row | {"labels": [label for label in row["labels"] if label != rare]}
        for row in reference.rows
    ]
    assert names(against(reference, replace(reference, rows=rows))) == {NAMES[rare]}


def test_twice_the_field_of_view_trips_pixel_size_and_body_fraction(cohort: Published, reference: Dataset) -> None:
    config = preset("tiny").dataset
    doubled = {name: 2 * mm for name, mm in config.field_of_view_mm.items()}
    wide = packed(
        cohort,
        set(range(PATIENTS)),
        field_of_view_mm=doubled,
        default_field_of_view_mm=2 * config.default_field_of_view_mm,
    )
    assert {"pixel size, mm", "body fraction"} <= names(against(reference, wide))


def test_another_modality_trips_the_modality(reference: Dataset) -> None:
    other = replace(reference, rows=[row | {"modality": "MR"} for row in reference.rows])
    found = against(reference, other)
    assert names(found) == {"modality"}
    assert found.rows[0].reference == "CT 100%" and found.rows[0].new == "MR 100%"


def test_another_scanner_trips_the_scanner_and_its_slice_thickness(reference: Dataset) -> None:
    series = {row["series_instance_uid"] for row in reference.rows}
    before, after = (
        profile(reference, NAMES, {uid: Acquisition({"slice thickness, mm": mm}, {"scanner": name}) for uid in series})
        for mm, name in ((1.5, "Holloway 64"), (5.0, "Other | 16"))
    )
    found = compare(before, after)
    assert names(found) == {"scanner", "slice thickness, mm"}
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 10 for line in found.table().splitlines())


def test_patients_of_the_locked_test_are_not_looked_at(reference: Dataset) -> None:
    locked = {row["patient"] for row in reference.rows if row["split"] == "locked_test"}
    assert locked and not locked & set(profile(reference, NAMES).patients.tolist())
    with pytest.raises(NotEnoughDataError, match="locked test"):
        profile(reference.split("locked_test"), NAMES)


def test_false_alarms_among_like_cohorts_are_as_rare_as_the_limits_say() -> None:
    """Forty cohorts of eight patients against eight others, ten numbers each: 400 rows at a chance of 0.001 a row."""
    rng = np.random.default_rng(5)

    def drawn() -> DatasetProfile:
        patients = np.repeat([f"p-{rng.integers(1 << 40):012x}" for _ in range(8)], 6)
        columns = {str(k): np.repeat(rng.normal(0, 10, 8), 6) + rng.normal(0, 10, 48) for k in range(10)}
        return DatasetProfile(patients, columns, dict.fromkeys(columns, "value"), {}, {}, ())

    alarms = sum(len(compare(drawn(), drawn()).drifted) for _ in range(40))
    assert alarms <= 3


def test_every_limit_has_its_reason() -> None:
    import json
    from importlib import resources

    read = json.loads(resources.files("medillus_pipeline.validation").joinpath("drift.json").read_text("utf-8"))
    for name in ("tail", "psi", "difference", "quantiles"):
        assert len(read[f"{name}_reason"]) > 40
    assert all(len(reason) > 40 for _, reason in read["least"].values())
    assert load_limits().psi == read["psi"]


def test_what_stands_in_a_header_cannot_change_the_table() -> None:
    row = Row("scanner", "dataset", "A|B <img src=x> [x](http://y) **b**\n| c", "`d`", 1.0, 0.1, math.nan, math.inf)
    (line,) = Drift((row,), 3, 3).table().splitlines()[2:]
    assert line.count("|") == 10
    assert "<" not in line and "](" not in line and "\\*\\*b" in line and "\\`d" in line
