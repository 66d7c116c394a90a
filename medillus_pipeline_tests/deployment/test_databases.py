"""docker/create_databases.sh and docker/dagster.yaml on a real PostgreSQL."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from medillus_pipeline_tests.deployment.conftest import LOOPBACK, load
from medillus_pipeline_tests.deployment.postgresql import postgresql


@pytest.fixture(scope="module")
def postgres() -> Iterator[dict[str, str]]:
    """The environment of a server's superuser."""
    with postgresql() as environment:
        yield environment


def test_each_database_has_an_owner_and_no_other_guest(postgres: dict[str, str]) -> None:
    def ask(user: str, password: str, database: str) -> bool:
        environment = postgres | {"PGPASSWORD": postgres[password]}
        command = [
            "psql",
            "--username",
            user,
            "--dbname",
            database,
            "--command",
            "CREATE TABLE IF NOT EXISTS t (a int)",
        ]
        return subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0

    assert ask("dagster", "DAGSTER_POSTGRES_PASSWORD", "dagster")
    assert ask("mlflow", "MLFLOW_POSTGRES_PASSWORD", "mlflow")
    assert not ask("mlflow", "MLFLOW_POSTGRES_PASSWORD", "dagster")
    assert not ask("dagster", "DAGSTER_POSTGRES_PASSWORD", "mlflow")


def test_dagster_loads_its_instance_on_postgresql_and_keeps_the_bounds(
    postgres: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dagster as dg
    from dagster._core.run_coordinator import QueuedRunCoordinator
    from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager

    config = load("docker/dagster.yaml")
    config["storage"]["postgres"]["postgres_db"]["port"] = int(postgres["PGPORT"])
    config["compute_logs"]["config"]["base_dir"] = str(tmp_path / "logs")
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(config))
    named = {"HOST": LOOPBACK, "USER": "dagster", "DB": "dagster", "PASSWORD": postgres["DAGSTER_POSTGRES_PASSWORD"]}
    for name, value in named.items():
        monkeypatch.setenv(f"DAGSTER_POSTGRES_{name}", value)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert type(instance.run_storage).__name__ == "PostgresRunStorage"
        assert instance.get_runs_count() == 0
        assert isinstance(instance.run_coordinator, QueuedRunCoordinator)
        assert type(instance.run_launcher).__name__ == "DefaultRunLauncher"
        assert isinstance(instance.compute_log_manager, LocalComputeLogManager)
        limits = instance.get_concurrency_config()
        assert limits.run_queue_config and limits.run_queue_config.max_concurrent_runs == 8
        assert limits.pool_config.default_pool_limit == 1
        assert not instance.telemetry_enabled


def test_dagsters_bounds_are_on_tags_that_jobs_carry() -> None:
    from medillus_pipeline.automation.jobs import JOBS

    limits = load("docker/dagster.yaml")["concurrency"]["runs"]["tag_concurrency_limits"]
    stages = {job.tags.get("stage") for job in JOBS}
    assert {limit["value"] for limit in limits if limit["key"] == "stage"} <= stages
