"""The models: `judge` (measures only), `organ_segmenter` (works) and `generator_checkpoint` (MLflow, challenger).

A model whose inputs are unchanged is not trained again: its key is the hash of everything that determines its weights.
"""

import hashlib
import json
import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg
from pydantic import Field

from medillus_pipeline import __version__, published
from medillus_pipeline.assets.dataset import anatomical_prior, training_dataset
from medillus_pipeline.assets.publishing import picture, progress_to
from medillus_pipeline.failures import RETRY, failing_clearly
from medillus_pipeline.resources.compute import ComputeResource
from medillus_pipeline.resources.mlflow import MLflowResource
from medillus_pipeline.resources.store import StoreResource

if TYPE_CHECKING:
    from medillus_pipeline.generation.dataset import Dataset
    from medillus_pipeline.generation.sampling import Generator

CODE_VERSION = "1"


class SegmenterRunConfig(dg.Config):
    """How a segmenter is trained."""

    preset: str = Field(default="demo", description="Model preset: demo, or tiny for tests.")
    steps: int | None = Field(default=None, ge=1, description="Training steps; unset: the preset's.")
    seed: int = Field(default=11, ge=0, description="Seed of weights, order and augmentation.")


class JudgeConfig(SegmenterRunConfig):
    """How the judge is trained; its seed and architecture differ from the organ segmenter's on purpose."""

    seed: int = Field(default=20, ge=0, description="Seed of weights, order and augmentation.")


class GeneratorRunConfig(dg.Config):
    """How the generator is trained."""

    preset: str = Field(default="demo", description="Model preset: demo, or tiny for tests.")
    steps: int | None = Field(default=None, ge=1, description="Training steps; unset: the preset's.")
    batch_size: int | None = Field(default=None, ge=1, description="Slices in a training step; unset: the preset's.")
    learning_rate: float | None = Field(default=None, gt=0, le=1, description="Rate of AdamW; unset: the preset's.")
    seed: int = Field(default=0, ge=0, description="Seed of weights, order, augmentation and noise.")
    start_from: str | None = Field(
        default=None,
        description="Weights to begin from, the classes may differ: models:/medillus-generator@champion, "
        "models:/medillus-generator/3, or a weights file on this machine; unset: fresh weights.",
    )


def training_key(*parts: Any) -> str:
    """SHA-256 over everything that determines a model's weights, the package version included."""
    return hashlib.sha256(json.dumps([*parts, __version__, CODE_VERSION], sort_keys=True).encode()).hexdigest()


@dg.asset(
    deps=[training_dataset],
    group_name="models",
    owners=["team:machine-learning"],
    kinds={"pytorch", "safetensors"},
    code_version=CODE_VERSION,
    retry_policy=RETRY,
    pool="training",
)
def judge(
    context: dg.AssetExecutionContext, config: JudgeConfig, store: StoreResource, compute: ComputeResource
) -> dg.MaterializeResult:
    """A segmenter trained on real images of its own patients, whom the generator never sees. It measures, and takes
    part in no loss, no checkpoint choice and no figure.
    """
    return _segmenter(context, "judge", "judge", config, store, compute)


@dg.asset(
    deps=[training_dataset],
    group_name="models",
    owners=["team:machine-learning"],
    kinds={"pytorch", "safetensors"},
    code_version=CODE_VERSION,
    retry_policy=RETRY,
    pool="training",
)
def organ_segmenter(
    context: dg.AssetExecutionContext, config: SegmenterRunConfig, store: StoreResource, compute: ComputeResource
) -> dg.MaterializeResult:
    """A second segmenter, trained on the generator's training patients, for the confidence that figures print."""
    return _segmenter(context, "organ_segmenter", "train", config, store, compute)


