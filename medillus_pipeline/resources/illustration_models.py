"""What figures are made with, from the registry and the clean zone: the champion (or a version) and what goes with it.

What is missing is said in one sentence each, and costs what that sentence says; without champion, prior or organ
segmenter there is no figure. What is not here: how they are used (`illustration/illustrate.py`).
"""

import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from medillus_pipeline import __version__, published
from medillus_pipeline.annotation import vocabulary as vocabularies
from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.errors import InputError, NotEnoughDataError
from medillus_pipeline.illustration.models import ModelFacts, Models, Scan
from medillus_pipeline.resources import promotions
from medillus_pipeline.resources.mlflow import MLflowResource
from medillus_pipeline.tables import MASKS, SLICES, TableStore
from medillus_pipeline.zones import Zone

if TYPE_CHECKING:
    from medillus_pipeline.generation.config import DatasetConfig
    from medillus_pipeline.generation.segmenter import Segmenter
    from medillus_pipeline.validation.confidence import Calibration

CHAMPION = "promoted_generator"
Part = TypeVar("Part")


def load_models(
    clean: Zone,
    mlflow: MLflowResource,
    *,
    version: str | None = None,
    profile: str = "research",
    vocabulary: Vocabulary | None = None,
    run_ids: dict[str, str] | None = None,
) -> Models:
    """The models of the champion, or of a version of the newest checkpoint that is not champion (yet).

    Args:
        clean: the pseudonymous zone.
        mlflow: the registry.
        version: a registered version; None: the champion.
        profile: the profile of gates, which sets the floors of `illustration/compliance.py`.
        vocabulary: with a site's names; None: as shipped.
        run_ids: names → ids of runs that figures are to name beside the model's.

    Raises:
        NotEnoughDataError: a model that figures cannot do without was never published; the message names the asset.
        InputError: a version that neither was promoted nor is the newest, or one that was revoked.
        MlflowUnavailable: the registry does not answer.
    """
    from medillus_pipeline.generation import model_file
    from medillus_pipeline.generation.dataset import load_snapshot
    from medillus_pipeline.generation.segmenter import Segmenter

    document, stale = _version(clean, version)
    segmenter_document = published.require(clean, "organ_segmenter")
    words = vocabularies.load() if vocabulary is None else vocabulary
    with tempfile.TemporaryDirectory() as folder:
        generator = model_file.load(mlflow.download(document["version"], Path(folder)))
    segmenter = Segmenter.from_bytes(clean.read(segmenter_document["path"]))
    missing: list[str] = []
    dataset = None
    try:
        dataset = load_snapshot(clean, document["dataset_manifest"])
    except (FileNotFoundError, InputError) as error:
        missing.append(
            f"the dataset of version {document['version']} cannot be read ({type(error).__name__}): no text is drawn "
            "and the rules of anatomy keep their stated tolerances"
        )
    calibration, why = calibration_of(clean, document["version"], segmenter_document["sha256"])
    if why:
        missing.append(f"figures print their confidence as uncalibrated: {why}")
    return Models(
        generator=generator,
        prior=generator.prior,
        organ_segmenter=segmenter,
        vocabulary=words,
        facts=ModelFacts(
            name=mlflow.model,
            version=document["version"],
            dataset_fingerprint=document["dataset_fingerprint"],
            code_version=__version__,
            vocabulary_version=words.version,
            profile=profile,
            verdict=document.get("verdict"),
            stale=stale,
            ethics=document.get("ethics"),
            run_ids={"mlflow": document["run_id"], **(run_ids or {})},
            segmenter_sha256=segmenter_document["sha256"],
        ),
        dataset=dataset,
        sketch_segmenter=_part(clean, "sketch_segmenter", "no sketch can be read", missing, _sketch_segmenter),
        text_encoder=_part(
            clean, "text_encoder", "candidates for a text are ranked by the organ segmenter", missing, _text_encoder
        ),
        calibration=calibration,
        missing=tuple(missing),
        scan_of=None if dataset is None else scans(clean, segmenter, dataset.manifest["config"]),
    )


def calibration_of(clean: Zone, version: str, segmenter_sha256: str) -> "tuple[Calibration | None, str | None]":
    """The calibration of that model version's confidence as this organ segmenter sees it, or None and why."""
    from medillus_pipeline.validation.confidence import Calibration

    document = published.current(clean, f"confidence-{version}")
    if document is None:
        return None, f"version {version} has no calibration: its validation_report did not make one"
    calibration = Calibration.from_bytes(clean.read(document["path"]))
    why = calibration.unfit_for(version, segmenter_sha256)
    return (None, why) if why else (calibration, None)


