"""`volume_illustrations`: a whole volume from the label stack of a held-out patient, in files that viewers open.

How it is drawn and what its coherence means is in `illustration/volumes/`. Memory is bounded by the number of slices.
"""

import io
import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from medillus_pipeline import __version__, published
from medillus_pipeline.assets.finishing import Approved, Drawn, Made, approved, first_made, publish_figures
from medillus_pipeline.assets.illustration import endings_of, inputs_of
from medillus_pipeline.assets.promotion import promoted_generator
from medillus_pipeline.assets.publishing import gate, picture, progress_to, row_counts, table_metadata
from medillus_pipeline.errors import NotEnoughDataError
from medillus_pipeline.failures import RETRY, failing_clearly
from medillus_pipeline.resources.compute import ComputeResource
from medillus_pipeline.resources.mlflow import MLflowResource
from medillus_pipeline.resources.store import StoreResource
from medillus_pipeline.tables import VOLUME_ILLUSTRATIONS
from medillus_pipeline.zones import Payload

if TYPE_CHECKING:
    from medillus_pipeline.generation.dataset import Dataset
    from medillus_pipeline.illustration.models import Models
    from medillus_pipeline.illustration.volumes.coherence import CoherenceMeasures
    from medillus_pipeline.illustration.volumes.generated_volume import GeneratedVolume

KEY = "volumes"
"""Partition of both tables, and name of the gallery of the plates."""

UNEVEN = 0.05
"""Share by which the distance of two slices may differ from that of the first two within one stack."""

BARS = (
    "flicker 0.8 to 1.2 of the real volume, lag-8 difference and texture spread at least 0.85, correlation of "
    "neighbours' texture within 0.1 of the real one, judged Dice at least 0.9 of that on the real slices"
)


class VolumeConfig(dg.Config):
    """Which volumes are drawn."""

    volumes: int = Field(default=1, ge=1, le=20, description="Number of volumes, each of another held-out patient.")
    slices: int = Field(default=96, ge=10, le=600, description="Most slices of a volume; all are in memory at once.")
    seed: int = Field(default=1, ge=0, le=2**31 - 1, description="Seed of each volume.")
    steps: int | None = Field(default=None, ge=1, le=1000, description="Sampling steps; unset: those of a release.")
    publication: bool = Field(
        default=False,
        description="The figures are for publication: refused where nobody approved the model that made them.",
    )


@dataclass(frozen=True)
class Stack:
    """Slices of one held-out series in order, feet first: `rows` of the dataset, `spacing` (slice, row, column) mm."""

    rows: tuple[int, ...]
    spacing: tuple[float, float, float]
    series: str
    patient: str


