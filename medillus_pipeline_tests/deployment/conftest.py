"""The deployment files, parsed."""

import re
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml

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
