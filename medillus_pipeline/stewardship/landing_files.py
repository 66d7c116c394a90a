"""A patient's files leave the landing zone. Restricted: what is read here identifies people, and none of it is told.

* A DICOM file is theirs when ingest would give it their pseudonym. Other files of a folder go too when every DICOM file
  beside them is theirs, and so does every DICOMDIR that lists the patient among the others' files.
* An archive that holds others as well is written again without them; one that holds nothing else is removed.
* Files of annotators are theirs when a drawing of theirs came from them, or when they name an image of theirs and of
  nobody else. Lines of a CSV file are taken out; any other file that names others too is left and counted.
"""

import io
import re
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

from medillus_pipeline.deidentification.identities import SERIES, SOP_INSTANCE, STUDY, identity_of
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.dicom.encoded import EncodedDataSet
from medillus_pipeline.dicom.outcomes import Quarantine
from medillus_pipeline.dicom.reading import ARCHIVE_FAULTS, READY_MARKER, read_encoded, swollen, too_large
from medillus_pipeline.landings import mappings
from medillus_pipeline.stewardship.unpublishing import rows_of
from medillus_pipeline.tables import LEDGER, TableStore, storable
from medillus_pipeline.zones import Zone

_DIRECTORY = 0x00041220
_UIDS = (SOP_INSTANCE, STUDY, SERIES)
_ZIP = b"PK\x03\x04"
_Whose = Literal["theirs", "others", "listing", "archive", "unknown"]
"""`listing`: a DICOMDIR with the patient among others. It and an archive say nothing of what lies beside them."""
_TOKEN = re.compile(r"[0-9]+(?:\.[0-9]+){3,}|s-[0-9a-f]{16}-[0-9]{4,}|p-[0-9a-f]{16}")
"""How UIDs, slice names and pseudonyms look in a text or a file's name."""


@dataclass
class Removed:
    """Counts by kind of what left landing, and of what a person has to look at. Never a name."""

    files: int = 0
    archives_rewritten: int = 0
    members: int = 0
    lines: int = 0
    to_look_at: int = 0
    known: set[str] = field(default_factory=set, repr=False)
    """Identified: their UIDs, by which files of annotators are found. Not kept anywhere."""
    others: set[str] = field(default_factory=set, repr=False)

    def counts(self) -> dict[str, int]:
        """As a record tells it."""
        return {name: getattr(self, name) for name in ("files", "archives_rewritten", "members", "lines", "to_look_at")}


def remove_from_landing(
    landing: Zone,
    vault: Zone,
    pseudonymiser: Pseudonymiser,
    patient: str,
    *,
    names: Iterable[str] = (),
    others: Iterable[str] = (),
    items: Iterable[str] = (),
) -> Removed:
    """Remove the files of the patient with this pseudonym; `names` are their names on the clean side, `others` those
    of other patients, `items` the pseudonyms of annotators' files of theirs. Doing it again removes what is left.
    Raises StoreError.
    """
    removed = Removed(known=set(names), others=set(others))
    listed = [path for path in landing.files("images") if path.rsplit("/", 1)[-1] != READY_MARKER]
    whose: dict[str, _Whose] = {
        path: _whose(landing.read(path), _folder(path), pseudonymiser, patient, removed) for path in listed
    }
    for path in sorted(_theirs(whose)):
        landing.remove(path)
        removed.files += 1
    for path in listed:
        if whose[path] == "archive":
            _from_archive(landing, path, pseudonymiser, patient, removed)
    _from_annotations(landing, vault, pseudonymiser, patient, set(items), removed)
    return removed


def forget_in_ledger(vault: Zone, names: Iterable[str], items: Iterable[str]) -> int:
    """Take the rows of their files, whose paths may name them, out of the ledgers; returns how many."""
    store, wanted, count = TableStore(vault), {*names, *items}, 0
    for key in store.keys(LEDGER):
        table = store.read(LEDGER, key)
        kept = [i for i, pseudonym in enumerate(table["pseudonym"].to_pylist()) if pseudonym not in wanted]
        if len(kept) < table.num_rows:
            count += table.num_rows - len(kept)
            store.publish(LEDGER, key, rows_of(table, kept))
    return count


def _folder(path: str) -> str:
    """Where a file lies, as ingest tells files without ids apart by it."""
    return path.partition("/")[2].rpartition("/")[0]


