"""A prior from an atlas that a user supplies: a ready prior file, or a folder of labelled volumes.

A folder holds `.nii`, `.nii.gz` or `.nrrd` label maps, each alone or in a folder of its case, and a description of
their values (`labels.json`, an ITK-SNAP or Slicer table: see `annotation/formats/label_names.py`). A volume named
`ct`, `image` or `img` beside a label map (NIfTI, HU) gives the tissue; without one it follows from the structures.
Every volume goes through the canonical frame of the dataset. What was matched is reported. What is not here: volumes
as slices (`atlas_volumes.py`), and how a prior is computed (`prior.py`).
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medillus_pipeline.annotation.formats import label_names
from medillus_pipeline.annotation.outcomes import Refused
from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.errors import InputError
from medillus_pipeline.generation.atlas_volumes import AtlasSlices, read_case
from medillus_pipeline.generation.config import PriorConfig
from medillus_pipeline.generation.dataset import Dataset
from medillus_pipeline.generation.prior import Prior, build_prior, prior_of
from medillus_pipeline.generation.shape_model import SHAPE_PREFIX

VOLUMES = (".nii", ".nii.gz", ".nrrd")
IMAGE_NAMES = ("ct", "image", "img")
LEAST_CASES = 2
SAME_FIELD = 0.02
"""Share by which the side of a ready prior's frame may differ from the dataset's."""


@dataclass(frozen=True)
class Matched:
    """A prior of the dataset's classes, and vocabulary ids: `matched` in both, `unknown` to the atlas, `dropped`."""

    prior: Prior
    matched: tuple[int, ...]
    unknown: tuple[int, ...]
    dropped: tuple[int, ...]


def prior_for(
    dataset: Dataset, config: PriorConfig, atlas: str | None, vocabulary: Vocabulary
) -> tuple[Prior, dict[str, str]]:
    """The prior of the dataset's training patients, or that of the atlas at a path; and of an atlas the keys of the
    structures that were matched, that it does not know, and that were dropped, by heading. Raises as `load_atlas` and
    `build_prior` do.
    """
    if atlas is None:
        return build_prior(dataset, config), {}
    size = dataset.labels.shape[-1]
    found = load_atlas(
        Path(atlas), dataset.classes, vocabulary, size=size, field_of_view=dataset.pixel_mm * size, config=config
    )
    said = {"matched": found.matched, "unknown_to_atlas": found.unknown, "dropped_of_atlas": found.dropped}
    return found.prior, {
        heading: ", ".join(vocabulary.by_id(label).key for label in ids) or "none" for heading, ids in said.items()
    }


def load_atlas(
    path: Path,
    classes: tuple[int, ...],
    vocabulary: Vocabulary,
    *,
    size: int,
    field_of_view: float,
    config: PriorConfig | None = None,
) -> Matched:
    """The prior of an atlas for `classes` (vocabulary ids) in a frame of `size` × `size` pixels, `field_of_view` mm.

    Raises InputError for a path that is neither a prior file nor a folder of label maps, a volume that cannot be read
    (told by its number in the order of names), fewer than 2 cases, another field of view, and no class in common.
    """
    if path.is_dir():
        prior = _from_folder(path, vocabulary, size=size, field_of_view=field_of_view, config=config)
    elif path.is_file():
        data = path.read_bytes()
        prior = Prior.from_bytes(data)
        prior = replace(
            resized(prior, size, field_of_view),
            dataset_fingerprint="",
            origin=f"atlas {hashlib.sha256(data).hexdigest()[:12]} (a ready prior: {prior.origin})",
        )
    else:
        raise InputError("the atlas is neither a file nor a folder on this machine: give the path of one")
    return for_classes(prior, classes)


def for_classes(prior: Prior, classes: tuple[int, ...]) -> Matched:
    """The prior with other classes: those that it lacks hold NaN and are unknown, those not asked for are dropped.

    Raises InputError when it has none of them.
    """
    at = [prior.classes.index(label) if label in prior.classes else -1 for label in classes]
    known = [index >= 0 and bool(prior.known[index]) for index in at]
    if not any(known):
        raise InputError(
            f"the atlas has none of the dataset's {len(classes)} structures: check what its values are called"
        )
    bordered = [0, *(index + 1 if index >= 0 else -1 for index in at)]
    changed = replace(
        prior,
        classes=classes,
        occupancy=_taken(prior.occupancy, at, 1),
        area=_taken(prior.area, at, 1),
        moments=_taken(prior.moments, at, 1),
        extent=_taken(prior.extent, at, 0),
        centroid=_taken(prior.centroid, at, 0),
        adjacency=_taken(_taken(prior.adjacency, bordered, 0), bordered, 1),
        order=_taken(_taken(prior.order, at, 0), at, 1),
        shapes=_shapes(prior, at),
    )
    pairs = list(zip(classes, known, strict=True))
    return Matched(
        changed,
        tuple(label for label, there in pairs if there),
        tuple(label for label, there in pairs if not there),
        tuple(label for label in prior.classes if label not in classes),
    )


