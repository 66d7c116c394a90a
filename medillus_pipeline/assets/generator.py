"""`generator_checkpoint`: the model that draws, logged to MLflow and registered as the challenger.

What is not here: the models that measure and mark (`training.py`), how any of them learns (`generation/`), and how
several processes are started (`torchrun.py`).
"""

import hashlib
import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg
from pydantic import Field

from medillus_pipeline import __version__, published
from medillus_pipeline.assets.dataset import anatomical_prior, training_dataset
from medillus_pipeline.assets.publishing import picture, progress_to
from medillus_pipeline.assets.torchrun import train_in_processes
from medillus_pipeline.assets.training import CODE_VERSION, training_key
from medillus_pipeline.errors import ConfigurationError, InputError
from medillus_pipeline.failures import RETRY, failing_clearly
from medillus_pipeline.resources.compute import ComputeResource
from medillus_pipeline.resources.mlflow import MLflowResource
from medillus_pipeline.resources.store import StoreResource
from medillus_pipeline.train_process import SHEETS, Plan, write_sheet

if TYPE_CHECKING:
    from medillus_pipeline.generation.config import GanConfig, GeneratorConfig
    from medillus_pipeline.generation.dataset import Dataset
    from medillus_pipeline.generation.prior import Prior
    from medillus_pipeline.generation.sampling import Generator


