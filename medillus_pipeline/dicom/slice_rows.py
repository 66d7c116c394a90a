"""Rows of SLICES and SLICE_WINDOWS of a delivery of any size, in some hundred bytes each until somebody asks for them.

As dictionaries they take near two kilobytes each, and so more than all else that rendering needs. What the instances
say is not held again, what the slices of a series share is held once, and names made of other columns are made when
they are asked for. What the columns mean is not here.
"""

from abc import abstractmethod
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

from medillus_pipeline.dicom.instance_rows import InstanceRows
from medillus_pipeline.dicom.slice_names import slice_name
from medillus_pipeline.tables import SLICE_WINDOWS, SLICES, Table

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]

_DIGEST = 32
_TOGETHER = 512
"""Rows that are dictionaries at a time on their way into a table."""
_NONE = float("nan")


class PictureRows(Sequence[Row]):
    """Rows about pictures of frames of `instances`. Each access makes a row anew; changing it changes nothing here.

    `add` takes rows as the renderer makes them, of which columns that follow from the instance or from others may be
    missing; `as_added` gives a row as one that `add` takes.
    """

    _table: Table
    _shared: tuple[str, ...]
    """Columns whose values few rows have for themselves."""

    def __init__(self, instances: InstanceRows) -> None:
        self._uids, self._paths = instances.texts("sop_instance_uid"), instances.texts("path")
        self._kinds: list[Row] = []
        self._kind_of: dict[str, int] = {}
        self._kind, self._instance, self._frame = array("I"), array("I"), array("I")
        self._digests = bytearray()
        self._order: Sequence[int] | None = None

    def add(self, instance: int, row: Row) -> None:
        """Another row, about a frame of the instance of that number. Not once the rows are sorted."""
        shared = {name: row[name] for name in self._shared}
        # By what is written: 0.0 and -0.0 are equal, and are not the same bytes in a table.
        kind = self._kind_of.setdefault(repr(shared), len(self._kinds))
        if kind == len(self._kinds):
            self._kinds.append(shared)
        self._kind.append(kind)
        self._instance.append(instance)
        self._frame.append(row["frame"])
        self._digests += bytes.fromhex(row["sha256"])

    def __len__(self) -> int:
        return len(self._kind)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        return self._whole(number if self._order is None else self._order[number])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(mine == its for mine, its in zip(self, other, strict=True))

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __repr__(self) -> str:
        return f"{type(self).__name__} of {len(self)}"

    def as_added(self) -> Iterator[tuple[int, Row]]:
        """Instance and row, for each as `add` takes them; in order."""
        for k in range(len(self)) if self._order is None else self._order:
            yield self._instance[k], self._own(k) | self._kinds[self._kind[k]]

    def to_arrow(self) -> "pa.Table":
        """The table of these rows, as `Table.to_arrow` makes it of a list."""
        import pyarrow as pa

        key = self._table.key
        names = [tuple(row[name] for name in key) for row in self]
        order = sorted(range(len(self)), key=names.__getitem__)
        del names
        parts = [
            self._table.to_arrow([self[number] for number in order[start : start + _TOGETHER]])
            for start in range(0, len(order), _TOGETHER)
        ]
        if not parts:
            return self._table.to_arrow([])
        columns = []
        while len(columns) < len(self._table.columns):  # one at a time, or the whole table would be there twice
            columns.append(pa.concat_arrays([chunk for part in parts for chunk in part.column(0).chunks]))
            parts = [part.remove_column(0) for part in parts]
            pa.default_memory_pool().release_unused()  # the pool would keep what the parts took
        return pa.Table.from_arrays(columns, schema=self._table.arrow_schema())

    def _own(self, k: int) -> Row:
        return {"frame": self._frame[k], "sha256": self._digests[k * _DIGEST : (k + 1) * _DIGEST].hex()}

    def _named(self, k: int) -> Row:
        """What follows from the other columns."""
        digest = self._digests[k * _DIGEST : (k + 1) * _DIGEST].hex()
        name = slice_name(self._uids[self._instance[k]], self._frame[k])
        return {"slice_name": name, "path": f"slices/{digest[:2]}/{digest}.png"}

    @abstractmethod
    def _whole(self, k: int) -> Row: ...


