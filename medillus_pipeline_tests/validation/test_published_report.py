"""The asset end to end on tiny models: page, JSON, MLflow and Dagster carry the same figures, the card the verdict."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from medillus_pipeline import published
from medillus_pipeline.assets.measuring import locked_test_of
from medillus_pipeline.assets.validation import ValidationConfig, validation_report
from medillus_pipeline.errors import InputError
from medillus_pipeline.resources.compute import ComputeResource
from medillus_pipeline.resources.mlflow import MLflowResource
from medillus_pipeline.resources.store import StoreResource
from medillus_pipeline.settings import Settings
from medillus_pipeline.tables import ILLUSTRATIONS
from medillus_pipeline.validation.confidence import Calibration
from medillus_pipeline_tests.flow import TINY, flow, land_cohort, lower_gates, settings_at
from medillus_pipeline_tests.validation.test_report import Figures

pytestmark = pytest.mark.slow
FEW: dict[str, Any] = {"slices": 8, "samples": 2, "training_masks": 32, "edited_masks": 4, "student_steps": 5}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A home where the whole flow ran, so that version 1 is champion."""
    folder = tmp_path_factory.mktemp("report")
    chosen = settings_at(folder / "home")
    land_cohort(chosen, folder / "cohort")
    with pytest.MonkeyPatch.context() as patch:
        lower_gates(patch)
        flow(chosen, configs={**TINY, "retrain": {"ops": {**TINY["retrain"]["ops"], **_report(FEW)}}})
        yield chosen


def _report(config: dict[str, Any]) -> dict[str, Any]:
    return {"validation_report": {"config": config}}


def report(settings: Settings) -> tuple[dg.ExecuteInProcessResult, dict[str, Any]]:
    """One run of the asset, and what it published."""
    resources = {
        "store": StoreResource.of(settings),
        "compute": ComputeResource.of(settings),
        "mlflow": MLflowResource.of(settings),
    }
    result = dg.materialize([validation_report], resources=resources, run_config={"ops": _report(FEW)})
    return result, published.require(resources["store"].clean, "validation_report")


def test_page_json_mlflow_and_dagster_carry_the_same_figures(settings: Settings):
    result, document = report(settings)
    figures = document["figures"]
    assert {"copy_rate", "tstr_ratio", "counterfactual_iou", "anatomical_instances"} <= figures.keys()
    store = StoreResource.of(settings).clean
    assert json.loads(store.read(document["json"]))["figures"] == figures
    for key, value, _ in Figures(store.read(document["html"]).decode()).found:
        assert (None if value is None else float(value)) == figures.get(key)
    run = MLflowResource.of(settings).client().get_run(document["run_id"])
    for key, value in figures.items():
        assert run.data.metrics[f"validation.{key.replace('/', '.')}"] == value
    (check,) = result.get_asset_check_evaluations()
    assert check.metadata["figures"].value == figures


def test_figures_print_the_confidence_that_the_report_calibrated(settings: Settings):
    store = StoreResource.of(settings)
    document = published.require(store.clean, "validation_report")
    named = published.require(store.clean, f"confidence-{document['version']}")
    calibration = Calibration.from_bytes(store.clean.read(named["path"]))
    assert calibration.sha256 == named["sha256"] and document["confidence"] == named["path"]
    assert calibration.evaluated["ece"] == document["figures"]["confidence_ece"]
    page = store.clean.read(document["html"]).decode()
    assert "Confidence of structures" in page
    sidecars = [
        json.loads(store.clean.read(row["sidecar_path"]))
        for row in store.tables.read_all(ILLUSTRATIONS).to_pylist()
        if row["source"] == "generated"
    ]
    assert sidecars
    for sidecar in sidecars:
        assert sidecar["request"]["confidence_calibration"]["sha256"] == calibration.sha256
        assert "uncalibrated" not in sidecar["confidence_note"]["en"]
    printed = [value for sidecar in sidecars for value in sidecar["request"]["confidences"].values()]
    low, high = calibration.limits
    assert any(value is not None and low <= value <= high for value in printed)


def test_the_run_says_how_many_seconds_each_part_took(settings: Settings):
    result, _ = report(settings)
    (event,) = result.asset_materializations_for_node("validation_report")
    told = str(event.metadata["seconds by part"].value)
    assert all(part in told for part in ("held-out masks", "training masks", "students", "edited masks"))


def test_the_card_and_the_registry_say_the_verdict(settings: Settings, tmp_path: Path):
    _, document = report(settings)
    card = StoreResource.of(settings).clean.read(document["card"]).decode()
    mlflow = MLflowResource.of(settings)
    assert f"* {document['sentence']}" in card
    assert "Anatomical prior version `" in card
    assert document["sentence"] in mlflow.client().get_model_version(mlflow.model, document["version"]).description
    kept = mlflow.client().download_artifacts(document["run_id"], "validation/card.md", str(tmp_path))
    assert Path(kept).read_text() == card


def test_the_champion_is_not_set_beside_itself(settings: Settings):
    _, document = report(settings)
    page = StoreResource.of(settings).clean.read(document["html"]).decode()
    assert "this version is the champion" in page
    assert not any("_champion" in key for key in document["figures"])


def test_a_champion_that_another_judge_measured_is_not_compared(settings: Settings):
    mlflow = MLflowResource.of(settings)
    client, document = mlflow.client(), published.require(StoreResource.of(settings).clean, "validation_report")
    source = client.get_model_version(mlflow.model, document["version"])
    other = client.create_model_version(mlflow.model, str(source.source), run_id=source.run_id)
    client.set_registered_model_alias(mlflow.model, "champion", other.version)
    try:
        for tags, said in (({}, "does not say"), ({"judge_sha256": "0" * 64}, "different feature extractors")):
            mlflow.tag_version(str(other.version), tags)
            _, published_now = report(settings)
            assert said in StoreResource.of(settings).clean.read(published_now["html"]).decode()
        mlflow.tag_version(str(other.version), {"judge_sha256": document["judge_sha256"]})
        _, compared = report(settings)
        figures = compared["figures"]
        assert figures["organ_hu_error_champion"] == figures["organ_hu_error"]
    finally:
        client.set_registered_model_alias(mlflow.model, "champion", document["version"])


def test_the_locked_test_measures_its_own_patients_and_keeps_the_figures(settings: Settings):
    store, mlflow = StoreResource.of(settings), MLflowResource.of(settings)
    chosen = ValidationConfig(**FEW)
    verdict = locked_test_of(store, mlflow, lambda profile: chosen.chosen(profile, threads=1), seed=chosen.seed)
    version = published.require(store.clean, "generator_checkpoint")["version"]
    said = verdict(version)
    kept = published.require(store.clean, f"locked_test-{version}")
    assert kept["sentence"] == said.sentence and kept["figures"]["patients"] == 1
    _, report_document = report(settings)
    assert kept["figures"]["judge_dice_real"] != report_document["figures"]["judge_dice_real"]
    with pytest.raises(InputError, match="version 99 is not the newest"):
        verdict("99")