def _segmenter(
    context: dg.AssetExecutionContext,
    name: Literal["judge", "organ_segmenter"],
    split: str,
    config: SegmenterRunConfig,
    store: StoreResource,
    compute: ComputeResource,
) -> dg.MaterializeResult:
    import numpy as np

    from medillus_pipeline.annotation import vocabulary
    from medillus_pipeline.generation.config import preset
    from medillus_pipeline.generation.dataset import load_snapshot
    from medillus_pipeline.generation.segmenter import Segmenter, train_segmenter
    from medillus_pipeline.validation import metrics

    with failing_clearly():
        document = published.require(store.clean, "training_dataset")
        dataset = load_snapshot(store.clean, document["manifest"])
        chosen = getattr(preset(config.preset), name).model_copy(update={"threads": compute.threads})
        if config.steps is not None:
            chosen = chosen.model_copy(update={"steps": config.steps})
        key = training_key(name, dataset.fingerprint, chosen.model_dump(mode="json", exclude={"threads"}), config.seed)
        former = published.current(store.clean, name)
        if former is not None and former["key"] == key:
            context.log.info("dataset and configuration are unchanged: the trained model stays")
            segmenter = Segmenter.from_bytes(store.clean.read(former["path"]))
            sha256 = former["sha256"]
        else:
            part = dataset.split(split)
            segmenter = train_segmenter(
                part.values,
                part.labels,
                dataset.classes,
                config=chosen,
                seed=config.seed,
                progress=progress_to(context, "training steps"),
            )
            payload = store.clean.put("segmenters", segmenter.to_bytes(), ".safetensors")
            sha256 = payload.sha256
            published.publish(
                store.clean,
                name,
                {
                    "key": key,
                    "path": payload.path,
                    "sha256": sha256,
                    "dataset_fingerprint": dataset.fingerprint,
                    "patients": len(set(part.patients)),
                    "slices": len(part),
                },
            )
        held_out = dataset.split("validation")
        words = vocabulary.load()
        counts = metrics.overlap(held_out.labels, segmenter.labels(held_out.values), len(dataset.classes))
        by_structure = metrics.patient_dice(counts, np.zeros(len(held_out), np.int64), 1)[0]
        lines = ["| structure | Dice on validation patients |", "| --- | ---: |"]
        lines += [f"| {words.by_id(c).name_en} | {d:.3f} |" for c, d in zip(dataset.classes, by_structure, strict=True)]
    return dg.MaterializeResult(
        data_version=dg.DataVersion(sha256),
        metadata={
            "dice_by_structure": dg.MetadataValue.md("\n".join(lines)),
            "mean_dice": float(metrics.nan_mean(by_structure)),
            "sha256": sha256,
        },
    )


