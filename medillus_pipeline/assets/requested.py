"""Requests for figures: `illustration_requests`, what of a landing folder may leave, and `requested_illustrations`.

Landing is restricted: a text may hold somebody's name, a drawing somebody's handwriting. What leaves is the structured
request, see `illustration/landed_requests.py`.
"""

import hmac
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from medillus_pipeline import landings, published
from medillus_pipeline.assets.finishing import Drawn, approved, first_made, publish_figures
from medillus_pipeline.assets.illustration import endings_of, inputs_of
from medillus_pipeline.assets.publishing import (
    counts_table,
    gate,
    progress_to,
    require,
    row_counts,
    table_metadata,
    what_to_do,
)
from medillus_pipeline.failures import RETRY, failing_clearly
from medillus_pipeline.partitions import request_batches
from medillus_pipeline.resources.compute import ComputeResource
from medillus_pipeline.resources.mlflow import MLflowResource
from medillus_pipeline.resources.store import StoreResource
from medillus_pipeline.tables import ILLUSTRATION_REQUESTS, ILLUSTRATIONS, LEDGER, SLICES, TableStore

if TYPE_CHECKING:
    from medillus_pipeline.annotation.vocabulary import Vocabulary
    from medillus_pipeline.illustration.landed_requests import Known, ReadSketch


class RequestedConfig(dg.Config):
    """How requests are answered."""

    publication: bool = Field(
        default=False,
        description="The figures are for publication: refused where nobody approved the model that makes them.",
    )


def figures_key(key: str) -> str:
    """Partition of the table `illustrations` that holds the figures of a folder of requests."""
    return f"requests.{key}"


