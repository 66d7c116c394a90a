"""A series of three small published slices, and a desk to submit annotations from."""

import pytest

from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.annotation.published import Desk, stack


@pytest.fixture
def desk(landing: Zone, clean: Zone, pseudonymiser: Pseudonymiser) -> Desk:
    return Desk(landing, clean, pseudonymiser, stack(pseudonymiser))
