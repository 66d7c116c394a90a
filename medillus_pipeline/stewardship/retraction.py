"""A delivery or an annotation batch is taken back as a whole, with what was made of it.

The vault is told first (from then on it is not ingested), then a plan is kept there, so that a killed retraction goes
on where it was. Tables are unpublished, dependents first, before any payload is removed. Drawings on slices that are
gone wait again, as those that arrive before their slices do. What Dagster holds of it is not here.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from medillus_pipeline import landings, published
from medillus_pipeline.annotation.outcomes import Outcome, Reason
from medillus_pipeline.errors import InputError
from medillus_pipeline.stewardship import records
from medillus_pipeline.stewardship.references import named_in, reachable, text_of
from medillus_pipeline.stewardship.unpublishing import (
    NAMING_COLUMNS,
    OF_ANNOTATIONS,
    OF_IMAGES,
    Part,
    partition,
    parts_naming,
    payloads_of,
    taken_by_table,
    unpublish,
)
from medillus_pipeline.tables import (
    ILLUSTRATION_RECORDS,
    ILLUSTRATIONS,
    MASK_ITEMS,
    MASK_LAYERS,
    MASKS,
    STUDY_LABELS,
    TableStore,
)
from medillus_pipeline.zones import Zone

Kind = Literal["images", "annotations"]
_SHARED = ("series_instance_uid", "study_instance_uid", "patient", "split_token")
_OWN = tuple(name for name in NAMING_COLUMNS if name not in _SHARED)


@dataclass(frozen=True)
class Retracted:
    """A finished retraction: the signed record, the batches to read again, the ones whose tables changed, and further
    keys (a batch that was found among the images) to retract too.
    """

    record: dict[str, Any]
    read_again: tuple[str, ...]
    changed: tuple[str, ...]
    also: tuple[str, ...]


def kind_of(vault: Zone, key: str) -> Kind:
    """What a partition key stands for. Raises InputError for a key that was never given, or of reviews."""
    for kind in ("images", "annotations"):
        if key in landings.known_keys(vault, kind) or key in landings.retracted_keys(vault, kind):
            return kind
    raise InputError(f"no delivery or annotation batch {key} ever landed: `medillus deliveries` lists the keys")


def retract(
    vault: Zone, clean: Zone, key: str, *, run_id: str, signing_key: bytes, seen: Iterable[str] = ()
) -> Retracted:
    """Take back a delivery or an annotation batch; doing it again, also after a kill, completes it.

    `seen` are payloads that only events of the partition name (previews, pages). Raises InputError for an unknown key,
    StoreError when a zone cannot be used.
    """
    kind = kind_of(vault, key)
    vault.write(f"{landings.RETRACTED}/{kind}.{key}", b"")
    tables, name = TableStore(clean), f"{kind}.{key}"
    plan = records.read(vault, "retractions", name, "plan")
    if plan is None:
        plan = _plan(vault, tables, kind, key)
        records.write(vault, "retractions", name, "plan", plan)
    gallery = clean.files("published")
    pages: set[str] = set()
    for document in plan["documents"]:
        if document in gallery:
            pages |= named_in(text_of(document, clean.read(document)))
    candidates = {*plan["payloads"], *seen, *pages}
    if set(seen) | pages:
        records.write(vault, "retractions", name, "plan", {**plan, "payloads": sorted(candidates)})
    for batch, items in plan["waiting"].items():
        _wait(tables, batch, items, plan["gone"])
    for document in plan["documents"]:
        clean.remove(document)
    for part in _parts(tables, kind, key, plan["gone"]):
        unpublish(tables, part)
    removed = sorted(candidates - reachable(clean))
    for path in removed:
        clean.remove(path)
    record = records.read(vault, "retractions", name, "record") or records.sign(
        signing_key,
        {
            "act": "retract",
            "kind": kind,
            "key": key,
            "rows": plan["rows"],
            "payloads": len(removed),
            "items_waiting": sum(len(items) for items in plan["waiting"].values()),
            "by": run_id,
            "at": records.now(),
        },
    )
    records.write(vault, "retractions", name, "record", record)
    return Retracted(record, tuple(plan["read_again"]), tuple(plan["changed"]), tuple(plan["also"]))


def _plan(vault: Zone, tables: TableStore, kind: Kind, key: str) -> dict[str, Any]:
    gone = _gone(tables, key) if kind == "images" else set[str]()
    parts = _parts(tables, kind, key, sorted(gone))
    drawn = [p for p in parts if p.table in (MASKS, MASK_LAYERS, STUDY_LABELS) and p.key != key]
    documents = [f"published/gallery-{part.key}.json" for part in parts if part.table is ILLUSTRATIONS]
    dataset = published.current(tables.zone, "training_dataset")
    if dataset is not None and any(key in of for of in dataset.get("inputs", {}).values()):
        documents.append("published/training_dataset.json")
    folders = {item.folder: item.key for item in landings.mappings(vault) if item.kind == "annotations"}
    return {
        "gone": sorted(gone),
        "rows": taken_by_table(parts),
        "payloads": sorted(set().union(*(payloads_of(part) for part in parts)) if parts else ()),
        "waiting": {batch: sorted(items) for batch, items in _waiting(tables, drawn).items()},
        "documents": documents,
        "read_again": _later_readings(vault, tables, key) if kind == "annotations" else [],
        "changed": sorted({part.key for part in parts if part.table in OF_ANNOTATIONS and part.key != key}),
        "also": [folders[f"from-{key}"]] if kind == "images" and f"from-{key}" in folders else [],
    }


def _parts(tables: TableStore, kind: Kind, key: str, gone: Iterable[str]) -> list[Part]:
    """What leaves the tables: what hangs on names that are gone, then the partition's own tables."""
    own = (*(OF_IMAGES if kind == "images" else OF_ANNOTATIONS), ILLUSTRATIONS, ILLUSTRATION_RECORDS)
    names = set(gone)
    hanging = [p for p in parts_naming(tables, names) if not (p.table in own and p.key == key)] if names else []
    whole = [partition(tables, table, key) for table in reversed(own)]
    return [*(p for p in hanging if p.table not in OF_IMAGES), *(p for p in whole if p is not None)]


