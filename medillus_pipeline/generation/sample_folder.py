"""Images of one mask in a folder of their own: pictures, calibrated values, the mask as the model saw it, a record.

The folder is made in a hidden one and moved in when all is known; of an earlier run of this command nothing stays. The
same request gives the same bytes: the record holds no time and no name of a file. What is not here: where the model
comes from (`resources/registered_models.py`), how a mask is read (`sample_mask.py`) and what may be asked for
(`sample_request.py`).
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medillus_pipeline import __version__
from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.dicom.nifti_file import encode_nifti
from medillus_pipeline.dicom.png import encode_png
from medillus_pipeline.errors import InputError, MedillusError, StoreError
from medillus_pipeline.generation.canonical import Frame
from medillus_pipeline.generation.model_card import NOT_FOR_DIAGNOSIS
from medillus_pipeline.generation.pictures import grey
from medillus_pipeline.generation.sample_mask import read_mask
from medillus_pipeline.generation.sample_request import (
    OF_A_FLOW,
    SampleRequest,
    attributes_told,
    modality_drawn,
    parameters_of,
)

MARKER, STAGING = ".medillus.json", ".unfinished"
RECORD, MASK = "sample.json", "mask.png"
THICKNESS = 1.0
"""Voxel size across a slice in mm: the model does not know any."""
_MADE_BY = "medillus sample"


@dataclass(frozen=True)
class SampledModel:
    """A generator as a registry gave it. `predict` is that of the pyfunc: inputs and parameters to (n, h, w) int16."""

    name: str
    version: str
    weights_sha256: str
    described: Mapping[str, Any]
    manifest: Mapping[str, Any]
    predict: Callable[[dict[str, np.ndarray], dict[str, Any]], np.ndarray]


@dataclass(frozen=True)
class Sampled:
    """How many images were written, what the model was told of them, the sentence on the mask's geometry, and the keys
    of structures it was too coarse for.
    """

    count: int
    attributes: tuple[str, ...]
    placement: str
    lost: tuple[str, ...]


def sample_to_folder(
    mask: Path, destination: Path, model: SampledModel, vocabulary: Vocabulary, request: SampleRequest
) -> Sampled:
    """Write `request.count` images of the mask into `destination`.

    `sample-001.png` (CT in a 50/350 HU window), `sample-001.nii.gz` (int16, HU for CT), …, `mask.png`, `sample.json`.
    Raises InputError where something cannot be used as it is, StoreError where reading or writing fails.
    """
    try:
        return _sample_to_folder(mask, destination, model, vocabulary, request)
    except MedillusError:
        raise
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
    raise StoreError(f"a file or folder cannot be read or written ({reason}): check space, owner and mode")


def refuse_places(mask: Path, destination: Path) -> tuple[Path, Path]:
    """Both paths in full. Raises InputError when there is no mask, or the result may not stand at `destination`."""
    mask, destination = mask.expanduser().resolve(), destination.expanduser().resolve()
    if not mask.is_file():
        raise InputError("there is no mask at that path: name a PNG file")
    if destination.exists() and not destination.is_dir():
        raise InputError("the result is to be a folder, but a file stands there")
    if mask.is_relative_to(destination):
        raise InputError("the mask lies in the folder of the result: let them stand side by side")
    if destination.exists() and any(destination.iterdir()):
        try:
            ours = json.loads((destination / MARKER).read_bytes())["made_by"] == _MADE_BY
        except (OSError, ValueError, KeyError, TypeError):
            ours = False
        if not ours:
            raise InputError(
                "the folder of the result is not empty, and this command did not make it: name an empty one"
            )
    return mask, destination


def _sample_to_folder(
    mask: Path, destination: Path, model: SampledModel, vocabulary: Vocabulary, request: SampleRequest
) -> Sampled:
    mask, destination = refuse_places(mask, destination)
    described = model.described
    parameters = parameters_of(request, described)
    modality, attributes = modality_drawn(request, described), attributes_told(request, described)
    size, field_of_view = (
        int(described["size"]),
        _field_of_view(model.manifest["config"], request.body_part, described["attributes"]),
    )
    given = read_mask(
        mask.read_bytes(),
        described["classes"],
        vocabulary,
        size=size,
        field_of_view=field_of_view,
        pixel_size=request.pixel_size,
    )
    level = np.nan if request.level is None else request.level
    images = model.predict(
        {"mask": np.repeat(given.ids[None], request.count, 0), "level": np.full(request.count, level, np.float32)},
        parameters,
    )
    affine = Frame(size, field_of_view, 0, 0).affine(0)
    affine[2, 2] = THICKNESS
    files = {MASK: encode_png(given.ids, vocabulary.palette())}
    for number, image in enumerate(np.asarray(images, np.int16), start=1):
        stem = f"sample-{number:03d}"
        files[f"{stem}.png"] = encode_png(np.ascontiguousarray(grey(image, modality)[..., 0]))
        files[f"{stem}.nii.gz"] = encode_nifti(image[None], affine)
    names = {structure.id: structure.key for structure in vocabulary}
    present = [label for label in np.unique(given.ids).tolist() if label]
    asked = asdict(request) | {name: parameters.get(name) for name in OF_A_FLOW}
    record = {
        "notice": NOT_FOR_DIAGNOSIS,
        "model": {"name": model.name, "version": model.version, "weights_sha256": model.weights_sha256},
        "dataset_fingerprint": described["dataset_fingerprint"],
        "vocabulary_version": described["vocabulary_version"],
        "package_version": __version__,
        "family": described["family"],
        "request": asked,
        "attributes": list(attributes),
        "modality": modality,
        "unit": "HU" if modality == "CT" else "series-normalised, -1000 to 1000",
        "field_of_view_mm": field_of_view,
        "mask_sha256": given.sha256,
        "mask_placement": given.placement,
        "structures": {names[label]: int((given.ids == label).sum()) for label in present},
        "mask_complete_for": [names[label] for label in (present if request.partial else described["classes"])],
        "structures_lost": [names[label] for label in given.lost],
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    }
    _put(destination, {RECORD: (json.dumps(record, indent=1, sort_keys=True) + "\n").encode(), **files})
    return Sampled(request.count, attributes, given.placement, tuple(names[label] for label in given.lost))


def _field_of_view(config: Mapping[str, Any], body_part: str | None, attributes: Sequence[str]) -> float:
    """mm; of a model that learned from one body part alone it is that part's, if none is named."""
    learned = [name.partition("=")[2] for name in attributes if name.startswith("body_part=")]
    part = body_part or (learned[0] if len(learned) == 1 else "")
    return float(config["field_of_view_mm"].get(part.upper(), config["default_field_of_view_mm"]))


def _put(destination: Path, files: Mapping[str, bytes]) -> None:
    """Replace what an earlier run left in the folder by `files`, the record last."""
    destination.mkdir(parents=True, exist_ok=True)
    (destination / MARKER).write_text(json.dumps({"made_by": _MADE_BY}) + "\n")
    staging = destination / STAGING
    try:
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        for name, data in files.items():
            (staging / name).write_bytes(data)
        for former in (destination / RECORD, destination / MASK, *destination.glob("sample-*")):
            former.unlink(missing_ok=True)
        for name in sorted(files, key=lambda name: name == RECORD):
            (staging / name).replace(destination / name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
