"""`illustrations` (made by the champion) and `labelled_scans` (real slices with their annotators' labels)."""

import math
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from medillus_pipeline import __version__, published
from medillus_pipeline.assets.annotation import masks
from medillus_pipeline.assets.promotion import promoted_generator
from medillus_pipeline.assets.publishing import (
    gate,
    picture,
    progress_to,
    require,
    row_counts,
    rows_without_partition,
    table_metadata,
)
from medillus_pipeline.assets.training import organ_segmenter
from medillus_pipeline.failures import RETRY, failing_clearly
from medillus_pipeline.partitions import annotation_batches
from medillus_pipeline.resources.compute import ComputeResource
from medillus_pipeline.resources.mlflow import MLflowResource
from medillus_pipeline.resources.store import StoreResource
from medillus_pipeline.tables import ILLUSTRATIONS, MASKS, SLICES
from medillus_pipeline.zones import Zone

SLIVER = 24
"""Pixels of the canonical frame below which a structure is grazed rather than shown."""

if TYPE_CHECKING:
    from medillus_pipeline.generation.dataset import Dataset
    from medillus_pipeline.illustration.figure import Figure
    from medillus_pipeline.validation.confidence import Calibration


class IllustrationsConfig(dg.Config):
    """Which figures are made."""

    figures: int = Field(
        default=6, ge=1, le=500, description="Number of figures, spread over patients and body levels."
    )
    seed: int = Field(default=1, ge=0, description="Seed of the generated images.")


class LabelledScansConfig(dg.Config):
    """Which real slices become figures."""

    figures: int = Field(default=3, ge=1, le=500, description="Number of figures of a batch, richest slices first.")


