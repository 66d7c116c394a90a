"""The models beside the generator: `sketch_segmenter` reads drawings, `text_encoder` ranks images by a sentence.

Neither is needed for a figure from a mask, and both take minutes on a CPU, so they have a job of their own,
`train_illustrators`, and the nightly retraining leaves them alone. A model whose inputs are unchanged is not trained
again. How they are trained is in `sketches/training.py` and `language/encoder_training.py`.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from medillus_pipeline import __version__, published
from medillus_pipeline.assets.dataset import anatomical_prior, training_dataset
from medillus_pipeline.assets.publishing import progress_to
from medillus_pipeline.assets.training import training_key
from medillus_pipeline.errors import ConfigurationError
from medillus_pipeline.failures import RETRY, failing_clearly
from medillus_pipeline.resources.compute import ComputeResource
from medillus_pipeline.resources.mlflow import MLflowResource
from medillus_pipeline.resources.store import StoreResource

if TYPE_CHECKING:
    from medillus_pipeline.generation.dataset import Dataset
    from medillus_pipeline.generation.prior import Prior
    from medillus_pipeline.language.encoder_config import TextEncoderConfig
    from medillus_pipeline.sketches.config import SketchConfig

EXPERIMENT = "medillus-illustrators"
TINY_SKETCHES: dict[str, Any] = {"channels": (8, 16), "steps": 20, "batch_size": 4, "calibration_drawings": 16}
"""What a sketch segmenter of the preset `tiny` has: seconds, for tests; it learns next to nothing."""

Log = Callable[[int, dict[str, float]], None]


class IllustratorConfig(dg.Config):
    """How a model beside the generator is trained."""

    preset: str | None = Field(default=None, description="Model preset; unset: the dataset's, which tiny is for tests.")
    steps: int | None = Field(default=None, ge=1, le=10_000_000, description="Training steps; unset: the preset's.")
    seed: int = Field(default=31, ge=0, description="Seed of weights, order and what is drawn or written.")
    settings: dict[str, Any] = Field(
        default={}, description="Further fields of SketchConfig or TextEncoderConfig, by name."
    )


@dg.asset(
    deps=[training_dataset, anatomical_prior],
    group_name="models",
    owners=["team:machine-learning"],
    kinds={"pytorch", "mlflow"},
    code_version="1",
    retry_policy=RETRY,
    pool="training",
)
def sketch_segmenter(
    context: dg.AssetExecutionContext,
    config: IllustratorConfig,
    store: StoreResource,
    compute: ComputeResource,
    mlflow: MLflowResource,
) -> dg.MaterializeResult:
    """Reads hand drawings: trained on drawings synthesised from training patients' masks, its confidence calibrated on
    those of other training patients, measured on validation patients' drawings.
    """
    from medillus_pipeline.annotation import vocabulary
    from medillus_pipeline.sketches.training import train_sketch_segmenter

    with failing_clearly():
        words = vocabulary.load()

        def train(dataset: "Dataset", prior: "Prior", log: Log, progress: Callable[[int, int], None]) -> bytes:
            chosen = sketch_config(config, dataset.preset, compute.threads)
            return train_sketch_segmenter(
                dataset, prior, chosen, vocabulary=words, seed=config.seed, log=log, progress=progress
            ).to_bytes()

        return _illustrator(
            context,
            "sketch_segmenter",
            lambda dataset: sketch_config(config, dataset.preset, compute.threads),
            train,
            drawings_read,
            config.seed,
            store,
            mlflow,
        )


@dg.asset(
    deps=[training_dataset, anatomical_prior],
    group_name="models",
    owners=["team:machine-learning"],
    kinds={"pytorch", "mlflow"},
    code_version="1",
    retry_policy=RETRY,
    pool="training",
)
def text_encoder(
    context: dg.AssetExecutionContext,
    config: IllustratorConfig,
    store: StoreResource,
    compute: ComputeResource,
    mlflow: MLflowResource,
) -> dg.MaterializeResult:
    """Puts sentences in English and Chinese and images into one space: trained on captions made from the tables and
    masks of training patients, measured on validation patients' slices.
    """
    from medillus_pipeline.language.encoder_training import train_text_encoder

    with failing_clearly():

        def train(dataset: "Dataset", prior: "Prior", log: Log, progress: Callable[[int, int], None]) -> bytes:
            chosen = encoder_config(config, dataset.preset, compute.threads)
            return train_text_encoder(dataset, prior, chosen, seed=config.seed, log=log, progress=progress).to_bytes()

        return _illustrator(
            context,
            "text_encoder",
            lambda dataset: encoder_config(config, dataset.preset, compute.threads),
            train,
            captions_found,
            config.seed,
            store,
            mlflow,
        )


def sketch_config(config: IllustratorConfig, dataset_preset: str, threads: int) -> "SketchConfig":
    """The configuration of a preset with what the launchpad set. Raises ConfigurationError for a wrong setting."""
    from pydantic import ValidationError

    from medillus_pipeline.sketches.config import SketchConfig

    base = TINY_SKETCHES if (config.preset or dataset_preset) == "tiny" else {}
    try:
        return SketchConfig.model_validate({**base, **_set_here(config), "threads": threads})
    except ValidationError as error:
        raise ConfigurationError(_first(error)) from None


def encoder_config(config: IllustratorConfig, dataset_preset: str, threads: int) -> "TextEncoderConfig":
    """The configuration of a preset with what the launchpad set. Raises ConfigurationError for a wrong setting."""
    from pydantic import ValidationError

    from medillus_pipeline.language.encoder_config import preset

    try:
        base = preset(config.preset or dataset_preset)
        return type(base).model_validate({**base.model_dump(), **_set_here(config), "threads": threads})
    except ValidationError as error:
        raise ConfigurationError(_first(error)) from None
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def _set_here(config: IllustratorConfig) -> dict[str, Any]:
    return {**config.settings, **({} if config.steps is None else {"steps": config.steps})}


def _first(error: Any) -> str:
    found = error.errors(include_input=False, include_url=False)[0]
    return f"settings, {'.'.join(map(str, found['loc']))}: {found['msg']}"


def _illustrator(
    context: dg.AssetExecutionContext,
    name: str,
    chosen_for: Callable[["Dataset"], Any],
    train: Callable[["Dataset", "Prior", Log, Callable[[int, int], None]], bytes],
    measure: Callable[[bytes, "Dataset", "Prior"], dict[str, float]],
    seed: int,
    store: StoreResource,
    mlflow: MLflowResource,
) -> dg.MaterializeResult:
    """Train what changed, measure it, log it to one MLflow run, publish payload and document."""
    from medillus_pipeline.generation.dataset import load_snapshot
    from medillus_pipeline.generation.prior import Prior

    prior_document = published.require(store.clean, "anatomical_prior")
    dataset = load_snapshot(store.clean, prior_document["dataset_manifest"])
    prior = Prior.from_bytes(store.clean.read(prior_document["path"]))
    described = chosen_for(dataset).model_dump(mode="json", exclude={"threads"})
    key = training_key(name, dataset.fingerprint, prior_document["sha256"], described, seed)
    tracking = mlflow.model_copy(update={"experiment": EXPERIMENT})
    former = published.current(store.clean, name)
    if former is not None and former["key"] == key:
        context.log.info("dataset and configuration are unchanged: the trained model stays")
        document = former
    else:
        made_from = {"dataset_fingerprint": dataset.fingerprint, "prior_sha256": prior_document["sha256"]}
        tags = {**made_from, "code_version": __version__, "dagster_run_id": context.run_id, "kind": name}
        run = tracking.training_run(key, f"{name}-{dataset.fingerprint[:8]}", tags)
        client = tracking.client()
        try:
            tracking.log(run.run_id, parameters={**_flat(described), "seed": seed, **made_from}, client=client)
            data = train(
                dataset,
                prior,
                lambda step, losses: tracking.log(run.run_id, metrics=losses, step=step, client=client),
                progress_to(context, "training steps"),
            )
            figures = measure(data, dataset.split("validation"), prior)
            tracking.log(run.run_id, metrics={f"validation.{n}": v for n, v in figures.items()}, client=client)
        except BaseException:
            tracking.finish(run.run_id, "FAILED")
            raise
        payload = store.clean.put("illustrators", data, ".safetensors")
        tracking.finish(run.run_id)
        document = {
            "key": key,
            "path": payload.path,
            "sha256": payload.sha256,
            "dataset_fingerprint": dataset.fingerprint,
            "dataset_manifest": prior_document["dataset_manifest"],
            "prior_sha256": prior_document["sha256"],
            "run_id": run.run_id,
            "experiment_id": run.experiment_id,
            "figures": figures,
        }
        published.publish(store.clean, name, document)
    link = f"{mlflow.ui_url}/#/experiments/{document['experiment_id']}/runs/{document['run_id']}"
    return dg.MaterializeResult(
        data_version=dg.DataVersion(document["sha256"]),
        metadata={
            "mlflow_run": dg.MetadataValue.url(link),
            "sha256": document["sha256"],
            "dataset_fingerprint": document["dataset_fingerprint"],
            **{name: round(value, 4) for name, value in document["figures"].items()},
        },
    )


def drawings_read(data: bytes, held_out: "Dataset", prior: "Prior") -> dict[str, float]:
    """How well a sketch segmenter reads drawings of held-out slices, each drawn once: mean Dice of what was drawn, and
    the share of structures read that nobody drew. Nothing where no slice has a structure.
    """
    import numpy as np

    from medillus_pipeline.sketches.drawings import drawn, sitters
    from medillus_pipeline.sketches.segmenter import SketchSegmenter

    reader = SketchSegmenter.from_bytes(data)
    shown = sitters(held_out, reader.config.drawing)[:200]
    if not shown:
        return {}
    asked = drawn(shown, reader.side, np.random.default_rng(0), reader.config.drawing)
    read = reader.predict(asked.ink, prior, asked.levels).argmax(1).astype(np.uint8)
    scores = _dice(asked.labels, read)
    invented = [len(np.setdiff1d(one, [0, *np.unique(true)])) for one, true in zip(read, asked.labels, strict=True)]
    named = [len(np.setdiff1d(one, [0])) for one in read]
    return {
        "drawings": float(len(shown)),
        "mean_dice": float(np.mean(scores)) if scores else 0.0,
        "invented_share": float(np.sum(invented) / max(np.sum(named), 1)),
    }


def _dice(asked: Any, read: Any) -> list[float]:
    """Dice of every structure of every label map (n, h, w) that was drawn."""
    found = []
    for true, one in zip(asked, read, strict=True):
        for index in {int(value) for value in true.ravel()} - {0}:
            mine, theirs = true == index, one == index
            found.append(float(2 * (mine & theirs).sum() / max(mine.sum() + theirs.sum(), 1)))
    return found


def captions_found(data: bytes, held_out: "Dataset", prior: "Prior") -> dict[str, float]:
    """Equivalent recall of a text encoder on held-out slices: share of captions, two of each slice, for which one of
    the best k images is one that the caption is true of; with that of chance. Nothing with fewer than two slices.
    """
    import numpy as np

    from medillus_pipeline.annotation import vocabulary
    from medillus_pipeline.language.captions import CaptionWriter
    from medillus_pipeline.language.captions_phrases import LANGUAGES
    from medillus_pipeline.language.encoder_facts import TRUE, claims_of, fact_table, truth_of
    from medillus_pipeline.language.encoder_model import TextEncoder

    encoder = TextEncoder.from_bytes(data)
    if len(held_out) < 2:
        return {}
    words = vocabulary.load()
    truth = fact_table(held_out, prior, words, encoder.facts, encoder.config.facts).truth
    writer, random = CaptionWriter(encoder.facts, words, encoder.config.captions), np.random.default_rng(0)
    captions = [writer.write(row, language, random) for row in truth for language in LANGUAGES]
    true = truth_of(claims_of([caption.facts for caption in captions], encoder.facts), truth) == TRUE
    scores = encoder.scores([caption.text for caption in captions], np.asarray(held_out.values))
    order = np.argsort(-scores, axis=1, kind="stable")
    figures: dict[str, float] = {"captions": float(len(captions)), "chance_at_1": float(true.mean())}
    for k in (1, 5):
        figures[f"recall_at_{k}"] = float(np.take_along_axis(true, order[:, :k], 1).any(1).mean())
    return figures


def _flat(described: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested settings as parameters of one run, `drawing.gaps` and so on."""
    flat: dict[str, Any] = {}
    for name, value in described.items():
        flat |= _flat(value, f"{before}{name}.") if isinstance(value, Mapping) else {f"{before}{name}": value}
    return flat
