"""The deployment files, parsed; and the deployment itself, as processes."""

import re
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from medillus_pipeline_tests.deployment.topology import Topology
    from medillus_pipeline_tests.resources.test_alerts import Receiver

REPO = Path(__file__).parents[2]
DOCKER = REPO / "docker"
LOOPBACK = "127.0.0.1"


def load(name: str) -> Any:
    """A YAML file of the repository."""
    return yaml.safe_load((REPO / name).read_text())


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return load("docker/compose.yaml")


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, Any]:
    return compose["services"]


@pytest.fixture(scope="module")
def dockerfile() -> list[tuple[str, str]]:
    """Instructions of the Dockerfile as (word, rest), continuation lines joined."""
    text = re.sub(r"\\\n\s*", "", (DOCKER / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (re.sub(r"\s+", " ", line).strip().partition(" ") for line in lines)]


@pytest.fixture(scope="module")
def told() -> Iterator["Receiver"]:
    """Where alerts of the deployment arrive."""
    from medillus_pipeline_tests.resources.test_alerts import Receiver

    with Receiver() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, told: "Receiver") -> Iterator["Topology"]:
    """The whole deployment as processes, healthy and empty, with a roster of reviewers and a receiver of alerts."""
    from medillus_pipeline_tests.deployment.reviewing import ROSTER
    from medillus_pipeline_tests.deployment.topology import deployed

    site = tmp_path_factory.mktemp("site")
    (site / "reviewers.toml").write_text(ROSTER)
    (site / "alerts.toml").write_text(f'[routes]\n"*" = ["{told.url}"]\n[webhook]\nallow_plain_http = true\n')
    chosen = {
        "MEDILLUS_PROFILE": "demo",
        "MEDILLUS_WORKERS": "1",
        "MEDILLUS_THREADS": "1",
        "MEDILLUS_REVIEWERS": str(site / "reviewers.toml"),
        "MEDILLUS_ALERTS": str(site / "alerts.toml"),
        "MEDILLUS_RETRAIN_DEBOUNCE_MINUTES": "0.25",
    }
    with deployed(tmp_path_factory.mktemp("platform"), **chosen) as topology:
        yield topology


@pytest.fixture(scope="module")
def champion(platform: "Topology", tmp_path_factory: pytest.TempPathFactory) -> Iterator["Topology"]:
    """The same after a cohort was put into landing, scans first, and automation made a champion of it."""
    from medillus_pipeline.phantom.cohort import write_cohort
    from medillus_pipeline.settings import Settings
    from medillus_pipeline_tests.deployment.topology import until
    from medillus_pipeline_tests.flow import SHAPE

    with pytest.MonkeyPatch.context() as patch:
        for name, value in platform.zone_environment().items():
            patch.setenv(name, value)
        settings, folder = Settings.from_environment(), tmp_path_factory.mktemp("cohort")
        cohort = write_cohort(folder, settings.pseudonymiser(), patients=8, shape=SHAPE, labels=True, workers=1)
        for kind, job, count in (
            ("images", "ingest_delivery", len(cohort.deliveries)),
            ("annotations", "ingest_annotations", len(cohort.batches)),
        ):
            files = [path for path in (folder / kind).rglob("*") if path.is_file()]
            for path in sorted(files, key=lambda path: path.name == "_READY"):
                settings.landing.write(path.relative_to(folder).as_posix(), path.read_bytes())
            until(partial(platform.finished, job, count), f"{kind} are read", patience=1200, pause=3)
        until(lambda: platform.finished("promote"), "a champion is promoted", patience=1800, pause=3)
        yield platform
