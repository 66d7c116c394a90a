"""`generator_checkpoint` with two processes: torchrun through Dagster Pipes, a real MLflow, one version in the end."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
from mlflow.artifacts import download_artifacts
from safetensors.torch import load_file

from medillus_pipeline import published
from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.errors import PermanentError
from medillus_pipeline.generation.config import preset
from medillus_pipeline.generation.dataset import build_snapshot, load_snapshot
from medillus_pipeline.generation.prior import Prior, build_prior
from medillus_pipeline.resources.mlflow import MLflowResource
from medillus_pipeline_tests.conftest import REPOSITORY
from medillus_pipeline_tests.generation.published import publish_phantoms
from medillus_pipeline_tests.generation.test_distributed import IDLE
from medillus_pipeline_tests.site import Site, failure

GENERATOR = dg.AssetKey("generator_checkpoint")
STEPS = 10


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A published dataset and prior of eight tiny patients; nothing is trained yet."""
    site = Site(tmp_path_factory.mktemp("home"))
    clean, tiny, words = site.store.clean, preset("tiny"), vocabulary.load()
    rows = publish_phantoms(clean, 8, shape=(8, 32, 32), spacing=(30.0, 12.8, 12.8))
    snapshot = build_snapshot(
        rows.slices, rows.masks, rows.instances, rows.splits, clean, words, tiny.dataset, partitions={}
    )
    prior = clean.put("priors", build_prior(load_snapshot(clean, snapshot.path), tiny.prior).to_bytes(), ".safetensors")
    document = {"path": prior.path, "sha256": prior.sha256, "dataset_manifest": snapshot.path}
    published.publish(clean, "anatomical_prior", document)
    yield site


def trained(site: Site, **config: Any) -> dg.ExecuteInProcessResult:
    asked = {"ops": {"generator_checkpoint": {"config": {"preset": "tiny", "steps": STEPS, **config}}}}
    return site.run("retrain", asset_selection=[GENERATOR], run_config=asked)


def version(site: Site) -> tuple[dict[str, Any], Path]:
    """What is in force, and the files of that version."""
    document = published.require(site.store.clean, "generator_checkpoint")
    MLflowResource.of(site.settings).client()
    files = Path(download_artifacts(f"models:/medillus-generator/{document['version']}")) / "artifacts"
    return document, files


@pytest.mark.slow
def test_two_processes_register_what_one_would_and_a_second_attempt_goes_on_with_the_same_run(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = MLflowResource.of(site.settings)
    with monkeypatch.context() as patch:

        def lost(*given: object) -> str:
            raise PermanentError("the registry is gone")

        patch.setattr(MLflowResource, "register", lost)
        assert "the registry is gone" in failure(trained(site, processes=2))
    (first,) = mlflow.client().search_runs(["1"])
    result = trained(site, processes=2)
    assert result.success, failure(result)
    document, files = version(site)
    runs = mlflow.client().search_runs(["1"])
    assert [run.info.run_id for run in runs] == [first.info.run_id] == [document["run_id"]]
    curve = mlflow.client().get_metric_history(document["run_id"], "loss")
    assert [point.step for point in curve] == [5, 10]
    sheets = mlflow.client().list_artifacts(document["run_id"], "samples")
    assert [sheet.path for sheet in sheets] == ["samples/step-000010.png"]

    assert trained(site).success
    alone, files_alone = version(site)
    assert alone["version"] != document["version"]
    weights, expected = (load_file(folder / "weights.safetensors") for folder in (files, files_alone))
    gaps = {name: float((weights[name] - expected[name]).abs().max()) for name in expected}
    # In bfloat16 sums of two halves are rounded to 8 bits; in float32 see generation/test_distributed.py.
    assert max(gap for name, gap in gaps.items() if name not in IDLE) < 2e-3


@pytest.mark.slow
def test_a_training_that_diverges_in_its_processes_is_one_clear_failure(site: Site) -> None:
    clean = site.store.clean
    document, before = (published.current(clean, name) for name in ("anatomical_prior", "generator_checkpoint"))
    assert document is not None
    prior = Prior.from_bytes(clean.read(document["path"]))
    broken = clean.put("priors", replace(prior, tissue=np.full_like(prior.tissue, np.nan)).to_bytes(), ".safetensors")
    published.publish(clean, "anatomical_prior", {**document, "path": broken.path, "sha256": broken.sha256})
    try:
        said = failure(trained(site, processes=2))
    finally:
        published.publish(clean, "anatomical_prior", document)
    assert said.startswith("training diverged at step 1 of 10") and "torch" not in said and "\n" not in said
    assert published.current(clean, "generator_checkpoint") == before


def test_a_batch_that_the_processes_cannot_share_is_refused_with_the_reason(site: Site) -> None:
    assert "cannot be shared equally by 2 processes" in failure(trained(site, processes=2, batch_size=3))


def test_several_machines_need_a_place_to_meet(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PET_MASTER_ADDR", raising=False)
    said = failure(trained(site, nodes=2))
    assert "training on 2 machines needs PET_MASTER_ADDR and PET_MASTER_PORT" in said


@pytest.mark.slow
def test_two_machines_that_share_a_home_train_together(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": str(port)}
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    with ThreadPoolExecutor(1) as second:
        other = second.submit(second_machine, site, {**os.environ, "OMP_NUM_THREADS": "1"})
        result = trained(site, nodes=2, seed=4)
    assert result.success, failure(result)
    assert other.result() == 0


def second_machine(site: Site, environment: dict[str, str]) -> int:
    """What a person starts there: the command that the first machine's log names."""
    while not (named := [line for line in site.said if "torchrun --node-rank=K" in line]):
        time.sleep(0.2)
    arguments = named[-1].split("torchrun --node-rank=K ")[1].split()
    command = [sys.executable, "-m", "torch.distributed.run", "--node-rank=1", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, env=environment, check=False, timeout=300).returncode


ENDLESS = """
import sys
from pathlib import Path
from medillus_pipeline_tests.assets.test_generator_processes import trained
from medillus_pipeline_tests.site import Site, failure
result = trained(Site(Path(sys.argv[1])), processes=2, steps=10**6, seed=int(sys.argv[2]))
sys.stdout.write(failure(result))
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_processes_end_with_the_run_that_started_them(site: Site, number: signal.Signals) -> None:
    before = set(checkpoints_of(site))
    running = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, str(site.settings.home), str(int(number))],
        cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    while running.poll() is None and not set(checkpoints_of(site)) - before:
        time.sleep(0.2)
    running.send_signal(number)
    said, _ = running.communicate(timeout=90)  # which waits for every process that could still write there
    assert set(checkpoints_of(site)) - before, said
    assert number == signal.SIGKILL or "the training was stopped, with its processes" in said


def checkpoints_of(site: Site) -> list[Path]:
    return list((site.settings.work / "training").rglob("step-*.safetensors"))
