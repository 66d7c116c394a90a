"""All that belongs to one patient in the clean zone, found by pseudonym: names, rows, payloads, snapshots, pages.

What is done with it is in `withdrawal.py`. Pictures that show several patients are found by the documents and snapshots
that they were made from; those that only events of Dagster name are handed in by the caller.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from medillus_pipeline import published
from medillus_pipeline.stewardship.references import named_in, text_of
from medillus_pipeline.stewardship.unpublishing import (
    NAMING_COLUMNS,
    Part,
    parts_naming,
    payloads_of,
    taken_by_table,
)
from medillus_pipeline.tables import ILLUSTRATIONS, MASK_LAYERS, MASKS, TableStore, from_parquet
from medillus_pipeline.zones import Zone

NAME = re.compile(r"p-[0-9a-f]{16}|2\.25\.[0-9]{1,39}|s-[0-9a-f]{16}-[0-9]{4,}|(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")
"""How pseudonyms, UIDs, slice names and split tokens look in a text."""
_OF_MODELS = ("reports", "review_sheets", "review_keys")
_DOCUMENTS = (
    "training_dataset", "anatomical_prior", "judge", "organ_segmenter", "generator_checkpoint", "validation_report",
    "sketch_segmenter", "text_encoder",
)  # fmt: skip
_LIBRARY = "case_library"


@dataclass(frozen=True)
class Belongings:
    """What is known of a patient's traces. `names` are pseudonyms, UIDs, slice names and the split token. `shared`
    payloads may equal somebody else's byte for byte; `theirs` show or name the patient and go in any case.
    `fingerprints` are of dataset snapshots that held them. `figures` are names of figures to recall.
    """

    names: tuple[str, ...]
    items: tuple[str, ...]
    shared: tuple[str, ...]
    theirs: tuple[str, ...]
    documents: tuple[str, ...]
    fingerprints: tuple[str, ...]
    figures: tuple[str, ...]
    deliveries: tuple[str, ...]
    batches: tuple[str, ...]
    rows: dict[str, int]

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Belongings":
        """What a kept plan says."""
        told: dict[str, Any] = {name: document[name] for name in cls.__dataclass_fields__}
        for name in told.keys() - {"rows"}:
            told[name] = tuple(told[name])
        return cls(**told)

    def document(self) -> dict[str, Any]:
        """As it is kept."""
        return asdict(self)

    def and_also(self, other: "Belongings") -> "Belongings":
        """Both, the greater count of each table's rows."""
        both: dict[str, Any] = {
            name: tuple(sorted({*getattr(self, name), *getattr(other, name)}))
            for name in self.__dataclass_fields__
            if name != "rows"
        }
        rows = {n: max(self.rows.get(n, 0), other.rows.get(n, 0)) for n in sorted({*self.rows, *other.rows})}
        return Belongings(**both, rows=rows)


def belongings(clean: Zone, pseudonym: str, known: Iterable[str] = ()) -> Belongings:
    """Everything of a patient that the clean zone holds now; `known` are names from an earlier look."""
    tables = TableStore(clean)
    names = _names(tables, {pseudonym, *known})
    items = _items(tables, names)
    parts = list(parts_naming(tables, names, items=items))
    snapshots = _snapshots(clean, names)
    fingerprints = {manifest["fingerprint"] for manifest in snapshots.values()}
    theirs = set(snapshots) | {path for m in snapshots.values() for path in named_in(json.dumps(m))}
    theirs |= _texts_naming(clean, names, fingerprints)
    documents = _documents(clean, parts, theirs, fingerprints)
    for document in documents:
        said = json.loads(clean.read(document))
        theirs |= named_in(said["html"] if "gallery-" in document else json.dumps(said))
    recalled = {*_figures(tables, parts, fingerprints)}
    if recalled:  # the library shows all figures; it is made anew from those that are left
        theirs |= set(clean.files(_LIBRARY))
        documents |= {f"published/{_LIBRARY}.json"} & set(clean.files("published"))
    return Belongings(
        names=tuple(sorted(names)),
        items=tuple(sorted(items)),
        shared=tuple(sorted(set().union(*(payloads_of(part) for part in parts)) if parts else ())),
        theirs=tuple(sorted(theirs)),
        documents=tuple(sorted(documents)),
        fingerprints=tuple(sorted(fingerprints)),
        figures=tuple(sorted(recalled)),
        deliveries=tuple(sorted({p.key for p in parts if p.table.name in _PARTITIONED["deliveries"]})),
        batches=tuple(sorted({p.key for p in parts if p.table.name in _PARTITIONED["batches"]})),
        rows=taken_by_table(parts),
    )