def _gone(tables: TableStore, key: str) -> set[str]:
    """Names that no other delivery has: the same instance may have been delivered twice."""
    here: set[str] = set()
    elsewhere: set[str] = set()
    for table in OF_IMAGES:
        columns = {column.name for column in table.columns}.intersection((*_OWN, *_SHARED[:2]))
        for of in tables.keys(table):
            data = tables.read(table, of)
            into = here if of == key else elsewhere
            for column in columns:
                into.update(data[column].to_pylist())
    return here - elsewhere


def _waiting(tables: TableStore, drawn: list[Part]) -> dict[str, set[str]]:
    """Items by batch of which a drawing or a label hangs on what is gone."""
    found: dict[str, set[str]] = {}
    for part in drawn:
        if part.table is STUDY_LABELS:
            receipt = tables.read(MASK_ITEMS, part.key).to_pylist()
            items = {row["item"] for row in receipt if row["source_format"] == "labels"}
        else:
            items = set(part.taken["item"].to_pylist())
        found.setdefault(part.key, set()).update(items)
    return found


def _wait(tables: TableStore, batch: str, items: list[str], gone: Iterable[str]) -> None:
    """Say in the receipt of a batch that these items wait for their slices; one without a drawing left, as a whole."""
    rows = tables.read(MASK_ITEMS, batch).to_pylist()
    missing, lost, left = set(gone), Counter[str](), set[str]()
    for table in (MASKS, MASK_LAYERS):
        if batch in tables.keys(table):
            for row in tables.read(table, batch).to_pylist():
                if row["slice_name"] in missing:
                    lost[row["item"]] += table is MASKS
                else:
                    left.add(row["item"])
    pending = {"outcome": str(Outcome.PENDING), "reason": str(Reason.UNKNOWN_SLICE)}
    waiting = {row["item"] for row in rows if row["outcome"] == pending["outcome"]}
    formats = {row["item"]: row["source_format"] for row in rows}
    done = {str(Outcome.ACCEPTED), str(Outcome.KEPT)}
    whole = {item for item in items if item not in left and formats[item] != "labels"}
    kept = [row for row in rows if not (row["item"] in whole and row["outcome"] in done)]
    added = [
        {"item": item, "structure": "*", "source_format": formats[item], "slices": lost[item], "remark": "", **pending}
        for item in items
        if item not in waiting
    ]
    tables.publish(MASK_ITEMS, batch, MASK_ITEMS.to_arrow([*kept, *added]))


def _later_readings(vault: Zone, tables: TableStore, key: str) -> list[str]:
    """Later batches that handed in again, or corrected, what may have been in force through this one."""
    order = landings.in_landing_order(vault, "annotations")
    later = set(order[order.index(key) + 1 :] if key in order else [])
    told = {str(Reason.SUBMITTED_BEFORE), str(Reason.CORRECTED), str(Reason.REVISION_EXISTS)}
    found = sorted(later & set(tables.keys(MASK_ITEMS)))
    return [other for other in found if told & set(tables.read(MASK_ITEMS, other)["reason"].to_pylist())]
