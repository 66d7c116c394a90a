"""Human review: `review_tasks`, the blind sheet of the newest version, and `reviews`, the signed verdicts on it."""

import hashlib
import json
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from medillus_pipeline import landings, published
from medillus_pipeline.assets.publishing import counts_table, progress_to, row_counts, table_metadata, what_to_do
from medillus_pipeline.failures import RETRY, failing_clearly
from medillus_pipeline.partitions import review_batches
from medillus_pipeline.resources.compute import ComputeResource
from medillus_pipeline.resources.mlflow import MLflowResource
from medillus_pipeline.resources.store import StoreResource
from medillus_pipeline.tables import LEDGER, REVIEWS, TableStore

if TYPE_CHECKING:
    import numpy as np

    from medillus_pipeline.generation.dataset import Dataset
    from medillus_pipeline.generation.sampling import Generator
    from medillus_pipeline.review.roster import Roster
    from medillus_pipeline.review.sheet import Planned, SheetKey

SHEETS = "review_sheets"
"""Folder of published documents: one for every sheet that was ever made, by its id."""
WEIGHTS = "weights.safetensors"


def reviews_document(version: str) -> str:
    """Name of the published document of the reviews of a model version."""
    return f"reviews/{version}"


class SheetConfig(dg.Config):
    """How long a sheet is."""

    images: int = Field(default=40, ge=2, le=400, description="Most images, half of them real; about 20 s each.")
    seed: int = Field(default=13, ge=0, description="Seed of the generated images.")


@dg.asset(
    deps=["generator_checkpoint"],
    group_name="validation",
    owners=["team:machine-learning"],
    kinds={"html"},
    code_version="1",
    retry_policy=RETRY,
)
def review_tasks(
    context: dg.AssetExecutionContext,
    config: SheetConfig,
    store: StoreResource,
    compute: ComputeResource,
    mlflow: MLflowResource,
) -> dg.MaterializeResult:
    """A blind sheet of generated and real images of the validation patients: one HTML page that works from a file.
    What each image is stands in a key beside it, which the page does not hold. No slice is shown twice.
    """
    from medillus_pipeline.generation import model_file
    from medillus_pipeline.generation.dataset import load_snapshot
    from medillus_pipeline.review.page import build_page
    from medillus_pipeline.review.sheet import build_sheet, plan_sheet

    with failing_clearly():
        compute.use_torch_threads()
        checkpoint = published.require(store.clean, "generator_checkpoint")
        held_out = load_snapshot(store.clean, checkpoint["dataset_manifest"]).split("validation")
        roster = store.roster()
        version = str(checkpoint["version"])
        with tempfile.TemporaryDirectory() as folder:
            package = mlflow.download(version, Path(folder))
            weights_sha256 = hashlib.sha256((package / WEIGHTS).read_bytes()).hexdigest()
            generator = model_file.load(package)
        first = _one_row_per_slice(held_out)
        plan = plan_sheet(
            [held_out.patients[row] for row in first], config.images, version=version, weights_sha256=weights_sha256
        )
        rows = [first[place.row] for place in plan]
        sheet = build_sheet(
            plan,
            _pictures(held_out, generator, plan, rows, config.seed, context),
            held_out.labels[rows],
            [held_out.rows[row]["slice_name"] for row in rows],
            _structures(store, held_out.classes),
            model=mlflow.model,
            version=version,
            weights_sha256=weights_sha256,
            further={"dataset_fingerprint": held_out.fingerprint, "seed": config.seed},
        )
        page = store.clean.put("review_sheets", build_page(sheet, roster.ethics), ".html")
        key = store.clean.put("review_keys", json.dumps(sheet.key, indent=1, sort_keys=True).encode(), ".json")
        document = {
            "sheet": sheet.id,
            "version": version,
            "weights_sha256": weights_sha256,
            "html": page.path,
            "key": key.path,
        }
        published.publish(store.clean, f"{SHEETS}/{sheet.id}", document)
        data_version = published.publish(store.clean, "review_tasks", document)
    if roster.ethics is None:
        context.log.warning("no ethics record: the sheet names no intended use. Set MEDILLUS_REVIEWERS")
    return dg.MaterializeResult(
        data_version=dg.DataVersion(data_version),
        metadata={
            "sheet": dg.MetadataValue.url(f"{store.clean.url}/{page.path}"),
            "version": version,
            "images": len(sheet.images),
            "bytes": page.bytes,
            "reviewers_on_roster": len(roster.reviewers),
        },
    )


