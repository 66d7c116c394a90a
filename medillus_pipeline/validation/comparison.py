"""Figures of several models side by side, where they may be compared at all.

Distances on features mean something only under the same extractor, Dice only under the same judge: both are one
network, named by its hash in each report's document.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from medillus_pipeline.errors import InputError


def side_by_side(documents: Sequence[Mapping[str, Any]]) -> dict[str, tuple[float | None, ...]]:
    """Each figure of the report documents, in their order; None where a document lacks it.

    Raises InputError when they were measured by different feature extractors, or do not name theirs.
    """
    hashes = [document.get("feature_extractor", {}).get("sha256") for document in documents]
    if None in hashes:
        raise InputError(
            "a report does not say which feature extractor measured it: materialise validation_report again"
        )
    if len(set(hashes)) > 1:
        named = ", ".join(sorted({str(value)[:12] for value in hashes}))
        raise InputError(
            f"the figures were measured under different feature extractors ({named}): measure the models by one judge, "
            "then compare"
        )
    keys = sorted({key for document in documents for key in document["figures"]})
    return {key: tuple(document["figures"].get(key) for document in documents) for key in keys}
