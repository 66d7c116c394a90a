"""Versions that learned from data which were withdrawn: found, revoked in the table of promotions, and marked.

A champion among them falls back to the newest champion that is not, or to none. Weights stay, under the tag `revoked`;
pictures of the runs go. Ordinary promotions and rollbacks are in `promotions.py`.
"""

import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from medillus_pipeline.errors import InputError
from medillus_pipeline.resources import registered_models
from medillus_pipeline.resources.mlflow import CHALLENGER, CHAMPION, PREVIOUS, MLflowResource
from medillus_pipeline.resources.promotion_lock import promotion_lock
from medillus_pipeline.resources.promotions import NAME, Registry, _append, _follow, history

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.store.artifact.artifact_repo import ArtifactRepository

REVOKED = "revoked"
PICTURES = ("samples", "validation")
"""Artifact folders of a run that show images: sample grids, and the report with its examples."""
_LARGEST = 256 << 20


def learned_from(mlflow: MLflowResource, fingerprints: Iterable[str]) -> list[str]:
    """Versions whose dataset snapshot is one of these, and those that started from the weights of such a version."""
    wanted, found = set(fingerprints), set[str]()
    versions = mlflow.versions() if wanted else []
    found.update(str(v.version) for v in versions if _fingerprint(mlflow, v.tags, str(v.version)) in wanted)
    if any("start_sha256" in version.tags for version in versions):
        weights: dict[str, str | None] = {}
        grown = True
        while grown:
            grown = False
            for number in found - weights.keys():
                weights[number] = _weights_sha256(mlflow, number)
            for version in versions:
                started = version.tags.get("start_sha256")
                if started and started in weights.values() and str(version.version) not in found:
                    found.add(str(version.version))
                    grown = True
    return sorted(found, key=int)


def revoke(registry: Registry, versions: Iterable[str], *, run_id: str, reason: str) -> str | None:
    """Revoke versions for good; returns the champion afterwards. What is revoked already stays so: doing it again
    completes it. Raises PromotionBusy, MlflowUnavailable.
    """
    affected, mlflow = set(versions), registry.mlflow
    if not affected:
        return mlflow.alias(CHAMPION)
    with promotion_lock(registry.clean, run_id) as lock:
        past = history(registry.clean, before=mlflow.alias(CHAMPION))
        if past.champion in affected:
            left = (v for v in reversed(past.stack) if v not in affected | past.revoked and past.promoted(v))
            fallback = next(left, None)
            turn = None if fallback is None else past.promoted(fallback)
            if fallback is not None and turn is not None:
                document = json.loads(registry.clean.read(turn.document))
                _append(registry, lock, past, fallback, "rollback", run_id, reason, document)
        for version in sorted(affected - past.revoked, key=int):
            past = history(registry.clean, before=past.before)
            _append(registry, lock, past, version, "revoke", run_id, reason, None)
        for version in sorted(affected, key=int):
            mlflow.tag_version(version, {REVOKED: reason, "revoked_by_run": run_id, "revoked_because": reason})
        past = history(registry.clean, before=past.before)
        if mlflow.alias(CHALLENGER) in affected:
            mlflow.forget_alias(CHALLENGER)
        turn = None if past.champion is None or past.champion in affected else past.promoted(past.champion)
        if turn is not None:
            document = json.loads(registry.clean.read(turn.document))
            _follow(registry, lock, {}, document, before=past.before)
            return turn.version
        lock.confirm()
        for alias, wanted in ((CHAMPION, past.champion), (PREVIOUS, past.previous)):
            if wanted is None:
                mlflow.forget_alias(alias)
            else:  # from before the table, which holds no document of it
                mlflow.client().set_registered_model_alias(mlflow.model, alias, wanted)
        registry.clean.remove(f"published/{NAME}.json")
        return past.champion


def runs_on(mlflow: MLflowResource, fingerprints: Iterable[str]) -> "list[Run]":
    """MLflow runs, finished or not, that trained on one of these snapshots."""
    client = mlflow.client()
    experiment = client.get_experiment_by_name(mlflow.experiment)
    if experiment is None:
        return []
    found = []
    for fingerprint in sorted(set(fingerprints)):
        found += client.search_runs([experiment.experiment_id], f"tags.dataset_fingerprint = '{fingerprint}'")
    return found


def remove_pictures(runs: "Iterable[Run]") -> int:
    """Remove sample grids and reports of runs; returns how many folders there were."""
    count = 0
    for run in runs:
        repository = _repository(run)
        for folder in PICTURES:
            if repository.list_artifacts(folder):
                repository.delete_artifacts(folder)
                count += 1
    return count


def left_in_mlflow(mlflow: MLflowResource, runs: "Iterable[Run]", texts: Iterable[str]) -> Iterator[str]:
    """What still names one of the texts in MLflow: a run's tags and parameters, a version's tags, or an artifact; and
    pictures that are left of `runs`.
    """
    client, wanted = mlflow.client(), set(texts)
    for run in runs:
        if any(_repository(run).list_artifacts(folder) for folder in PICTURES):
            yield f"pictures of run {run.info.run_id}"
    for version in mlflow.versions():
        said = json.dumps([version.tags, version.description, version.aliases], default=str)
        if any(text in said for text in wanted):
            yield f"version {version.version}"
    experiment = client.get_experiment_by_name(mlflow.experiment)
    found = [] if experiment is None else client.search_runs([experiment.experiment_id], max_results=10_000)
    for run in found:
        said = json.dumps([run.data.tags, run.data.params])
        if any(text in said for text in wanted) or _artifact_naming(run, wanted):
            yield f"run {run.info.run_id}"


def _artifact_naming(run: "Run", wanted: set[str]) -> bool:
    repository = _repository(run)
    folders = [""]
    while folders:
        for entry in repository.list_artifacts(folders.pop()):
            if entry.is_dir:
                folders.append(entry.path)
            elif (entry.file_size or 0) <= _LARGEST:
                with tempfile.TemporaryDirectory() as folder:
                    data = Path(repository.download_artifacts(entry.path, folder)).read_bytes()
                if any(text.encode() in data for text in wanted):
                    return True
    return False


def _repository(run: "Run") -> "ArtifactRepository":
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    return get_artifact_repository(run.info.artifact_uri or "")


def _fingerprint(mlflow: MLflowResource, tags: dict[str, str], version: str) -> str | None:
    """The snapshot of a version: from its tag, else from the manifest that it carries."""
    if "dataset_fingerprint" in tags:
        return tags["dataset_fingerprint"]
    manifest = _artifact(mlflow, version, "manifest.json")
    return None if manifest is None else json.loads(manifest).get("fingerprint")


def _weights_sha256(mlflow: MLflowResource, version: str) -> str | None:
    weights = _artifact(mlflow, version, "weights.safetensors")
    return None if weights is None else hashlib.sha256(weights).hexdigest()


def _artifact(mlflow: MLflowResource, version: str, name: str) -> bytes | None:
    try:
        with tempfile.TemporaryDirectory() as folder:
            found = registered_models.Registered(mlflow.model, version)
            return (registered_models.download(mlflow, found, Path(folder)) / "artifacts" / name).read_bytes()
    except (InputError, FileNotFoundError):
        return None
