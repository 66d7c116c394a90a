"""Dagster's front door. Importing it loads Dagster and this package, and nothing heavy.

`build_defs` takes settings and resources, so a test swaps a part without touching the environment.
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from medillus_pipeline import telemetry
from medillus_pipeline.assets import (
    annotation,
    case_library,
    dataset,
    generator,
    illustration,
    illustrators,
    imaging,
    ingest,
    promotion,
    requested,
    reviews,
    training,
    validation,
    volume_illustrations,
    volumes,
)
from medillus_pipeline.automation.alerting import ALERT_SENSORS
from medillus_pipeline.automation.freshness import with_freshness
from medillus_pipeline.automation.illustrations import ILLUSTRATION_JOBS, ILLUSTRATION_SENSORS
from medillus_pipeline.automation.jobs import JOBS
from medillus_pipeline.automation.reviews import REVIEW_JOBS, REVIEW_SENSORS
from medillus_pipeline.automation.schedules import SCHEDULES
from medillus_pipeline.automation.sensors import SENSORS
from medillus_pipeline.automation.stewardship import STEWARDSHIP_JOBS, STEWARDSHIP_SENSORS
from medillus_pipeline.automation_settings import AutomationSettings
from medillus_pipeline.resources.alerts import AlertsResource
from medillus_pipeline.resources.compute import ComputeResource
from medillus_pipeline.resources.mlflow import MLflowResource
from medillus_pipeline.resources.store import StoreResource
from medillus_pipeline.settings import Settings

telemetry.switch_off()

STAGES = [
    ingest,
    imaging,
    volumes,
    annotation,
    dataset,
    training,
    generator,
    validation,
    reviews,
    promotion,
    illustrators,
    illustration,
    requested,
    volume_illustrations,
    case_library,
]


def build_defs(
    settings: Settings | None = None,
    resources: Mapping[str, Any] | None = None,
    loggers: Mapping[str, dg.LoggerDefinition] | None = None,
) -> dg.Definitions:
    """All definitions for these settings (default: the environment's), with resources and loggers swapped if given."""
    chosen = settings or Settings.from_environment()
    return dg.Definitions(
        assets=with_freshness(dg.load_assets_from_modules(STAGES)),
        asset_checks=dg.load_asset_checks_from_modules(STAGES),
        jobs=[*JOBS, *REVIEW_JOBS, *ILLUSTRATION_JOBS, *STEWARDSHIP_JOBS],
        sensors=[*SENSORS, *REVIEW_SENSORS, *ILLUSTRATION_SENSORS, *STEWARDSHIP_SENSORS, *ALERT_SENSORS],
        schedules=SCHEDULES,
        resources={
            "store": StoreResource.of(chosen),
            "compute": ComputeResource.of(chosen),
            "mlflow": MLflowResource.of(chosen),
            "alerts": AlertsResource(file=AutomationSettings.from_environment().alerts),
            **(resources or {}),
        },
        loggers=loggers,
    )


defs = build_defs()
