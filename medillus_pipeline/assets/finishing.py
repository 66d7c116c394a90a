"""How drawn figures leave a step: finished in all formats, signed, held to their gates, published with their gallery.

No asset of its own; the assets that draw are in `illustration.py`, `requested.py` and `volume_illustrations.py`.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from medillus_pipeline import published
from medillus_pipeline.assets.promotion import recorded_approvals
from medillus_pipeline.assets.publishing import picture, row_counts
from medillus_pipeline.errors import GateError
from medillus_pipeline.failures import failing_clearly
from medillus_pipeline.resources.mlflow import MLflowResource
from medillus_pipeline.resources.store import StoreResource
from medillus_pipeline.tables import ILLUSTRATION_RECORDS, ILLUSTRATIONS
from medillus_pipeline.zones import Zone

if TYPE_CHECKING:
    from medillus_pipeline.illustration.figure import Figure

NOT_REVIEWED = "not reviewed"
ALWAYS = (".svg", ".png", ".json", ".manifest.json")
"""Endings of the files that every figure is kept in, whatever was asked for."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Made:
    """When and by which run a set of figures was made first. The same inputs give the same bytes, dates included."""

    at: datetime
    run_id: str
    inputs: str


@dataclass(frozen=True)
class Approved:
    """Who approved the model of the figures: pseudonyms of reviewers with the roles they hold; empty: nobody did."""

    reviewers: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    publication: bool = False

    def facts(self) -> Row:
        """What a sidecar tells of it, ready for JSON."""
        said = list(self.reviewers) or NOT_REVIEWED
        return {"approved_by": said, "roles": list(self.roles), "publication": self.publication}


@dataclass(frozen=True)
class Drawn:
    """A figure on its way out. `failed_checks` are sentences; `endings` those of the files that are kept beside
    `ALWAYS`; `said` may hold contrast_phase, pathologies, stage and request of its record; `sidecar` adds to the
    sidecar what only the caller knows.
    """

    figure: "Figure"
    failed_checks: tuple[str, ...] = ()
    endings: tuple[str, ...] = ()
    said: Mapping[str, Any] = field(default_factory=dict)
    sidecar: Mapping[str, Any] = field(default_factory=dict)


def first_made(context: dg.AssetExecutionContext, clean: Zone, key: str, *inputs: Any) -> Made:
    """When figures of this partition were made first from these inputs: as published, or this run's start."""
    digest = hashlib.sha256(json.dumps(inputs, sort_keys=True, default=str).encode()).hexdigest()
    former = published.current(clean, f"gallery-{key}") or {}
    if former.get("inputs") == digest:
        return Made(datetime.fromisoformat(former["made_at"]), former["run_id"], digest)
    record = context.instance.get_run_record_by_id(context.run_id)
    began = datetime.now(UTC) if record is None else record.create_timestamp.astimezone(UTC)
    return Made(began.replace(microsecond=0), context.run_id, digest)


def approved(store: StoreResource, mlflow: MLflowResource, version: str, *, publication: bool) -> Approved:
    """Who approved a version, signatures checked. Raises GateError where figures are for publication and the version
    has fewer approvals than the profile asks for, at least one.
    """
    from medillus_pipeline.validation import gates

    found = recorded_approvals(store, mlflow, version)
    reviewers = tuple(sorted({approval.reviewer for approval in found}))
    needed = max(1, gates.load_profile(store.profile).required_approvals)
    if publication and len(reviewers) < needed:
        raise GateError(
            f"figures for publication need {needed} approvals of their model, and version {version} has "
            f"{len(reviewers)}: make its sheet (job make_review_sheet), have it reviewed, and land the verdicts"
        )
    return Approved(reviewers, tuple(sorted({approval.role for approval in found})), publication)


