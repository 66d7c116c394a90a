"""Research volumes of the head and neck as a snapshot: wrapped as DICOM, then through ingest, masks and dataset.

The pipeline's own jobs do it, in a home of its own below the scene's folder; no model is trained here.
"""

from pathlib import Path
from typing import Any

import dagster as dg

from medillus_pipeline import landings, published
from medillus_pipeline.automation.instance import local_instance
from medillus_pipeline.automation.jobs import ingest_annotations, ingest_delivery, retrain
from medillus_pipeline.definitions import build_defs
from medillus_pipeline.dicom.from_nifti import import_nifti
from medillus_pipeline.partitions import annotation_batches, deliveries
from medillus_pipeline.resources.store import StoreResource
from medillus_pipeline.settings import Settings
from medillus_pipeline.zones import Zone

OFFSET = -1000.0
"""Stored values of the set are about HU + 1000."""


def openkbp_snapshot(source: Path, clean: Zone, home: Path) -> str:
    """Import every patient of the folder `source`; returns the path of the snapshot's manifest in `clean`."""
    settings = Settings.from_environment(
        {
            "MEDILLUS_HOME": str(home.resolve()),
            "MEDILLUS_CLEAN_URL": clean.url,
            "MEDILLUS_PROFILE": "demo",
            "MEDILLUS_WORKERS": "1",
            "MEDILLUS_THREADS": "1",
        }
    )
    import_nifti(source, Path(settings.landing.full("")), name="openkbp", body_part="HEADNECK", offset=OFFSET)
    store = StoreResource.of(settings)
    definitions = build_defs(settings)
    with local_instance(home) as instance:
        stages: tuple[tuple[landings.Kind, Any, Any], ...] = (
            ("images", deliveries, ingest_delivery),
            ("annotations", annotation_batches, ingest_annotations),
        )
        for kind, partitions, job in stages:
            landings.register(store.landing, store.vault, store.pseudonymiser(), kind)
            keys = landings.known_keys(store.vault, kind)
            instance.add_dynamic_partitions(str(partitions.name), keys)
            for key in keys:
                definitions.resolve_job_def(job.name).execute_in_process(instance=instance, partition_key=key)
        definitions.resolve_job_def(retrain.name).execute_in_process(
            instance=instance, asset_selection=[dg.AssetKey("training_dataset")]
        )
    return published.require(settings.clean, "training_dataset")["manifest"]