def _one_row_per_slice(dataset: "Dataset") -> list[int]:
    """The first row of each slice: one that two annotators drew would otherwise be shown real and generated."""
    first: dict[str, int] = {}
    for number, row in enumerate(dataset.rows):
        first.setdefault(row["slice_name"], number)
    return list(first.values())


def _pictures(
    dataset: "Dataset",
    generator: "Generator",
    plan: "list[Planned]",
    rows: list[int],
    seed: int,
    context: dg.AssetExecutionContext,
) -> "np.ndarray":
    """(places, h, w) uint8 grey: the scan of a place's row, or what the generator makes of its mask; in the window of
    the scan either way, or its choice would tell them apart.
    """
    import numpy as np

    from medillus_pipeline.validation.windows import window_for

    tell = progress_to(context, "images generated")
    generated = [place for place, planned in enumerate(plan) if planned.origin == "generated"]
    images = {}
    for done, place in enumerate(generated, start=1):
        row = rows[place]
        levels, maps = dataset.levels[[row]], np.asarray(dataset.labels[[row]])
        told = dataset.told([row], generator.attributes)
        images[place] = generator.sample(maps, levels, seed=seed + place, **told)[0]
        tell(done, len(generated))
    scans = [np.asarray(dataset.values[row]) for row in rows]
    windows = [window_for(scan, dataset.rows[row]["modality"]) for scan, row in zip(scans, rows, strict=True)]
    return np.stack([window.grey(images.get(place, scans[place])) for place, window in enumerate(windows)])


def _structures(store: StoreResource, classes: tuple[int, ...]) -> list[Any]:
    from medillus_pipeline.review.sheet import ShownStructure
    from medillus_pipeline.review.wording import Bilingual

    found = [store.vocabulary().by_id(label) for label in classes]
    return [ShownStructure(s.id, Bilingual(s.name_en, s.name_zh), s.colour) for s in found]


