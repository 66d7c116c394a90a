"""The examination of one annotator's drawing of one series: every check, in one pass over the slices."""

from collections.abc import Collection, Mapping, Sequence

from medillus_pipeline.annotation.label_map import Region
from medillus_pipeline.annotation.plausibility import expectations
from medillus_pipeline.annotation.plausibility.findings import Finding, FindingKind, Severity, downgraded
from medillus_pipeline.annotation.plausibility.limits import Limits
from medillus_pipeline.annotation.plausibility.place import examine_place
from medillus_pipeline.annotation.plausibility.shape import examine_shape
from medillus_pipeline.annotation.plausibility.sides import examine_sides
from medillus_pipeline.annotation.plausibility.sizes import examine_sizes
from medillus_pipeline.annotation.plausibility.survey import Values, survey
from medillus_pipeline.annotation.plausibility.tissue import examine_tissue
from medillus_pipeline.annotation.slice_index import Target
from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.dicom.geometry import Plane, stack_series

CT = "CT"


def examine(
    stack: Sequence[Target],
    regions: Mapping[str, Mapping[int, Region]],
    values: Values,
    vocabulary: Vocabulary,
    modality: str,
    *,
    limits: Limits | None = None,
    volumes: Mapping[int, tuple[float, float]] | None = None,
    expected: Mapping[str, expectations.Expectation] | None = None,
    warn_only: Collection[FindingKind] = (),
) -> list[Finding]:
    """What is odd about a drawing: nothing, for a good one.

    `stack` holds all published slices of the series in any order, drawn on or not; `regions` is slice name →
    vocabulary id → region, each inside its slice. `values` gives the calibrated values (rows, columns) of a slice, in
    HU, NaN where nothing was measured, or None where they are not at hand; it is asked slice by slice, for CT only.
    Place and tissue need values, sides need geometry, sizes and shape need a stack of parallel slices.

    `volumes` (vocabulary id → least and greatest ml) stands before the table's ranges, `expected` (key → expectation)
    before the whole table; findings of the kinds in `warn_only` never refuse. Slices of several orientations or sizes
    in a series are examined as stacks of their own. The order of the findings does not depend on that of the input.

    Raises ValueError when values do not have the size of their slice.
    """
    table = expectations.load() if expected is None else expected
    measured = values if modality == CT else None
    planes = [Plane(t.rows, t.columns, t.position, t.orientation, t.pixel_spacing) for t in stack]
    found: list[Finding] = []
    for part in stack_series(planes, [target.slice_name for target in stack]):
        targets = [stack[member] for member in part.members]
        drawn = survey(part, targets, regions, measured, vocabulary, table, limits or Limits())
        misplaced = list(examine_place(drawn))
        wrong = [*misplaced, *examine_sides(drawn)]
        wrong += examine_tissue(drawn, {one.structure for one in misplaced})
        found += wrong
        found += examine_sizes(drawn, volumes or {})
        found += examine_shape(drawn, {(one.structure, one.slice_name) for one in wrong})
    found.sort(key=lambda f: (f.structure, f.kind, f.slice_name or "", f.severity is not Severity.REFUSE))
    # Stacks of one series may each be odd as a whole; the gravest of them stands for all.
    once = {(f.structure, f.kind, f.slice_name): f for f in reversed(found)}
    return downgraded(reversed(once.values()), warn_only)
