"""`validation_report`: what the challenger is worth, on patients that it never saw, beside its controls."""

import json
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
from pydantic import Field

from medillus_pipeline import __version__, published
from medillus_pipeline.assets.publishing import progress_to
from medillus_pipeline.assets.training import generator_checkpoint, judge
from medillus_pipeline.failures import RETRY, failing_clearly
from medillus_pipeline.resources.compute import ComputeResource
from medillus_pipeline.resources.mlflow import MLflowResource
from medillus_pipeline.resources.store import StoreResource

MODEL_GATES = "model_gates"


class ValidationConfig(dg.Config):
    """How much is measured, and against which gates."""

    profile: str | None = Field(default=None, description="Gates to hold the figures against; unset: MEDILLUS_PROFILE.")
    slices: int = Field(default=80, ge=1, description="Most real slices used, spread over patients and body levels.")
    samples: int = Field(default=3, ge=2, description="Images per mask for diversity and the sample grid.")
    seed: int = Field(default=7, ge=0, description="Seed of the samples, the controls and the bootstrap.")


@dg.asset(
    deps=[generator_checkpoint, judge],
    group_name="validation",
    owners=["team:machine-learning"],
    kinds={"html", "mlflow"},
    code_version="1",
    retry_policy=RETRY,
    check_specs=[
        dg.AssetCheckSpec(
            MODEL_GATES,
            asset="validation_report",
            description="Every gate of the profile passed for this version; without it there is no promotion.",
        )
    ],
)
def validation_report(
    context: dg.AssetExecutionContext,
    config: ValidationConfig,
    store: StoreResource,
    compute: ComputeResource,
    mlflow: MLflowResource,
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """Judge Dice per organ with its controls (real images, shuffled masks, per-label Gaussian texture), HU errors,
    distances and diversity on the validation patients; one HTML page, and the same figures as JSON and MLflow metrics.
    The locked test is not opened here.
    """
    from medillus_pipeline.annotation import vocabulary
    from medillus_pipeline.generation import model_file
    from medillus_pipeline.generation.dataset import load_snapshot
    from medillus_pipeline.generation.segmenter import Segmenter
    from medillus_pipeline.validation import gates
    from medillus_pipeline.validation.controls import label_statistics
    from medillus_pipeline.validation.evaluate import EvaluationConfig, evaluate
    from medillus_pipeline.validation.figures import KINDS, MAIN
    from medillus_pipeline.validation.report import Provenance, build_report

    with failing_clearly():
        compute.use_torch_threads()
        checkpoint = published.require(store.clean, "generator_checkpoint")
        judge_document = published.require(store.clean, "judge")
        dataset = load_snapshot(store.clean, checkpoint["dataset_manifest"])
        held_out, train = dataset.split("validation"), dataset.split("train")
        with tempfile.TemporaryDirectory() as folder:
            generator = model_file.load(mlflow.download(checkpoint["version"], Path(folder)))
        words = vocabulary.load()
        evaluation = evaluate(
            held_out.values,
            held_out.labels,
            held_out.patients,
            held_out.levels.tolist(),
            [words.by_id(c) for c in dataset.classes],
            sample=lambda maps, levels, seed: generator.sample(maps, levels, seed=seed),
            judge=Segmenter.from_bytes(store.clean.read(judge_document["path"])),
            texture=label_statistics(train.values, train.labels, len(dataset.classes)),
            seed=config.seed,
            config=EvaluationConfig(slices=config.slices, samples=config.samples),
            progress=progress_to(context, "images generated"),
        )
        profile = gates.load_profile(config.profile or store.profile)
        verdict = gates.judge_gates(profile, evaluation.figures)
        report = build_report(
            evaluation,
            verdict,
            Provenance(
                model=mlflow.model,
                model_version=checkpoint["version"],
                dataset_fingerprint=dataset.fingerprint,
                split_sha256=dataset.manifest["split_hash"],
                judge_sha256=judge_document["sha256"],
                code_version=__version__,
                date=f"{datetime.now(UTC):%Y-%m-%d}",
                split="validation",
                splits={name: counts["patients"] for name, counts in dataset.manifest["counts"].items()},
                details={"MLflow run": checkpoint["run_id"], "Dagster run": context.run_id},
            ),
        )
        page = report.html.encode()
        document = json.dumps(report.document, indent=1, sort_keys=True).encode()
        html_payload = store.clean.put("reports", page, ".html")
        json_payload = store.clean.put("reports", document, ".json")
        mlflow.log(checkpoint["run_id"], metrics={f"validation.{_metric(k)}": v for k, v in report.figures.items()})
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "report.html").write_bytes(page)
            (Path(folder) / "figures.json").write_bytes(document)
            mlflow.log_folder(checkpoint["run_id"], Path(folder), "validation")
        mlflow.tag_version(
            checkpoint["version"],
            {"verdict": verdict.status, "profile": profile.name, "judge_sha256": judge_document["sha256"]},
        )
        version = published.publish(
            store.clean,
            "validation_report",
            {
                "version": checkpoint["version"],
                "run_id": checkpoint["run_id"],
                "status": verdict.status,
                "sentence": verdict.sentence,
                "profile": profile.name,
                "required_approvals": profile.required_approvals,
                "review_statement": profile.review_statement,
                "failed_gates": [r.gate.figure for r in verdict.results if not r.passed],
                "figures": report.figures,
                "html": html_payload.path,
                "json": json_payload.path,
                "judge_sha256": judge_document["sha256"],
                "gates_sha256": gates.fingerprint(),
                "dataset_fingerprint": dataset.fingerprint,
            },
        )
    lines = ["| gate | status | value | why |", "| --- | --- | ---: | --- |"]
    for result in verdict.results:
        value = "–" if result.value is None else f"{result.value:.3f}"
        lines.append(f"| {KINDS[result.gate.figure].title} | {result.status} | {value} | {result.gate.reason} |")
    yield dg.AssetCheckResult(
        check_name=MODEL_GATES,
        passed=verdict.passed,
        severity=dg.AssetCheckSeverity.ERROR,
        description=verdict.sentence,
        metadata={"gates": dg.MetadataValue.md("\n".join(lines)), "version": checkpoint["version"]},
    )
    yield dg.MaterializeResult(
        data_version=dg.DataVersion(version),
        metadata={
            "report": dg.MetadataValue.url(f"{store.clean.url}/{html_payload.path}"),
            "verdict": verdict.sentence,
            "version": checkpoint["version"],
            **{name: report.figures[name] for name in MAIN if name in report.figures},
        },
    )


def _metric(key: str) -> str:
    """A figure's key as an MLflow metric name: the part behind the slash is the organ."""
    return key.replace("/", ".")