@dg.asset(
    deps=[training_dataset, anatomical_prior],
    group_name="models",
    owners=["team:machine-learning"],
    kinds={"pytorch", "mlflow"},
    code_version=CODE_VERSION,
    retry_policy=RETRY,
    pool="training",
)
def generator_checkpoint(
    context: dg.AssetExecutionContext,
    config: GeneratorRunConfig,
    store: StoreResource,
    compute: ComputeResource,
    mlflow: MLflowResource,
) -> dg.MaterializeResult:
    """The mask-conditioned generator (rectified flow with the anatomical prior), logged to one MLflow run, registered
    as the next version of `medillus-generator` and given the alias `challenger`.
    """
    from medillus_pipeline.annotation import vocabulary
    from medillus_pipeline.dicom.preview import thumbnail
    from medillus_pipeline.generation import model_card, model_file, transfer
    from medillus_pipeline.generation.config import preset
    from medillus_pipeline.generation.dataset import load_snapshot
    from medillus_pipeline.generation.prior import Prior
    from medillus_pipeline.generation.training import train_generator
    from medillus_pipeline.resources import registered_models

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces its precision on every start
    with failing_clearly():
        prior_document = published.require(store.clean, "anatomical_prior")
        dataset = load_snapshot(store.clean, prior_document["dataset_manifest"])
        prior = Prior.from_bytes(store.clean.read(prior_document["path"]))
        words = vocabulary.load()
        asked = {"steps": config.steps, "batch_size": config.batch_size, "learning_rate": config.learning_rate}
        overrides = {name: value for name, value in asked.items() if value is not None}
        chosen = preset(config.preset).generator.model_copy(update={**overrides, "threads": compute.threads})
        described = chosen.model_dump(mode="json", exclude={"threads"})
        start = None if config.start_from is None else registered_models.weights_of(mlflow, config.start_from)
        begun = {} if start is None else {"start_sha256": hashlib.sha256(start).hexdigest()}
        if start is not None:
            context.log.info(transfer.preview(dataset.classes, chosen, start))
        key = training_key(
            "generator", dataset.fingerprint, prior_document["sha256"], described, config.seed, *begun.values()
        )
        made_from = {
            "dataset_fingerprint": dataset.fingerprint,
            "prior_sha256": prior_document["sha256"],
            "code_version": __version__,
            **begun,
        }
        tags = {**made_from, "dagster_run_id": context.run_id}
        run = mlflow.training_run(key, f"generator-{dataset.fingerprint[:8]}", tags)
        version = run.version
        work = Path(store.work) / "training" / key[:16]
        metadata: dict[str, Any] = {}
        if version is None:
            try:
                mlflow.log(
                    run.run_id,
                    parameters={
                        **{f"generator.{name}": value for name, value in described.items()},
                        "seed": config.seed,
                        "classes": len(dataset.classes),
                        "size": dataset.values.shape[-1],
                        "vocabulary_version": words.version,
                        **{f"slices.{s}": c["slices"] for s, c in dataset.manifest["counts"].items()},
                        **{f"patients.{s}": c["patients"] for s, c in dataset.manifest["counts"].items()},
                        **made_from,
                    },
                )
                client = mlflow.client()
                with tempfile.TemporaryDirectory() as folder:
                    grids = Path(folder) / "samples"
                    grids.mkdir()
                    generator = train_generator(
                        dataset,
                        prior,
                        chosen,
                        seed=config.seed,
                        start=start,
                        checkpoint_dir=work,
                        log=lambda step, figures: mlflow.log(run.run_id, metrics=figures, step=step, client=client),
                        preview=lambda step, model: _write_sheet(grids, step, model, dataset, words.palette()),
                        progress=progress_to(context, "training steps"),
                    )
                    mlflow.log_folder(run.run_id, grids, "samples")
                    last = max(grids.iterdir(), default=None)
                    if last is not None:
                        shown = last.read_bytes()
                        metadata = picture(store.clean, "previews", shown, thumbnail=thumbnail(shown))
                    package = Path(folder) / "model"
                    artifacts = model_file.package(
                        generator,
                        prior,
                        dataset.classes,
                        words.version,
                        dataset.manifest,
                        package,
                        card=lambda of: model_card.model_card(
                            of, dataset.manifest, words, prior_sha256=prior_document["sha256"], **begun
                        ),
                    )
                    code = model_file.write_model_file(package)
                    version = mlflow.register(
                        run.run_id,
                        lambda: model_file.log_generator(artifacts, code, release_steps=chosen.release_steps),
                        tags,
                    )
                    told = model_card.summary(generator.describe(), dataset.manifest)
                    registered_models.describe(mlflow, version, told)
            except BaseException:
                mlflow.finish(run.run_id, "FAILED")
                raise
        else:
            context.log.info(f"dataset and configuration are unchanged: version {version} stays")
        mlflow.challenge(version)  # also when a killed attempt got as far as registering
        mlflow.finish(run.run_id)
        published.publish(
            store.clean,
            "generator_checkpoint",
            {
                "key": key,
                "version": version,
                "run_id": run.run_id,
                "experiment_id": run.experiment_id,
                "dataset_fingerprint": dataset.fingerprint,
                "dataset_manifest": prior_document["dataset_manifest"],
                "prior_sha256": prior_document["sha256"],
            },
        )
    return dg.MaterializeResult(
        data_version=dg.DataVersion(key),
        metadata={
            "mlflow_run": dg.MetadataValue.url(mlflow.run_url(run)),
            "registered_version": dg.MetadataValue.url(mlflow.version_url(version)),
            "version": version,
            "dataset_fingerprint": dataset.fingerprint,
            **metadata,
        },
    )


def _write_sheet(folder: Path, step: int, model: "Generator", dataset: "Dataset", palette: bytes) -> None:
    """Samples at fixed masks of validation patients, spread over the body, as `step-<number>.png`."""
    from medillus_pipeline.generation.sampling import sample_sheet

    held_out = dataset.split("validation")
    if not len(held_out):
        return
    rows = [int(share * (len(held_out) - 1)) for share in (0.1, 0.3, 0.5, 0.7, 0.9)]
    sheet = sample_sheet(model, held_out, rows, palette, steps=model.config.preview_steps)
    (folder / f"step-{step:06d}.png").write_bytes(sheet)
