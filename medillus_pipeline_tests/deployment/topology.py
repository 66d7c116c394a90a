"""The services of docker/compose.yaml as processes of this machine: the same commands, environment, health checks.

Hosts and ports are those of loopback instead of compose's network, folders are below one folder, and an S3 server for
tests stands in for the store. What is done with a running deployment is not here.
"""

import json
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import yaml

from medillus_pipeline_tests.deployment.conftest import DOCKER, LOOPBACK, REPO, free_port, load
from medillus_pipeline_tests.deployment.postgresql import postgresql

DEFINITIONS = "medillus_pipeline_tests.deployment.tiny_definitions"
HOSTS = "postgres|store|mlflow|code|localhost|127\\.0\\.0\\.1|0\\.0\\.0\\.0"
PORTS = ("3000", "4000", "5000", "5432", "8333")
RUNS = """query ($filter: RunsFilter!) {
  runsOrError(filter: $filter) { ... on Runs { results { runId jobName status tags { key value } } } }
}"""
FAILURES = """query ($run: ID!) {
  logsForRun(runId: $run) { ... on EventConnection { events {
    __typename ... on MessageEvent { message }
    ... on ExecutionStepFailureEvent { stepKey error { message causes { message } }
      failureMetadata { description } }
  } } }
}"""
LAUNCH = """mutation ($params: ExecutionParams!) {
  launchPipelineExecution(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}"""
LOCATIONS = """{ workspaceOrError { ... on Workspace { locationEntries { name loadStatus versionKey
  locationOrLoadError { __typename } } } } }"""
PATIENCE = 180.0
"""Seconds within which a service has to become healthy."""
UNDER_WAY = {"QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING", "MANAGED"}


