"""Jobs. Assets of differing partitions do not resolve into one job, so there is one per stage, with sensors between."""

from typing import Any

import dagster as dg

from medillus_pipeline.assets.annotation import masks
from medillus_pipeline.assets.dataset import anatomical_prior, training_dataset
from medillus_pipeline.assets.generator import generator_checkpoint
from medillus_pipeline.assets.illustration import illustrations, labelled_scans
from medillus_pipeline.assets.imaging import slices
from medillus_pipeline.assets.ingest import deidentified_instances
from medillus_pipeline.assets.promotion import promoted_generator
from medillus_pipeline.assets.training import judge, organ_segmenter
from medillus_pipeline.assets.validation import validation_report
from medillus_pipeline.assets.volumes import volumes
from medillus_pipeline.automation_settings import AutomationSettings
from medillus_pipeline.partitions import annotation_batches, deliveries

ONE_STEP_AT_A_TIME = {"execution": {"config": {"multiprocess": {"max_concurrent": 1}}}}
"""Training steps use all threads of the machine, so they take turns."""

ingest_delivery = dg.define_asset_job(
    "ingest_delivery",
    selection=dg.AssetSelection.assets(deidentified_instances, slices, volumes),
    partitions_def=deliveries,
    description="De-identify a delivery of images, render its slices and build its volumes.",
    tags={"stage": "ingest"},
)

ingest_annotations = dg.define_asset_job(
    "ingest_annotations",
    selection=dg.AssetSelection.assets(masks),
    partitions_def=annotation_batches,
    description="Read a batch of annotations into label maps on published slices.",
    tags={"stage": "ingest"},
)

label_scans = dg.define_asset_job(
    "label_scans",
    selection=dg.AssetSelection.assets(labelled_scans),
    partitions_def=annotation_batches,
    description="Labelled figures of the real scans of an annotation batch; needs no model.",
    tags={"stage": "illustrate"},
)


def training_tags(gpus: int) -> dict[str, Any]:
    """Tags of a run that trains: with GPUs, what Kubernetes needs to find a node with them."""
    if not gpus:
        return {"stage": "train"}
    pod = {
        "node_selector": {"nvidia.com/gpu.present": "true"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    }
    container = {"resources": {"limits": {"nvidia.com/gpu": str(gpus)}}}
    return {"stage": "train", "dagster-k8s/config": {"container_config": container, "pod_spec_config": pod}}


retrain = dg.define_asset_job(
    "retrain",
    selection=dg.AssetSelection.assets(
        training_dataset, anatomical_prior, judge, organ_segmenter, generator_checkpoint, validation_report
    ),
    description="Pack the dataset, train judge, organ segmenter and generator, and validate the new challenger. What "
    "is unchanged is not trained again.",
    config=ONE_STEP_AT_A_TIME,
    tags=training_tags(AutomationSettings.from_environment().training_gpus),
)

promote = dg.define_asset_job(
    "promote",
    selection=dg.AssetSelection.assets(promoted_generator, illustrations),
    description="Make the validated challenger the champion when every gate passed, and illustrate with it.",
    config=ONE_STEP_AT_A_TIME,
    tags={"stage": "promote"},
)

rollback = dg.define_asset_job(
    "rollback",
    selection=dg.AssetSelection.assets(promoted_generator, illustrations),
    description="Go back to the champion before the present one, and illustrate with it. In the launchpad: a named "
    "former champion, the reason, and whether the version that is left may ever come back.",
    config={**ONE_STEP_AT_A_TIME, "ops": {"promoted_generator": {"config": {"action": "rollback"}}}},
    tags={"stage": "promote"},
)

watch_champion = dg.define_asset_job(
    "watch_champion",
    selection=dg.AssetSelection.checks_for_assets(promoted_generator),
    description="Look whether MLflow's aliases are as recorded, and whether the champion's report still holds.",
    tags={"stage": "promote"},
)

JOBS = [ingest_delivery, ingest_annotations, label_scans, retrain, promote, rollback, watch_champion]
