"""`validation_report`: what the challenger is worth, on patients that it never saw, beside controls and the champion.

What is measured is in `validation/one_pass.py`, the page in `validation/report.py`; here it is fetched and published.
"""

import json
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from medillus_pipeline import __version__, published
from medillus_pipeline.assets.champion import beside_champion
from medillus_pipeline.assets.generator import generator_checkpoint
from medillus_pipeline.assets.measuring import ethics_of, load_subject
from medillus_pipeline.assets.publishing import progress_to
from medillus_pipeline.assets.training import judge, organ_segmenter
from medillus_pipeline.errors import InputError
from medillus_pipeline.failures import RETRY, failing_clearly
from medillus_pipeline.resources.compute import ComputeResource
from medillus_pipeline.resources.mlflow import MLflowResource
from medillus_pipeline.resources.store import StoreResource

if TYPE_CHECKING:
    from medillus_pipeline.generation.dataset import Dataset
    from medillus_pipeline.generation.sampling import Generator
    from medillus_pipeline.validation.confidence import Calibration
    from medillus_pipeline.validation.gates import Verdict
    from medillus_pipeline.validation.one_pass import OnePassConfig
    from medillus_pipeline.validation.report import Report
    from medillus_pipeline.zones import Zone

MODEL_GATES = "model_gates"


class ValidationConfig(dg.Config):
    """How much is measured, and against which gates. Zero leaves a part out; a gate on its figures then fails."""

    profile: str | None = Field(default=None, description="Gates to hold the figures against; unset: MEDILLUS_PROFILE.")
    slices: int = Field(default=80, ge=1, description="Most real slices used, spread over patients and body levels.")
    samples: int = Field(default=3, ge=2, description="Images per mask for diversity and the sample grid.")
    context_slices: int = Field(
        default=20, ge=0, description="Most of these slices that are also drawn under the true tissue context and none."
    )
    edited_masks: int = Field(
        default=16, ge=0, description="Masks of which one organ is moved, grown and removed: four images each."
    )
    training_masks: int = Field(
        default=120, ge=0, description="Training masks that are drawn, to look for copies and to teach segmenters."
    )
    students: int | None = Field(
        default=None,
        ge=0,
        le=10,
        description="Segmenters taught by generated, and as many by real images. Unset: one in the profile demo, else "
        "three.",
    )
    student_steps: int | None = Field(
        default=None,
        ge=1,
        description="Training steps of each of them. Unset: 160 in the profile demo, where no gate rests on them, else "
        "320.",
    )
    seed: int = Field(default=7, ge=0, description="Seed of the samples, the controls and the bootstrap.")

    def chosen(self, profile: str, threads: int) -> "OnePassConfig":
        """What one pass measures under that profile."""
        from medillus_pipeline.validation.evaluate import EvaluationConfig
        from medillus_pipeline.validation.one_pass import OnePassConfig
        from medillus_pipeline.validation.synthetic_training import STUDENT

        demo = profile == "demo"
        students = self.students if self.students is not None else 1 if demo else 3
        steps = self.student_steps if self.student_steps is not None else 160 if demo else 320
        return OnePassConfig(
            evaluation=EvaluationConfig(
                slices=self.slices, samples=self.samples, context_slices=max(self.context_slices, 1)
            ),
            training_masks=self.training_masks,
            edited_masks=self.edited_masks,
            students=students,
            student=STUDENT.model_copy(update={"steps": steps, "threads": threads}),
        )


