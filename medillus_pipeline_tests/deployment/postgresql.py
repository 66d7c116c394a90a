"""A PostgreSQL server of our own for tests, prepared by docker/create_databases.sh. What uses it is not here."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from medillus_pipeline_tests.deployment.conftest import DOCKER, LOOPBACK, free_port

PASSWORDS = {"POSTGRES": "the-superusers", "DAGSTER_POSTGRES": "dagsters-own", "MLFLOW_POSTGRES": "it's mlflow's"}
"""Account → password, as docker/.env names the accounts."""


def search_path() -> str:
    """PATH with the folders that hold PostgreSQL's programs on Debian."""
    homes = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return os.pathsep.join([*map(str, homes), os.environ.get("PATH", "")])


@contextmanager
def postgresql(passwords: dict[str, str] | None = None) -> Iterator[dict[str, str]]:
    """A running server on a free port of loopback; the environment of its superuser. Skips where none is installed."""
    chosen = PASSWORDS if passwords is None else passwords
    found = {name: shutil.which(name, path=search_path()) for name in ("initdb", "pg_ctl", "psql")}
    absent = [name for name, path in found.items() if path is None]
    if absent:
        pytest.skip(f"PostgreSQL is not installed here: {', '.join(absent)} not found")
    folder = Path(tempfile.mkdtemp(prefix="medillus-postgres-"))  # pytest's own folders are closed to other accounts
    account = "postgres" if os.geteuid() == 0 else None
    if account is not None:
        shutil.chown(folder, account)
    port = free_port()
    data, password = folder / "data", folder / "password"
    password.write_text(chosen["POSTGRES"])
    environment = os.environ | {"PATH": search_path(), "PGHOST": LOOPBACK, "PGPORT": str(port)}
    environment |= {"PGPASSWORD": chosen["POSTGRES"], "POSTGRES_USER": "postgres"}
    environment |= {f"{name}_PASSWORD": value for name, value in chosen.items()}

    def do(*words: str) -> None:
        subprocess.run(words, env=environment, check=True, stdout=subprocess.DEVNULL, user=account, cwd=folder)

    do("initdb", "--no-sync", "-D", str(data), "-U", "postgres", "--auth=scram-sha-256", f"--pwfile={password}")
    options = f"-p {port} -h {LOOPBACK} -k {folder} -F"
    do("pg_ctl", "-D", str(data), "-o", options, "-l", str(folder / "log"), "-w", "start")
    try:
        subprocess.run(["bash", str(DOCKER / "create_databases.sh")], env=environment, check=True)
        yield environment
    finally:
        do("pg_ctl", "-D", str(data), "-m", "immediate", "stop")
        shutil.rmtree(folder)