class GeneratorRunConfig(dg.Config):
    """How the generator is trained."""

    family: Literal["flow", "gan"] = Field(default="flow", description="Model family: the rectified flow, or the GAN.")
    preset: str | None = Field(
        default=None,
        description="Model preset: demo (CPU), workstation (one GPU), node (several), tiny for tests; unset: the "
        "dataset's.",
    )
    steps: int | None = Field(default=None, ge=1, description="Training steps; unset: the preset's.")
    batch_size: int | None = Field(default=None, ge=1, description="Slices in a training step; unset: the preset's.")
    learning_rate: float | None = Field(default=None, gt=0, le=1, description="Learning rate; unset: the preset's.")
    processes: int | None = Field(
        default=None, ge=1, le=64, description="Processes on a machine, one for each GPU; unset: the preset's devices."
    )
    nodes: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="Machines. Several meet at PET_MASTER_ADDR and PET_MASTER_PORT and share MEDILLUS_HOME; the log "
        "says what to start on the others. Unset: the preset's.",
    )
    seed: int = Field(default=0, ge=0, description="Seed of weights, order, augmentation and noise.")
    start_from: str | None = Field(
        default=None,
        description="Weights to begin from, the classes may differ: models:/medillus-generator@champion, "
        "models:/medillus-generator/3, or a weights file on this machine; unset: fresh weights.",
    )
    perceptual_weights: str | None = Field(
        default=None,
        description="A segmenter's weights file on this machine, for a gan's perceptual loss; the preset, or "
        "`perceptual`, gives it its weight.",
    )
    perceptual: float | None = Field(
        default=None, ge=0, le=1000, description="Weight of that loss; unset: the preset's."
    )

    def chosen(self, dataset_preset: str, threads: int) -> "GeneratorConfig | GanConfig":
        """The preset's configuration of the family, with what is set here; processes of one machine share `threads`."""
        from medillus_pipeline.generation.config import preset

        base = getattr(preset(self.preset or dataset_preset), "generator" if self.family == "flow" else "gan")
        asked: dict[str, Any] = {
            "steps": self.steps,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "devices": self.processes,
            "nodes": self.nodes,
        }
        if (self.perceptual_weights is not None or self.perceptual) and self.family != "gan":
            raise ConfigurationError("the perceptual loss is the gan's: choose family gan, or leave it")
        if self.perceptual and self.perceptual_weights is None:
            raise ConfigurationError("a perceptual loss needs perceptual_weights: name a segmenter's weights file")
        if self.perceptual_weights is not None:
            sha256 = hashlib.sha256(_read_weights(self.perceptual_weights)).hexdigest()
            asked |= {"perceptual": self.perceptual, "perceptual_sha256": sha256}
        set_here = {name: value for name, value in asked.items() if value is not None}
        shared = max(1, threads // set_here.get("devices", base.devices))
        return type(base).model_validate({**base.model_dump(), **set_here, "threads": shared})


@dg.asset(
    deps=[training_dataset, anatomical_prior],
    group_name="models",
    owners=["team:machine-learning"],
    kinds={"pytorch", "mlflow"},
    code_version=CODE_VERSION,
    retry_policy=RETRY,
    pool="training",
)
def generator_checkpoint(
    context: dg.AssetExecutionContext,
    config: GeneratorRunConfig,
    store: StoreResource,
    compute: ComputeResource,
    mlflow: MLflowResource,
) -> dg.MaterializeResult:
    """The mask-conditioned generator with its anatomical prior, of either family, logged to one MLflow run, registered
    as the next version of `medillus-generator` and given the alias `challenger`.
    """
    from medillus_pipeline.annotation import vocabulary
    from medillus_pipeline.dicom.preview import thumbnail
    from medillus_pipeline.generation import model_card, model_file, transfer
    from medillus_pipeline.generation.dataset import load_snapshot
    from medillus_pipeline.generation.prior import Prior
    from medillus_pipeline.resources import registered_models

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces its precision on every start
    with failing_clearly():
        prior_document = published.require(store.clean, "anatomical_prior")
        dataset = load_snapshot(store.clean, prior_document["dataset_manifest"])
        prior = Prior.from_bytes(store.clean.read(prior_document["path"]))
        words = vocabulary.load()
        chosen = config.chosen(dataset.preset, compute.threads)
        judge = published.current(store.clean, "judge")
        if chosen.family == "gan" and chosen.perceptual and judge and judge["sha256"] == chosen.perceptual_sha256:
            raise ConfigurationError("the judge measures only and takes part in no loss: name another weights file")
        described = chosen.model_dump(mode="json", exclude={"threads"})
        start = None if config.start_from is None else registered_models.weights_of(mlflow, config.start_from)
        begun = {} if start is None else {"start_sha256": hashlib.sha256(start).hexdigest()}
        if start is not None:
            images = 1 if dataset.neighbours is None else 3
            context.log.info(transfer.preview(dataset.classes, dataset.known_attributes, images, chosen, start))
        key = training_key(
            "generator", dataset.fingerprint, prior_document["sha256"], described, config.seed, *begun.values()
        )
        made_from = {
            "dataset_fingerprint": dataset.fingerprint,
            "prior_sha256": prior_document["sha256"],
            "code_version": __version__,
            "family": config.family,
            **begun,
        }
        tags = {**made_from, "dagster_run_id": context.run_id}
        run = mlflow.training_run(key, f"generator-{dataset.fingerprint[:8]}", tags)
        version = run.version
        work = Path(store.work) / "training" / key[:16]
        plan = Plan(
            clean_url=store.clean.url,
            cache=store.clean.cache,
            manifest=prior_document["dataset_manifest"],
            prior=prior_document["path"],
            start=None if start is None else store.clean.put("starts", start, ".safetensors").path,
            perceptual_weights=config.perceptual_weights,
            seed=config.seed,
            config=chosen,
        )
        metadata: dict[str, Any] = {}
        if version is None:
            try:
                mlflow.log(
                    run.run_id,
                    parameters={
                        **{f"generator.{name}": value for name, value in described.items()},
                        "family": config.family,
                        "seed": config.seed,
                        "classes": len(dataset.classes),
                        "size": dataset.values.shape[-1],
                        "vocabulary_version": words.version,
                        **{f"slices.{s}": c["slices"] for s, c in dataset.manifest["counts"].items()},
                        **{f"patients.{s}": c["patients"] for s, c in dataset.manifest["counts"].items()},
                        **made_from,
                    },
                )
                if chosen.devices * chosen.nodes > 1:
                    generator = train_in_processes(context, plan, work, prior, mlflow, run.run_id)
                else:
                    generator = _train_here(context, plan, work, dataset, prior, start, mlflow, run.run_id)
                if sheets := sorted((work / SHEETS).glob("*.png")):
                    mlflow.log_folder(run.run_id, work / SHEETS, SHEETS)
                    shown = sheets[-1].read_bytes()
                    metadata = picture(store.clean, "previews", shown, thumbnail=thumbnail(shown))
                with tempfile.TemporaryDirectory() as folder:
                    package = Path(folder) / "model"
                    artifacts = model_file.package(
                        generator,
                        prior,
                        dataset.classes,
                        words.version,
                        dataset.manifest,
                        package,
                        card=lambda of: model_card.model_card(
                            of,
                            dataset.manifest,
                            words,
                            prior_sha256=prior_document["sha256"],
                            prior=prior.describe(),
                            start_sha256=begun.get("start_sha256"),
                        ),
                    )
                    code = model_file.write_model_file(package)
                    version = mlflow.register(
                        run.run_id,
                        lambda: model_file.log_generator(artifacts, code, release_steps=generator.release_steps),
                        tags,
                    )
                    told = model_card.summary(generator.describe(), dataset.manifest)
                    registered_models.describe(mlflow, version, told)
            except BaseException:
                mlflow.finish(run.run_id, "FAILED")
                raise
        else:
            context.log.info(f"dataset and configuration are unchanged: version {version} stays")
        mlflow.challenge(version)  # also when a killed attempt got as far as registering
        mlflow.finish(run.run_id)
        published.publish(
            store.clean,
            "generator_checkpoint",
            {
                "key": key,
                "version": version,
                "run_id": run.run_id,
                "experiment_id": run.experiment_id,
                "dataset_fingerprint": dataset.fingerprint,
                "dataset_manifest": prior_document["dataset_manifest"],
                "prior_sha256": prior_document["sha256"],
            },
        )
    return dg.MaterializeResult(
        data_version=dg.DataVersion(key),
        metadata={
            "mlflow_run": dg.MetadataValue.url(mlflow.run_url(run)),
            "registered_version": dg.MetadataValue.url(mlflow.version_url(version)),
            "version": version,
            "dataset_fingerprint": dataset.fingerprint,
            **metadata,
        },
    )


def _train_here(
    context: dg.AssetExecutionContext,
    plan: Plan,
    work: Path,
    dataset: "Dataset",
    prior: "Prior",
    start: bytes | None,
    mlflow: MLflowResource,
    mlflow_run: str,
) -> "Generator":
    """Train by the plan in this process."""
    from medillus_pipeline.generation.training import train_generator

    client = mlflow.client()
    return train_generator(
        dataset,
        prior,
        plan.config,
        seed=plan.seed,
        start=start,
        perceptual_weights=None if plan.perceptual_weights is None else Path(plan.perceptual_weights).expanduser(),
        checkpoint_dir=work,
        log=lambda step, figures: mlflow.log(mlflow_run, metrics=figures, step=step, client=client),
        preview=lambda step, model: write_sheet(work / SHEETS, step, model, dataset),
        progress=progress_to(context, "training steps"),
    )


def _read_weights(path: str) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"the weights file of the perceptual loss cannot be read ({reason})") from None
