"""States of an installation that sensors and the schedule look at, without the hours that lead to them."""

import dagster as dg
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from medillus_pipeline import published
from medillus_pipeline.assets.dataset import input_versions
from medillus_pipeline.tables import MASK_ITEMS, MASKS
from medillus_pipeline.validation import gates
from medillus_pipeline_tests.quality import clean
from medillus_pipeline_tests.site import Site


def publish_masks(site: Site, *batches: str, pending: bool = False, seen: int = 0) -> None:
    """A batch as the masks asset leaves it: table, receipt and materialization."""
    outcome = ("pending", "unknown_slice") if pending else ("accepted", "")
    site.instance.add_dynamic_partitions("annotation_batches", batches)
    for batch in batches:
        line = {"item": "i-000000000000", "structure": "*", "source_format": "labelme", "slices": 1, "remark": ""}
        line |= {"outcome": outcome[0], "reason": outcome[1]}
        site.store.tables.publish(MASK_ITEMS, batch, MASK_ITEMS.to_arrow([line]))
        site.store.tables.publish(MASKS, batch, MASKS.to_arrow([] if pending else clean.masks()))
        metadata = {"slices_seen": seen}
        site.instance.report_runless_asset_event(dg.AssetMaterialization("masks", partition=batch, metadata=metadata))


def publish_training(site: Site) -> None:
    """The pointers of a generator that was trained and validated on what is published now."""
    inputs = input_versions(site.store.tables)
    published.publish(site.store.clean, "training_dataset", {"fingerprint": "f" * 64, "inputs": inputs})
    published.publish(site.store.clean, "generator_checkpoint", {"dataset_fingerprint": "f" * 64, "version": "3"})
    report = {"version": "3", "profile": site.settings.profile, "gates_sha256": gates.fingerprint()}
    published.publish(site.store.clean, "validation_report", report)


def retraining_in(site: Site, status: dg.DagsterRunStatus, **tags: str) -> dg.DagsterRun:
    """A retraining in that state, with tags of Dagster, as its queue knows it."""
    location = RegisteredCodeLocationOrigin("medillus")
    origin = RemoteJobOrigin(RemoteRepositoryOrigin(location, "__repository__"), "retrain")
    job = dg.GraphDefinition(name="retrain").to_job(name="retrain")
    told = {f"dagster/{name}": value for name, value in tags.items()}
    return site.instance.create_run_for_job(job, status=status, tags=told, remote_job_origin=origin)
