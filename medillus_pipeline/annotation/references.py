"""How what an annotation refers to, in its own identifiers, meets the published slices.

An annotation comes either with the hospital's identifiers or with ours (an export that comes back). Ours are looked up
as they stand; the others are replaced first, by the same rule that replaced them in the images. Nothing of the original
identifiers is kept. What is not here: the rule itself (`deidentification/pseudonyms.py`).
"""

from collections.abc import Container
from typing import Protocol

from medillus_pipeline.annotation.slice_index import SliceIndex


class Naming(Protocol):
    """A rule by which the images' identifiers were replaced. A `Pseudonymiser` is one."""

    def uid(self, original: str) -> str:
        """The UID that stands in for an original one."""
        ...

    def patient(self, patient_id: str) -> str | None:
        """The pseudonym that stands in for a PatientID; None where this rule cannot tell."""
        ...


class References:
    """Turns the identifiers of one batch's annotations into those of the slices of `index`.

    `namings` are tried in their order after the identifier itself; an identifier that no slice carries under any of
    them becomes what the last of them makes of it, which no slice has. What was asked before is remembered.
    """

    def __init__(self, index: SliceIndex, *namings: Naming) -> None:
        self._index = index
        self._patients = {target.patient for target in index.by_name.values()}
        self._namings = namings
        self._known: dict[tuple[str, str], str] = {}
        self.not_compared = False
        """Whether a patient was named whom no rule could compare with the slices'."""

    def instance(self, uid: str) -> str:
        """The SOP Instance UID that the slices know an instance by; empty for an empty one."""
        return self._resolved("instance", uid, self._index.by_instance)

    def series(self, uid: str) -> str:
        """The Series Instance UID that the slices know a series by; empty for an empty one."""
        return self._resolved("series", uid, self._index.by_series)

    def space(self, uid: str) -> str:
        """The Frame of Reference UID that the slices know a space by; empty for an empty one."""
        return self._resolved("space", uid, self._index.by_space)

    def patient(self, patient_id: str) -> str | None:
        """The pseudonym of a patient; None where the annotation names none, or there is no rule to compare by."""
        text = patient_id.strip()
        if not text or text in self._patients:
            return text or None
        named = [name for naming in self._namings if (name := naming.patient(text)) is not None]
        self.not_compared |= not named
        return next((name for name in named if name in self._patients), named[-1] if named else None)

    def _resolved(self, kind: str, uid: str, known: Container[str]) -> str:
        original = uid.strip().rstrip("\0")
        if original and (kind, original) not in self._known:
            candidates = [original, *(naming.uid(original) for naming in self._namings)]
            self._known[kind, original] = next((name for name in candidates if name in known), candidates[-1])
        return self._known.get((kind, original), "")
