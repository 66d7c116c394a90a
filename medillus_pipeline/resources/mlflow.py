"""MLflow as a Dagster resource: one run per training key, resumed instead of repeated; versions and aliases.

`dagster-mlflow` pins an old pandas, hence this small resource. mlflow itself is imported where it is used.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

import dagster as dg
from pydantic import Field

from medillus_pipeline import telemetry
from medillus_pipeline.errors import ConfigurationError, PermanentError, StoreError, TransientError
from medillus_pipeline.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models.model import ModelInfo

KEY_TAG = "medillus.training_key"
CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"


class MlflowUnavailable(TransientError):
    """The tracking server or its database does not answer."""


@dataclass(frozen=True)
class TrainingRun:
    """An MLflow run and, when a former attempt got that far, the version registered from it."""

    run_id: str
    experiment_id: str
    version: str | None


class MLflowResource(dg.ConfigurableResource):
    """Tracking, registry and the links to them."""

    tracking_uri: str = Field(description="Tracking and registry: an http(s) server or an SQLAlchemy database URL.")
    artifacts: str = Field(description="Root URL of artifacts for a new experiment.")
    ui_url: str = Field(description="Where people open MLflow's web UI; used for links only.")
    experiment: str = Field(default="medillus-generator", description="Experiment that the runs belong to.")
    model: str = Field(default="medillus-generator", description="Registered model that the versions belong to.")

    @classmethod
    def of(cls, settings: Settings) -> "MLflowResource":
        """The resource that these settings describe."""
        return cls(
            tracking_uri=settings.mlflow_tracking_uri,
            artifacts=settings.mlflow_artifacts,
            ui_url=settings.mlflow_ui_url,
        )

    def client(self) -> "MlflowClient":
        """A client that has reached its server. Raises MlflowUnavailable otherwise, within a minute, and
        ConfigurationError for a URI that names neither a server nor a database.
        """
        telemetry.switch_off()
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "15")
        import mlflow

        with self._reachable():
            if urlparse(self.tracking_uri).scheme not in ("http", "https"):
                self._connect_once()
            mlflow.set_tracking_uri(self.tracking_uri)
            mlflow.set_registry_uri(self.tracking_uri)
            client = mlflow.MlflowClient(tracking_uri=self.tracking_uri, registry_uri=self.tracking_uri)
            client.search_experiments(max_results=1)
        return client

    def training_run(self, key: str, name: str, tags: Mapping[str, str]) -> TrainingRun:
        """The run of this training key: the one that a former attempt began, or a new one.

        `key` is the hash of everything that determines the weights, so a retry never makes a second run.
        """
        client = self.client()
        with self._reachable():
            experiment_id = self._experiment_id(client)
            found = client.search_runs(
                [experiment_id], f"tags.`{KEY_TAG}` = '{key}'", order_by=["attributes.start_time ASC"], max_results=1
            )
            if found:
                run_id = found[0].info.run_id
                client.update_run(run_id, status="RUNNING")
            else:
                run_id = client.create_run(experiment_id, run_name=name, tags={**tags, KEY_TAG: key}).info.run_id
            versions = client.search_model_versions(f"run_id = '{run_id}'")
        latest = max((int(v.version) for v in versions), default=None)
        return TrainingRun(run_id, experiment_id, None if latest is None else str(latest))

    def finish(self, run_id: str, status: str = "FINISHED") -> None:
        """Close a run as FINISHED, FAILED or KILLED."""
        with self._reachable():
            self.client().set_terminated(run_id, status)

    def log(
        self,
        run_id: str,
        *,
        parameters: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        step: int = 0,
        client: "MlflowClient | None" = None,
    ) -> None:
        """Parameters and the metrics of one step in one request."""
        import time

        from mlflow.entities import Metric, Param

        now = int(time.time() * 1000)
        with self._reachable():
            (client or self.client()).log_batch(
                run_id,
                metrics=[Metric(name, float(value), now, step) for name, value in (metrics or {}).items()],
                params=[Param(name, str(value)) for name, value in (parameters or {}).items()],
            )

    def log_folder(self, run_id: str, folder: Path, artifact_path: str) -> None:
        """All files of a folder as artifacts of the run."""
        with self._reachable():
            self.client().log_artifacts(run_id, str(folder), artifact_path)

    def register(self, run_id: str, log_model: "Callable[[], ModelInfo]", tags: Mapping[str, str]) -> str:
        """Log the model to its run and register it as the next version; returns the version.

        `log_model` is called with the run active.
        """
        client = self.client()
        import mlflow
        from mlflow.exceptions import MlflowException

        with self._reachable():
            with mlflow.start_run(run_id=run_id):
                info = log_model()
            try:
                client.create_registered_model(self.model)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            version = client.create_model_version(
                self.model, info.model_uri, run_id=run_id, tags=dict(tags), model_id=info.model_id
            )  # a server refuses a logged model's URI without its id, a database does not
        return str(version.version)

    def challenge(self, version: str) -> None:
        """Point `challenger` at the version, unless it is the champion: a challenger is not yet promoted."""
        champion = self.version_of_alias(CHAMPION)
        if champion is not None and str(champion.version) == version:
            return
        client = self.client()
        with self._reachable():
            client.set_registered_model_alias(self.model, CHALLENGER, version)

    def version_of_alias(self, alias: str) -> "ModelVersion | None":
        """The version that an alias points at, or None."""
        from mlflow.exceptions import MlflowException

        client = self.client()
        try:
            return client.get_model_version_by_alias(self.model, alias)
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise MlflowUnavailable(self._advice()) from error

    def promote(self, version: str, tags: Mapping[str, str], *, previous: str | None = None) -> str | None:
        """Point `champion` at the version and `previous` at `previous`, or by default at the former champion; returns
        that former version. The version is no longer `challenger` then.

        The caller holds the promotion lock: MLflow's aliases have no compare-and-set.
        """
        former, challenger = self.version_of_alias(CHAMPION), self.version_of_alias(CHALLENGER)
        self.tag_version(version, tags)
        client = self.client()
        with self._reachable():
            if previous is not None:
                client.set_registered_model_alias(self.model, PREVIOUS, previous)
            elif former is not None and str(former.version) != version:
                client.set_registered_model_alias(self.model, PREVIOUS, former.version)
            client.set_registered_model_alias(self.model, CHAMPION, version)
            if challenger is not None and str(challenger.version) == version:
                client.delete_registered_model_alias(self.model, CHALLENGER)
        return None if former is None else str(former.version)

    def alias(self, name: str) -> str | None:
        """The number of the version that an alias points at, or None."""
        found = self.version_of_alias(name)
        return None if found is None else str(found.version)

    def forget_alias(self, name: str) -> None:
        """Remove an alias; one that is not there is no error."""
        if self.alias(name) is not None:
            with self._reachable():
                self.client().delete_registered_model_alias(self.model, name)

    def versions(self) -> "list[ModelVersion]":
        """All registered versions, the newest first."""
        client = self.client()
        with self._reachable():
            found = client.search_model_versions(f"name = '{self.model}'", max_results=1000)
        return sorted(found, key=lambda version: -int(version.version))

    def tag_version(self, version: str, tags: Mapping[str, str]) -> None:
        """Tags on a registered version."""
        client = self.client()
        with self._reachable():
            for name, value in tags.items():
                client.set_model_version_tag(self.model, version, name, value)

    def download(self, version: str, folder: Path) -> Path:
        """The packaged model of a version, below `folder`; returns the folder that holds its artifacts."""
        from mlflow.artifacts import download_artifacts

        self.client()
        with self._reachable():
            path = download_artifacts(f"models:/{self.model}/{version}", dst_path=str(folder))
        return Path(path) / "artifacts"

    def run_url(self, run: TrainingRun) -> str:
        """Link to the run in MLflow's web UI."""
        return f"{self.ui_url}/#/experiments/{run.experiment_id}/runs/{run.run_id}"

    def version_url(self, version: str) -> str:
        """Link to a registered version in MLflow's web UI."""
        return f"{self.ui_url}/#/models/{self.model}/versions/{version}"

    def _connect_once(self) -> None:
        """Open the database and close it again: MLflow itself would try ten times, for 100 seconds."""
        import sqlalchemy
        from sqlalchemy.exc import ArgumentError

        try:
            url = sqlalchemy.make_url(self.tracking_uri)
            if url.drivername.startswith("sqlite") and url.database:
                Path(url.database).parent.mkdir(parents=True, exist_ok=True)
            limits = {"connect_timeout": 15} if url.drivername.startswith("postgresql") else {}
            engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool, connect_args=limits)
        except (ArgumentError, ImportError):
            raise ConfigurationError(
                "MEDILLUS_MLFLOW_TRACKING_URI must be an http(s) URL of a server, or a database URL such as "
                "sqlite:///… or postgresql+psycopg2://… whose driver is installed"
            ) from None
        except OSError as error:
            raise MlflowUnavailable(self._advice()) from error
        with engine.connect():
            pass

    def _experiment_id(self, client: "MlflowClient") -> str:
        found = client.get_experiment_by_name(self.experiment)
        if found is not None:
            if found.lifecycle_stage != "active":
                raise PermanentError(f"the MLflow experiment {self.experiment} was deleted: restore it, then run again")
            return found.experiment_id
        return client.create_experiment(self.experiment, artifact_location=f"{self.artifacts}/{self.experiment}")

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        import requests
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import OperationalError

        try:
            yield
        except (MlflowException, OperationalError, requests.exceptions.RequestException) as error:
            code = getattr(error, "error_code", "INTERNAL_ERROR")
            if code in ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED"):
                raise MlflowUnavailable(self._advice()) from error
            raise
        except Exception as error:
            if type(error).__module__.split(".")[0] not in ("boto3", "botocore"):
                raise
            raise StoreError(
                f"MLflow's artifact store does not answer ({type(error).__name__}): check MEDILLUS_MLFLOW_ARTIFACTS, "
                "and that the store is reachable and its credentials are valid"
            ) from error

    def _advice(self) -> str:
        scheme = urlparse(self.tracking_uri).scheme
        return (
            f"MLflow ({scheme}) does not answer: check MEDILLUS_MLFLOW_TRACKING_URI and that the server or database "
            "runs. Training goes on from its last checkpoint when the step is run again; the registry is unchanged."
        )