@dg.asset(
    deps=[promoted_generator],
    group_name="figures",
    owners=["team:editors"],
    kinds={"nifti", "dicom"},
    code_version="1",
    retry_policy=RETRY,
    metadata=table_metadata(VOLUME_ILLUSTRATIONS),
    check_specs=[
        dg.AssetCheckSpec(
            "volume_illustrations_gate",
            asset="volume_illustrations",
            description="Great Expectations suite `volume_illustrations`: provenance, payloads, no locked-test "
            "patient. Blocks publication.",
            blocking=True,
        ),
        dg.AssetCheckSpec(
            "volume_plates_gate",
            asset="volume_illustrations",
            description="Great Expectations suites `illustrations` and `illustration_records` on the plates.",
            blocking=True,
        ),
        dg.AssetCheckSpec(
            "volumes_coherent",
            asset="volume_illustrations",
            description=f"Slices belong together: {BARS}. Warns with the bars that are missed; the coronal plate has "
            "to be looked at all the same.",
        ),
    ],
)
def volume_illustrations(
    context: dg.AssetExecutionContext,
    config: VolumeConfig,
    store: StoreResource,
    compute: ComputeResource,
    mlflow: MLflowResource,
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """A generated volume as NIfTI, DICOM series, surfaces (GLB), a scene for 3D Slicer, and axial, coronal and sagittal
    plates as labelled figures; every file in a signed manifest, its coherence measured against the real volume.
    """
    from medillus_pipeline.generation.segmenter import Segmenter
    from medillus_pipeline.illustration.volumes.generated_volume import generate_volume
    from medillus_pipeline.quality.illustration_suites import volume_illustrations as suite
    from medillus_pipeline.resources.illustration_models import load_models

    with failing_clearly():
        compute.use_torch_threads()
        models = load_models(store.clean, mlflow, profile=store.profile)
        if models.dataset is None:
            raise NotEnoughDataError("the champion's dataset snapshot cannot be read: materialize training_dataset")
        approval = approved(store, mlflow, models.facts.version, publication=config.publication)
        judge_document = published.require(store.clean, "judge")
        judge = Segmenter.from_bytes(store.clean.read(judge_document["path"]))
        made = first_made(context, store.clean, KEY, *inputs_of(models), config.model_dump(), approval.facts(),
                          judge_document["sha256"], store.signing_key().public)  # fmt: skip
        held_out = models.dataset.split("validation")
        rows, drawn, pictures = [], list[Drawn](), dict[str, dg.MetadataValue]()
        for stack in stacks(held_out, config.slices, config.volumes):
            report = progress_to(context, "slices drawn")
            real, labels = (of[list(stack.rows)] for of in (held_out.values, held_out.labels))
            volume = generate_volume(
                models.generator,
                models.id_of_index[labels],
                held_out.levels[list(stack.rows)],
                stack.spacing,
                config.seed,
                said=_said_of_all(held_out, stack, models),
                steps=config.steps,
                model=f"{models.facts.name} version {models.facts.version}",
                progress=report,
            )
            coherence, missed = measured(volume, real, labels, judge.labels)
            payloads, surface_picture = _files(store, volume, stack, models, made)
            rows.append(_row(volume, stack, held_out, models, coherence, missed, payloads, made, approval))
            drawn += _plates(volume, stack, held_out, models, made)
            pictures = pictures or surface_picture
        table = VOLUME_ILLUSTRATIONS.to_arrow(rows)
    yield _coherent(rows)
    yield from gate(
        suite, "volume_illustrations_gate", table, advice="Look at the table volume_illustrations: what is missing?"
    )
    plates: dg.MaterializeResult | None = None
    for event in publish_figures(
        store,
        KEY,
        drawn,
        made,
        check="volume_plates_gate",
        advice="Look at the tables illustrations and illustration_records: what is missing in their provenance?",
        approval=approval,
        verdict=models.facts.verdict,
    ):
        if isinstance(event, dg.MaterializeResult):
            plates = event
        else:
            yield event
    assert plates is not None and isinstance(plates.metadata, Mapping)
    with failing_clearly():
        version = store.tables.publish(VOLUME_ILLUSTRATIONS, KEY, table)
    yield dg.MaterializeResult(
        data_version=dg.DataVersion(version),
        metadata={**plates.metadata, **row_counts(table), **pictures, "coherence": _table_of(rows)},
    )


def stacks(held_out: "Dataset", most: int, count: int) -> list[Stack]:
    """The longest evenly spaced stack of each held-out patient, those with most slices first, `most` slices of its
    middle. Raises NotEnoughDataError where no patient has two slices in one series.
    """
    import numpy as np

    by_series: dict[str, dict[float, int]] = {}
    for number, row in enumerate(held_out.rows):
        height = float(np.asarray(row["affine"]).reshape(4, 4)[2, 3])
        by_series.setdefault(row["series_instance_uid"], {}).setdefault(height, number)
    found: dict[str, Stack] = {}
    for series, places in sorted(by_series.items()):
        run = _even_run(sorted(places))
        if len(run) < 2:
            continue
        start = max(0, (len(run) - most) // 2)
        kept = run[start : start + most]
        rows = tuple(places[height] for height in kept)
        if held_out.levels[rows[0]] > held_out.levels[rows[-1]]:
            rows = rows[::-1]
        affine = np.asarray(held_out.rows[rows[0]]["affine"]).reshape(4, 4)
        step, down, across = abs(kept[1] - kept[0]), abs(float(affine[1, 1])), abs(float(affine[0, 0]))
        stack = Stack(rows, (step, down, across), series, held_out.rows[rows[0]]["patient"])
        if stack.patient not in found or len(found[stack.patient].rows) < len(rows):
            found[stack.patient] = stack
    if not found:
        raise NotEnoughDataError("no held-out patient has a series of two labelled slices: there is no stack to draw")
    return sorted(found.values(), key=lambda stack: (-len(stack.rows), stack.patient))[:count]


def _even_run(heights: Sequence[float]) -> list[float]:
    """The longest run of heights (ascending) whose steps agree."""
    best: list[float] = []
    run: list[float] = []
    for height in heights:
        if len(run) >= 2 and abs((height - run[-1]) - (run[1] - run[0])) > UNEVEN * (run[1] - run[0]):
            run = run[-1:]
        run = [*run, height]
        best = max(best, run, key=len)
    return best


def measured(
    volume: "GeneratedVolume", real: Any, labels: Any, judge: Any
) -> "tuple[CoherenceMeasures | None, list[str]]":
    """Coherence against the real slices, and the bars that are missed; None and why where it cannot be measured."""
    from medillus_pipeline.errors import InputError
    from medillus_pipeline.illustration.volumes.coherence import measure

    try:
        found = measure(volume.values, real, labels, judge=judge)
    except InputError as error:
        return None, [f"not measured: {error}"]
    return found, found.failures()


def zipped(files: Mapping[str, bytes]) -> bytes:
    """A ZIP of these files in the order of their names, without times: the same files give the same bytes."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)
    return sink.getvalue()


def _said_of_all(held_out: "Dataset", stack: Stack, models: "Models") -> list[str]:
    """Attributes that every slice of the stack has and the generator knows."""
    of_each = [set(held_out.attributes[row]) for row in stack.rows]
    return sorted(set.intersection(*of_each) & set(models.generator.attributes))


def _files(
    store: StoreResource, volume: "GeneratedVolume", stack: Stack, models: "Models", made: Made
) -> tuple[dict[str, Payload], dict[str, dg.MetadataValue]]:
    """Payloads by column, and the picture of the surfaces for the UI."""
    from medillus_pipeline.dicom.preview import thumbnail
    from medillus_pipeline.illustration.finished import seal
    from medillus_pipeline.illustration.provenance import MANIFEST_SUFFIX, Origin
    from medillus_pipeline.illustration.volumes import ct_series, slicer_scene
    from medillus_pipeline.illustration.volumes.surface_pictures import draw_surfaces
    from medillus_pipeline.illustration.volumes.surfaces import surfaces, write_glb

    name, words = f"v-{volume.sha256[:12]}", models.vocabulary
    shapes = surfaces(volume.labels, volume.affine, words)
    series = ct_series.write_volume_dicom(volume)
    view = draw_surfaces(shapes)
    bare = {
        f"{name}.nii.gz": ct_series.write_volume_nifti(volume),
        f"{name}.labels.nii.gz": ct_series.write_labels_nifti(volume),
        f"{name}.dicom.zip": zipped({f"{number:04d}.dcm": data for number, data in enumerate(series, 1)}),
        f"{name}.glb": write_glb(shapes),
        f"{name}.scene.zip": zipped(slicer_scene.write_scene(volume, words)),
        f"{name}.png": view,
    }
    origin = Origin(
        figure=name,
        source="generated",
        made_at=made.at.isoformat(timespec="seconds"),
        patient=stack.patient,
        model_name=models.facts.name,
        model_version=models.facts.version,
        model_verdict=models.facts.verdict,
        seed=volume.seed,
        dataset_fingerprint=models.facts.dataset_fingerprint,
        code_version=__version__,
    )
    asked = {
        "slices": len(stack.rows),
        "spacing_mm": list(stack.spacing),
        "series": stack.series,
        "seed": volume.seed,
        "steps": volume.steps,
        "noise_correlation": round(volume.correlation, 6),
        "run_ids": {**models.facts.run_ids, "dagster": made.run_id},
    }
    _, files = seal(origin, asked, bare, key=store.signing_key(), unchanged=list(bare))
    columns = {
        "nifti": ".nii.gz", "labels": ".labels.nii.gz", "dicom": ".dicom.zip", "surfaces": ".glb",
        "scene": ".scene.zip", "picture": ".png", "manifest": MANIFEST_SUFFIX,
    }  # fmt: skip
    kept = {
        column: store.clean.put("volume_files", files[name + ending], _suffix(ending))
        for column, ending in columns.items()
    }
    return kept, picture(store.clean, "volume_files", view, thumbnail=thumbnail(view))


def _suffix(ending: str) -> str:
    return ".nii.gz" if ending.endswith(".nii.gz") else f".{ending.rsplit('.', 1)[-1]}"


def _row(
    volume: "GeneratedVolume",
    stack: Stack,
    held_out: "Dataset",
    models: "Models",
    coherence: "CoherenceMeasures | None",
    missed: list[str],
    payloads: Mapping[str, Payload],
    made: Made,
    approval: Approved,
) -> dict[str, Any]:
    import numpy as np

    figures: dict[str, float | None] = dict.fromkeys(
        ("flicker", "lag", "texture_spread", "neighbour_correlation", "neighbour_correlation_real", "dice_ratio")
    )
    if coherence is not None:
        figures = {name: value if math.isfinite(value) else None for name, value in asdict(coherence).items()}
    return {
        "volume": f"v-{volume.sha256[:12]}",
        "patient": stack.patient,
        "series_instance_uid": stack.series,
        "split": held_out.rows[stack.rows[0]]["split"],
        "modality": volume.modality,
        "slices": len(volume.values),
        "side": int(volume.values.shape[-1]),
        "spacing": list(stack.spacing),
        "labels": [int(value) for value in np.unique(volume.labels) if value],
        "seed": volume.seed,
        "model_version": models.facts.version,
        "dataset_fingerprint": models.facts.dataset_fingerprint,
        **figures,
        "failed_checks": missed,
        **{f"{column}_path": payload.path for column, payload in payloads.items()},
        "made_at": made.at.isoformat(timespec="seconds"),
        "approved_by": list(approval.reviewers),
        "sha256": payloads["nifti"].sha256,
    }


def _plates(volume: "GeneratedVolume", stack: Stack, held_out: "Dataset", models: "Models", made: Made) -> list[Drawn]:
    """The three plates as labelled figures; `level` is told of the axial one alone."""
    import numpy as np

    from medillus_pipeline.illustration.figure import draw_figure
    from medillus_pipeline.illustration.request import FigureRequest
    from medillus_pipeline.illustration.volumes.plates import plates

    facts, drawn = models.facts, []
    for plate in plates(volume.values, volume.labels, volume.spacing):
        axial = plate.view.plane == "axial"
        middle = stack.rows[plate.view.index if axial else len(stack.rows) // 2]
        index = held_out.rows[middle]
        figure = draw_figure(
            FigureRequest(
                image=plate.values,
                labels=plate.labels,
                structures=models.structures(np.unique(plate.labels)),
                modality=volume.modality,
                body_part=index["body_part"],
                level=index["level"] if axial else None,
                pixel_mm=plate.view.pixel_mm,
                orientation=plate.view.orientation,
                source="generated",
                slice_name=index["slice_name"],
                patient=index["patient"],
                split=index["split"],
                model_name=facts.name,
                model_version=facts.version,
                model_stale=facts.stale,
                dataset_fingerprint=facts.dataset_fingerprint,
                seed=volume.seed,
                steps=volume.steps,
                ethics=facts.ethics,
                code_version=facts.code_version,
                vocabulary_version=facts.vocabulary_version,
                run_ids={**facts.run_ids, "dagster": made.run_id},
            )
        )
        told = {"volume": f"v-{volume.sha256[:12]}", "plane": plate.view.plane, "index": plate.view.index}
        said = {name: index[name] for name in ("contrast_phase", "stage")} | {"pathologies": index["pathology"]}
        drawn.append(Drawn(figure, (), endings_of(["pdf", "html"]), said, {"plate": told}))
    return drawn


def _coherent(rows: Sequence[Mapping[str, Any]]) -> dg.AssetCheckResult:
    missed = [f"{row['volume']}: {said}" for row in rows for said in row["failed_checks"]]
    return dg.AssetCheckResult(
        check_name="volumes_coherent",
        passed=not missed,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(missed) or "every bar is met",
        metadata={"coherence": _table_of(rows)},
    )


def _table_of(rows: Sequence[Mapping[str, Any]]) -> dg.MarkdownMetadataValue:
    names = ("flicker", "lag", "texture_spread", "neighbour_correlation", "neighbour_correlation_real", "dice_ratio")
    lines = [f"| volume | slices | {' | '.join(names)} |", f"| --- | ---: |{' ---: |' * len(names)}"]
    for row in rows:
        figures = ("not measured" if row[name] is None else f"{row[name]:.3f}" for name in names)
        lines.append(f"| {row['volume']} | {row['slices']} | {' | '.join(figures)} |")
    return dg.MetadataValue.md("\n".join(lines))
