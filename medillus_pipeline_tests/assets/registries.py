"""A registry for tests of promotion: versions without artifacts in a real MLflow on SQLite, and reports that passed."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from medillus_pipeline import published
from medillus_pipeline.assets.promotion import registry_of
from medillus_pipeline.resources.mlflow import MLflowResource
from medillus_pipeline.resources.promotions import Registry
from medillus_pipeline.resources.store import StoreResource
from medillus_pipeline.settings import Settings
from medillus_pipeline.validation import gates
from medillus_pipeline_tests.flow import settings_at

VERSIONS = 4


def new_database(home: Path) -> Path:
    """A home whose MLflow holds versions 1 to `VERSIONS`, none of them with an alias; making one takes seconds."""
    mlflow = MLflowResource.of(settings_at(home))
    client = mlflow.client()
    client.create_registered_model(mlflow.model)
    for _ in range(VERSIONS):
        client.create_model_version(mlflow.model, "file:///nowhere")
    return home / "mlflow" / "mlflow.db"


def settings_with(database: Path, home: Path, **further: str) -> Settings:
    """Settings of a new home with a copy of that database."""
    (home / "mlflow").mkdir(parents=True)
    shutil.copy(database, home / "mlflow" / "mlflow.db")
    return settings_at(home, **further)


def registry(settings: Settings) -> Registry:
    return registry_of(StoreResource.of(settings), MLflowResource.of(settings))


def validated(settings: Settings, version: str, **changes: Any) -> None:
    """What training and validation publish of a version that passed every gate, with `changes` to its report."""
    clean = settings.clean
    rules = {"format": 2, "config": {"size": 128}}
    manifest = clean.put("datasets", json.dumps(rules).encode(), ".json").path
    judge = {"path": "segmenters/judge", "sha256": hashlib.sha256(b"judge").hexdigest()}
    checkpoint = {"version": version, "run_id": f"run-{version}", "dataset_fingerprint": "f" * 64}
    report = {
        "version": version,
        "run_id": f"run-{version}",
        "status": "passed",
        "sentence": "All gates of the profile passed.",
        "profile": settings.profile,
        "required_approvals": gates.load_profile(settings.profile).required_approvals,
        "review_statement": "What this profile says of review.",
        "failed_gates": [],
        "html": f"reports/{version}.html",
        "dataset_fingerprint": "f" * 64,
        "judge_sha256": judge["sha256"],
        "gates_sha256": gates.fingerprint(),
    }
    published.publish(clean, "judge", judge)
    published.publish(clean, "training_dataset", {"fingerprint": "f" * 64, "manifest": manifest})
    published.publish(clean, "generator_checkpoint", {**checkpoint, "dataset_manifest": manifest})
    published.publish(clean, "validation_report", {**report, **changes})


def aliases(settings: Settings) -> tuple[str | None, str | None]:
    """The versions that `champion` and `previous` point at."""
    mlflow = MLflowResource.of(settings)
    return mlflow.alias("champion"), mlflow.alias("previous")
