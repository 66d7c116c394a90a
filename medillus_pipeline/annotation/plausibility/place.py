"""Structures outside the body, on CT: MR, PET and projections have no threshold that tells air from the body's edge,
and are left alone.
"""

from collections.abc import Iterator

from medillus_pipeline.annotation.plausibility.findings import Finding, FindingKind, Severity
from medillus_pipeline.annotation.plausibility.survey import Drawn, Survey


def examine_place(found: Survey) -> Iterator[Finding]:
    """Structures in the air around the body: refused where nearly all of it lies there, in the series or on a slice.

    Structures that may reach the skin are not judged, and those that hold gas not on slices whose edge cuts the body:
    there they lie open to the outside.
    """
    for structure, drawn in found.structures.items():
        yield from _structure(found, structure, drawn)


def _structure(found: Survey, structure: int, drawn: Drawn) -> Iterator[Finding]:
    limits = found.limits
    judged = sum(one.judged for one in drawn.slices)
    if judged < limits.outside_pixels:
        return
    share = sum(one.outside for one in drawn.slices) / judged

    def finding(slice_name: str | None, value: float, severity: Severity) -> Finding:
        bound = limits.outside_refused if severity is Severity.REFUSE else limits.outside_warned
        return Finding(FindingKind.OUTSIDE_BODY, structure, slice_name, value, None, bound, "share", severity)

    if share >= limits.outside_refused:
        yield finding(None, share, Severity.REFUSE)
        return
    alone = [one for one in drawn.slices if one.judged and one.outside >= limits.outside_refused * one.judged]
    alone = [one for one in alone if one.judged >= limits.outside_pixels]
    for one in alone:
        yield finding(one.target.slice_name, one.outside / one.judged, Severity.REFUSE)
    if share >= limits.outside_warned and not alone:
        yield finding(None, share, Severity.WARN)
