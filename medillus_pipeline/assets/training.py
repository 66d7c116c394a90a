"""The segmenters: `judge` (measures only) and `organ_segmenter` (works). The generator is in `generator.py`.

A model whose inputs are unchanged is not trained again: its key is the hash of everything that determines its weights.
"""

import hashlib
import json
from typing import Any, Literal

import dagster as dg
from pydantic import Field

from medillus_pipeline import __version__, published
from medillus_pipeline.assets.dataset import training_dataset
from medillus_pipeline.assets.publishing import progress_to
from medillus_pipeline.failures import RETRY, failing_clearly
from medillus_pipeline.resources.compute import ComputeResource
from medillus_pipeline.resources.store import StoreResource

CODE_VERSION = "2"


class SegmenterRunConfig(dg.Config):
    """How a segmenter is trained."""

    preset: str = Field(default="demo", description="Model preset: demo, or tiny for tests.")
    steps: int | None = Field(default=None, ge=1, description="Training steps; unset: the preset's.")
    seed: int = Field(default=11, ge=0, description="Seed of weights, order and augmentation.")


class JudgeConfig(SegmenterRunConfig):
    """How the judge is trained; its seed and architecture differ from the organ segmenter's on purpose."""

    seed: int = Field(default=20, ge=0, description="Seed of weights, order and augmentation.")


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
                claimed=part.claimed,
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