def _whose(data: bytes, location: str, pseudonymiser: Pseudonymiser, patient: str, removed: Removed) -> _Whose:
    """Whose a file is; `unknown` where it says nobody's name."""
    if data.startswith(_ZIP):
        return "archive"
    try:
        source = read_encoded(data)
    except Quarantine:
        return "unknown"
    if _DIRECTORY in source.elements:
        return "listing" if _lists(data, patient, pseudonymiser) else "others"
    theirs = identity_of(source.elements, data, pseudonymiser, location).patient == patient
    (removed.known if theirs else removed.others).update(_uids(source))
    return "theirs" if theirs else "others"


def _uids(source: EncodedDataSet) -> Iterator[str]:
    for tag in _UIDS:
        if value := source.text(tag):
            yield value


def _lists(data: bytes, patient: str, pseudonymiser: Pseudonymiser) -> bool:
    """Whether a DICOMDIR has a record of the patient (PS3.3 F.5.1)."""
    from medillus_pipeline.dicom.reading import parse, silenced

    with silenced():
        records = parse(data).get("DirectoryRecordSequence") or ()
        ids = [str(record.get("PatientID") or "") for record in records]
    return any(value and pseudonymiser.patient(value) == patient for value in ids)


def _theirs(whose: dict[str, _Whose]) -> set[str]:
    """Their files, and the others of a folder where every DICOM file is theirs."""
    by_folder: dict[str, set[_Whose]] = defaultdict(set)
    for path, of in whose.items():
        by_folder[path.rpartition("/")[0]].add(of)
    alone = {folder for folder, found in by_folder.items() if "theirs" in found and "others" not in found}
    beside = {path for path, of in whose.items() if of == "unknown" and path.rpartition("/")[0] in alone}
    return {path for path, of in whose.items() if of in ("theirs", "listing")} | beside


def _from_archive(landing: Zone, path: str, pseudonymiser: Pseudonymiser, patient: str, removed: Removed) -> None:
    try:
        data = landing.read(path)
    except FileNotFoundError:
        return
    if not data.startswith(_ZIP):
        return
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            if too_large(entries) or any(map(swollen, entries)):
                removed.to_look_at += 1
                return
            contents = {entry.filename: archive.read(entry) for entry in entries}
    except (*ARCHIVE_FAULTS, RuntimeError, zlib.error, EOFError):  # RuntimeError: encrypted
        removed.to_look_at += 1
        return
    source = path.removeprefix("images/")
    whose: dict[str, _Whose] = {
        name: _whose(content, f"{source}!{PurePosixPath(name).parent}", pseudonymiser, patient, removed)
        for name, content in contents.items()
    }
    removed.to_look_at += "archive" in whose.values()  # an archive within one is never read
    theirs = _theirs(whose)
    if not theirs:
        return
    removed.members += len(theirs)
    if len(theirs) == len(entries):
        landing.remove(path)
        removed.files += 1
        return
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for entry in entries:
            if entry.filename not in theirs:
                archive.writestr(entry, contents[entry.filename])
    landing.write(path, written.getvalue())
    removed.archives_rewritten += 1


def _from_annotations(
    landing: Zone, vault: Zone, pseudonymiser: Pseudonymiser, patient: str, items: set[str], removed: Removed
) -> None:
    drawn = _sources_of(vault, items)
    for path in landing.files("annotations"):
        if path.rsplit("/", 1)[-1] == READY_MARKER:
            continue
        data = landing.read(path)
        told = _TOKEN.findall(f"{path.rsplit('/', 1)[-1]}\n{data.decode('latin-1')}")
        theirs = storable(path) in drawn or _whose(data, _folder(path), pseudonymiser, patient, removed) in (
            "theirs",
            "listing",
        )
        names_theirs = not removed.known.isdisjoint(told)
        if theirs or (names_theirs and removed.others.isdisjoint(told)):
            landing.remove(path)
            removed.files += 1
        elif names_theirs and path.lower().endswith(".csv"):
            lines = data.splitlines(keepends=True)
            kept = [line for line in lines if removed.known.isdisjoint(_TOKEN.findall(line.decode("latin-1")))]
            removed.lines += len(lines) - len(kept)
            landing.write(path, b"".join(kept))
        elif names_theirs:
            removed.to_look_at += 1


def _sources_of(vault: Zone, items: set[str]) -> set[str]:
    """Landing paths behind the pseudonyms of annotators' files."""
    store = TableStore(vault)
    folders = {f"annotations.{item.key}": item.folder for item in mappings(vault) if item.kind == "annotations"}
    return {
        storable(f"annotations/{folders[key]}/{row['source']}")
        for key in store.keys(LEDGER)
        if key in folders
        for row in store.read(LEDGER, key).to_pylist()
        if row["pseudonym"] in items
    }
