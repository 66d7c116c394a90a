"""Approving and rejecting: notes on single figures, which are not signed, and signed verdicts on the model.

A verdict that counts is signed with a reviewer's key and answers every image of a blind sheet (`review/`). A click in
the studio is neither blind nor signed, so it lands as a note of its own kind that counts as no approval, and says so in
the file. The way that counts goes through here too: the sheet is downloaded, answered and signed on the reviewer's own
machine, and the saved file comes back and lands as a batch of `reviews`. The secret never comes here.
"""

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from medillus_pipeline import landings, published
from medillus_pipeline.errors import InputError, NotEnoughDataError
from medillus_pipeline.illustration.provenance import Origin
from medillus_pipeline.review.refusals import MEANINGS, Refusal
from medillus_pipeline.review.roster import Roster, read_roster
from medillus_pipeline.review.sheet import SheetKey
from medillus_pipeline.review.verdict import read_verdict
from medillus_pipeline.settings import Settings
from medillus_pipeline.studio.asked import Note
from medillus_pipeline.studio.bench import Kept

NOTES = "figure_notes"
"""Folder of the restricted landing zone; no sensor reads it, and no gate counts it."""

FORM = "medillus-figure-note-1"
SHEETS = "review_sheets"


@dataclass(frozen=True)
class Desk:
    """Where notes and verdicts go."""

    settings: Settings
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def note(self, note: Note, kept: Kept) -> str:
        """Write a note on a figure into landing; returns its file's name. What is typed may name a patient, so it
        stays in the restricted zone.
        """
        moment, figure = self.now(), kept.figure
        name = f"{figure.name}-{moment:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}.json"
        document = {
            "form": FORM,
            "signed": False,
            "counts_as_approval": False,
            "why": "made with a click in the studio, without a reviewer's key and knowing that the image is generated",
            "decision": note.decision,
            "comment": note.comment,
            "noted_at": moment.isoformat(timespec="seconds"),
            "svg_sha256": figure.sidecar["files"]["svg"]["sha256"],
            "origin": Origin.of(figure.request, made_at=kept.made_at).facts(),
        }
        self.settings.landing.write(f"{NOTES}/{name}", json.dumps(document, ensure_ascii=False, indent=1).encode())
        return name

    def sheet(self) -> tuple[str, bytes]:
        """The newest blind sheet as a file name and HTML. Raises NotEnoughDataError where none was made."""
        clean = self.settings.clean
        document = published.current(clean, "review_tasks")
        if document is None:
            raise NotEnoughDataError("no review sheet was made yet: materialize review_tasks")
        return f"review-sheet-version-{document['version']}.html", clean.read(document["html"])

    def verdict(self, data: bytes) -> dict[str, str]:
        """Check a saved verdict and land it as a batch of `reviews`; returns what it says and the batch's label.

        Raises InputError with the reason where it does not count, and ConfigurationError in the demo's home.
        """
        settings = self.settings
        landings.refuse_demo_home(settings)
        found = read_verdict(data, self._roster(), self._sheet_key, now=self.now())
        if isinstance(found, Refusal):
            raise InputError(f"the verdict does not count: {MEANINGS[found]}")
        folder = f"studio-{found.id}"
        if settings.landing.exists(f"reviews/{folder}/{landings.READY}"):
            raise InputError(f"the verdict does not count: {MEANINGS[Refusal.RECEIVED_BEFORE]}")
        settings.landing.write(f"reviews/{folder}/{found.id}.json", data)
        landings.close(settings.landing, "reviews", folder)
        return {"decision": found.statement.decision, "version": found.statement.version, "folder": folder}

    def _roster(self) -> Roster:
        file = self.settings.reviewers
        return Roster() if file is None else read_roster(file, self.settings.pseudonymiser().key)

    def _sheet_key(self, sheet: str) -> SheetKey | None:
        clean = self.settings.clean
        document = published.current(clean, f"{SHEETS}/{sheet}")
        return None if document is None else SheetKey.of(json.loads(clean.read(document["key"])))
