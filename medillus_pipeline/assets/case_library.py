"""`case_library`: static pages of all published figures, one for each structure and pathology.

What the pages hold is in `illustration/case_library.py`.
"""

import hashlib
import json
from typing import TYPE_CHECKING, Any

import dagster as dg

from medillus_pipeline import published
from medillus_pipeline.assets.finishing import NOT_REVIEWED
from medillus_pipeline.assets.illustration import illustrations, labelled_scans
from medillus_pipeline.assets.publishing import picture
from medillus_pipeline.assets.requested import requested_illustrations
from medillus_pipeline.assets.volume_illustrations import volume_illustrations
from medillus_pipeline.errors import NotEnoughDataError
from medillus_pipeline.failures import RETRY, failing_clearly
from medillus_pipeline.resources.store import StoreResource
from medillus_pipeline.tables import ILLUSTRATION_RECORDS, ILLUSTRATIONS
from medillus_pipeline.zones import Zone

if TYPE_CHECKING:
    from medillus_pipeline.illustration.case_library import Case

FOLDER = "case_library"


@dg.asset(
    deps=[illustrations, labelled_scans, requested_illustrations, volume_illustrations],
    group_name="figures",
    owners=["team:editors"],
    kinds={"html"},
    code_version="1",
    retry_policy=RETRY,
)
def case_library(context: dg.AssetExecutionContext, store: StoreResource) -> dg.MaterializeResult:
    """A folder of pages that needs nothing else: every structure and pathology with its variants and stages, to be
    searched, from all figures that are in force. The former folder is removed.
    """
    from medillus_pipeline.dicom.preview import thumbnail
    from medillus_pipeline.illustration.case_library import build_library

    with failing_clearly():
        cases = cases_of(store)
        if not cases:
            raise NotEnoughDataError("no figure was published yet: materialize illustrations, or labelled_scans")
        files = build_library(cases, store.vocabulary())
        digest = hashlib.sha256()
        for path, data in files.items():
            digest.update(f"{path}:{hashlib.sha256(data).hexdigest()};".encode())
        folder = f"{FOLDER}/{digest.hexdigest()[:12]}"
        for path, data in files.items():
            if not store.clean.exists(f"{folder}/{path}"):
                store.clean.write(f"{folder}/{path}", data)
        pages = [path for path in files if path.endswith(".html") and path != "index.html"]
        document = {"index": f"{folder}/index.html", "figures": sorted(case.figure for case in cases)}
        version = published.publish(store.clean, FOLDER, document)
        remove_others(store.clean, folder)
        shown = picture(store.clean, "previews", cases[0].png, thumbnail=thumbnail(cases[0].png))
    return dg.MaterializeResult(
        data_version=dg.DataVersion(version),
        metadata={
            "library": dg.MetadataValue.url(f"{store.clean.url}/{folder}/index.html"),
            "pages": len(pages),
            "figures": len(cases),
            "models": NOT_REVIEWED if not any(case.approved for case in cases) else "approved in part or whole",
            **shown,
        },
    )


def cases_of(store: StoreResource) -> "list[Case]":
    """Every published figure with its record; one without a record is of an older release and left out."""
    from medillus_pipeline.illustration.case_library import Case
    from medillus_pipeline.illustration.wording import Bilingual

    record_of = {row["figure"]: row for row in store.tables.read_all(ILLUSTRATION_RECORDS).to_pylist()}
    rows: dict[str, dict[str, Any]] = {row["figure"]: row for row in store.tables.read_all(ILLUSTRATIONS).to_pylist()}
    found = []
    for name, row in sorted(rows.items()):
        if name not in record_of:
            continue
        record, sidecar = record_of[name], json.loads(store.clean.read(row["sidecar_path"]))
        found.append(
            Case(
                figure=name,
                source=row["source"],
                title=Bilingual(**sidecar["title"]),
                caption=Bilingual(**sidecar["caption"]),
                structures={one["key"]: one["confidence"] for one in sidecar["structures"]},
                pathologies=tuple(record["pathologies"]),
                stage=record["stage"],
                contrast_phase=record["contrast_phase"],
                level=record["level"],
                modality=record["modality"],
                approved=bool(record["approved_by"]),
                failed=tuple(record["failed_checks"]),
                svg=store.clean.read(row["svg_path"]),
                png=store.clean.read(row["png_path"]),
            )
        )
    return found


def remove_others(clean: Zone, folder: str) -> None:
    """Remove every library but this one: no published document leads to them any more."""
    for path in clean.files(FOLDER):
        if not path.startswith(f"{folder}/"):
            clean.remove(path)
