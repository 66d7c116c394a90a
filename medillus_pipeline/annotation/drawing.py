"""What one submitted item draws: structures on slices, and what of it could not be taken, with the reason."""

from medillus_pipeline.annotation.label_map import Region, united
from medillus_pipeline.annotation.outcomes import Outcome, Reason
from medillus_pipeline.annotation.vocabulary import Structure

WHOLE_ITEM = "*"
"""Stands for the structure in a receipt line that is about the item, or about a name that is in no vocabulary."""


class Drawing:
    """Collected by a format's reader, read by the batch.

    `regions` holds vocabulary id → region for every slice name; `notes` the places (slice names or other distinct
    tokens) by (structure key, outcome, reason); `unknown_labels` the names as typed, which are free text and must not
    reach the clean side. `remarks` say in our own words how it was read, where there was a choice (a threshold, a
    shift onto the grid); receipts show them.
    """

    def __init__(self, source_format: str) -> None:
        self.source_format = source_format
        self.regions: dict[str, dict[int, Region]] = {}
        self.notes: dict[tuple[str, Outcome, Reason], set[str]] = {}
        self.unknown_labels: set[str] = set()
        self.remarks: set[str] = set()

    def add(self, slice_name: str, structure: Structure, region: Region) -> None:
        """Draw a structure on a slice; what was drawn of it there before stays."""
        on_slice = self.regions.setdefault(slice_name, {})
        before = on_slice.get(structure.id)
        on_slice[structure.id] = region if before is None else united(before, region)

    def note(self, structure: str, reason: Reason, place: str, outcome: Outcome = Outcome.REFUSED) -> None:
        """Record that something of a structure (its key) was not taken at a place; an empty place counts as none."""
        places = self.notes.setdefault((structure, outcome, reason), set())
        if place:
            places.add(place)

    def unknown(self, label: str, place: str) -> None:
        """Record a name that the vocabulary does not know."""
        self.unknown_labels.add(label)
        self.note(WHOLE_ITEM, Reason.UNKNOWN_LABEL, place)

    def drop(self, structure: Structure, reason: Reason) -> None:
        """Take a structure off every slice, with a note."""
        for name in list(self.regions):
            if self.regions[name].pop(structure.id, None) is not None:
                self.note(structure.key, reason, name)
            if not self.regions[name]:
                del self.regions[name]

    @property
    def structures(self) -> set[int]:
        """Vocabulary ids drawn anywhere."""
        return {identifier for on_slice in self.regions.values() for identifier in on_slice}
