"""`illustrations` (made by the champion) and `labelled_scans` (real slices with their annotators' labels)."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from medillus_pipeline import __version__
from medillus_pipeline.assets.annotation import masks
from medillus_pipeline.assets.finishing import Drawn, approved, checks_result, first_made, publish_figures
from medillus_pipeline.assets.promotion import promoted_generator
from medillus_pipeline.assets.publishing import progress_to, require, rows_without_partition, table_metadata
from medillus_pipeline.assets.training import organ_segmenter
from medillus_pipeline.errors import InputError, NotEnoughDataError
from medillus_pipeline.failures import RETRY, failing_clearly
from medillus_pipeline.partitions import annotation_batches
from medillus_pipeline.resources.compute import ComputeResource
from medillus_pipeline.resources.mlflow import MLflowResource
from medillus_pipeline.resources.store import StoreResource
from medillus_pipeline.tables import ILLUSTRATIONS, MASKS, SLICES

SLIVER = 24
"""Pixels of the canonical frame below which a structure is grazed rather than shown."""

FURTHER = ("pdf", "dicom", "html")
"""Formats that figures are kept in by default, beside SVG and PNG."""

if TYPE_CHECKING:
    import numpy as np

    from medillus_pipeline.generation.dataset import Dataset
    from medillus_pipeline.illustration.composing import Composed
    from medillus_pipeline.illustration.models import Models


class IllustrationsConfig(dg.Config):
    """Which figures are made."""

    figures: int = Field(
        default=6, ge=1, le=500, description="Number of figures, spread over patients and body levels."
    )
    seed: int = Field(default=1, ge=0, description="Seed of the generated images.")
    formats: list[str] = Field(
        default=list(FURTHER), description="Files to keep beside SVG, PNG and sidecar: pdf, dicom, html."
    )
    publication: bool = Field(
        default=False,
        description="The figures are for publication: refused where nobody approved the model that made them.",
    )


class LabelledScansConfig(dg.Config):
    """Which real slices become figures."""

    figures: int = Field(default=3, ge=1, le=500, description="Number of figures of a batch, richest slices first.")
    formats: list[str] = Field(
        default=list(FURTHER), description="Files to keep beside SVG, PNG and sidecar: pdf, dicom, html."
    )


@dg.asset(
    deps=[promoted_generator, organ_segmenter],
    group_name="figures",
    owners=["team:editors"],
    kinds={"svg", "html"},
    code_version="2",
    retry_policy=RETRY,
    metadata=table_metadata(ILLUSTRATIONS),
    check_specs=[
        dg.AssetCheckSpec(
            "illustrations_gate",
            asset="illustrations",
            description="Great Expectations suites `illustrations` and `illustration_records`: provenance complete, no "
            "locked-test patient, confidence in range, approved where for publication. Blocks publication.",
            blocking=True,
        ),
        dg.AssetCheckSpec(
            "illustrations_checked",
            asset="illustrations",
            description="What organ_segmenter finds in each generated image holds against the anatomical prior's rules "
            "and against what was asked for. Warns with the figures that do not; they say so in their sidecar.",
        ),
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
    from medillus_pipeline.illustration.compliance import calibration_for, confidences_of
    from medillus_pipeline.illustration.confidence import provenance
    from medillus_pipeline.illustration.figure import draw_figure
    from medillus_pipeline.illustration.request import FigureRequest
    from medillus_pipeline.resources.illustration_models import load_models

    with failing_clearly():
        compute.use_torch_threads()
        endings = endings_of(config.formats)
        models = load_models(store.clean, mlflow, profile=store.profile)
        facts, generator = models.facts, models.generator
        if facts.stale:
            context.log.warning(f"the champion is stale: {'; '.join(facts.stale)}")
        if models.dataset is None:
            raise NotEnoughDataError("the champion's dataset snapshot cannot be read: materialize training_dataset")
        for sentence in models.missing:
            context.log.info(sentence)
        approval = approved(store, mlflow, facts.version, publication=config.publication)
        held_out = models.dataset.split("validation")
        chosen = _spread(held_out, config.figures)
        told = held_out.told(chosen, generator.attributes)
        images = generator.sample(held_out.labels[chosen], held_out.levels[chosen], seed=config.seed, **told)
        probabilities = models.organ_segmenter.predict(images)
        made = first_made(context, store.clean, "champion", *inputs_of(models), config.model_dump(), approval.facts(),
                          store.signing_key().public)  # fmt: skip
        report = progress_to(context, "figures drawn")
        drawn = []
        for i, row in enumerate(chosen):
            index = held_out.rows[row]
            composed = _as_composed(held_out, row, models)
            calibration = calibration_for(composed, models)
            figure = draw_figure(
                FigureRequest(
                    image=images[i],
                    labels=composed.geometry.label_map,
                    structures=models.structures(composed.name),
                    confidences=confidences_of(probabilities[i], composed, models, calibration),
                    calibration=None if calibration is None else provenance(calibration),
                    modality=index["modality"],
                    body_part=index["body_part"],
                    level=index["level"],
                    pixel_mm=(held_out.pixel_mm, held_out.pixel_mm),
                    source="generated",
                    slice_name=index["slice_name"],
                    patient=index["patient"],
                    split=index["split"],
                    model_name=facts.name,
                    model_version=facts.version,
                    model_stale=facts.stale,
                    dataset_fingerprint=facts.dataset_fingerprint,
                    seed=config.seed,
                    steps=generator.release_steps,
                    ethics=facts.ethics,
                    code_version=facts.code_version,
                    vocabulary_version=facts.vocabulary_version,
                    run_ids={**facts.run_ids, "dagster": made.run_id},
                )
            )
            failed = failed_checks(images[i], probabilities[i], config.seed, composed, models)
            said = {
                "contrast_phase": index["contrast_phase"],
                "pathologies": index["pathology"],
                "stage": index["stage"],
            }
            drawn.append(Drawn(figure, failed, endings, said, {"failed_checks": list(failed)}))
            report(i + 1, len(chosen))
    yield checks_result("illustrations_checked", drawn, what="figures")
    yield from publish_figures(
        store,
        "champion",
        drawn,
        made,
        check="illustrations_gate",
        advice="Look at the tables illustrations and illustration_records: what is missing in their provenance?",
        approval=approval,
        verdict=facts.verdict,
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
        endings = endings_of(config.formats)
        made = first_made(
            context, store.clean, key, store.tables.version(MASKS, key), config.model_dump(), words.version,
            __version__, store.signing_key().public,
        )  # fmt: skip
        drawn = []
        for row in _apart([r for r in richest if slice_of[r["slice_name"]]["pixel_spacing"]], slice_of, config.figures):
            shown = slice_of[row["slice_name"]]
            dataset = dcmread(DicomBytesIO(store.clean.read(shown["instance_path"])))
            figure = draw_figure(
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
                    run_ids={"dagster": made.run_id},
                )
            )
            drawn.append(Drawn(figure, endings=endings))
    yield from publish_figures(
        store,
        key,
        drawn,
        made,
        check="labelled_scans_gate",
        advice="Figures need masks on slices with a pixel spacing; look at the table masks.",
    )


def failed_checks(
    image: "np.ndarray", probabilities: "np.ndarray", seed: int, composed: "Composed", models: "Models"
) -> tuple[str, ...]:
    """Sentences on what speaks against one image (h, w), `probabilities` (channels, h, w) being the segmenter's."""
    import numpy as np

    from medillus_pipeline.illustration import compliance
    from medillus_pipeline.illustration.candidates import Candidates

    alone = Candidates(image[None], (seed,), probabilities[None], np.zeros(1), "none")
    (report,) = compliance.check(alone, composed, models)
    return tuple(reason.en for reason in report.reasons)