@dg.asset(
    partitions_def=request_batches,
    deps=["sketch_segmenter"],
    group_name="figures",
    owners=["team:editors"],
    kinds={"parquet"},
    code_version="1",
    retry_policy=RETRY,
    metadata=table_metadata(ILLUSTRATION_REQUESTS),
    check_specs=[
        dg.AssetCheckSpec(
            "illustration_requests_gate",
            asset="illustration_requests",
            description="Great Expectations suite `illustration_requests`: pseudonyms, closed lists, no file of "
            "landing. Blocks publication.",
            blocking=True,
            partitions_def=request_batches,
        ),
        dg.AssetCheckSpec(
            "requests_accepted",
            asset="illustration_requests",
            description="Every request of the folder can be drawn from what may leave landing. Warns with the reason "
            "of each that was put aside.",
            partitions_def=request_batches,
        ),
    ],
)
def illustration_requests(
    context: dg.AssetExecutionContext, store: StoreResource, compute: ComputeResource
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """Requests for figures (JSON, TOML or a CSV table, with masks and sketches), checked against IllustrationRequest.
    Names of requests stay in landing, of a text its terms alone leave, of a drawing the label map read from it.
    """
    from medillus_pipeline.annotation.vocabulary import Vocabulary
    from medillus_pipeline.dicom.png import encode_png
    from medillus_pipeline.illustration.landed_requests import MEANINGS, read_landed_requests

    key = context.partition_key
    with failing_clearly(restricted=True):
        compute.use_torch_threads()
        words: Vocabulary = store.vocabulary()
        secret = store.pseudonymiser().key
        landed = read_landed_requests(
            store.landing,
            f"requests/{landings.folder_of(store.vault, 'requests', key)}",
            marker=landings.READY,
            vocabulary=words,
            known=_known(store),
            name_of=lambda asked: hmac.digest(secret, b"illustration request" + asked, "sha256").hex()[:12],
            read_sketch=_sketch_reader(store, words),
        )
        TableStore(store.vault).publish(LEDGER, f"requests.{key}", LEDGER.to_arrow(landed.ledger))
        rows = []
        for one in landed.admitted:
            mask = None if one.mask is None else store.clean.put("request_masks", encode_png(one.mask), ".png")
            place = {} if mask is None else {"mask": Path(mask.path)}
            document = json.loads(one.request.model_copy(update=place).model_dump_json())
            rows.append(
                {
                    "request": one.name,
                    "ways": list(one.ways),
                    "document": json.dumps(document, sort_keys=True, ensure_ascii=False),
                    "mask_path": None if mask is None else mask.path,
                    "mask_sha256": None if mask is None else mask.sha256,
                    "remarks": list(one.remarks),
                }
            )
        table = ILLUSTRATION_REQUESTS.to_arrow(rows)
    remarks = what_to_do(landed.refused, {str(reason): meaning for reason, meaning in MEANINGS.items()})
    if remarks:
        context.log.warning(f"not every request can be drawn: {remarks}. `medillus ledger {key}` lists the documents.")
    yield dg.AssetCheckResult(
        check_name="requests_accepted",
        passed=bool(landed.admitted) and not landed.refused,
        severity=dg.AssetCheckSeverity.WARN,
        description=remarks or ("every request can be drawn" if landed.admitted else "the folder holds no request"),
        metadata={"requests": counts_table(landed.counts)},
    )
    from medillus_pipeline.quality.illustration_suites import illustration_requests as suite

    yield from gate(
        suite,
        "illustration_requests_gate",
        table,
        advice=remarks or "The folder holds no request: put a .json, .toml or .csv document in before closing it",
    )
    with failing_clearly():
        version = store.tables.publish(ILLUSTRATION_REQUESTS, key, table)
    yield dg.MaterializeResult(
        data_version=dg.DataVersion(version),
        metadata={**row_counts(table), "requests": counts_table(landed.counts)},
    )


@dg.asset(
    partitions_def=request_batches,
    deps=[illustration_requests, "promoted_generator", "organ_segmenter", "text_encoder"],
    group_name="figures",
    owners=["team:editors"],
    kinds={"svg", "html"},
    code_version="1",
    retry_policy=RETRY,
    metadata=table_metadata(ILLUSTRATIONS),
    check_specs=[
        dg.AssetCheckSpec(
            "requested_illustrations_gate",
            asset="requested_illustrations",
            description="Great Expectations suites `illustrations` and `illustration_records`. Blocks publication.",
            blocking=True,
            partitions_def=request_batches,
        ),
        dg.AssetCheckSpec(
            "requests_answered",
            asset="requested_illustrations",
            description="For every request a candidate passed the checks before a figure leaves. Warns with the "
            "reasons of each refusal.",
            partitions_def=request_batches,
        ),
    ],
)
def requested_illustrations(
    context: dg.AssetExecutionContext,
    config: RequestedConfig,
    store: StoreResource,
    compute: ComputeResource,
    mlflow: MLflowResource,
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """The figure of each request, the best candidate that passes the checks; or the reasons why none may leave. Figures
    for publication are refused without an approval of their model.
    """
    from medillus_pipeline.illustration.figure import Figure
    from medillus_pipeline.illustration.illustrate import IllustrationRefused, illustrate
    from medillus_pipeline.illustration.illustration_request import IllustrationRequest
    from medillus_pipeline.resources.illustration_models import load_models

    key = context.partition_key
    with failing_clearly():
        compute.use_torch_threads()
        rows = require(store.tables, ILLUSTRATION_REQUESTS, key).to_pylist()
        champion = published.require(store.clean, "promoted_generator")
        approval = approved(store, mlflow, champion["version"], publication=config.publication)
        models = load_models(store.clean, mlflow, profile=store.profile)
        encoder = None if models.text_encoder is None else models.text_encoder.sha256
        made = first_made(context, store.clean, figures_key(key), *inputs_of(models), encoder, rows, approval.facts(),
                          store.signing_key().public)  # fmt: skip
        models.facts = _by_run(models.facts, made.run_id)
        report = progress_to(context, "requests answered")
        drawn, refused = [], []
        for number, row in enumerate(rows, 1):
            request = IllustrationRequest.parsed(json.loads(row["document"]))
            try:
                done = illustrate(request, models, read=lambda path: store.clean.read(path.as_posix()))
            except IllustrationRefused as refusal:
                refused.append((row["request"], [refusal.headline.en, *(reason.en for reason in refusal.reasons)]))
                continue
            if not isinstance(done.figure, Figure):
                refused.append((row["request"], ["a summary is a page of several slices: ask for another style"]))
                continue
            said = {"request": row["request"], "contrast_phase": request.contrast_phase, "stage": request.stage}
            said |= {"pathologies": [request.pathology] if request.pathology else []}
            told = {"answer": done.answer.facts(), "asked": row["request"], "remarks": row["remarks"]}
            drawn.append(Drawn(done.figure, (), endings_of(request.formats), said, told))
            report(number, len(rows))
    yield _answered(drawn, refused)
    if not drawn:
        raise dg.Failure(
            "no request could be answered, and no figure was published: the check requests_answered lists the reasons",
            allow_retries=False,
        )
    yield from publish_figures(
        store,
        figures_key(key),
        drawn,
        made,
        check="requested_illustrations_gate",
        advice="Look at the tables illustrations and illustration_records: what is missing in their provenance?",
        approval=approval,
        verdict=models.facts.verdict,
        metadata={"refused": len(refused)},
    )


def _by_run(facts: Any, run_id: str) -> Any:
    from dataclasses import replace

    return replace(facts, run_ids={**facts.run_ids, "dagster": run_id})


def _answered(drawn: list[Drawn], refused: list[tuple[str, list[str]]]) -> dg.AssetCheckResult:
    lines = [f"| {name} | {'; '.join(reasons)} |" for name, reasons in refused]
    table = "\n".join(["| request | why there is no figure |", "| --- | --- |", *lines]) if lines else "none"
    return dg.AssetCheckResult(
        check_name="requests_answered",
        passed=not refused,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{len(drawn)} of {len(drawn) + len(refused)} requests have a figure",
        metadata={"refused": dg.MetadataValue.md(table)},
    )


def _known(store: StoreResource) -> "Known":
    from medillus_pipeline.illustration.landed_requests import Known

    published_slices = store.tables.read_all(SLICES)
    parts = {part for part in published_slices["body_part"].unique().to_pylist() if part}
    return Known(
        slices=frozenset(published_slices["slice_name"].to_pylist()),
        modalities=frozenset(published_slices["modality"].unique().to_pylist()),
        body_parts=frozenset(parts),
    )


def _sketch_reader(store: StoreResource, words: "Vocabulary") -> "ReadSketch | None":
    """What reads drawings, None where sketch_segmenter was never published."""
    document = published.current(store.clean, "sketch_segmenter")
    prior_document = published.current(store.clean, "anatomical_prior")
    if document is None or prior_document is None:
        return None
    from medillus_pipeline.generation.prior import Prior
    from medillus_pipeline.sketches.reading import read_sketch
    from medillus_pipeline.sketches.segmenter import SketchSegmenter

    segmenter = SketchSegmenter.from_bytes(store.clean.read(document["path"]))
    prior = Prior.from_bytes(store.clean.read(prior_document["path"]))
    segmenter.refuse_other(prior)
    return lambda data, asked: read_sketch(
        data,
        segmenter=segmenter,
        prior=prior,
        vocabulary=words,
        legend=asked.legend,
        level=asked.level,
        flip=asked.flip,
    )
