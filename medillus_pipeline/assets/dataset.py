"""`training_dataset` and `anatomical_prior`: what models learn from, frozen and fingerprinted."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from medillus_pipeline import published
from medillus_pipeline.assets import drift
from medillus_pipeline.assets.annotation import masks
from medillus_pipeline.assets.imaging import slices
from medillus_pipeline.assets.ingest import deidentified_instances
from medillus_pipeline.assets.publishing import (
    counts_table,
    gate,
    picture,
    progress_to,
    rows_without_partition,
    table_metadata,
)
from medillus_pipeline.errors import ConfigurationError, NotEnoughDataError
from medillus_pipeline.failures import RETRY, failing_clearly
from medillus_pipeline.resources.compute import ComputeResource
from medillus_pipeline.resources.store import StoreResource
from medillus_pipeline.tables import (
    INSTANCES,
    MASKS,
    PATIENT_SPLITS,
    SLICES,
    STUDY_LABELS,
    TRAINING_SLICES,
    Table,
    TableStore,
)

if TYPE_CHECKING:
    from medillus_pipeline.generation.config import DatasetConfig as PresetDataset

INPUTS = (INSTANCES, SLICES, MASKS, STUDY_LABELS)


class DatasetConfig(dg.Config):
    """How the snapshot is packed."""

    preset: str = Field(default="demo", description="Model preset whose canonical frame is used: demo or tiny.")
    size: int | None = Field(
        default=None, ge=16, le=512, description="Height and width of a packed slice in pixels; unset: the preset's."
    )
    modalities: list[str] | None = Field(
        default=None, min_length=1, description="DICOM Modalities that the snapshot holds; unset: the preset's."
    )
    channels: int | None = Field(
        default=None,
        description="1, or 3 for the slices just below and above each slice as well; unset: the preset's.",
    )


class AnatomicalPriorConfig(dg.Config):
    """What the prior is built from."""

    atlas: str | None = Field(
        default=None,
        description="Path on this machine of an atlas instead of the training patients: a prior .safetensors, or a "
        "folder of label volumes (NIfTI, NRRD) with a labels.json.",
    )


def input_versions(tables: TableStore) -> dict[str, dict[str, str]]:
    """Data versions of every published partition that the dataset joins: table → partition key → version."""
    versions = {}
    for table in INPUTS:
        found = {key: tables.version(table, key) for key in tables.keys(table)}
        versions[table.name] = {key: version for key, version in found.items() if version is not None}
    return versions


@dg.asset(
    deps=[deidentified_instances, slices, masks],
    group_name="dataset",
    owners=["team:machine-learning"],
    kinds={"numpy", "parquet"},
    code_version="2",
    retry_policy=RETRY,
    pool="dataset",
    metadata=table_metadata(TRAINING_SLICES),
    check_specs=[
        dg.AssetCheckSpec(
            "dataset_gate",
            asset="training_dataset",
            description="Great Expectations suite `training_slices`: every split present, a patient in one split only, "
            "labels present, values plausible. Blocks publication.",
            blocking=True,
        ),
        drift.SPEC,
    ],
)
def training_dataset(
    context: dg.AssetExecutionContext, config: DatasetConfig, store: StoreResource, compute: ComputeResource
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """Calibrated values and label maps in the canonical frame, memory-mapped, with the frozen patient-level split
    (train, judge, validation, locked test), a manifest of partitions with their data versions, and a fingerprint.
    """
    from medillus_pipeline.annotation import vocabulary
    from medillus_pipeline.dicom.preview import thumbnail
    from medillus_pipeline.generation.dataset import load_snapshot, preview
    from medillus_pipeline.generation.snapshot import build_snapshot

    with failing_clearly():
        words = vocabulary.load()
        chosen = _chosen(config)
        partitions = input_versions(store.tables)
        rows: dict[Table, Any] = {
            t: rows_without_partition(store.tables.read_all(t, partitions[t.name])) for t in INPUTS
        }
        splits, newcomers = _splits(store.tables, rows[SLICES], rows[MASKS])
        with compute.executor() as executor:
            snapshot = build_snapshot(
                rows[SLICES],
                rows[MASKS],
                rows[INSTANCES],
                splits | newcomers,
                store.clean,
                words,
                chosen,
                partitions=partitions,
                study_labels=rows[STUDY_LABELS],
                workers=compute.workers,
                executor=executor,
                progress=progress_to(context, "slices packed"),
            )
        table = TRAINING_SLICES.to_arrow(snapshot.rows)
    yield from gate(
        "training_slices",
        "dataset_gate",
        table,
        advice="Look at the patients per split and at the labels of the slices in the table training_slices.",
    )
    with failing_clearly():
        if newcomers:
            entered = len(store.tables.keys(PATIENT_SPLITS)) + 1
            assigned = [{"split_token": token, "split": name, "round": entered} for token, name in newcomers.items()]
            store.tables.publish(PATIENT_SPLITS, f"round-{entered:06d}", PATIENT_SPLITS.to_arrow(assigned))
        store.tables.publish(TRAINING_SLICES, "current", table)
        published.publish(
            store.clean,
            "training_dataset",
            {"fingerprint": snapshot.fingerprint, "manifest": snapshot.path, "inputs": partitions},
        )
        dataset = load_snapshot(store.clean, snapshot.path)
        shown = preview(dataset, words)
        names = {structure.id: structure.name_en for structure in words.structures}
        # Here rather than in a step of its own: the next step trains a generator, which would be compared with itself.
        drifted = drift.check(store.clean, snapshot.path, rows[SLICES], names, drift.trained_on(store.clean))
    yield drifted
    yield dg.MaterializeResult(
        data_version=dg.DataVersion(snapshot.fingerprint),
        metadata={
            "dagster/row_count": table.num_rows,
            "fingerprint": snapshot.fingerprint,
            "manifest": f"{store.clean.url}/{snapshot.path}",
            "slices_per_split": counts_table(_count(table["split"].to_pylist()), heading="split"),
            "patients_per_split": counts_table(
                _count(split for _, split in {(row["patient"], row["split"]) for row in snapshot.rows}), heading="split"
            ),
            "slices_per_attribute": counts_table(
                _count(said for each in dataset.attributes for said in each), heading="attribute"
            ),
            **picture(store.clean, "previews", shown, thumbnail=thumbnail(shown)),
        },
    )


@dg.asset(
    deps=[training_dataset],
    group_name="dataset",
    owners=["team:machine-learning"],
    kinds={"numpy", "safetensors"},
    code_version="2",
    retry_policy=RETRY,
)
def anatomical_prior(
    context: dg.AssetExecutionContext, config: AnatomicalPriorConfig, store: StoreResource
) -> dg.MaterializeResult:
    """Where each structure lies, how large it is, what shapes it takes and what it touches: occupancy, tissue, size,
    shape model, position and adjacency by body level, from the training patients only or from an atlas.
    """
    from medillus_pipeline.annotation import vocabulary
    from medillus_pipeline.dicom.preview import thumbnail
    from medillus_pipeline.generation.atlas import prior_for
    from medillus_pipeline.generation.config import preset
    from medillus_pipeline.generation.dataset import load_snapshot
    from medillus_pipeline.generation.prior import preview

    with failing_clearly():
        dataset_document = published.require(store.clean, "training_dataset")
        dataset = load_snapshot(store.clean, dataset_document["manifest"])
        words = vocabulary.load()
        prior, matched = prior_for(dataset, preset(dataset.preset).prior, config.atlas, words)
        payload = store.clean.put("priors", prior.to_bytes(), ".safetensors")
        published.publish(
            store.clean,
            "anatomical_prior",
            {
                "path": payload.path,
                "sha256": payload.sha256,
                "dataset_fingerprint": dataset.fingerprint,
                "dataset_manifest": dataset_document["manifest"],
            },
        )
        shown = preview(prior, words)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(payload.sha256),
        metadata={
            "classes": len(dataset.classes),
            "version": prior.version,
            "origin": prior.origin,
            **matched,
            "payload": f"{store.clean.url}/{payload.path}",
            **picture(store.clean, "previews", shown, thumbnail=thumbnail(shown)),
        },
    )


def too_few_patients(tables: TableStore) -> str | None:
    """Why the published masks cannot be split into patients to learn from and to measure on, or None when they can."""
    try:
        _splits(tables, tables.read_all(SLICES).to_pylist(), tables.read_all(MASKS).to_pylist())
    except NotEnoughDataError as error:
        return str(error)
    return None


def _chosen(config: DatasetConfig) -> "PresetDataset":
    """The preset's dataset with what the run asks for instead. Raises ConfigurationError for what cannot be packed."""
    from pydantic import ValidationError

    from medillus_pipeline.generation.config import DatasetConfig as PresetDataset
    from medillus_pipeline.generation.config import preset

    asked = {"size": config.size, "modalities": config.modalities, "channels": config.channels}
    own = preset(config.preset).dataset.model_dump()
    try:
        return PresetDataset(**own | {name: value for name, value in asked.items() if value is not None})
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise ConfigurationError(f"the dataset cannot be packed as asked: {faults}") from error


def _splits(
    tables: TableStore, slice_rows: list[dict[str, Any]], mask_rows: list[dict[str, Any]]
) -> tuple[dict[str, str], dict[str, str]]:
    """Splits on record by patient token, and those of patients whose masks are seen for the first time."""
    from medillus_pipeline.generation.split import QUOTAS, assign

    existing = {row["split_token"]: row["split"] for row in tables.read_all(PATIENT_SPLITS).to_pylist()}
    token_of = {row["slice_name"]: row["split_token"] for row in reversed(slice_rows)}  # of duplicates the first counts
    annotated = {token_of[row["slice_name"]] for row in mask_rows if row["slice_name"] in token_of}
    return existing, assign(sorted(annotated), existing, QUOTAS)


def _count(values: Any) -> dict[str, int]:
    from collections import Counter

    return dict(Counter(values))