def scans(clean: Zone, segmenter: "Segmenter", config: dict[str, Any]) -> Callable[[str], Scan]:
    """Slice name → the slice with its labels: an annotator's where there are any, else the organ segmenter's.

    `config` is that of the dataset which the segmenter learned from, as in its manifest.
    """
    from medillus_pipeline.dicom.png import decode_png
    from medillus_pipeline.dicom.slice_values import SliceValues
    from medillus_pipeline.generation.config import DatasetConfig

    settings = DatasetConfig.model_validate(config)
    tables = TableStore(clean)

    def scan_of(name: str) -> Scan:
        rows = tables.read_all(SLICES).to_pylist()
        row = next((each for each in rows if each["slice_name"] == name), None)
        if row is None:
            raise InputError(f"no slice {name} was published; a file is given by its path, .nii, .nii.gz or .png")
        if not row["pixel_spacing"]:
            raise InputError(f"slice {name} has no pixel spacing, and without it a figure has no scale")
        drawn = [mask for mask in tables.read_all(MASKS).to_pylist() if mask["slice_name"] == name and mask["labels"]]
        series = [each for each in rows if each["series_instance_uid"] == row["series_instance_uid"]]
        if drawn:
            shares = Counter({mask["path"]: len(mask["labels"]) for mask in drawn})
            newest = max(drawn, key=lambda mask: (mask["revision"], shares[mask["path"]], mask["annotator"]))
            return _scan(row, SliceValues(clean).values(row), decode_png(clean.read(newest["path"])), {}, True)
        labels, scores = _proposed(row, series, clean, segmenter, settings)
        return _scan(row, SliceValues(clean).values(row), labels, scores, False)

    return scan_of


def _proposed(
    row: dict[str, Any], series: list[dict[str, Any]], clean: Zone, segmenter: "Segmenter", config: "DatasetConfig"
) -> tuple[np.ndarray, dict[int, float]]:
    from medillus_pipeline.generation import canonical
    from medillus_pipeline.generation.proposals import propose
    from medillus_pipeline.generation.series_frame import affine_of

    if row["modality"] not in config.modalities:
        raise InputError(f"slice {row['slice_name']} is {row['modality']}, which the organ segmenter never learned")
    usable = [
        each
        for each in series
        if each["position"]
        and each["orientation"]
        and each["pixel_spacing"]
        and canonical.is_axial(affine_of(each), config.axial_tolerance_degrees)
    ]
    if row["slice_name"] not in {each["slice_name"] for each in usable}:
        raise InputError(f"slice {row['slice_name']} is not axial, and the organ segmenter knows axial slices alone")
    proposal = next(iter(propose(usable, clean, segmenter, config, wanted={row["slice_name"]})))
    return proposal.label_map, proposal.confidence


def _scan(
    row: dict[str, Any], image: np.ndarray, labels: np.ndarray, scores: dict[int, float], by_annotator: bool
) -> Scan:
    from medillus_pipeline.dicom.geometry import edge_letters
    from medillus_pipeline.illustration.request import PLANES

    spacing = row["pixel_spacing"]
    return Scan(
        image=image,
        pixel_mm=(float(spacing[0]), float(spacing[1])),
        modality=row["modality"],
        slice_name=row["slice_name"],
        patient=row["patient"],
        body_part=row["body_part"],
        orientation=edge_letters(row["orientation"]) if row["orientation"] else PLANES["axial"],
        labels=labels,
        labelled_by="annotator" if by_annotator else "organ_segmenter",
        scores=scores,
    )


def _version(clean: Zone, version: str | None) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What is published of a version, and why its report holds no longer."""
    champion = published.current(clean, CHAMPION)
    if version is None or (champion is not None and champion["version"] == version):
        return published.require(clean, CHAMPION), tuple(promotions.stale_champion(clean))
    past = promotions.history(clean)
    if version in past.revoked:
        raise InputError(f"version {version} was revoked and draws nothing any more: name another version")
    turn = past.promoted(version)
    if turn is not None:
        import json

        return json.loads(clean.read(turn.document)), (f"version {version} is no longer the champion",)
    checkpoint = published.current(clean, "generator_checkpoint")
    if checkpoint is None or checkpoint["version"] != version:
        raise InputError(f"version {version} was never promoted and is not the newest: leave it, for the champion")
    return checkpoint, (f"version {version} was not promoted",)


def _part(clean: Zone, name: str, cost: str, missing: list[str], load: Callable[[bytes], Part]) -> Part | None:
    """An optional model, or None, and a sentence in `missing`."""
    document = published.current(clean, name)
    if document is None:
        missing.append(f"{name} was never published, so {cost}: materialize {name}")
        return None
    try:
        return load(clean.read(document["path"]))
    except (InputError, NotEnoughDataError) as error:
        missing.append(f"{name} cannot be used, so {cost}: {error}")
        return None


def _sketch_segmenter(data: bytes) -> Any:
    from medillus_pipeline.sketches.segmenter import SketchSegmenter

    return SketchSegmenter.from_bytes(data)


def _text_encoder(data: bytes) -> Any:
    from medillus_pipeline.language.encoder_model import TextEncoder

    return TextEncoder.from_bytes(data)
