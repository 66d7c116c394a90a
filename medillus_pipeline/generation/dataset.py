"""A dataset snapshot as it is read: memory-mapped arrays, the index rows and the manifest; and a picture of it.

How a snapshot is made is in `snapshot.py`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.errors import InputError
from medillus_pipeline.generation.intensity import IntensityMap, intensity_map
from medillus_pipeline.generation.pictures import class_colours, grey, overlaid, sheet
from medillus_pipeline.generation.slice_attributes import attributes_of
from medillus_pipeline.generation.snapshot import FORMAT
from medillus_pipeline.generation.snapshot import Snapshot as Snapshot
from medillus_pipeline.generation.snapshot import build_snapshot as build_snapshot
from medillus_pipeline.generation.split import SPLITS
from medillus_pipeline.tables import from_parquet
from medillus_pipeline.zones import Zone

Row = dict[str, Any]


@dataclass(frozen=True)
class Dataset:
    """Packed slices: `values` (n, h, w) int16 (HU for CT, -1000 to 1000 for a modality without a unit), `labels`
    (n, h, w) uint8, the index rows, and `neighbours` (n, 2, h, w) int16, the slices just below and just above each in
    its series; None in a dataset of one channel.

    A label is 0 for background, or 1 + the position of its vocabulary id in `classes`. Arrays are memory-mapped: take
    from them what is needed.
    """

    values: np.ndarray
    labels: np.ndarray
    classes: tuple[int, ...]
    rows: list[Row]
    fingerprint: str
    manifest: dict[str, Any]
    neighbours: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def images(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """(len(rows), channels, h, w) int16: the slices of these row numbers; of three channels below, itself, above.
        Reads no other slice.
        """
        chosen = np.asarray(rows, np.int64)
        own = np.asarray(self.values[chosen])
        if self.neighbours is None:
            return own[:, None]
        near = np.asarray(self.neighbours[chosen])
        return np.stack([near[:, 0], own, near[:, 1]], 1)

    @property
    def channels(self) -> int:
        """Channels of `images`: 1, or 3 with the slices below and above."""
        return 1 if self.neighbours is None else 3

    @property
    def levels(self) -> np.ndarray:
        """(n,) float32, normalised positions along the body axis."""
        return np.array([row["level"] for row in self.rows], np.float32)

    @property
    def claimed(self) -> np.ndarray:
        """(n, classes) bool: which classes a mask is taken to be complete for, namely those that its annotator drew
        anywhere in the series. Where another is not drawn, nothing is known of it.
        """
        drawn_in: dict[tuple[str, str], set[int]] = {}
        for row in self.rows:
            drawn_in.setdefault((row["series_instance_uid"], row["annotator"]), set()).update(row["labels"])
        sets = [drawn_in[row["series_instance_uid"], row["annotator"]] for row in self.rows]
        return np.array([[label in own for label in self.classes] for own in sets], bool).reshape(len(self), -1)

    def told(self, rows: Sequence[int], known: Sequence[str]) -> dict[str, Any]:
        """What a generator that knows the attributes `known` is told of these slices beside mask and level: the
        arguments `drawn` and `said` of `Generator.sample`.
        """
        said = [[name for name in self.attributes[row] if name in known] for row in rows]
        return {"drawn": self.claimed[list(rows)], "said": said}

    @property
    def patients(self) -> list[str]:
        """The patient of each slice."""
        return [row["patient"] for row in self.rows]

    @property
    def modalities(self) -> tuple[str, ...]:
        """The DICOM Modalities that were asked for, in alphabetical order; that of a slice stands in its row."""
        return tuple(self.manifest["config"]["modalities"])

    @cached_property
    def attributes(self) -> list[tuple[str, ...]]:
        """What is said of each slice as a whole, as "kind=value": modality, body part, contrast phase, pathologies,
        stage.
        """
        return [attributes_of(row) for row in self.rows]

    @property
    def known_attributes(self) -> tuple[str, ...]:
        """All attributes that occur in the split `train`, by kind, then by value; the same for every split."""
        return tuple(self.manifest["known_attributes"])

    @property
    def intensity(self) -> IntensityMap:
        """The map between `values` and [-1, 1]."""
        return intensity_map(self.modalities)

    @property
    def pixel_mm(self) -> float:
        """Median distance between pixel centres in mm."""
        return float(np.median([row["affine"][0] for row in self.rows])) if self.rows else float("nan")

    @property
    def preset(self) -> str:
        """Name of the preset whose prior, segmenters and generator go with this dataset."""
        return self.manifest["config"]["preset"]

    def split(self, name: str) -> "Dataset":
        """The slices of one split; arrays stay views of the packed ones (rows are sorted by split)."""
        chosen = [i for i, row in enumerate(self.rows) if row["split"] == name]
        part = slice(chosen[0], chosen[-1] + 1) if chosen else slice(0, 0)
        near = None if self.neighbours is None else self.neighbours[part]
        return Dataset(
            self.values[part], self.labels[part], self.classes, self.rows[part], self.fingerprint, self.manifest, near
        )


def load_snapshot(clean: Zone, manifest_path: str) -> Dataset:
    """The snapshot of that manifest, its arrays memory-mapped read-only. Raises InputError for one that an earlier
    release packed.
    """
    manifest = json.loads(clean.read(manifest_path))
    if manifest["format"] != FORMAT:
        raise InputError(
            f"the dataset snapshot has format {manifest['format']}, and this release reads {FORMAT}: "
            "materialise training_dataset again"
        )

    def mapped(name: str) -> np.ndarray:
        return np.load(clean.local(manifest[name]), mmap_mode="r", allow_pickle=False)

    return Dataset(
        values=mapped("values"),
        labels=mapped("labels"),
        classes=tuple(manifest["classes"]),
        rows=from_parquet(clean.read(manifest["index"])).to_pylist(),
        fingerprint=manifest["fingerprint"],
        manifest=manifest,
        neighbours=mapped("neighbours") if "neighbours" in manifest else None,
    )


def preview(dataset: Dataset, vocabulary: Vocabulary, *, columns: int = 8) -> bytes:
    """A PNG with two lines for each split: slices spread over it, and the same with their structures in colour."""
    colours = class_colours(dataset.classes, vocabulary.palette())
    lines = []
    for split in map(dataset.split, SPLITS):
        rows = np.unique(np.linspace(0, len(split) - 1, columns).round().astype(int)) if len(split) else []
        shown = [grey(np.asarray(split.values[row]), split.rows[row]["modality"]) for row in rows]
        lines.append(shown)
        lines.append([overlaid(p, np.asarray(split.labels[row]), colours) for p, row in zip(shown, rows, strict=True)])
    return sheet([line for line in lines if line])