def inputs_of(models: "Models") -> tuple[Any, ...]:
    """What of the models determines a figure's bytes, for `first_made`."""
    calibration = None if models.calibration is None else models.calibration.sha256
    return (vars(models.facts), calibration)


def _as_composed(held_out: "Dataset", row: int, models: "Models") -> "Composed":
    """A held-out slice as what a request for its mask would come to; nothing is asked for by name."""
    import numpy as np

    from medillus_pipeline.illustration.composing import Composed, Geometry, Said
    from medillus_pipeline.illustration.wording import Bilingual

    index = held_out.rows[row]
    geometry = Geometry(
        label_map=models.id_of_index[np.asarray(held_out.labels[row])],
        drawn=held_out.claimed[row],
        level=float(index["level"]),
        pixel_mm=held_out.pixel_mm,
        source=index["slice_name"],
        understood=Bilingual("", ""),
        patient=index["patient"],
        split=index["split"],
    )
    said = Said(index["modality"], (), index["body_part"], ())
    return Composed(geometry, said, tuple(index["labels"]), (), Bilingual("", ""), ())


def endings_of(formats: Sequence[str]) -> tuple[str, ...]:
    """Endings of the files that formats ask for. Raises InputError for a name that is none."""
    from medillus_pipeline.illustration.illustration_request import ENDINGS

    known = {str(name): ending for name, ending in ENDINGS.items()}
    if unknown := sorted(set(formats) - set(known)):
        raise InputError(f"{', '.join(unknown)}: a format is one of {', '.join(known)}")
    return tuple(known[name] for name in formats)


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