@dg.asset(
    deps=[generator_checkpoint, judge, organ_segmenter],
    group_name="validation",
    owners=["team:machine-learning"],
    kinds={"html", "mlflow"},
    code_version="3",
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
    """What the newest version is worth on the validation patients, beside its controls and the champion: the judge's
    Dice, HU, texture, distances, diversity, anatomical errors, left and right, copies of training slices, edited masks,
    what a segmenter learns from its images, and how far the confidence that figures print can be trusted, calibrated
    here. One HTML page, the same figures as JSON and MLflow metrics, and a model card with the verdict. The locked test
    is not opened here.
    """
    from medillus_pipeline.errors import NotEnoughDataError
    from medillus_pipeline.generation.segmenter import Segmenter
    from medillus_pipeline.resources import locked_test, registered_models
    from medillus_pipeline.validation import gates, released
    from medillus_pipeline.validation.confidence_section import calibrated_confidence
    from medillus_pipeline.validation.counterfactual_strip import strip
    from medillus_pipeline.validation.figures import KINDS, MAIN
    from medillus_pipeline.validation.report import Provenance, build_report

    with failing_clearly():
        compute.use_torch_threads()
        subject = load_subject(store, mlflow)
        checkpoint, dataset, words = subject.checkpoint, subject.dataset, subject.words
        generator, judge_document = subject.generator, subject.judge_document
        segmenter_document = published.require(store.clean, "organ_segmenter")
        profile = gates.load_profile(config.profile or store.profile)
        champion, beside = beside_champion(mlflow, checkpoint["version"], judge_document["sha256"], dataset)
        segmenter = Segmenter.from_bytes(store.clean.read(segmenter_document["path"]))
        if segmenter.classes != dataset.classes:
            raise InputError(
                "the organ segmenter was trained for other structures than this version draws: materialize "
                "organ_segmenter again, or generator_checkpoint where that is the older"
            )
        knows = [c for c in dataset.classes if c not in dataset.manifest["classes_without_judge_patients"]]
        measured = subject.measure(
            "validation",
            config.chosen(profile.name, compute.threads),
            seed=config.seed,
            contexts=released.contexts(generator) if config.context_slices else None,
            champion=None if champion is None else released.sampler(champion),
            segmenter=segmenter,
            judge_knows=knows,
            progress=progress_to(context, "images generated"),
        )
        remarks = list(subject.remarks)
        confidence = None
        try:
            confidence = calibrated_confidence(
                measured.trained,
                measured.held,
                knows,
                {c: words.by_id(c).name_en for c in dataset.classes},
                model_version=checkpoint["version"],
                judge_sha256=judge_document["sha256"],
                segmenter_sha256=segmenter_document["sha256"],
                dataset_fingerprint=dataset.fingerprint,
                seed=config.seed,
            )
        except NotEnoughDataError as error:
            remarks.append(f"The confidence was not calibrated: {error}.")
        evaluation = measured.evaluation.and_also({} if confidence is None else confidence.figures(), remarks)
        verdict = gates.judge_gates(profile, evaluation.figures)
        edits = strip(measured.edits, dataset.classes, words.palette()) if measured.edits else None
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
                details={
                    "MLflow run": checkpoint["run_id"],
                    "Dagster run": context.run_id,
                    "Locked test": locked_test.in_words(locked_test.locked_test_openings(store.clean)),
                },
            ),
            edits=edits,
            champion=beside,
            confidence=confidence,
        )
        card, told = _card(subject.described, generator, dataset, checkpoint, mlflow, report, verdict, ethics_of(store))
        page = report.html.encode()
        document = json.dumps(report.document, indent=1, sort_keys=True).encode()
        calibration = None if confidence is None else _publish_calibration(store.clean, confidence.calibration)
        html_payload = store.clean.put("reports", page, ".html")
        json_payload = store.clean.put("reports", document, ".json")
        card_payload = store.clean.put("reports", card.encode(), ".md")
        mlflow.log(checkpoint["run_id"], metrics={f"validation.{_metric(k)}": v for k, v in report.figures.items()})
        with tempfile.TemporaryDirectory() as folder:
            for name, data in (("report.html", page), ("figures.json", document), ("card.md", card.encode())):
                (Path(folder) / name).write_bytes(data)
            mlflow.log_folder(checkpoint["run_id"], Path(folder), "validation")
        mlflow.tag_version(
            checkpoint["version"],
            {"verdict": verdict.status, "profile": profile.name, "judge_sha256": judge_document["sha256"]},
        )
        registered_models.describe(mlflow, checkpoint["version"], told)
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
                "card": card_payload.path,
                "confidence": calibration,
                "judge_sha256": judge_document["sha256"],
                "gates_sha256": gates.fingerprint(),
                "dataset_fingerprint": dataset.fingerprint,
            },
        )
    lines = ["| gate | status | value | why |", "| --- | --- | ---: | --- |"]
    for result in verdict.results:
        value = "–" if result.value is None else f"{result.value:.3f}"
        lines.append(f"| {KINDS[result.gate.figure].title} | {result.status} | {value} | {result.gate.reason} |")
    parts = ["| part | CPU seconds |", "| --- | ---: |", *(f"| {k} | {v:.1f} |" for k, v in measured.seconds.items())]
    yield dg.AssetCheckResult(
        check_name=MODEL_GATES,
        passed=verdict.passed,
        severity=dg.AssetCheckSeverity.ERROR,
        description=verdict.sentence,
        metadata={
            "gates": dg.MetadataValue.md("\n".join(lines)),
            "figures": dg.MetadataValue.json(report.figures),
            "version": checkpoint["version"],
        },
    )
    yield dg.MaterializeResult(
        data_version=dg.DataVersion(version),
        metadata={
            "report": dg.MetadataValue.url(f"{store.clean.url}/{html_payload.path}"),
            "model_card": dg.MetadataValue.md(card),
            "verdict": verdict.sentence,
            "version": checkpoint["version"],
            "champion": beside.why_not or f"measured beside version {beside.version}",
            "seconds by part": dg.MetadataValue.md("\n".join(parts)),
            "cpu_seconds": sum(measured.seconds.values()),
            **{name: report.figures[name] for name in MAIN if name in report.figures},
        },
    )


def _publish_calibration(clean: "Zone", calibration: "Calibration") -> str:
    """Put the calibration in force for the figures of its model version; the path of its payload."""
    payload = clean.put("reports", calibration.to_bytes(), ".json")
    name = f"confidence-{calibration.model_version}"
    published.publish(clean, name, {"path": payload.path, "sha256": payload.sha256})
    return payload.path


def _card(
    described: dict[str, Any],
    generator: "Generator",
    dataset: "Dataset",
    checkpoint: dict[str, Any],
    mlflow: MLflowResource,
    report: "Report",
    verdict: "Verdict",
    ethics: dict[str, str] | None,
) -> tuple[str, str]:
    """The model card with the verdict, and what the registry says of the version."""
    from medillus_pipeline.annotation import vocabulary
    from medillus_pipeline.generation import model_card
    from medillus_pipeline.validation.report import verdict_lines

    tags = mlflow.client().get_model_version(mlflow.model, checkpoint["version"]).tags
    card = model_card.model_card(
        described,
        dataset.manifest,
        vocabulary.load(),
        prior_sha256=checkpoint["prior_sha256"],
        prior=generator.prior.describe(),
        start_sha256=tags.get("start_sha256"),
        verdict=verdict_lines(verdict, report),
        ethics=ethics,
    )
    return card, f"{model_card.summary(described, dataset.manifest)} {verdict.sentence}"


def _metric(key: str) -> str:
    """A figure's key as an MLflow metric name: the part behind the slash is the organ."""
    return key.replace("/", ".")
