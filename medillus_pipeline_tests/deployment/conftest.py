"""The deployment files, parsed; and the deployment itself, as processes."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from medillus_pipeline_tests.deployment.topology import Topology

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


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Topology"]:
    """The whole deployment as processes, healthy and empty."""
    from medillus_pipeline_tests.deployment.topology import deployed

    chosen = {"MEDILLUS_PROFILE": "demo", "MEDILLUS_WORKERS": "1", "MEDILLUS_THREADS": "1"}
    with deployed(tmp_path_factory.mktemp("platform"), **chosen, MEDILLUS_RETRAIN_DEBOUNCE_MINUTES="1") as topology:
        yield topology


@pytest.fixture(scope="session")
def champion(platform: "Topology", tmp_path_factory: pytest.TempPathFactory) -> Iterator["Topology"]:
    """The same after a cohort was put into landing and automation made a champion of it."""
    from medillus_pipeline.settings import Settings
    from medillus_pipeline_tests.deployment.topology import until
    from medillus_pipeline_tests.flow import land_cohort

    with pytest.MonkeyPatch.context() as patch:
        for name, value in platform.zone_environment().items():
            patch.setenv(name, value)
        land_cohort(Settings.from_environment(), tmp_path_factory.mktemp("cohort"))
        until(lambda: platform.finished("promote"), "a champion is promoted", patience=2400, pause=5)
        yield platform
