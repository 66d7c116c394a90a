"""Registered generators for those who use them: a reference to its version, its files, the loaded model.

What is not here: runs, registration and aliases (`mlflow.py`).
"""

import hashlib
import json
import logging
import os
import re
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

from medillus_pipeline.errors import InputError
from medillus_pipeline.generation.sample_folder import SampledModel
from medillus_pipeline.resources.mlflow import MLflowResource, MlflowUnavailable

_REFERENCE = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>[0-9]+))")


@dataclass(frozen=True)
class Registered:
    """A version of a registered model."""

    name: str
    version: str

    @property
    def uri(self) -> str:
        """The version itself: an alias may be moved at any moment."""
        return f"models:/{self.name}/{self.version}"


def is_reference(text: str) -> bool:
    """Whether the text names a registered model rather than a file."""
    return text.startswith("models:")


def find(mlflow: MLflowResource, reference: str) -> Registered:
    """The version that `models:/name@alias` or `models:/name/number` stands for.

    Raises InputError for another form, and where there is no such version; MlflowUnavailable when nobody answers.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise InputError(
            "a model is named models:/NAME@ALIAS or models:/NAME/NUMBER, such as models:/medillus-generator/3"
        )
    name, alias, version = match.group("name", "alias", "version")
    resource = mlflow.model_copy(update={"model": name})
    if alias is not None:
        found = resource.version_of_alias(alias)
        if found is None:
            raise InputError(
                f"no version of {name} has the alias {alias}: promote one (materialize promoted_generator), or name a "
                f"version, such as models:/{name}@challenger or models:/{name}/1"
            )
        return Registered(name, str(found.version))
    from mlflow.exceptions import MlflowException

    try:
        tags = mlflow.client().get_model_version(name, version).tags
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise InputError(f"there is no version {version} of {name} in this registry") from None
    if "revoked" in tags:
        raise InputError(f"version {version} of {name} was revoked and draws nothing any more: name another version")
    return Registered(name, version)


def download(mlflow: MLflowResource, model: Registered, folder: Path) -> Path:
    """The files of a version below `folder`; returns the model's folder, whose `artifacts` hold weights and config.

    Raises InputError where the registry knows the version and its files are gone.
    """
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    mlflow.client()
    try:
        path = Path(download_artifacts(model.uri, dst_path=str(folder)))
        if (path / "MLmodel").is_file():
            return path
        reason = "there are none"
    except (MlflowException, OSError) as error:
        reason = type(error).__name__
    raise InputError(
        f"the files of version {model.version} of {model.name} cannot be read ({reason}): check "
        "MEDILLUS_MLFLOW_ARTIFACTS, or name another version"
    )


def weights_of(mlflow: MLflowResource, reference: str) -> bytes:
    """The weights file that a reference, or else a path on this machine, names. Raises InputError without one."""
    if not is_reference(reference):
        try:
            return Path(reference).expanduser().read_bytes()
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else type(error).__name__
            raise InputError(f"the weights file to start from cannot be read ({reason})") from None
    with tempfile.TemporaryDirectory() as folder:
        model = find(mlflow, reference)
        try:
            return (download(mlflow, model, Path(folder)) / "artifacts" / "weights.safetensors").read_bytes()
        except FileNotFoundError:
            raise InputError(f"version {model.version} of {model.name} holds no weights.safetensors") from None


def load(mlflow: MLflowResource, reference: str) -> SampledModel:
    """The model through `mlflow.pyfunc.load_model`: the text of its own model file runs, not this package's sampler.

    Raises InputError for a version that is no generator of this package.
    """
    with warnings.catch_warnings(record=True):  # it asks for type hints, which the signature has
        return _load(mlflow, reference)


def _load(mlflow: MLflowResource, reference: str) -> SampledModel:
    import mlflow.pyfunc as pyfunc
    from mlflow.exceptions import MlflowException

    from medillus_pipeline.generation.sampling import FORMAT

    logging.getLogger("mlflow").setLevel(logging.ERROR)  # it remarks on every version of a package that differs
    model = find(mlflow, reference)
    with tempfile.TemporaryDirectory() as folder:
        path = download(mlflow, model, Path(folder))
        try:
            described = json.loads((path / "artifacts" / "config.json").read_bytes())
            if described.get("format") != FORMAT:
                raise InputError(
                    f"version {model.version} of {model.name} has format {described.get('format')}, and this release "
                    f"reads {FORMAT}: train the generator again (materialize generator_checkpoint), or name another"
                )
            manifest = json.loads((path / "artifacts" / "manifest.json").read_bytes())
            weights = hashlib.sha256((path / "artifacts" / "weights.safetensors").read_bytes()).hexdigest()
            loaded = pyfunc.load_model(str(path))
        except (MlflowException, OSError, ValueError, KeyError) as error:
            raise InputError(
                f"version {model.version} of {model.name} is no generator of this package ({type(error).__name__})"
            ) from error
    return SampledModel(
        name=model.name,
        version=model.version,
        weights_sha256=weights,
        described=described,
        manifest=manifest,
        predict=lambda inputs, parameters: loaded.predict(inputs, params=parameters),
    )


def describe(mlflow: MLflowResource, version: str, text: str) -> None:
    """Write the description that the registry shows beside a version. Raises MlflowUnavailable when nobody answers."""
    from mlflow.exceptions import MlflowException

    try:
        mlflow.client().update_model_version(mlflow.model, version, description=text)
    except MlflowException as error:
        raise MlflowUnavailable(
            "MLflow did not take the description of a version: check that its server or database runs, then run again"
        ) from error
