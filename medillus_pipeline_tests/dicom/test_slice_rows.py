"""Packed rows are the rows that they were made of, to the last digit, in little memory."""

import hashlib
import tracemalloc
from typing import Any

import pytest

from medillus_pipeline.dicom.instance_rows import InstanceRows
from medillus_pipeline.dicom.slice_names import slice_name
from medillus_pipeline.dicom.slice_rows import FurtherRows, SliceRows
from medillus_pipeline.tables import INSTANCES, SLICE_WINDOWS, SLICES, Table, to_parquet

Row = dict[str, Any]


def instance(number: int) -> Row:
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    row = {column.name: "" if column.type == "string" else 1 for column in INSTANCES.columns}
    return row | {
        "sop_instance_uid": f"2.25.{number:06d}",
        "series_instance_uid": f"2.25.{number % 3}",
        "patient": f"p-{number % 2}",
        "frame_of_reference_uid": None,
        "path": f"instances/{digest[:2]}/{digest}.dcm",
    }


def slice_row(of: Row, number: int, **changes: Any) -> Row:
    digest = hashlib.sha256(f"picture {number}".encode()).hexdigest()
    same = {name: of[name] for name in of if name in {column.name for column in SLICES.columns}}
    return {
        **{column.name: same.get(column.name, "") for column in SLICES.columns},
        "slice_name": slice_name(of["sop_instance_uid"], 1),
        "frame": 1,
        "ordinal": number,
        "pixel_spacing": [0.8, 0.9],
        "position": [-0.0, 1 / 3, float(number)],
        "orientation": [1.0, -0.0, 0.0, 0.0, 1.0, 0.0],
        "slice_spacing": 1.5,
        "window_center": 50.0,
        "window_width": 350.0,
        "minimum": -0.0,
        "maximum": 2 / 3,
        "mean": 1e-300,
        "instance_path": of["path"],
        "path": f"slices/{digest[:2]}/{digest}.png",
        "sha256": digest,
        **changes,
    }


ODD: list[Row] = [
    {},
    {"orientation": [1.0, 0.0, -0.0, 0.0, 1.0, 0.0]},
    {"position": None, "orientation": None, "pixel_spacing": None, "slice_spacing": None},
    {"window": "colour", "window_center": None, "window_width": None},
]


def packed(instances: InstanceRows, rows: list[Row]) -> SliceRows:
    made = SliceRows(instances)
    for number, row in enumerate(rows):
        made.add(number, row)
    return made


def by_key(rows: Any, table: Table) -> list[Row]:
    return sorted(rows, key=lambda row: tuple(row[name] for name in table.key))


def test_rows_come_out_as_they_went_in() -> None:
    instances = InstanceRows([instance(number) for number in range(len(ODD))])
    rows = [slice_row(instances[number], number, **changes) for number, changes in enumerate(ODD)]
    made = packed(instances, rows)
    assert [{name: repr(row[name]) for name in sorted(row)} for row in made] == [
        {name: repr(row[name]) for name in sorted(row)} for row in rows
    ]
    assert made == rows
    assert made != [*rows[:-1], rows[-1] | {"mean": 0.0}]
    made[0]["position"].append(0.0)
    made[1]["orientation"].append(0.0)
    assert made[:2] == rows[:2]


def test_the_order_is_that_of_reading_and_survives_being_kept() -> None:
    instances = InstanceRows([instance(number) for number in range(40)])
    made = packed(instances, [slice_row(instances[n], n) for n in range(40)])
    for number in range(40):
        made.place(number, 40 - number, None if number % 2 else 2.0)
    made.sort()
    rows = list(made)
    assert rows == sorted(rows, key=lambda row: (row["patient"], row["series_instance_uid"], row["ordinal"]))
    again = SliceRows(instances)
    for number, row in made.as_added():
        again.add(number, row)
    again.sort()
    assert again == rows


@pytest.mark.parametrize("count", [0, 1, 1500])
def test_the_table_is_the_same_to_the_byte(count: int) -> None:
    instances = InstanceRows([instance(number) for number in range(count)])
    made = packed(instances, [slice_row(instances[n], n, **ODD[n % len(ODD)]) for n in range(count)])
    made.sort()
    assert to_parquet(made.to_arrow()) == to_parquet(SLICES.to_arrow(list(made)))
    assert made.to_arrow().num_rows == count


def test_further_pictures_are_rows_of_their_own_table() -> None:
    instances = InstanceRows([instance(number) for number in range(3)])
    further = {"output": "grey8", "slope": None, "intercept": None}
    rows = [
        slice_row(instances[n], 10 * n + k, window=window) | further
        for n in range(3)
        for k, window in enumerate(("lung", "bone"))
    ]
    made = FurtherRows(instances)
    for k, row in enumerate(rows):
        made.add(k // 2, row)
    made.sort()
    wanted = [{column.name: row[column.name] for column in SLICE_WINDOWS.columns} for row in rows]
    assert made == by_key(wanted, SLICE_WINDOWS)
    assert made.to_arrow().equals(SLICE_WINDOWS.to_arrow(wanted))


def test_a_table_of_instances_and_a_list_of_rows_are_the_same() -> None:
    rows = [instance(number) for number in range(600)]
    table = INSTANCES.to_arrow(rows)
    for given in (rows[::-1], table, table.take(list(range(600))[::-1])):
        instances = InstanceRows(given)
        assert len(instances) == 600
        assert list(instances) == rows
        assert (instances[5], instances[-1], instances[2:9:3]) == (rows[5], rows[-1], rows[2:9:3])
        assert list(instances.texts("path")) == [row["path"] for row in rows]
        with pytest.raises(IndexError):
            instances[600]


def test_a_row_takes_little_memory() -> None:
    count = 4000
    instances = InstanceRows(INSTANCES.to_arrow([instance(number) for number in range(count)]))
    tracemalloc.start()
    made = SliceRows(instances)
    for number in range(count):
        made.add(number, slice_row(instances[number], number))
    made.sort()
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 150 * count