@dg.asset(
    deps=[promoted_generator, organ_segmenter],
    group_name="figures",
    owners=["team:editors"],
    kinds={"svg", "html"},
    code_version="1",
    retry_policy=RETRY,
    metadata=table_metadata(ILLUSTRATIONS),
    check_specs=[
        dg.AssetCheckSpec(
            "illustrations_gate",
            asset="illustrations",
            description="Great Expectations suite `illustrations`: provenance complete, no locked-test patient, "
            "confidence in range. Blocks publication.",
            blocking=True,
        )
    ],
)
def illustrations(
    context: dg.AssetExecutionContext,
    config: IllustrationsConfig,
    store: StoreResource,
    compute: ComputeResource,
    mlflow: MLflowResource,
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """Labelled figures that the champion generated from masks of validation patients: outlines, names in English and
    Chinese, codes, confidence, scale, and a JSON sidecar with the whole provenance; SVG, PNG and one HTML gallery.
    """
    from medillus_pipeline.annotation import vocabulary
    from medillus_pipeline.generation import model_file
    from medillus_pipeline.generation.dataset import load_snapshot
    from medillus_pipeline.generation.segmenter import Segmenter
    from medillus_pipeline.illustration.confidence import agreement, calibrated, provenance
    from medillus_pipeline.illustration.figure import draw_figure
    from medillus_pipeline.illustration.request import FigureRequest
    from medillus_pipeline.resources import promotions

    with failing_clearly():
        compute.use_torch_threads()
        champion = published.require(store.clean, "promoted_generator")
        stale = tuple(promotions.stale_champion(store.clean))
        if stale:
            context.log.warning(f"the champion is stale: {'; '.join(stale)}")
        segmenter_document = published.require(store.clean, "organ_segmenter")
        held_out = load_snapshot(store.clean, champion["dataset_manifest"]).split("validation")
        words = vocabulary.load()
        with tempfile.TemporaryDirectory() as folder:
            generator = model_file.load(mlflow.download(champion["version"], Path(folder)))
        segmenter = Segmenter.from_bytes(store.clean.read(segmenter_document["path"]))
        channel_of = {identifier: i + 1 for i, identifier in enumerate(segmenter.classes)}
        chosen = _spread(held_out, config.figures)
        told = held_out.told(chosen, generator.attributes)
        images = generator.sample(held_out.labels[chosen], held_out.levels[chosen], seed=config.seed, **told)
        probabilities = segmenter.predict(images)
        lookup = _lookup(held_out.classes)
        calibration, why_none = _calibration(store.clean, champion["version"], segmenter_document["sha256"])
        if why_none:
            context.log.info(f"figures print their confidence as uncalibrated: {why_none}")
        report = progress_to(context, "figures drawn")
        figures = []
        for i, row in enumerate(chosen):
            index = held_out.rows[row]
            labels = lookup[held_out.labels[row]]
            of_others = None if calibration is None or index["patient"] in calibration.fitted_patients else calibration
            figures.append(
                draw_figure(
                    FigureRequest(
                        image=images[i],
                        labels=labels,
                        structures=tuple(words.by_id(identifier) for identifier in index["labels"]),
                        confidences=agreement(probabilities[i], labels, channel_of)
                        if of_others is None
                        else calibrated(of_others, probabilities[i], labels, channel_of, index["patient"]),
                        calibration=None if of_others is None else provenance(of_others),
                        modality=index["modality"],
                        body_part=index["body_part"],
                        level=index["level"],
                        pixel_mm=(held_out.pixel_mm, held_out.pixel_mm),
                        source="generated",
                        slice_name=index["slice_name"],
                        patient=index["patient"],
                        split=index["split"],
                        model_name=mlflow.model,
                        model_version=champion["version"],
                        model_stale=stale,
                        dataset_fingerprint=champion["dataset_fingerprint"],
                        seed=config.seed,
                        steps=generator.release_steps,
                        ethics=champion.get("ethics"),
                        code_version=__version__,
                        vocabulary_version=words.version,
                        run_ids={"mlflow": champion["run_id"], "dagster": context.run_id},
                    )
                )
            )
            report(i + 1, len(chosen))
    yield from _publish(
        store,
        "champion",
        figures,
        check="illustrations_gate",
        advice="Look at the table illustrations: what is missing in its provenance?",
    )


@dg.asset(
    partitions_def=annotation_batches,
    deps=[masks],
    group_name="figures",
    owners=["team:editors"],
    kinds={"svg", "html"},
    code_version="1",
    retry_policy=RETRY,
    metadata=table_metadata(ILLUSTRATIONS),
    check_specs=[
        dg.AssetCheckSpec(
            "labelled_scans_gate",
            asset="labelled_scans",
            description="Great Expectations suite `illustrations` on figures of real scans. Blocks publication.",
            blocking=True,
            partitions_def=annotation_batches,
        )
    ],
)
def labelled_scans(
    context: dg.AssetExecutionContext, config: LabelledScansConfig, store: StoreResource
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """Labelled figures of real, de-identified slices with their annotators' labels: needs no model, so it is what a
    landing with too few patients for training ends with.
    """
    from pydicom import dcmread
    from pydicom.filebase import DicomBytesIO

    from medillus_pipeline.annotation import vocabulary
    from medillus_pipeline.dicom.geometry import edge_letters
    from medillus_pipeline.dicom.pixels import calibrated
    from medillus_pipeline.dicom.png import decode_png
    from medillus_pipeline.illustration.figure import draw_figure
    from medillus_pipeline.illustration.request import FigureRequest

    key = context.partition_key
    with failing_clearly():
        words = vocabulary.load()
        slice_of = {row["slice_name"]: row for row in rows_without_partition(store.tables.read_all(SLICES))}
        richest = sorted(
            (
                row
                for row in require(store.tables, MASKS, key).to_pylist()
                if row["slice_name"] in slice_of and row["labels"]
            ),
            key=lambda row: (-len(row["labels"]), -sum(row["areas"]), row["slice_name"]),
        )
        figures = []
        for row in _apart([r for r in richest if slice_of[r["slice_name"]]["pixel_spacing"]], slice_of, config.figures):
            shown = slice_of[row["slice_name"]]
            dataset = dcmread(DicomBytesIO(store.clean.read(shown["instance_path"])))
            figures.append(
                draw_figure(
                    FigureRequest(
                        image=calibrated(dataset, shown["frame"]),
                        labels=decode_png(store.clean.read(row["path"])),
                        structures=tuple(words.by_id(identifier) for identifier in row["labels"]),
                        modality=shown["modality"],
                        body_part=shown["body_part"],
                        pixel_mm=tuple(shown["pixel_spacing"]),
                        orientation=edge_letters(shown["orientation"]),
                        source="scan",
                        slice_name=row["slice_name"],
                        patient=row["patient"],
                        code_version=__version__,
                        vocabulary_version=words.version,
                        run_ids={"dagster": context.run_id},
                    )
                )
            )
    yield from _publish(
        store,
        key,
        figures,
        check="labelled_scans_gate",
        advice="Figures need masks on slices with a pixel spacing; look at the table masks.",
    )


def _publish(
    store: StoreResource, key: str, figures: "Sequence[Figure]", *, check: str, advice: str
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    from medillus_pipeline.dicom.preview import thumbnail

    with failing_clearly():
        rows = [_stored(store.clean, figure) for figure in figures]
        table = ILLUSTRATIONS.to_arrow(rows)
    yield from gate("illustrations", check, table, advice=advice)
    with failing_clearly():
        page = store.clean.put("galleries", _gallery(figures, rows), ".html")
        version = store.tables.publish(ILLUSTRATIONS, key, table)
        published.publish(
            store.clean, f"gallery-{key}", {"html": page.path, "figures": [row["png_path"] for row in rows]}
        )
        preview = picture(store.clean, "figures", figures[0].png, thumbnail=thumbnail(figures[0].png))
    scores = [score for row in rows for score in row["confidences"] if not math.isnan(score)]
    yield dg.MaterializeResult(
        data_version=dg.DataVersion(version),
        metadata={
            **row_counts(table),
            "gallery": dg.MetadataValue.url(f"{store.clean.url}/{page.path}"),
            **({"mean_confidence": sum(scores) / len(scores)} if scores else {}),
            **preview,
        },
    )


def _gallery(figures: "Sequence[Figure]", rows: Sequence[dict[str, Any]]) -> bytes:
    """The HTML page of the figures; it stands two folders below the payloads that it links to."""
    from medillus_pipeline.illustration.gallery import GalleryEntry, build_gallery

    return build_gallery(
        [
            GalleryEntry(figure, f"../../{row['sidecar_path']}", f"../../{row['png_path']}", f"../../{row['svg_path']}")
            for figure, row in zip(figures, rows, strict=True)
        ]
    )


def _stored(clean: Zone, figure: "Figure") -> dict[str, Any]:
    return figure.row(
        svg_path=clean.put("figures", figure.svg, ".svg").path,
        png_path=clean.put("figures", figure.png, ".png").path,
        sidecar_path=clean.put("figures", figure.sidecar_json(), ".json").path,
    )


def _calibration(clean: Zone, version: str, segmenter_sha256: str) -> "tuple[Calibration | None, str | None]":
    """The calibration of that model version's confidence as this organ segmenter sees it, or None and why."""
    from medillus_pipeline.validation.confidence import Calibration

    document = published.current(clean, f"confidence-{version}")
    if document is None:
        return None, f"version {version} has no calibration: its validation_report did not make one"
    calibration = Calibration.from_bytes(clean.read(document["path"]))
    why = calibration.unfit_for(version, segmenter_sha256)
    return (None, why) if why else (calibration, None)


def _lookup(classes: Sequence[int]) -> Any:
    """(classes + 1,) uint8: class index → vocabulary id."""
    import numpy as np

    return np.array([0, *classes], np.uint8)


def _spread(dataset: "Dataset", count: int) -> list[int]:
    """Rows of a split for figures: patients in turn, levels apart, at each the slice that shows most and cuts least.

    A structure that the slice only grazes (under `SLIVER` pixels) counts against it: nobody can learn from a sliver.
    """
    import numpy as np

    def shows(row: int) -> tuple[int, int]:
        areas = np.bincount(dataset.labels[row].ravel(), minlength=2)[1:]
        return int((areas >= SLIVER).sum() - ((areas > 0) & (areas < SLIVER)).sum()), -row

    by_patient: dict[str, list[int]] = {}
    for row, patient in enumerate(dataset.patients):
        by_patient.setdefault(patient, []).append(row)
    chosen: list[int] = []
    shares = -(-count // max(len(by_patient), 1))
    for rows in by_patient.values():
        bands = [rows[i * len(rows) // shares : (i + 1) * len(rows) // shares] for i in range(shares)]
        chosen += [max(band, key=shows) for band in bands if band]
    return sorted(chosen[:count]) if len(chosen) > count else chosen


def _apart(rows: list[dict[str, Any]], slice_of: dict[str, dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """The richest masks, but of one series none within a tenth of its slices: neighbours look alike."""
    length: dict[str, int] = {}
    for row in slice_of.values():
        length[row["series_instance_uid"]] = length.get(row["series_instance_uid"], 0) + 1
    chosen: list[dict[str, Any]] = []
    for row in rows:
        own = slice_of[row["slice_name"]]
        gap = max(1, length[own["series_instance_uid"]] // 10)
        taken = [slice_of[c["slice_name"]] for c in chosen]
        if all(
            t["series_instance_uid"] != own["series_instance_uid"] or abs(t["ordinal"] - own["ordinal"]) >= gap
            for t in taken
        ):
            chosen.append(row)
        if len(chosen) == count:
            break
    return chosen
