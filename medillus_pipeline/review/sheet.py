"""A blind sheet: which images are shown in which order, as PNGs without metadata, and the key that says what they are.

The sheet and its key are two documents: the sheet goes to reviewers and knows neither patients nor what is real. No
slice is shown both as scanned and as generated from its mask, or the pair would give both away. How the sheet becomes
a page is in `page.py`; where images come from is decided by the caller.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medillus_pipeline.dicom.png import encode_png
from medillus_pipeline.errors import NotEnoughDataError
from medillus_pipeline.review.questions import ORIGINS
from medillus_pipeline.review.wording import Bilingual

FEWEST = 2
"""Images of a sheet below which there is nothing to tell apart."""


@dataclass(frozen=True)
class ShownStructure:
    """A structure that labels may show: vocabulary id, names, colour (`#rrggbb`)."""

    id: int
    name: Bilingual
    colour: str


@dataclass(frozen=True)
class Planned:
    """One place on the sheet: a row of the candidates, shown as scanned (`real`) or as `generated` from its mask."""

    row: int
    origin: str


@dataclass(frozen=True)
class SheetImage:
    """An image of the sheet: its id, the picture and the labels as PNG, and the vocabulary ids in the labels."""

    id: str
    picture: bytes
    labels: bytes
    structures: tuple[int, ...]


@dataclass(frozen=True)
class Sheet:
    """What reviewers get, and in `key` what they do not. `id` is a SHA-256 over everything that is shown."""

    id: str
    model: str
    version: str
    weights_sha256: str
    images: tuple[SheetImage, ...]
    structures: tuple[ShownStructure, ...]
    key: dict[str, Any]


def plan_sheet(patients: Sequence[str], count: int, *, version: str, weights_sha256: str) -> list[Planned]:
    """At most `count` places, half of them real, in random order, from one patient (pseudonym) per candidate row.

    Rows are taken from all patients in turn. The draw is seeded by the model version and its weights: the same model
    gives the same sheet. Raises NotEnoughDataError where there are fewer than two candidates.
    """
    if len(patients) < FEWEST or count < FEWEST:
        raise NotEnoughDataError(
            f"a sheet needs at least {FEWEST} labelled slices of validation patients, there are {len(patients)}: "
            "publish more, then materialize training_dataset again"
        )
    seed = hashlib.sha256(f"review sheet {version} {weights_sha256}".encode()).digest()
    rng = np.random.default_rng(np.frombuffer(seed, np.uint32))
    owned: dict[str, list[int]] = {patient: [] for patient in sorted(set(patients))}
    drawn: list[int] = rng.permutation(len(patients)).tolist()
    for row in drawn:
        owned[patients[row]].append(row)
    turns = [rows[turn] for turn in range(len(patients)) for rows in owned.values() if turn < len(rows)]
    chosen = turns[: min(count, len(turns)) // 2 * 2]
    places: list[Planned] = []
    for first, second in zip(chosen[::2], chosen[1::2], strict=True):
        real, generated = (first, second) if rng.integers(2) else (second, first)
        places += [Planned(real, "real"), Planned(generated, "generated")]
    return [places[at] for at in rng.permutation(len(places))]


def build_sheet(
    plan: Sequence[Planned],
    pictures: np.ndarray,
    class_maps: np.ndarray,
    slice_names: Sequence[str],
    structures: Sequence[ShownStructure],
    *,
    model: str,
    version: str,
    weights_sha256: str,
    further: Mapping[str, Any],
) -> Sheet:
    """The sheet of a plan: one of `pictures` (n, h, w) uint8 grey, `class_maps` (n, h, w) and `slice_names` per place.

    A class map holds 0 for background and i for `structures[i - 1]`. `further` goes into the key as it is (dataset,
    seed of the generated images).
    """
    palette = bytes([0, 0, 0]) + b"".join(bytes.fromhex(structure.colour[1:]) for structure in structures)
    images, key = [], {}
    for place, (planned, picture, labels) in enumerate(zip(plan, pictures, class_maps, strict=True)):
        shown = encode_png(np.ascontiguousarray(picture, np.uint8))
        drawn = encode_png(np.ascontiguousarray(labels, np.uint8), palette)
        identifier = hashlib.sha256(f"{version}/{place}/".encode() + shown + drawn).hexdigest()[:12]
        ids = tuple(structures[index - 1].id for index in np.unique(labels).tolist() if index)
        images.append(SheetImage(identifier, shown, drawn, ids))
        key[identifier] = {"origin": planned.origin, "slice_name": slice_names[place], "structures": list(ids)}
    said = [model, version, weights_sha256, *([image.id, *image.structures] for image in images)]
    sheet = hashlib.sha256(json.dumps(said).encode()).hexdigest()
    described = {"sheet": sheet, "model": model, "version": version, "weights_sha256": weights_sha256}
    return Sheet(
        sheet,
        model,
        version,
        weights_sha256,
        tuple(images),
        tuple(structures),
        described | {"images": key, **further},
    )


@dataclass(frozen=True)
class SheetKey:
    """A sheet's key as verdicts are read with it: by image id its origin, slice name and structures."""

    sheet: str
    model: str
    version: str
    weights_sha256: str
    images: Mapping[str, Mapping[str, Any]]

    @classmethod
    def of(cls, key: Mapping[str, Any]) -> "SheetKey":
        """From the stored document. Raises ValueError for an image that is neither real nor generated."""
        if any(image["origin"] not in ORIGINS for image in key["images"].values()):
            raise ValueError("the key of a sheet says what each image is: real or generated")
        return cls(key["sheet"], key["model"], key["version"], key["weights_sha256"], key["images"])
