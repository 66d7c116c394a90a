"""A series of several stacks: what is odd in each of them is one finding of the series, the gravest."""

import numpy as np
import pytest

from medillus_pipeline.annotation.label_map import Region
from medillus_pipeline.annotation.plausibility.examination import examine
from medillus_pipeline.annotation.plausibility.findings import FindingKind, Severity
from medillus_pipeline.annotation.slice_index import SliceIndex
from medillus_pipeline.annotation.vocabulary import load
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline_tests.annotation.published import SERIES, row


@pytest.mark.parametrize(("first", "second"), [(-1000.0, 500.0), (500.0, -1000.0)])
def test_a_finding_on_two_stacks_is_one_row_and_the_graver(
    pseudonymiser: Pseudonymiser, first: float, second: float
) -> None:
    """Air in a liver is refused, 500 HU only a warning; keys of the table of findings are unique."""
    axial = [row(pseudonymiser, f"{SERIES}.{k}", position=[-20.0, -30.0, 5.0 * k]) for k in range(3)]
    turned = [1.0, 0.0, 0.0, 0.0, 0.0, -1.0]
    coronal = [
        row(pseudonymiser, f"{SERIES}.{k}", position=[-20.0, 5.0 * k, 0.0], orientation=turned) for k in range(3, 6)
    ]
    (stack,) = SliceIndex(axial + coronal).by_series.values()
    liver = load().by_key("liver").id
    regions = {target.slice_name: {liver: Region(10, 10, np.ones((10, 10), bool))} for target in stack}
    values = {one["slice_name"]: first if one in axial else second for one in axial + coronal}
    found = examine(stack, regions, lambda target: np.full((40, 50), values[target.slice_name]), load(), "CT")
    (tissue,) = [one for one in found if one.kind is FindingKind.WRONG_TISSUE]
    assert (tissue.slice_name, tissue.severity, tissue.value) == (None, Severity.REFUSE, -1000.0)