_PARTITIONED = {
    "deliveries": ("instances", "slices", "slice_windows", "volumes"),
    "batches": ("masks", "mask_layers", "mask_findings", "mask_agreement", "mask_items", "study_labels"),
}


def names_in(text: str, names: Iterable[str]) -> set[str]:
    """Those of the names that stand in a text."""
    return {match.group() for match in NAME.finditer(text)}.intersection(names)


def _names(tables: TableStore, start: set[str]) -> set[str]:
    """The patient's names: of every row that says the patient or an instance of theirs, all that name them alone."""
    names = set(start)
    for part in parts_naming(tables, names, whole=()):
        columns = {column.name for column in part.table.columns}.intersection(NAMING_COLUMNS)
        for column in columns:
            names.update(value for value in part.taken[column].to_pylist() if value and NAME.fullmatch(value))
    return names


def _items(tables: TableStore, names: set[str]) -> set[str]:
    """Submitted files of which every drawing is on slices of theirs."""
    own, others = set[str](), set[str]()
    for table in (MASKS, MASK_LAYERS):
        for key in tables.keys(table):
            for row in tables.read(table, key).to_pylist():
                (own if row["slice_name"] in names else others).add(row["item"])
    return own - others


def _snapshots(clean: Zone, names: set[str]) -> dict[str, dict[str, Any]]:
    """Manifests, by path, of the snapshots whose index names the patient."""
    paths = clean.files("datasets")
    holding = set()
    for path in paths:
        if path.endswith(".parquet"):
            table = from_parquet(clean.read(path))
            if "patient" in table.column_names and names.intersection(table["patient"].unique().to_pylist()):
                holding.add(path)
    found = {}
    for path in paths:
        if path.endswith(".json"):
            manifest = json.loads(clean.read(path))
            if manifest.get("index") in holding:
                found[path] = manifest
    return found


def _texts_naming(clean: Zone, names: set[str], fingerprints: set[str]) -> set[str]:
    """Payloads that say a name of theirs, and pages about models that learned from a snapshot with them."""
    found = set()
    for path in clean.files():
        folder = path.split("/", 1)[0]
        if folder in ("published", "tables", "datasets", "promotions"):
            continue
        text = text_of(path, clean.read(path))
        if names_in(text, names) or (folder in _OF_MODELS and any(f in text for f in fingerprints)):
            found.add(path)
    return found


def _documents(clean: Zone, parts: list[Part], theirs: set[str], fingerprints: set[str]) -> set[str]:
    """Published documents that lead to what goes: pointers of models, sheets and galleries."""
    found = {f"published/gallery-{part.key}.json" for part in parts if part.table is ILLUSTRATIONS}
    for name in _DOCUMENTS:
        document = published.current(clean, name) or {}
        if {document.get("fingerprint"), document.get("dataset_fingerprint")} & fingerprints:
            found.add(f"published/{name}.json")
    existing = set(clean.files("published"))
    for path in existing:
        if "gallery-" in path or "review_sheets/" in path or path == "published/review_tasks.json":
            found |= {path} if named_in(text_of(path, clean.read(path))) & theirs else set()
    return found & existing


def _figures(tables: TableStore, parts: list[Part], fingerprints: set[str]) -> set[str]:
    """Figures of their images or masks, and those of models that learned from a snapshot with them."""
    own: set[str] = set()
    for part in parts:
        if part.table is ILLUSTRATIONS:
            own |= set(part.taken["figure"].to_pylist())
    for key in tables.keys(ILLUSTRATIONS):
        for row in tables.read(ILLUSTRATIONS, key).to_pylist():
            if row["dataset_fingerprint"] in fingerprints:
                own.add(row["figure"])
    return own
