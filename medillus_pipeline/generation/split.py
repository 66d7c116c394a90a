"""The frozen patient-level split: each patient is assigned once and never moves.

Tokens are keyed hashes of patients with a salt of their own (`deidentification/pseudonyms.py`), so their order is
random and survives key rotation. Where assignments are kept is not here: see `tables.PATIENT_SPLITS`.
"""

import hashlib
from collections.abc import Iterable, Mapping

from medillus_pipeline.errors import NotEnoughDataError

SPLITS = ("train", "judge", "validation", "locked_test")
QUOTAS = {"train": 0.5, "judge": 0.25, "validation": 0.125, "locked_test": 0.125}
"""Shares of the patients: those the generator learns from, the judge's own, nightly validation, promotion only."""

MINIMUM_PATIENTS = 8
"""With fewer, one of the splits would be empty."""


def assign(tokens: Iterable[str], existing: Mapping[str, str], quotas: Mapping[str, float] = QUOTAS) -> dict[str, str]:
    """Splits for the tokens that have none yet, so that all of them together meet the quotas as exactly as can be.

    One after another, in the order of the token, each new patient goes to the split that lacks most; ties go to the
    split named first in `quotas`. The result does not depend on the order of `tokens`, and holds new ones only.

    Raises NotEnoughDataError when old and new together are fewer than `MINIMUM_PATIENTS`, ValueError for a quota that
    is not positive or an existing split without a quota.
    """
    if not quotas or any(share <= 0 for share in quotas.values()):
        raise ValueError("every quota must be positive")
    if unknown := sorted(set(existing.values()) - set(quotas)):
        raise ValueError(f"patients are assigned to splits without a quota: {unknown}")
    new = sorted(set(tokens) - set(existing))
    total = len(existing) + len(new)
    if total < MINIMUM_PATIENTS:
        raise NotEnoughDataError(
            f"{total} patient{'' if total == 1 else 's'} with labelled slices, and at least {MINIMUM_PATIENTS} are "
            "needed to split them into train, judge, validation and locked test: "
            "add deliveries and annotation batches of more patients"
        )
    counts = dict.fromkeys(quotas, 0)
    for split in existing.values():
        counts[split] += 1
    whole = sum(quotas.values())
    wanted = {split: share / whole * total for split, share in quotas.items()}
    assigned = {}
    for token in new:
        split = max(quotas, key=lambda name: round(wanted[name] - counts[name], 9))
        assigned[token] = split
        counts[split] += 1
    return assigned


def split_hash(splits: Mapping[str, str]) -> str:
    """SHA-256 over all assignments, in the order of the token."""
    text = "\n".join(f"{token}\t{splits[token]}" for token in sorted(splits))
    return hashlib.sha256(text.encode()).hexdigest()
