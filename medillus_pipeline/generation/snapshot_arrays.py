"""The arrays of a snapshot on disk: spooled while series are packed, then written in order, one slice in memory.

Which slices are kept, and in what order, is decided by the caller (`snapshot.py`).
"""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from medillus_pipeline.generation.packing import PackedSlice
from medillus_pipeline.zones import Payload, Zone


@dataclass(frozen=True)
class StoredArray:
    """The payload of a .npy file, and the SHA-256 (hex) of its numbers alone."""

    payload: Payload
    numbers_sha256: str


class Spool:
    """Packed slices in the order in which they come, in one file of a scratch folder; to be used as a context."""

    def __init__(self, folder: Path, size: int, channels: int) -> None:
        self._folder = folder
        near = [("neighbours", "<i2", (channels - 1, size, size))] if channels > 1 else []
        self._form = np.dtype([("values", "<i2", (size, size)), ("labels", "u1", (size, size)), *near])
        self._handle = (folder / "slices.raw").open("w+b")

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._handle.close()

    def add(self, item: PackedSlice) -> None:
        """Append a slice; its number is that of the slices before it."""
        record = np.zeros(1, self._form)
        for name in self._form.names or ():
            record[name][0] = getattr(item, name)
        self._handle.write(record.tobytes())

    def store(self, clean: Zone, folder: str, order: Sequence[int], index_of: np.ndarray) -> dict[str, StoredArray]:
        """By name (`values`, `labels`, and `neighbours` where there are some) the array of the slices in `order`, in
        `folder` of the zone. `index_of` (256,) uint8 gives the class index of each vocabulary id.
        """
        names = self._form.names or ()
        writers = {name: _Writer(self._folder / f"{name}.npy", len(order), self._form[name]) for name in names}
        for number in order:
            self._handle.seek(number * self._form.itemsize)
            record = np.frombuffer(self._handle.read(self._form.itemsize), self._form)[0]
            for name, writer in writers.items():
                writer.write(index_of[record[name]] if name == "labels" else record[name])
        return {name: writer.stored(clean, folder) for name, writer in writers.items()}


class _Writer:
    """A .npy file that is written slice by slice, and hashed on the way."""

    def __init__(self, path: Path, count: int, form: np.dtype) -> None:
        header = io.BytesIO()
        described = {"descr": form.base.str, "fortran_order": False, "shape": (count, *form.shape)}
        np.lib.format.write_array_header_1_0(header, described)
        self._path, self._handle = path, path.open("wb")
        self._handle.write(header.getvalue())
        self._file, self._numbers = hashlib.sha256(header.getvalue()), hashlib.sha256()

    def write(self, plane: np.ndarray) -> None:
        data = plane.tobytes()
        self._handle.write(data)
        self._file.update(data)
        self._numbers.update(data)

    def stored(self, clean: Zone, folder: str) -> StoredArray:
        self._handle.close()
        return StoredArray(clean.adopt(folder, self._path, self._file.hexdigest(), ".npy"), self._numbers.hexdigest())
