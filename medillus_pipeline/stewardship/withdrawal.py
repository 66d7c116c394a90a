"""A patient leaves: every row, payload, landing file and ledger line, by pseudonym; and what a search still finds.

The steps are functions that a job calls in order, each of which may be done again: the plan, kept in the vault before
anything goes, knows what a killed run had already removed. Models, events and their storages are not here.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.errors import InputError
from medillus_pipeline.stewardship import records
from medillus_pipeline.stewardship.landing_files import Removed, forget_in_ledger, remove_from_landing
from medillus_pipeline.stewardship.references import in_force, text_of
from medillus_pipeline.stewardship.subject import Belongings, belongings, names_in
from medillus_pipeline.stewardship.unpublishing import parts_naming, unpublish
from medillus_pipeline.tables import SLICES, Table, TableStore
from medillus_pipeline.zones import Zone


def request(vault: Zone, pseudonym: str, *, by: str) -> str:
    """Write down in the vault who is to leave, refuse them from now on, and return the request's name, which tells
    nothing. Raises InputError for what is no pseudonym.
    """
    records.refuse_patient(vault, pseudonym)
    name = records.new_name()
    records.write(vault, "withdrawals", name, "request", {"patient": pseudonym, "by": by, "at": records.now()})
    return name


def requested(vault: Zone, name: str) -> str:
    """The pseudonym of a request. Raises InputError for a name that was never given."""
    document = records.read(vault, "withdrawals", name, "request")
    if document is None:
        raise InputError("there is no such request of a withdrawal: make one with `medillus withdraw`")
    return document["patient"]


def plan(vault: Zone, clean: Zone, name: str) -> Belongings:
    """What goes: what an earlier attempt had found, and what is there now. Kept in the vault before it is returned."""
    kept = records.read(vault, "withdrawals", name, "plan")
    known = Belongings.of(kept["belongings"]) if kept else None
    found = belongings(clean, requested(vault, name), known.names if known else ())
    both = found if known is None else known.and_also(found)
    records.write(vault, "withdrawals", name, "plan", {**(kept or {}), "belongings": both.document()})
    return both


def remember(vault: Zone, name: str, further: Mapping[str, Iterable[str]]) -> dict[str, set[str]]:
    """Add to the plan what other storages told (by kind: payloads, previews, versions …); returns all of it."""
    kept = records.read(vault, "withdrawals", name, "plan") or {}
    told = {kind: set(values) for kind, values in kept.get("told", {}).items()}
    for kind, values in further.items():
        told.setdefault(kind, set()).update(values)
    records.write(
        vault, "withdrawals", name, "plan", {**kept, "told": {kind: sorted(v) for kind, v in sorted(told.items())}}
    )
    return told


def clear_tables(clean: Zone, leaving: Belongings) -> dict[tuple[Table, str], str | None]:
    """Unpublish documents, then rows, dependents first; returns the new data version of every changed partition."""
    for document in leaving.documents:
        clean.remove(document)
    tables = TableStore(clean)
    parts = parts_naming(tables, leaving.names, items=leaving.items)
    return {(part.table, part.key): unpublish(tables, part) for part in parts}


def clear_payloads(clean: Zone, leaving: Belongings, further: Iterable[str] = ()) -> int:
    """Remove payloads: theirs, `further` ones, and those of their rows that nobody else's row names. Returns how many
    were there.
    """
    gone = {*leaving.theirs, *further, *(set(leaving.shared) - in_force(clean))}
    count = 0
    for path in sorted(gone):
        count += clean.exists(path)
        clean.remove(path)
        if clean.cache is not None:
            for copy in Path(clean.cache).glob(f"*/{path}"):
                copy.unlink(missing_ok=True)
    return count


def clear_landing(
    landing: Zone, vault: Zone, clean: Zone, pseudonymiser: Pseudonymiser, patient: str, leaving: Belongings
) -> tuple[Removed, int]:
    """Remove their files from landing, then the ledger's rows of them; returns what went, and the number of rows."""
    others = {
        value
        for key in TableStore(clean).keys(SLICES)
        for row in TableStore(clean).read(SLICES, key).to_pylist()
        for value in (row["slice_name"], row["sop_instance_uid"], row["series_instance_uid"], row["study_instance_uid"])
    }
    removed = remove_from_landing(
        landing, vault, pseudonymiser, patient, names=leaving.names, others=others, items=leaving.items
    )
    return removed, forget_in_ledger(vault, leaving.names, leaving.items)


def left_in_clean_zone(clean: Zone, leaving: Belongings, further: Iterable[str] = ()) -> Iterator[str]:
    """Paths of the clean zone that still name the patient, or are a payload of theirs; nothing, if all is gone."""
    named = in_force(clean)
    gone = {*leaving.theirs, *further, *(set(leaving.shared) - named)}
    for path in clean.files():
        if path in gone or names_in(f"{path}\n{text_of(path, clean.read(path))}", leaving.names):
            yield path


def left_in_files(folder: Path, leaving: Belongings, traces: Iterable[str] = ()) -> Iterator[Path]:
    """Files below a folder of this machine that hold a name of theirs, or one of `traces` (parts of previews)."""
    wanted = [text.encode() for text in (*leaving.names, *traces)]
    for path in sorted(folder.rglob("*")) if folder.exists() else ():
        if path.is_file():
            data = path.name.encode() + b"\n" + path.read_bytes()
            if any(text in data for text in wanted):
                yield path


def finish(vault: Zone, name: str, signing_key: bytes, document: Mapping[str, Any]) -> dict[str, Any]:
    """Write the signed deletion record, and forget the plan, which names what was removed. Returns the record."""
    record = records.sign(signing_key, document)
    records.write(vault, "withdrawals", name, "record", record)
    forget_plan(vault, name)
    return record


def forget_plan(vault: Zone, name: str) -> None:
    """Remove what named the patient's traces; again where a killed run left it beside its record."""
    for part in ("plan", "request"):
        vault.remove(f"stewardship/withdrawals/{name}/{part}.json")
