"""What became of a de-identified folder, and its report: ledger, instances, counts, choices. Restricted by its ledger.

What becomes of the files is decided in `folder.py`; here it is only told. Nothing of it is the key.
"""

import csv
import io
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medillus_pipeline import __version__
from medillus_pipeline.deidentification.policy import Policy
from medillus_pipeline.deidentification.policy_file import policy_summary
from medillus_pipeline.dicom.outcomes import WHAT_TO_DO, Reason
from medillus_pipeline.dicom.source_folder import UNSEEN, NotRead
from medillus_pipeline.errors import StoreError
from medillus_pipeline.tables import INSTANCES, LEDGER, to_parquet

_UNEXAMINED = frozenset({str(Reason.FILE_NOT_READABLE), str(Reason.UNEXPECTED_ERROR)})

STATUS: Mapping[int, str] = {
    0: "every file is accounted for, and nothing that identified a source was found in the result",
    3: "the residual search found something that identified a source; those files were kept out of the result",
    4: "some entries could not be looked at (no permission, a link that leads out, a defect); the ledger lists them",
}
"""Exit status of a finished run → what it says."""

ADVICE: Mapping[str, str] = {
    **WHAT_TO_DO,
    "annotation": "RTSTRUCT and SEG objects are not de-identified by this command yet; they were not written",
    "duplicate": "the same instance again, with the same pixels; one copy was written",
    "directory": "a DICOMDIR, an index of other files; nothing to do",
    f"not_read/{NotRead.LINK_LEADS_OUTSIDE}": "a link to something outside the source; name that as a source itself",
    f"not_read/{NotRead.DANGLING_LINK}": "a link to nothing; fetch the file that it stands for",
    f"not_read/{NotRead.FOLDER_NOT_READABLE}": "a folder that could not be listed; give permission, then run again",
    f"not_read/{NotRead.SPECIAL_FILE}": "a pipe, socket or device; nothing to do",
    f"not_read/{NotRead.LINK_TO_FOLDER}": "a link to a folder of the source, which was read in its own place",
    f"not_read/{NotRead.MARKER}": "the marker of a landing folder; nothing to do",
}
"""What a count of the report means and what to do."""


@dataclass(frozen=True)
class FolderResult:
    """What became of a folder. `ledger` is restricted: rows of LEDGER with sources relative to the folder, and one
    row with the outcome `not_read` for every entry that was no file to read.

    `counts` maps an outcome, or `quarantined/<reason>` or `not_read/<reason>`, to a number of entries; it sums up to
    the ledger. `unaccounted` counts files that were listed and stand in no row: always 0, or a defect.
    """

    instances: list[dict[str, Any]]
    ledger: list[dict[str, Any]] = field(repr=False)
    counts: dict[str, int]
    residual_hits: list[dict[str, Any]]
    unaccounted: int
    removed: int
    key_check: str
    policy: Policy

    @property
    def unseen(self) -> int:
        """Entries behind which an image may lie that nobody looked at."""
        reasons = _UNEXAMINED | {str(reason) for reason in UNSEEN}
        return self.unaccounted + sum(row["reason"] in reasons for row in self.ledger)

    @property
    def status(self) -> int:
        """Exit status: 0 when every file is accounted for and the residual gate holds, 3 when the gate quarantined
        something, 4 when something could not be looked at."""
        gated = bool(self.residual_hits) or any(row["reason"] == Reason.RESIDUAL_IDENTIFIER for row in self.ledger)
        return 3 if gated else 4 if self.unseen else 0


def write_report(result: FolderResult, folder: Path) -> None:
    """Write `ledger.csv`, `instances.parquet`, `report.json` and `report.md`, mode 0600, `report.json` last.

    Raises StoreError where the folder cannot be written.
    """
    summary = _summary(result)
    try:
        _write(folder / "ledger.csv", _ledger(result.ledger))
        _write(folder / "instances.parquet", to_parquet(INSTANCES.to_arrow(result.instances)))
        _write(folder / "report.md", _readable(summary).encode())
        _write(folder / "report.json", (json.dumps(summary, indent=2) + "\n").encode())
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
    else:
        return
    raise StoreError(f"the report cannot be written ({reason}): check space, owner and mode; then run again")


def _summary(result: FolderResult) -> dict[str, Any]:
    rows = result.instances
    return {
        "made_by": f"medillus_pipeline {__version__}",
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "status": result.status,
        "meaning": STATUS[result.status],
        "entries": len(result.ledger),
        "unaccounted": result.unaccounted,
        "counts": result.counts,
        "residual_hits": result.residual_hits,
        "written": {
            "patients": len({row["patient"] for row in rows}),
            "studies": len({row["study_instance_uid"] for row in rows}),
            "series": len({row["series_instance_uid"] for row in rows}),
            "instances": len(rows),
            "bytes": sum(row["bytes"] for row in rows),
        },
        "removed_from_an_earlier_run": result.removed,
        "policy": policy_summary(result.policy),
        "key_check": result.key_check,
    }


def _ledger(rows: Iterable[Mapping[str, Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [column.name for column in LEDGER.columns], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _readable(summary: Mapping[str, Any]) -> str:
    """The report for a reader; everything in it may be shown to whoever may see the result."""
    policy, written = summary["policy"], summary["written"]
    lines = [
        "# De-identification report",
        "",
        f"Status {summary['status']}: {summary['meaning']}.",
        "",
        "| what | value |",
        "| --- | --- |",
        f"| written | {', '.join(f'{count} {name}' for name, count in written.items())} |",
        f"| rules | DICOM PS3.15 Table E.1-1, edition {policy['edition']} |",
        f"| options | {', '.join(policy['options']) or 'none'} |",
        f"| documents | {'yes' if policy['documents'] else 'no'} |",
        f"| site's terms, regions, safe private elements | {policy['terms']}, {policy['regions']}, "
        f"{policy['safe_private']} |",
        f"| pixel rules | {policy['pixel_rules']} |",
        f"| key check | {summary['key_check']} |",
        f"| made by | {summary['made_by']}, {summary['finished']} |",
        "",
        f"## What became of {summary['entries']} entries",
        "",
        "| outcome | count | what to do |",
        "| --- | ---: | --- |",
        *(f"| {name} | {count} | {ADVICE.get(name, '')} |" for name, count in summary["counts"].items()),
        "",
        "## Residual search",
        "",
    ]
    hits = summary["residual_hits"]
    if hits:
        lines += ["| attribute | files |", "| --- | ---: |", *(f"| {h['attribute']} | {h['count']} |" for h in hits)]
    else:
        lines += ["Nothing found."]
    return "\n".join(lines) + "\n"


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f"{path.name}.unfinished")
    temporary.unlink(missing_ok=True)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
    temporary.replace(path)