class SliceRows(PictureRows):
    """Rows of SLICES, by patient, study, series and place once `sort` was called."""

    _table = SLICES
    _shared = (
        "series_instance_uid",
        "study_instance_uid",
        "frame_of_reference_uid",
        "patient",
        "split_token",
        "modality",
        "body_part",
        "rows",
        "columns",
        "pixel_spacing",
        "orientation",
        "window",
        "window_center",
        "window_width",
        "transform",
    )

    def __init__(self, instances: InstanceRows) -> None:
        super().__init__(instances)
        self._ordinal, self._spacing = array("I"), array("d")
        self._position, self._values = array("d"), array("d")

    def add(self, instance: int, row: Row) -> None:
        """As `PictureRows.add`, `ordinal` and `slice_spacing` included."""
        super().add(instance, row)
        self._ordinal.append(row["ordinal"])
        self._spacing.append(_NONE if row["slice_spacing"] is None else row["slice_spacing"])
        self._position.extend(row["position"] or (_NONE,) * 3)
        self._values.extend((row["minimum"], row["maximum"], row["mean"]))

    def place(self, number: int, ordinal: int, spacing: float | None) -> None:
        """Fill `ordinal` and `slice_spacing` of a row in. Not once the rows are sorted."""
        self._ordinal[number], self._spacing[number] = ordinal, _NONE if spacing is None else spacing

    def sort(self) -> None:
        """Bring the rows into reading order."""
        series: dict[tuple[str, str, str], array[int]] = {}
        for k, number in enumerate(self._kind):
            kind = self._kinds[number]
            place = kind["patient"], kind["study_instance_uid"], kind["series_instance_uid"]
            series.setdefault(place, array("I")).append(k)
        self._order = array("I")
        for place in sorted(series):
            self._order.extend(sorted(series[place], key=self._ordinal.__getitem__))

    def series(self) -> Iterable[Sequence[int]]:
        """The numbers of the rows of each series."""
        found: dict[str, array[int]] = {}
        for k, kind in enumerate(self._kind):
            found.setdefault(self._kinds[kind]["series_instance_uid"], array("I")).append(k)
        return found.values()

    def _own(self, k: int) -> Row:
        position = self._position[3 * k : 3 * k + 3].tolist()
        minimum, maximum, mean = self._values[3 * k : 3 * k + 3]
        return super()._own(k) | {
            "ordinal": self._ordinal[k],
            "slice_spacing": _or_none(self._spacing[k]),
            "position": None if position[0] != position[0] else position,
            "minimum": minimum,
            "maximum": maximum,
            "mean": mean,
        }

    def _whole(self, k: int) -> Row:
        uid, path = self._uids[self._instance[k]], self._paths[self._instance[k]]
        row = self._kinds[self._kind[k]] | self._own(k) | self._named(k)
        return (
            row
            | {"sop_instance_uid": uid, "instance_path": path}
            | {name: row[name] and list(row[name]) for name in ("pixel_spacing", "orientation")}
        )


class FurtherRows(PictureRows):
    """Rows of SLICE_WINDOWS, by their key once `sort` was called."""

    _table = SLICE_WINDOWS
    _shared = ("window", "output", "window_center", "window_width", "slope", "intercept", "transform")

    def sort(self) -> None:
        """Bring the rows into the order of their key."""

        def place(k: int) -> tuple[str, str, str]:
            kind = self._kinds[self._kind[k]]
            return slice_name(self._uids[self._instance[k]], self._frame[k]), kind["window"], kind["output"]

        self._order = array("I", sorted(range(len(self)), key=place))

    def _whole(self, k: int) -> Row:
        digest = {"sha256": self._own(k)["sha256"]}
        return self._kinds[self._kind[k]] | digest | self._named(k)


def _or_none(number: float) -> float | None:
    return None if number != number else number
