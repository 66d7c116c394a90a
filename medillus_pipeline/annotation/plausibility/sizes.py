"""Volume and area outside the plausible range: warnings, for disease and childhood know no bounds.

The ranges come from `plausible.csv` or from the caller (an anatomical prior). What is not here: how they were found,
which the table says row by row.
"""

from collections.abc import Iterator, Mapping

from medillus_pipeline.annotation.plausibility.findings import Finding, FindingKind, Severity
from medillus_pipeline.annotation.plausibility.survey import Drawn, Survey
from medillus_pipeline.dicom.geometry import normal

AXIAL = 0.87
"""Least share of the body axis in a slice's normal (30 degrees) for areas, which were measured on axial slices."""
TAPER = 0.5
"""Share of its greatest area below which a structure's last slice is taken for its end, where nothing was annotated
beyond."""


def examine_sizes(found: Survey, volumes: Mapping[int, tuple[float, float]]) -> Iterator[Finding]:
    """Volumes (ml) above the range, and below it where the structure is there from end to end; areas (cm²) on single
    slices where the volume is not found at fault. `volumes` by vocabulary id take precedence over the table.
    """
    for structure, drawn in found.structures.items():
        expected = found.expectation(structure)
        volume = _volume(found, drawn)
        bounds = volumes.get(structure, expected.volume)
        if volume is not None and bounds is not None:
            low, high = bounds
            if volume > high or (volume < low and _entire(found, drawn)):
                yield Finding(FindingKind.VOLUME, structure, None, volume, low, high, "ml", Severity.WARN)
                continue
        for one in drawn.slices:
            area, orientation = one.area, one.target.orientation
            if expected.area is None or area is None or orientation is None or area <= expected.area:
                continue
            if abs(normal(orientation)[2]) >= AXIAL:
                name = one.target.slice_name
                yield Finding(FindingKind.AREA, structure, name, area, None, expected.area, "cm2", Severity.WARN)


def _volume(found: Survey, drawn: Drawn) -> float | None:
    """In ml, each slice standing for the way to the next annotated one; None where those are irregular."""
    areas = [one.area for one in drawn.slices]
    if found.spacing is None or found.step is None or None in areas:
        return None
    return sum(area for area in areas if area is not None) * found.spacing * found.step / 10


def _entire(found: Survey, drawn: Drawn) -> bool:
    """Whether the structure was drawn from end to end: it reaches no edge of the image or the stack, and at both ends
    the annotator went on with other structures, or it tapers off.
    """
    first, last = drawn.slices[0], drawn.slices[-1]
    if first.order == 0 or last.order == len(found.targets) - 1 or any(one.at_edge for one in drawn.slices):
        return False
    greatest = max(one.pixels for one in drawn.slices)
    begins = found.annotated[0] < first.order or first.pixels < TAPER * greatest
    return begins and (found.annotated[-1] > last.order or last.pixels < TAPER * greatest)
