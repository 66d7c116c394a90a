"""How a batch stands to what other readers drew on the same series. How two drawings compare is in `agreement.py`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from medillus_pipeline.annotation.review.agreement import agreement_rows
from medillus_pipeline.annotation.vocabulary import Vocabulary

Row = Mapping[str, Any]


def on_the_same_series(masks: Sequence[Row], earlier: Iterable[Row], slices: Sequence[Row]) -> list[Row]:
    """Those of `earlier` masks (rows of MASKS) that lie on series that `masks` have drawings on."""
    series_of = {row["slice_name"]: row["series_instance_uid"] for row in slices}
    concerned = {series_of.get(row["slice_name"]) for row in masks}
    return [row for row in earlier if series_of.get(row["slice_name"]) in concerned]


def agreement_of_batch(
    masks: Sequence[Row], earlier: Sequence[Row], slices: Sequence[Row], read: Callable[[str], bytes], words: Vocabulary
) -> list[dict[str, Any]]:
    """Rows of MASK_AGREEMENT between the annotators of a batch and everyone who drew on the same series, each other
    too; `earlier` are rows of MASKS as `on_the_same_series` gives them.
    """
    own = {row["annotator"] for row in masks}
    found = agreement_rows([*masks, *earlier], slices, read, words)
    return [row for row in found if {row["annotator_a"], row["annotator_b"]} & own]
