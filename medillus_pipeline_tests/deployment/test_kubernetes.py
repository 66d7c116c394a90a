"""docker/helm-values.yaml and dagster_cloud.yaml: the pods that Dagster makes of them, against Kubernetes' schema.

The jobs are built by dagster-k8s itself, as its run launcher builds them; no cluster is asked.
"""

import json
import re
from typing import Any

import pytest

from medillus_pipeline import automation_settings
from medillus_pipeline.automation.jobs import training_tags
from medillus_pipeline.automation_settings import AutomationSettings
from medillus_pipeline.settings import VARIABLES, Settings
from medillus_pipeline_tests.deployment.conftest import REPO, load

KUBERNETES = "1.31"
"""Version of the API that pods are held to."""
KEYS = {
    "MEDILLUS_KEY_FILE": "key",
    "MEDILLUS_SPLIT_SALT_FILE": "split_salt",
    "MEDILLUS_SIGNING_KEY_FILE": "signing_key",
}


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    return load("docker/helm-values.yaml")


@pytest.fixture(scope="module")
def deployment(values: dict[str, Any]) -> dict[str, Any]:
    (found,) = values["dagster-user-deployments"]["deployments"]
    return found


@pytest.fixture(scope="module")
def cloud() -> dict[str, Any]:
    (location,) = load("dagster_cloud.yaml")["locations"]
    return location["container_context"]


@pytest.fixture(scope="module")
def charted(values: dict[str, Any], deployment: dict[str, Any]) -> dict[str, Any]:
    """The container context of a run under the chart: what it copies from the deployment, and the launcher's own."""
    launcher = values["runLauncher"]["config"]["k8sRunLauncher"]
    return {
        "k8s": {
            "image_pull_policy": launcher["imagePullPolicy"],
            "env": [{"name": name, "value": value} for name, value in deployment["env"].items()],
            "env_secrets": [source["name"] for source in deployment["envSecrets"]],
            "volumes": deployment["volumes"],
            "volume_mounts": deployment["volumeMounts"],
            "run_k8s_config": {_snake(name): value for name, value in launcher["runK8sConfig"].items()},
        }
    }


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])([A-Z])", lambda found: f"_{found[1].lower()}", name)


def run_job(container_context: dict[str, Any], tags: dict[str, str] | None = None) -> dict[str, Any]:
    """The Kubernetes job that dagster-k8s makes of a container context and the tags of a run."""
    job = pytest.importorskip("dagster_k8s.job", reason="dagster-k8s is not installed")
    from dagster_k8s.container_context import K8sContainerContext
    from kubernetes.client import ApiClient

    context = K8sContainerContext.create_from_config(container_context)
    if tags:
        context = context.merge(K8sContainerContext(run_k8s_config=job.get_user_defined_k8s_config(tags)))
    instance = job.DagsterK8sJobConfig(
        dagster_home="/opt/dagster/dagster_home",
        instance_config_map="medillus-instance",
        postgres_password_secret="medillus-postgresql",
    )
    built = job.construct_dagster_k8s_job(
        job_config=context.get_k8s_job_config(job_image="medillus-pipeline:local", run_launcher=instance),
        args=["dagster", "api", "execute_run"],
        job_name="dagster-run-1",
        user_defined_k8s_config=context.run_k8s_config,
    )
    return ApiClient().sanitize_for_serialization(built)


def hold_to_schema(document: dict[str, Any]) -> None:
    """Raises ValidationError where a field is unknown to Kubernetes, or of another type."""
    schemas = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    schemas.validate(document, KUBERNETES, strict=True)


def pod_of(document: dict[str, Any]) -> dict[str, Any]:
    return document["spec"]["template"]["spec"]


def code_server(deployment: dict[str, Any]) -> dict[str, Any]:
    """The Kubernetes deployment of the code server, of the parts that the chart copies into it."""
    probe = {name: value for name, value in deployment["readinessProbe"].items() if name != "enabled"}
    grpc = ["dagster", "api", "grpc-health-check", "-p", str(deployment["port"])]
    container = {
        "name": "dagster-user-deployments",
        "image": f"{deployment['image']['repository']}:{deployment['image']['tag']}",
        "imagePullPolicy": deployment["image"]["pullPolicy"],
        "args": ["dagster", "code-server", "start", *deployment["codeServerArgs"]],
        "env": [{"name": name, "value": value} for name, value in deployment["env"].items()],
        "envFrom": [{"secretRef": source} for source in deployment["envSecrets"]],
        "ports": [{"name": "grpc", "containerPort": deployment["port"], "protocol": "TCP"}],
        "readinessProbe": {"exec": {"command": grpc}, **probe},
        **{name: deployment[name] for name in ("securityContext", "resources", "volumeMounts")},
    }
    pod = {
        "securityContext": deployment["podSecurityContext"],
        "containers": [container],
        **{name: deployment[name] for name in ("initContainers", "volumes")},
    }
    labels = {"app": deployment["name"]}
    template = {"metadata": {"labels": labels}, "spec": pod}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": deployment["name"], "labels": labels},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    }


