"""A training that begins from another model's weights, and what is written beside a version for its readers."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from mlflow.artifacts import download_artifacts

from medillus_pipeline import published
from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.generation.config import preset
from medillus_pipeline.generation.dataset import build_snapshot, load_snapshot
from medillus_pipeline.generation.prior import Prior, build_prior
from medillus_pipeline.resources.mlflow import MLflowResource
from medillus_pipeline_tests.generation.published import publish_phantoms
from medillus_pipeline_tests.site import Site, failure

GENERATOR = dg.AssetKey("generator_checkpoint")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A published dataset and prior of eight tiny patients, and version 1 trained on them from fresh weights."""
    site = Site(tmp_path_factory.mktemp("home"))
    clean, tiny, words = site.store.clean, preset("tiny"), vocabulary.load()
    rows = publish_phantoms(clean, 8, shape=(8, 32, 32), spacing=(30.0, 12.8, 12.8))
    snapshot = build_snapshot(
        rows.slices, rows.masks, rows.instances, rows.splits, clean, words, tiny.dataset, partitions={}
    )
    prior = clean.put("priors", build_prior(load_snapshot(clean, snapshot.path), tiny.prior).to_bytes(), ".safetensors")
    document = {"path": prior.path, "sha256": prior.sha256, "dataset_manifest": snapshot.path}
    published.publish(clean, "anatomical_prior", document)
    result = trained(site)
    assert result.success, failure(result)
    yield site


def trained(site: Site, **config: Any) -> dg.ExecuteInProcessResult:
    steps = {"preset": "tiny", "steps": 2, **config}
    asked = {"ops": {"generator_checkpoint": {"config": steps}}}
    return site.run("retrain", asset_selection=[GENERATOR], run_config=asked)


def files_of(site: Site, version: str) -> Path:
    MLflowResource.of(site.settings).client()
    return Path(download_artifacts(f"models:/medillus-generator/{version}")) / "artifacts"


def test_a_version_has_a_card_and_the_registry_a_short_description(site: Site) -> None:
    card = (files_of(site, "1") / "card.md").read_text()
    document = published.require(site.store.clean, "generator_checkpoint")
    assert document["dataset_fingerprint"] in card and document["prior_sha256"] in card and "fresh weights" in card
    version = MLflowResource.of(site.settings).client().get_model_version("medillus-generator", "1")
    assert "not for diagnosis" in (version.description or "") and len(version.description or "") < 400
    prior = Prior.from_bytes(site.store.clean.read(published.require(site.store.clean, "anatomical_prior")["path"]))
    assert prior.version in card and prior.origin in card and "A rectified flow" in card


def test_a_training_begins_from_a_version_or_from_its_weights_file_which_are_the_same_start(
    site: Site, tmp_path: Path
) -> None:
    weights = files_of(site, "1") / "weights.safetensors"
    assert trained(site, start_from="models:/medillus-generator@challenger", seed=5).success
    second = published.require(site.store.clean, "generator_checkpoint")
    assert second["version"] == "2"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert digest in (files_of(site, "2") / "card.md").read_text()
    run = MLflowResource.of(site.settings).client().get_run(second["run_id"])
    assert run.data.params["start_sha256"] == run.data.tags["start_sha256"] == digest
    assert any("tensors are taken from the start; nothing is fresh" in line for line in site.said)
    assert trained(site, start_from=str(weights), seed=5).success
    assert published.require(site.store.clean, "generator_checkpoint") == second


@pytest.mark.parametrize(
    ("start", "said"),
    [
        ("models:/medillus-generator@champion", "no version of medillus-generator has the alias champion"),
        ("models:/medillus-generator/99", "there is no version 99"),
        ("models:medillus", "a model is named models:/NAME@ALIAS"),
        ("nothing.safetensors", "the weights file to start from cannot be read"),
        (__file__, "the start is no weights file of a generator"),
    ],
)
def test_a_start_that_cannot_be_used_is_said_and_nothing_is_trained(site: Site, start: str, said: str) -> None:
    before = published.require(site.store.clean, "generator_checkpoint")
    assert said in failure(trained(site, start_from=start, seed=6))
    assert published.require(site.store.clean, "generator_checkpoint") == before


def test_a_gan_is_a_version_of_the_same_model_and_says_so(site: Site) -> None:
    result = trained(site, family="gan")
    assert result.success, failure(result)
    document = published.require(site.store.clean, "generator_checkpoint")
    files = files_of(site, document["version"])
    assert json.loads((files / "config.json").read_bytes())["family"] == "gan"
    assert "A generative adversarial network" in (files / "card.md").read_text()
    run = MLflowResource.of(site.settings).client().get_run(document["run_id"])
    assert run.data.params["family"] == run.data.tags["family"] == "gan"
    assert run.data.metrics["peak_memory_mb"] > 0 and run.data.metrics["l1"] > 0
    assert trained(site, family="gan").success
    assert published.require(site.store.clean, "generator_checkpoint") == document


def test_a_start_of_the_other_family_is_refused(site: Site) -> None:
    said = failure(trained(site, family="gan", start_from="models:/medillus-generator/1"))
    assert "the start is a flow, not a gan" in said


def test_a_perceptual_weights_file_that_is_not_there_is_said(site: Site) -> None:
    said = failure(trained(site, family="gan", perceptual_weights="nothing.safetensors", perceptual=1.0))
    assert "the weights file of the perceptual loss cannot be read" in said
