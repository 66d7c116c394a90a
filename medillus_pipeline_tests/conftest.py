"""What all tests share: where the real data are, and a home of their own."""

from pathlib import Path

import pytest

from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.zones import Zone

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images, or a skip that says what is missing."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real test data (../shared/data) are not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def pseudonymiser() -> Pseudonymiser:
    """A pseudonymiser with a key for tests only."""
    return Pseudonymiser(key=b"k" * 32, split_salt=b"s" * 32)


@pytest.fixture
def landing(tmp_path: Path) -> Zone:
    """An empty restricted zone."""
    (tmp_path / "landing").mkdir()
    return Zone((tmp_path / "landing").as_uri())


@pytest.fixture
def clean(tmp_path: Path) -> Zone:
    """An empty clean zone."""
    (tmp_path / "clean").mkdir()
    return Zone((tmp_path / "clean").as_uri(), cache=tmp_path / "cache")
