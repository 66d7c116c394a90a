"""Contours on the wrong organ: the median HU inside is not that of the structure's tissue. CT only."""

from collections.abc import Collection, Iterator

from medillus_pipeline.annotation.plausibility.expectations import Tissue
from medillus_pipeline.annotation.plausibility.findings import Finding, FindingKind, Severity
from medillus_pipeline.annotation.plausibility.survey import Drawn, Survey


def examine_tissue(found: Survey, misplaced: Collection[int] = ()) -> Iterator[Finding]:
    """Refused where the median over the series cannot be that of the tissue, a warning where it is unusual; where the
    series as a whole is right, a warning for every slice on which it cannot be. Structures in `misplaced` are passed
    over: what lies outside the body holds air, and one mistake is one finding.
    """
    for structure, drawn in found.structures.items():
        tissue = found.expectation(structure).tissue
        if tissue is not None and structure not in misplaced:
            yield from _structure(found, structure, drawn, tissue)


def _structure(found: Survey, structure: int, drawn: Drawn, tissue: Tissue) -> Iterator[Finding]:
    def finding(slice_name: str | None, value: float, severity: Severity) -> Finding:
        low, high = (tissue.least, tissue.greatest) if impossible(value) else (tissue.low, tissue.high)
        return Finding(FindingKind.WRONG_TISSUE, structure, slice_name, value, low, high, "HU", severity)

    def impossible(value: float) -> bool:
        beneath = tissue.least is not None and value < tissue.least
        return beneath or (tissue.greatest is not None and value > tissue.greatest)

    median = drawn.median
    if median is None or drawn.counts.sum() < found.limits.tissue_pixels:
        return
    if impossible(median):
        yield finding(None, median, Severity.REFUSE)
    elif not tissue.low <= median <= tissue.high:
        yield finding(None, median, Severity.WARN)
    else:
        for one in drawn.slices:
            if one.median is not None and one.pixels >= found.limits.tissue_pixels and impossible(one.median):
                yield finding(one.target.slice_name, one.median, Severity.WARN)
