"""MLflow's server and PostgreSQL killed in the middle and started again, as real processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import dagster as dg
import pytest
import yaml

from medillus_pipeline.resources.mlflow import MLflowResource, MlflowUnavailable
from medillus_pipeline.tables import TableStore
from medillus_pipeline_tests.deployment import test_databases
from medillus_pipeline_tests.deployment.conftest import LOOPBACK, free_port
from medillus_pipeline_tests.site import Site, series

pytestmark = pytest.mark.slow
postgres = test_databases.postgres
"""The PostgreSQL of the tests of the deployment."""


class Server:
    """An MLflow server on SQLite, which may be killed and started again at the same address."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        words = [sys.executable, "-W", "ignore", "-m", "mlflow", "server", "--host", LOOPBACK, "--workers", "1"]
        words += ["--port", str(self.port), "--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db"]
        log = (self.folder / "server.log").open("ab")
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # nine processes that nobody asks
        self.process = subprocess.Popen(
            words, cwd=self.folder, stdout=log, stderr=log, start_new_session=True, env=environment
        )
        for _ in range(1200):
            try:
                urlopen(f"{self.url}/health", timeout=5).close()
                return
            except (URLError, OSError):
                assert self.process.poll() is None, (self.folder / "server.log").read_text()[-1500:]
                time.sleep(0.1)
        pytest.fail("the MLflow server did not start")

    def kill(self) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("mlflow"))
    server.start()
    yield server
    server.kill()


def test_an_mlflow_server_that_comes_back_finds_the_run_and_the_version_and_makes_no_second(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow.pyfunc

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    asked = MLflowResource(tracking_uri=server.url, artifacts=tmp_path.as_uri(), ui_url=server.url)
    code = tmp_path / "model.py"
    code.write_text(
        "import mlflow\n\n\nclass Plain(mlflow.pyfunc.PythonModel):\n"
        "    def predict(self, context, model_input, params=None):\n        return model_input\n\n\n"
        "mlflow.models.set_model(Plain())\n"
    )
    run = asked.training_run("key", "a-training", {})
    server.kill()
    for act in (
        lambda: asked.training_run("key", "a-training", {}),
        lambda: asked.log(run.run_id, metrics={"loss": 1.0}),
        lambda: asked.version_of_alias("champion"),
        lambda: asked.tag_version("1", {"a": "b"}),
        lambda: asked.finish(run.run_id, "FAILED"),
    ):
        with pytest.raises(MlflowUnavailable, match="check MEDILLUS_MLFLOW_TRACKING_URI and that the server or"):
            act()
    server.start()
    assert asked.training_run("key", "a-training", {}) == run

    def logging_and_dying() -> object:
        info = mlflow.pyfunc.log_model(name="model", python_model=str(code), pip_requirements=[])
        server.kill()
        return info

    with pytest.raises(MlflowUnavailable):
        asked.register(run.run_id, logging_and_dying, {})  # type: ignore[arg-type]
    server.start()
    again = asked.training_run("key", "a-training", {})
    assert again == run, "no version was registered"
    log = lambda: mlflow.pyfunc.log_model(name="model", python_model=str(code), pip_requirements=[])  # noqa: E731
    assert asked.register(run.run_id, log, {}) == "1"
    assert asked.training_run("key", "a-training", {}).version == "1"
    assert [str(version.version) for version in asked.versions()] == ["1"]
    assert len(asked.client().search_runs([run.experiment_id])) == 1


class Database:
    """The PostgreSQL of the fixture, stopped as by a power cut and started again."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self.account = "postgres" if os.geteuid() == 0 else None
        show = ["psql", "-U", "postgres", "-d", "postgres", "-tAc", "SHOW data_directory"]
        self.data = Path(
            subprocess.run(show, env=environment, check=True, capture_output=True, text=True).stdout.strip()
        )

    def _do(self, *words: str) -> None:
        command = ["pg_ctl", "-D", str(self.data), *words]
        quiet = subprocess.DEVNULL
        subprocess.run(command, env=self.environment, check=True, stdout=quiet, user=self.account, cwd=self.data)

    def stop(self) -> None:
        self._do("-m", "immediate", "stop")

    def start(self) -> None:
        folder = self.data.parent
        options = f"-p {self.environment['PGPORT']} -h {LOOPBACK} -k {folder} -F"
        self._do("-o", options, "-l", str(folder / "log"), "-w", "start")


@pytest.mark.parametrize("back", [True, False], ids=["for a moment", "until the run has ended"])
def test_a_run_whose_event_log_is_away_publishes_nothing_twice_and_can_be_run_again(
    postgres: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, back: bool
) -> None:
    alone = Site(tmp_path / "alone")
    alone.arrive("images", "scan", series(1000, 2))
    assert alone.run("ingest_delivery", "scan").success
    named = {"hostname": LOOPBACK, "username": "dagster", "db_name": "dagster", "port": int(postgres["PGPORT"])}
    named |= {"password": postgres["DAGSTER_POSTGRES_PASSWORD"], "scheme": "postgresql+psycopg2"}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump({"storage": {"postgres": {"postgres_db": named}}}))
    database, publish = Database(postgres), TableStore.publish
    site = Site(tmp_path / "home")
    with dg.DagsterInstance.from_config(str(tmp_path)) as site.instance:
        site.arrive("images", "scan", series(1000, 2))

        def in_trouble(self: TableStore, *arguments: object) -> str:
            if arguments[0].name == "slices":  # type: ignore[attr-defined]
                database.stop()
                if back:
                    database.start()
            return publish(self, *arguments)  # type: ignore[arg-type]

        with monkeypatch.context() as patch:
            patch.setattr(TableStore, "publish", in_trouble)
            try:
                ended = site.run("ingest_delivery", "scan").success
            except Exception as error:  # noqa: BLE001 - of what kind is Dagster's affair
                ended = type(error).__name__
        assert ended is not True or back
        assert site.tables().items() <= alone.tables().items()
        if not back:
            database.start()
    with dg.DagsterInstance.from_config(str(tmp_path)) as site.instance:
        assert site.run("ingest_delivery", "scan").success
        assert site.tables() == alone.tables()
        assert len(site.instance.get_runs(filters=dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS]))) >= 1
