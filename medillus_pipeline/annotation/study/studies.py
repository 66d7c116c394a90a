"""The published studies as labels look for them: by their own identifier or ours, by series.

What is not here: slices (`slice_index.py`) and the rule that replaced identifiers (`references.py`).
"""

from collections.abc import Iterable, Mapping
from typing import Any

from medillus_pipeline.annotation.references import Naming


class Studies:
    """Studies of the rows of SLICES. `namings` are tried after an identifier itself, as References does."""

    def __init__(self, rows: Iterable[Mapping[str, Any]], *namings: Naming) -> None:
        self._namings = namings
        self.series: dict[str, set[str]] = {}
        self.study_of: dict[str, str] = {}
        self.patient_of: dict[str, str] = {}
        for row in rows:
            study, series = row["study_instance_uid"], row["series_instance_uid"]
            self.series.setdefault(study, set()).add(series)
            self.study_of[series] = study
            self.patient_of[study] = row["patient"]

    def find(self, uid: str) -> str | None:
        """The Study Instance UID that the slices know a study by; None for one that is not published."""
        original = uid.strip().rstrip("\0")
        if not original:
            return None
        candidates = (original, *(naming.uid(original) for naming in self._namings))
        return next((name for name in candidates if name in self.series), None)
