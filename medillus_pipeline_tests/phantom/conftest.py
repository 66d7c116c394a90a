"""One small cohort for all tests of this folder, and its first patients as drawn."""

from pathlib import Path

import pytest

from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.phantom.cohort import Cohort, write_cohort
from medillus_pipeline.phantom.keys import DEMO_KEY, DEMO_SALT

SEED = 7
SHAPE = (10, 80, 80)
PATIENTS = 8


@pytest.fixture(scope="session")
def demo() -> Pseudonymiser:
    """The demo's pseudonymiser."""
    return Pseudonymiser(key=DEMO_KEY, split_salt=DEMO_SALT)


@pytest.fixture(scope="session")
def landing_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the small cohort is written."""
    return tmp_path_factory.mktemp("phantom") / "landing"


@pytest.fixture(scope="session")
def cohort(landing_folder: Path, demo: Pseudonymiser) -> Cohort:
    """A small cohort of all eight scripts, on disk."""
    return write_cohort(landing_folder, demo, patients=PATIENTS, seed=SEED, shape=SHAPE, workers=1)
