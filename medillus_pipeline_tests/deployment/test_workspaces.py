"""setup.py, workspace.yaml and dagster_cloud.yaml against the package."""

import importlib.util
import tomllib
from pathlib import Path

import pytest

from medillus_pipeline import automation_settings
from medillus_pipeline.settings import VARIABLES, Settings
from medillus_pipeline_tests.deployment.conftest import DOCKER, REPO, load


def test_setup_py_leaves_the_metadata_to_pyproject() -> None:
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    assert "setup()" in (REPO / "setup.py").read_text()
    for target in project["scripts"].values():
        module, _, function = target.partition(":")
        assert importlib.util.find_spec(module), module
        assert function


def test_workspaces_and_cloud_name_the_definitions() -> None:
    pyproject = tomllib.loads((REPO / "pyproject.toml").read_text())["tool"]
    module = pyproject["dagster"]["module_name"]
    assert importlib.util.find_spec(module)
    (local,) = load("workspace.yaml")["load_from"]
    assert local["python_module"]["module_name"] == module
    (location,) = load("dagster_cloud.yaml")["locations"]
    assert location["code_source"]["module_name"] == module
    assert (REPO / location["build"]["directory"] / "setup.py").is_file()
    assert local["python_module"]["location_name"] == location["location_name"]


def test_workspaces_are_what_dagster_reads() -> None:
    from dagster._core.workspace.load_target import WorkspaceFileTarget

    origins = WorkspaceFileTarget([str(DOCKER / "workspace.yaml")]).create_origins()
    assert [(o.location_name, o.host, o.port) for o in origins] == [("medillus", "code", 4000)]  # type: ignore[attr-defined]
    (local,) = WorkspaceFileTarget([str(REPO / "workspace.yaml")]).create_origins()
    assert local.location_name == "medillus"


def test_the_cloud_file_is_what_dagster_plus_reads() -> None:
    models = pytest.importorskip("dagster_cloud_cli.config.models", reason="dagster-cloud-cli is not installed")
    (location,) = models.load_dagster_cloud_yaml((REPO / "dagster_cloud.yaml").read_text()).locations
    k8s = location.container_context["k8s"]
    given = dict(pair.split("=", 1) for pair in k8s["env_vars"])
    assert set(given) <= {*VARIABLES, *automation_settings.VARIABLES}
    Settings.from_environment(given)
    mounts = {mount["mountPath"] for mount in k8s["volume_mounts"]}
    assert str(Path(given["MEDILLUS_KEY_FILE"]).parent) in mounts
    assert k8s["run_k8s_config"] == k8s["server_k8s_config"]