@dataclass
class Topology:
    """A running deployment: its folder, services of the compose file, where each port is, and what was started."""

    folder: Path
    services: dict[str, Any]
    ports: dict[str, int]
    secrets: dict[str, str] = field(repr=False)
    started: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    meant_to_fail: set[str] = field(default_factory=set)
    """Runs whose failure is what a test waits for."""

    @property
    def url(self) -> str:
        """Where the web UI is."""
        return f"http://{LOOPBACK}:{self.ports['3000']}"

    def here(self, text: str) -> str:
        """A word of the compose file as it has to be on this machine."""
        text = re.sub(r"\$\{([A-Z0-9_]+)(?::[?-]([^}]*))?\}", self._value, text)
        text = re.sub(rf"\b({HOSTS}):({'|'.join(PORTS)})\b", lambda m: f"{LOOPBACK}:{self.ports[m[2]]}", text)
        text = re.sub(rf"^(--port=)?({'|'.join(PORTS)})$", lambda m: f"{m[1] or ''}{self.ports[m[2]]}", text)
        text = re.sub(r"^(--host=)?(postgres|0\.0\.0\.0)$", lambda m: f"{m[1] or ''}{LOOPBACK}", text)
        for there in ("/opt/dagster", "/var/lib/medillus-keys", "/var/lib/medillus", "/var/log/dagster"):
            text = re.sub(rf"^{there}(?=/|$)", str(self.folder / Path(there).name), text)
        return DEFINITIONS if text == "medillus_pipeline.definitions" else text

    def _value(self, found: "re.Match[str]") -> str:
        return self.secrets.get(found[1]) or (found[2] if ":-" in found[0] else self.secrets[found[1]])

    def environment(self, service: str) -> dict[str, str]:
        """What the service's process gets: this machine's PATH, the image's variables, the compose file's."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        kept["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
        given = {name: self.here(str(v)) for name, v in self.services[service].get("environment", {}).items()}
        return {
            **kept,
            "PYTHONPATH": str(REPO),
            "PYTHONWARNINGS": "ignore",
            "OMP_NUM_THREADS": "1",
            "DAGSTER_DISABLE_TELEMETRY": "1",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "GX_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "true",
            "DAGSTER_HOME": str(self.folder / "dagster" / "home"),
            **({"MEDILLUS_HOME": str(self.folder / "medillus")} if service == "code" else {}),
            **given,
        }

    def start(self, service: str) -> None:
        """Start the service's command and wait until its own health check passes."""
        with (self.folder / f"{service}.log").open("ab") as log:
            self.started[service] = subprocess.Popen(
                [self.here(word) for word in self.services[service]["command"]],
                env=self.environment(service),
                cwd=self.folder / "dagster",
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        until(lambda: self.healthy(service), f"{service} is healthy: {self.folder / f'{service}.log'}")

    def healthy(self, service: str) -> bool:
        """Whether the health check of the compose file passes now. Raises RuntimeError where the process ended."""
        if self.started[service].poll() is not None:
            raise RuntimeError(f"{service} ended: {(self.folder / f'{service}.log').read_text()[-3000:]}")
        probe = [self.here(word) for word in self.services[service]["healthcheck"]["test"][1:]]
        run = subprocess.run(probe, env=self.environment(service), cwd=self.folder, capture_output=True, check=False)
        return run.returncode == 0

    def stop(self, service: str, *, patience: float = 30) -> None:
        """End the service as an engine does: SIGTERM, and SIGKILL to its whole group for what is left."""
        process = self.started.pop(service)
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()

    def settle(self) -> None:
        """Wait until no run was queued or under way for 40 s: sensors look every 30 s."""
        quiet = 0

        def settled() -> bool:
            nonlocal quiet
            quiet = 0 if any(run["status"] in UNDER_WAY for run in self.runs()) else quiet + 1
            return quiet == 5

        until(settled, "every run ended", patience=1800, pause=10)

    def change(self, service: str, **chosen: str) -> None:
        """Start a service anew with other variables, as `compose up` does after docker/.env was edited."""
        before = self._loaded()
        self.stop(service)
        self.secrets |= chosen
        self.start(service)
        until(lambda: self._loaded() not in ({}, before), f"the webserver knows the new {service}")

    def _loaded(self) -> dict[str, str]:
        """Code location → the version of it that the webserver serves; without those that did not load."""
        entries = self.ask(LOCATIONS)["workspaceOrError"]["locationEntries"]
        whole = [one for one in entries if one["loadStatus"] == "LOADED" and one["locationOrLoadError"]]
        fit = [one for one in whole if one["locationOrLoadError"]["__typename"] == "RepositoryLocation"]
        return {one["name"]: one["versionKey"] for one in fit}

    def ask(self, query: str, **variables: Any) -> Any:
        """The data of a GraphQL answer of the webserver, as its UI asks. Raises RuntimeError for an error in it."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        with urlopen(request, timeout=60) as answer:
            document = json.load(answer)
        if document.get("errors"):
            raise RuntimeError(str(document["errors"])[:2000])
        return document["data"]

    def runs(self, job: str | None = None) -> list[dict[str, Any]]:
        """Runs of a job, or all, newest first: runId, jobName, status, tags."""
        chosen = {} if job is None else {"pipelineName": job}
        return self.ask(RUNS, filter=chosen)["runsOrError"]["results"]

    def finished(self, job: str, count: int = 1) -> list[dict[str, Any]]:
        """The job's successful runs once there are so many. Raises RuntimeError where any run failed."""
        failed = [run for run in self.runs() if run["status"] == "FAILURE" and run["runId"] not in self.meant_to_fail]
        if failed:
            raise RuntimeError("\n".join(f"{run['jobName']}: {self.reason(run['runId'])}" for run in failed))
        done = [run for run in self.runs(job) if run["status"] == "SUCCESS"]
        return done if len(done) >= count else []

    def ended(self, run_id: str, status: str) -> bool:
        """Whether the run ended so. Raises RuntimeError where it ended otherwise."""
        (run,) = [run for run in self.runs() if run["runId"] == run_id]
        if run["status"] not in {status, *UNDER_WAY}:
            raise RuntimeError(f"{run['jobName']} ended as {run['status']}: {self.reason(run_id)}")
        return run["status"] == status

    def events(self, run_id: str) -> list[str]:
        """GraphQL's types of a run's events, in order."""
        return [event["__typename"] for event in self.ask(FAILURES, run=run_id)["logsForRun"]["events"]]

    def reason(self, run_id: str) -> str:
        """What the log of a failed run says first."""
        events = self.ask(FAILURES, run=run_id)["logsForRun"]["events"]
        said = [event for event in events if event["__typename"] == "ExecutionStepFailureEvent"]
        return str(said[0]["error"] if said else [event["message"] for event in events][-3:])[:3000]

    def launch(self, job: str, config: dict[str, Any] | None = None) -> str:
        """Start a job as the launchpad does; its run id."""
        selector = {"repositoryLocationName": "medillus", "repositoryName": "__repository__", "pipelineName": job}
        params = {"selector": selector, "runConfigData": config or {}, "mode": "default"}
        launched = self.ask(LAUNCH, params=params)["launchPipelineExecution"]
        if launched["__typename"] != "LaunchRunSuccess":
            raise RuntimeError(str(launched))
        return launched["run"]["runId"]

    def zone_environment(self) -> dict[str, str]:
        """Variables under which this process sees the deployment's zones and MLflow."""
        names = ("MEDILLUS_", "AWS_", "MLFLOW_S3")
        given = {name: value for name, value in self.environment("code").items() if name.startswith(names)}
        return {name: value for name, value in given.items() if value}


def until(done: Any, what: str, *, patience: float = PATIENCE, pause: float = 2.0) -> Any:
    """What `done` gives as soon as that is true. Raises TimeoutError naming `what`."""
    end = time.monotonic() + patience
    while not (found := done()):
        if time.monotonic() > end:
            raise TimeoutError(f"not within {patience:.0f} s: {what}")
        time.sleep(pause)
    return found


@contextmanager
def deployed(folder: Path, **chosen: str) -> Iterator[Topology]:
    """All services of the compose file, healthy, in the order of their dependencies; `chosen` as docker/.env would."""
    example = [line.partition("=")[0] for line in (DOCKER / ".env.example").read_text().splitlines()]
    drawn = {name: secrets.token_hex(12) for name in example if re.search("PASSWORD|S3_", name)}
    drawn |= {"MLFLOW_S3_ACCESS_KEY": drawn["S3_ACCESS_KEY"], "MLFLOW_S3_SECRET_KEY": drawn["S3_SECRET_KEY"]}
    passwords = {name.removesuffix("_PASSWORD"): value for name, value in drawn.items() if name.endswith("PASSWORD")}
    with ExitStack() as stack:
        postgres = stack.enter_context(postgresql(passwords))
        ports = {port: free_port() for port in PORTS} | {"5432": int(postgres["PGPORT"])}
        topology = Topology(folder, load("docker/compose.yaml")["services"], ports, {**drawn, **chosen})
        _place_files(topology)
        topology.services["store"]["command"] = [sys.executable, "-m", "moto.server", "-H", LOOPBACK, "-p", "8333"]
        topology.services["store"]["healthcheck"]["test"][1:] = [sys.executable, "-c", _answers(ports["8333"])]
        stack.callback(lambda: [topology.stop(name) for name in reversed(list(topology.started))])
        topology.start("store")
        buckets = [topology.here(word) for word in topology.services["buckets"]["command"]]
        buckets[1] = str(DOCKER / "create_buckets.py")
        subprocess.run(buckets, env=topology.environment("buckets"), check=True, capture_output=True)
        for service in ("mlflow", "code", "webserver", "daemon"):
            topology.start(service)
        yield topology


def _answers(port: int) -> str:
    return f"import socket; socket.create_connection(('{LOOPBACK}', {port}), 5)"


def _place_files(topology: Topology) -> None:
    """dagster.yaml and workspace.yaml of docker/, with this machine's ports and folders."""
    home = topology.folder / "dagster" / "home"
    home.mkdir(parents=True)
    (topology.folder / "medillus").mkdir()
    (topology.folder / "medillus-keys").mkdir(mode=0o700)
    instance = load("docker/dagster.yaml")
    instance["storage"]["postgres"]["postgres_db"]["port"] = topology.ports["5432"]
    instance["compute_logs"]["config"]["base_dir"] = str(topology.folder / "dagster" / "logs")
    (home / "dagster.yaml").write_text(yaml.safe_dump(instance))
    workspace = load("docker/workspace.yaml")
    workspace["load_from"][0]["grpc_server"] |= {"host": LOOPBACK, "port": topology.ports["4000"]}
    (home.parent / "workspace.yaml").write_text(yaml.safe_dump(workspace))