@pytest.mark.parametrize("source", ["charted", "cloud"])
def test_a_runs_pod_is_one_that_kubernetes_takes(source: str, request: pytest.FixtureRequest) -> None:
    hold_to_schema(run_job(request.getfixturevalue(source)))


def test_the_code_servers_pod_is_one_too(deployment: dict[str, Any]) -> None:
    hold_to_schema(code_server(deployment))


def test_the_schema_refuses_what_kubernetes_does_not_know(deployment: dict[str, Any]) -> None:
    schemas = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    wrong = code_server({**deployment, "securityContext": {"runAsRoot": False}})
    with pytest.raises(schemas.ValidationError, match="runAsRoot"):
        hold_to_schema(wrong)


@pytest.mark.parametrize("source", ["charted", "cloud"])
def test_a_run_finds_its_keys_as_files_that_no_other_can_read(source: str, request: pytest.FixtureRequest) -> None:
    context = request.getfixturevalue(source)["k8s"]
    given = dict(pair.split("=", 1) for pair in context.get("env_vars", []))
    given |= {pair["name"]: pair["value"] for pair in context.get("env", [])}
    pod = pod_of(run_job({"k8s": context}))
    (keys,) = pod["initContainers"]
    _, *words = keys["command"]
    *files, folder = words[words.index("0600") + 1 :]
    assert {name: given[name] for name in KEYS} == {name: f"{folder}{file}" for name, file in KEYS.items()}
    assert sorted(files) == sorted(f"{keys['volumeMounts'][0]['mountPath']}/{file}" for file in KEYS.values())
    (container,) = pod["containers"]
    assert folder.rstrip("/") in {mount["mountPath"] for mount in container["volumeMounts"]}
    assert "/secret" not in {mount["mountPath"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["medillus-keys"]["emptyDir"] == {"medium": "Memory"}
    assert (pod["securityContext"]["runAsNonRoot"], pod["securityContext"]["runAsUser"]) == (True, 10001)


def test_variables_are_known_and_valid(deployment: dict[str, Any]) -> None:
    assert set(deployment["env"]) <= {*VARIABLES, *automation_settings.VARIABLES}
    Settings.from_environment(deployment["env"])
    AutomationSettings.from_environment(deployment["env"])
    lines = (REPO / "docker" / "helm-values.yaml").read_text().splitlines()
    assert not [line for line in lines if re.match(r"(?i)\s*[^#]*(password|secret_access_key|_key)\s*:\s*\S", line)]


def test_bounds_are_those_of_the_other_deployment(values: dict[str, Any]) -> None:
    def snake(node: Any) -> Any:
        if isinstance(node, dict):
            return {key if key == "applyLimitPerUniqueValue" else _snake(key): snake(v) for key, v in node.items()}
        return [snake(item) for item in node] if isinstance(node, list) else node

    instance = load("docker/dagster.yaml")
    charted = snake(values["concurrency"])
    assert charted.pop("enabled") is True
    assert charted == instance["concurrency"]
    assert values["additionalInstanceConfig"]["freshness"] == instance["freshness"]
    retries = snake(values["dagsterDaemon"]["runRetries"])
    assert retries == instance["run_retries"]


def test_the_chart_is_of_the_version_that_the_image_has() -> None:
    pinned = re.search(r"^dagster==(\S+)$", (REPO / "constraints.txt").read_text(), re.M)
    assert pinned
    said = re.findall(r"(?:version|--version) (\d+\.\d+\.\d+)", (REPO / "docker" / "helm-values.yaml").read_text())
    assert set(said) == {pinned[1]}


def test_a_tag_of_the_job_sends_it_to_a_gpu(charted: dict[str, Any]) -> None:
    gpu = training_tags(1)["dagster-k8s/config"]
    job = run_job(charted, {"dagster-k8s/config": json.dumps(gpu)})
    hold_to_schema(job)
    pod = pod_of(job)
    assert pod["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    assert pod["tolerations"] == gpu["pod_spec_config"]["tolerations"]
    (container,) = pod["containers"]
    assert container["resources"]["limits"] == {"memory": "8Gi", "nvidia.com/gpu": "1"}
    assert [init["name"] for init in pod["initContainers"]] == ["keys"]
