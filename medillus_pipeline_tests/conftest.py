"""What all tests share: where the real data are, and a home of their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.s3_server import s3_server

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


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The URL of an empty bucket of an S3 server on loopback; credentials stand in the environment while it runs."""
    with s3_server() as server:
        yield server.root


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