def publish_figures(
    store: StoreResource,
    key: str,
    drawn: Sequence[Drawn],
    made: Made,
    *,
    check: str,
    advice: str,
    approval: Approved | None = None,
    verdict: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    asset: str | None = None,
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """Finish, sign, audit and publish figures as partition `key` of both tables, with their gallery.

    Raises `dagster.Failure` where a gate does not hold; then nothing was published.
    """
    from medillus_pipeline.quality.gate import audit, check_result, together
    from medillus_pipeline.quality.illustration_suites import illustration_records

    approval = approval or Approved()
    with failing_clearly():
        rows, records = stored(store, drawn, made, approval, verdict)
        table, told = ILLUSTRATIONS.to_arrow(rows), ILLUSTRATION_RECORDS.to_arrow(records)
        outcome = together(
            "illustrations",
            (
                audit("illustrations", table.to_pandas(use_threads=False)),
                audit(
                    illustration_records,
                    told.to_pandas(use_threads=False),
                    related={"illustrations": table.to_pandas(use_threads=False)},
                ),
            ),
        )
    yield check_result(outcome, check_name=check)
    if not outcome.passed:
        raise dg.Failure(
            f"the gate {check} does not hold ({', '.join(outcome.broken)}); nothing was published and the previous "
            f"version stays in force. {advice}",
            allow_retries=False,
        )
    with failing_clearly():
        order = {row["figure"]: row for row in rows}
        kept = [order[one.figure.name] for one in drawn]
        page = store.clean.put("galleries", _gallery([one.figure for one in drawn], kept), ".html")
        store.tables.publish(ILLUSTRATION_RECORDS, key, told)
        version = store.tables.publish(ILLUSTRATIONS, key, table)
        document = {
            "html": page.path,
            "figures": [row["png_path"] for row in kept],
            "inputs": made.inputs,
            "made_at": made.at.isoformat(timespec="seconds"),
            "run_id": made.run_id,
        }
        published.publish(store.clean, f"gallery-{key}", document)
    scores = [score for row in rows for score in row["confidences"] if not math.isnan(score)]
    yield dg.MaterializeResult(
        asset_key=asset,
        data_version=dg.DataVersion(version),
        metadata={
            **row_counts(table),
            "gallery": dg.MetadataValue.url(f"{store.clean.url}/{page.path}"),
            "approved_by": ", ".join(approval.reviewers) or NOT_REVIEWED,
            "figures_that_failed_checks": sum(bool(one.failed_checks) for one in drawn),
            **({"mean_confidence": sum(scores) / len(scores)} if scores else {}),
            **shown_first(store.clean, drawn),
            **(metadata or {}),
        },
    )


def stored(
    store: StoreResource, drawn: Sequence[Drawn], made: Made, approval: Approved, verdict: str | None
) -> tuple[list[Row], list[Row]]:
    """Payloads of the finished figures; their rows of `illustrations` and of `illustration_records`."""
    from medillus_pipeline.illustration.finished import finish

    key, clean = store.signing_key(), store.clean
    rows, records = [], []
    for one in drawn:
        figure = replace(one.figure, sidecar={**one.figure.sidecar, **one.sidecar, "approval": approval.facts()})
        whole = finish(figure, key=key, made_at=made.at, model_verdict=verdict)
        kept = {
            name.removeprefix(whole.name): data
            for name, data in whole.files.items()
            if (ending := name.removeprefix(whole.name)) in (*ALWAYS, *one.endings) or ending == ".answers.svg"
        }
        paths = {
            ending: clean.put("figures", data, f".{ending.rsplit('.', 1)[-1]}") for ending, data in sorted(kept.items())
        }
        row = figure.row(svg_path=paths[".svg"].path, png_path=paths[".png"].path, sidecar_path=paths[".json"].path) | {
            "sha256": paths[".svg"].sha256
        }
        rows.append(row)
        request = figure.request
        records.append(
            {
                "figure": figure.name,
                "slice_name": request.slice_name,
                "patient": request.patient,
                "request": one.said.get("request"),
                "style": request.style,
                "modality": request.modality,
                "level": request.level,
                "contrast_phase": one.said.get("contrast_phase"),
                "pathologies": sorted({*one.said.get("pathologies", ()), *(p.key for p in request.pathologies)}),
                "stage": one.said.get("stage"),
                "endings": list(paths),
                "paths": [payload.path for payload in paths.values()],
                "made_at": made.at.isoformat(timespec="seconds"),
                "failed_checks": list(one.failed_checks),
                "approved_by": list(approval.reviewers),
                "publication": approval.publication,
            }
        )
    return rows, records


def shown_first(clean: Zone, drawn: Sequence[Drawn]) -> dict[str, dg.MetadataValue]:
    """The first figure as a small picture for the UI; nothing where there is no figure."""
    from medillus_pipeline.dicom.preview import thumbnail

    if not drawn:
        return {}
    return picture(clean, "figures", drawn[0].figure.png, thumbnail=thumbnail(drawn[0].figure.png))


def checks_result(name: str, drawn: Sequence[Drawn], *, what: str, asset: str | None = None) -> dg.AssetCheckResult:
    """The evaluation of the checks before a figure leaves: how many failed, and by what."""
    lines = [f"| {one.figure.name} | {'; '.join(one.failed_checks)} |" for one in drawn if one.failed_checks]
    table = "\n".join(["| figure | checks that it did not pass |", "| --- | --- |", *lines]) if lines else "none"
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=name,
        passed=not lines,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{len(lines)} of {len(drawn)} {what} did not pass every check",
        metadata={"failed": dg.MetadataValue.md(table), "figures": len(drawn)},
    )


def _gallery(figures: "Sequence[Figure]", rows: Sequence[Row]) -> bytes:
    """The HTML page of the figures; it stands two folders below the payloads that it links to."""
    from medillus_pipeline.illustration.gallery import GalleryEntry, build_gallery

    return build_gallery(
        [
            GalleryEntry(figure, f"../../{row['sidecar_path']}", f"../../{row['png_path']}", f"../../{row['svg_path']}")
            for figure, row in zip(figures, rows, strict=True)
        ]
    )
