"""What was gathered from a batch is examined series by series; what is surely wrong is taken off, with its reason.

How a drawing is examined is in `plausibility/`; what is left is published by `publication.py`.
"""

from collections import defaultdict
from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from medillus_pipeline.annotation.label_map import Region
from medillus_pipeline.annotation.outcomes import Reason
from medillus_pipeline.annotation.plausibility.examination import examine
from medillus_pipeline.annotation.plausibility.findings import FindingKind, refusals, rows
from medillus_pipeline.annotation.publication import Gathered
from medillus_pipeline.annotation.slice_index import SliceIndex, Target
from medillus_pipeline.annotation.vocabulary import Vocabulary

Values = Callable[[Target], np.ndarray | None]
"""Calibrated values (rows, columns) of a slice, HU for CT, NaN where nothing was measured; None where not at hand."""


def screen(
    gathered: Gathered,
    index: SliceIndex,
    values: Values,
    vocabulary: Vocabulary,
    *,
    warn_only: Collection[FindingKind] = (),
) -> list[dict[str, Any]]:
    """Rows of MASK_FINDINGS; structures that are surely wrong leave `gathered` and are noted in their items.

    Planning targets and unions are not examined. Findings of the kinds in `warn_only` take nothing off.
    """
    by_series: dict[tuple[str, str], dict[str, dict[int, Region]]] = defaultdict(dict)
    for (name, annotator), drawn in gathered.items():
        regions = {identifier: each.region for identifier, each in drawn.items() if each.layer is None}
        if regions:
            by_series[index.by_name[name].series_instance_uid, annotator][name] = regions
    found: list[dict[str, Any]] = []
    for (series, annotator), regions in sorted(by_series.items()):
        stack = index.by_series[series]
        findings = examine(stack, regions, values, vocabulary, stack[0].modality, warn_only=warn_only)
        found += rows(findings, series, annotator, vocabulary)
        for (identifier, name), reason in refusals(findings, regions).items():
            _take_off(gathered, (name, annotator), identifier, reason, vocabulary)
    return found


def _take_off(
    gathered: Gathered, place: tuple[str, str], identifier: int, reason: Reason, vocabulary: Vocabulary
) -> None:
    drawn = gathered[place].pop(identifier)
    drawn.item.drawing.note(vocabulary.by_id(identifier).key, reason, place[0])
    if not gathered[place]:
        del gathered[place]
