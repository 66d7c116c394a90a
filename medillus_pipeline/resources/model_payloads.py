"""Payloads of the clean zone that registered models name: the snapshot each version learned from.

A version carries its snapshot's manifest, byte for byte as the clean zone holds it, so its path follows from its hash.
"""

import hashlib
import tempfile
from pathlib import Path

from medillus_pipeline.errors import InputError
from medillus_pipeline.resources import registered_models
from medillus_pipeline.resources.mlflow import MLflowResource
from medillus_pipeline.stewardship.references import named_in


def named_by_models(mlflow: MLflowResource) -> set[str]:
    """Manifests of the versions' snapshots, and what these name. A version whose files are gone names nothing."""
    found: set[str] = set()
    for version in mlflow.versions():
        model = registered_models.Registered(mlflow.model, str(version.version))
        try:
            with tempfile.TemporaryDirectory() as folder:
                path = registered_models.download(mlflow, model, Path(folder)) / "artifacts" / "manifest.json"
                manifest = path.read_bytes()
        except (InputError, FileNotFoundError):
            continue
        digest = hashlib.sha256(manifest).hexdigest()
        found |= {f"datasets/{digest[:2]}/{digest}.json", *named_in(manifest.decode())}
    return found
