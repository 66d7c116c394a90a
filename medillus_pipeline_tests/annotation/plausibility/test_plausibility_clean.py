"""In drawings that clinics and researchers vouch for nothing is found; and it is quick."""

import time
from pathlib import Path

from medillus_pipeline.annotation.plausibility.examination import examine
from medillus_pipeline.annotation.vocabulary import load
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline_tests.annotation.plausibility.real_series import all_clean, thorax


def test_nothing_is_found_in_clean_drawings(shared_data: Path, pseudonymiser: Pseudonymiser) -> None:
    series = 0
    for drawn in all_clean(shared_data, pseudonymiser):
        series += 1
        assert examine(drawn.stack, drawn.regions, drawn.values, load(), drawn.modality) == [], drawn.name
    assert series == 58


def test_a_planning_ct_is_examined_in_less_than_two_seconds(shared_data: Path, pseudonymiser: Pseudonymiser) -> None:
    drawn = thorax(shared_data, pseudonymiser)
    assert len(drawn.stack) == 105 and len({i for on_slice in drawn.regions.values() for i in on_slice}) == 9
    examine(drawn.stack[:3], drawn.regions, drawn.values, load(), drawn.modality)
    begun = time.process_time()
    examine(drawn.stack, drawn.regions, drawn.values, load(), drawn.modality)
    assert time.process_time() - begun < 2.0