def resized(prior: Prior, size: int, field_of_view: float) -> Prior:
    """The prior with maps of `size` × `size` pixels. Raises InputError when its frame has another side in mm."""
    import torch
    from torch.nn import functional

    own = prior.pixel_mm * prior.tissue.shape[-1]
    if abs(own / field_of_view - 1) > SAME_FIELD:
        raise InputError(
            f"the atlas's frame is {own:.0f} mm wide and the dataset's {field_of_view:.0f} mm: "
            "give label volumes instead, which are resampled"
        )
    if prior.tissue.shape[-1] == size:
        return prior
    mode = "area" if size < prior.tissue.shape[-1] else "bilinear"
    maps = (
        functional.interpolate(torch.from_numpy(each.copy()), (size, size), mode=mode).numpy()
        for each in (prior.occupancy, prior.tissue)
    )
    occupancy, tissue = maps
    return replace(prior, occupancy=occupancy, tissue=tissue, pixel_mm=field_of_view / size)


def _taken(array: np.ndarray, at: list[int], axis: int) -> np.ndarray:
    """Entries of an axis in another order, NaN for -1."""
    result = np.take(array, [max(index, 0) for index in at], axis)
    blank = (slice(None),) * axis + (np.array([index < 0 for index in at]),)
    result[blank] = np.nan
    return result


def _shapes(prior: Prior, at: list[int]) -> dict[str, np.ndarray]:
    """The shape model's tensors for other classes, without what belongs to those dropped."""
    own = {name.removeprefix(SHAPE_PREFIX): array for name, array in prior.shapes.items()}
    fields = [*at, *range(len(prior.classes), own["place"].shape[1])]
    absent = np.array([index < 0 for index in fields])
    place = own["place"][:, [max(index, 0) for index in fields]].copy()
    place[:, absent] = -1
    used = np.unique(place[place >= 0])
    place[place >= 0] = np.searchsorted(used, place[place >= 0])
    by_field = {name: np.nan_to_num(_taken(own[name], fields, 1)) for name in ("residual", "offset")}
    by_class = {name: np.nan_to_num(_taken(own[name], at, 1)) for name in ("present", "tissue_of")}
    missing = absent[: len(at)]
    by_class["tissue_of"][:, missing] = 1 / by_class["tissue_of"].shape[-1]
    known = np.where(missing, 0, own["known"][[max(index, 0) for index in at]]).astype(np.uint8)
    changed = {"place": place, "mean": own["mean"][used], "modes": own["modes"][used], "known": known}
    changed |= {**by_field, **by_class, "settings": own["settings"]}
    return {SHAPE_PREFIX + name: changed[name] for name in own}


def _from_folder(
    folder: Path, vocabulary: Vocabulary, *, size: int, field_of_view: float, config: PriorConfig | None
) -> Prior:
    names = _names(folder)
    digest = hashlib.sha256()
    parts: list[AtlasSlices] = []
    cases = list(_cases(folder))
    if len(cases) < LEAST_CASES:
        raise InputError(f"the atlas holds {len(cases)} label volumes, and a prior needs {LEAST_CASES} or more")
    for number, (labels, image) in enumerate(cases, start=1):
        for part in (labels, image):
            digest.update(part.read_bytes() if part else b"")
        try:
            parts.append(read_case(labels, image, names, vocabulary, size=size, field_of_view=field_of_view))
        except (Refused, InputError) as error:
            raise InputError(
                f"label volume {number} of {len(cases)} of the atlas, by name, is refused: {error}"
            ) from None
    ids = np.concatenate([part.ids for part in parts])
    classes = tuple(label for label in np.unique(ids).tolist() if label)
    index = np.zeros(256, np.uint8)
    index[list(classes)] = np.arange(1, len(classes) + 1)
    return prior_of(
        index[ids],
        np.concatenate([part.tissue for part in parts]),
        levels=np.concatenate([part.levels for part in parts]),
        pitch=np.full(len(ids), field_of_view / size),
        patients=[f"case {number}" for number, part in enumerate(parts) for _ in part.levels],
        classes=classes,
        origin=f"atlas {digest.hexdigest()[:12]} ({len(parts)} volumes)",
        config=config,
    )


def _names(folder: Path) -> dict[int, str]:
    """Names by value of the one description of labels in the folder, none where there is none."""
    found = sorted(path for path in folder.iterdir() if path.is_file() and label_names.may_be_description(path.name))
    if len(found) > 1:
        raise InputError(f"the atlas holds {len(found)} descriptions of labels: leave one, such as labels.json")
    try:
        return dict(label_names.read(found[0].name, found[0].read_bytes()).names) if found else {}
    except Refused:
        raise InputError(f"the atlas's {found[0].suffix} file is no description of labels that can be read") from None


def _cases(folder: Path) -> Iterator[tuple[Path, Path | None]]:
    """Label volumes with the image beside each, in the order of their paths."""
    for place in [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]:
        volumes = sorted(path for path in place.iterdir() if path.is_file() and path.name.endswith(VOLUMES))
        images = [path for path in volumes if path.name.split(".")[0].lower() in IMAGE_NAMES]
        labels = [path for path in volumes if path not in images]
        if images and (place == folder or len(images) > 1 or len(labels) != 1):
            raise InputError("an image of the atlas belongs into a folder of its own with its one label volume")
        yield from ((path, images[0] if images else None) for path in labels)