@dg.asset(
    partitions_def=review_batches,
    deps=[review_tasks],
    group_name="validation",
    owners=["team:anatomy"],
    kinds={"parquet"},
    code_version="1",
    retry_policy=RETRY,
    pool="reviews",
    metadata=table_metadata(REVIEWS),
    check_specs=[
        dg.AssetCheckSpec(
            "reviews_gate",
            asset="reviews",
            description="Great Expectations suite `reviews`: pseudonyms, closed lists, one version and one decision "
            "for each verdict. Blocks publication.",
            blocking=True,
            partitions_def=review_batches,
        ),
        dg.AssetCheckSpec(
            "verdicts_accepted",
            asset="reviews",
            description="Every file of the batch is a verdict that counts. Warns with the reason of each refusal.",
            partitions_def=review_batches,
        ),
    ],
)
def reviews(
    context: dg.AssetExecutionContext, store: StoreResource
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """Verdicts of reviewers, checked against roster, signature, model version and weights; reviewers are pseudonyms.
    Comments stay in landing unless the roster keeps them. Publishes who approved each version that the batch is about.
    """
    from medillus_pipeline.quality.gate import audit, check_result
    from medillus_pipeline.quality.review_suites import reviews as suite
    from medillus_pipeline.review.landed import read_landed
    from medillus_pipeline.review.refusals import MEANINGS, Refusal
    from medillus_pipeline.review.verdict import rows_of

    key = context.partition_key
    with failing_clearly(restricted=True):
        roster = store.roster()
        former = set(landings.landed_before(store.vault, "reviews", key)) & set(store.tables.keys(REVIEWS))
        landed = read_landed(
            store.landing,
            f"reviews/{landings.folder_of(store.vault, 'reviews', key)}",
            roster,
            lambda sheet: sheet_key(store, sheet),
            marker=landings.READY,
            now=datetime.now(UTC),
            received=set(store.tables.read_all(REVIEWS, sorted(former))["verdict"].to_pylist()),
        )
        TableStore(store.vault).publish(LEDGER, f"reviews.{key}", LEDGER.to_arrow(landed.ledger))
        rows = [row for one in landed.verdicts for row in rows_of(one, keep_comments=roster.keep_comments)]
        table = REVIEWS.to_arrow(rows)
    remarks = what_to_do(landed.refused, {str(reason): meaning for reason, meaning in MEANINGS.items()})
    if remarks:
        context.log.warning(f"not every verdict counts: {remarks}. `medillus ledger {key}` lists the files.")
    yield dg.AssetCheckResult(
        check_name="verdicts_accepted",
        passed=bool(landed.verdicts) and not landed.refused,
        severity=dg.AssetCheckSeverity.WARN,
        description=remarks or "every file counts",
        metadata={"files": counts_table(landed.counts)},
    )
    if set(landed.refused) == {str(Refusal.RECEIVED_BEFORE)} and not rows:
        yield dg.AssetCheckResult(
            check_name="reviews_gate", passed=True, description="nothing new: every verdict was received before"
        )
    else:
        outcome = audit(suite, table.to_pandas(use_threads=False))
        yield check_result(outcome, check_name="reviews_gate")
        if not outcome.passed:
            raise dg.Failure(
                f"the gate reviews_gate does not hold ({', '.join(outcome.broken)}); nothing was published. "
                f"{remarks or 'The folder holds no verdict file: put the saved files in before closing it'}",
                allow_retries=False,
            )
    with failing_clearly(restricted=True):
        proofs = {one.id: store.clean.put("verdicts", json.dumps(one.proof()).encode(), ".json").path
                  for one in landed.verdicts}  # fmt: skip
        version = store.tables.publish(REVIEWS, key, table)
        documents = [
            publish_reviews(store, roster, of, weights, proofs)
            for of, weights in sorted({(row["model_version"], row["weights_sha256"]) for row in rows})
        ]
    yield dg.MaterializeResult(
        data_version=dg.DataVersion(version),
        metadata={
            **row_counts(table),
            "files": counts_table(landed.counts),
            "verdicts": len(landed.verdicts),
            "about_versions": ", ".join(document["version"] for document in documents) or "none",
            "approvals": dg.MetadataValue.json({of["version"]: of["approvals"] for of in documents}),
        },
    )


def sheet_key(store: StoreResource, sheet: str) -> "SheetKey | None":
    """The key of a sheet by its id; None for one that was never made here."""
    from medillus_pipeline.review.sheet import SheetKey

    document = published.current(store.clean, f"{SHEETS}/{sheet}")
    return None if document is None else SheetKey.of(json.loads(store.clean.read(document["key"])))


def publish_reviews(
    store: StoreResource, roster: "Roster", version: str, weights_sha256: str, proofs: dict[str, str]
) -> dict[str, Any]:
    """Put in force what all published verdicts say of a model version; returns the document.

    `proofs` are payload paths of newly read verdicts by id; those that the former document names stay.
    """
    from medillus_pipeline.review.agreement import figures
    from medillus_pipeline.review.approvals import approvals

    every = store.tables.read_all(REVIEWS).drop_columns(["partition"]).to_pylist()
    rows = [row for row in every if (row["model_version"], row["weights_sha256"]) == (version, weights_sha256)]
    former = published.current(store.clean, reviews_document(version)) or {}
    known = former.get("verdicts", {}) | proofs
    words = store.vocabulary()
    document = {
        "version": version,
        "weights_sha256": weights_sha256,
        "approvals": approvals(rows, roster, version, weights_sha256),
        "ethics": roster.ethics.record() if roster.ethics else None,
        "figures": figures(rows, lambda label: words.by_id(label).key),
        "verdicts": {name: known[name] for name in sorted({row["verdict"] for row in rows}) if name in known},
    }
    published.publish(store.clean, reviews_document(version), document)
    return document
