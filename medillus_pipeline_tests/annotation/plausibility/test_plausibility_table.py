"""The table of what is plausible: it speaks of our structures, and a broken row is named."""

from pathlib import Path

import pytest

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.annotation.plausibility.expectations import TABLE, TISSUES, load, read
from medillus_pipeline.errors import ConfigurationError

HEADER = "key,tissue,connected,reaches_out,ml_low,ml_high,ml_source,cm2_high,cm2_source"


def test_every_row_is_about_a_structure_of_the_vocabulary() -> None:
    assert set(load()) <= {structure.key for structure in vocabulary.load()} and len(load()) > 190


def test_left_and_right_are_expected_to_be_alike_in_all_but_measured_sizes() -> None:
    for key, row in load().items():
        other = load().get(key.replace("left", "right"))
        if other is not None and not key.startswith("lung_"):
            assert (row.tissue, row.connected, row.reaches_out) == (other.tissue, other.connected, other.reaches_out)


def test_what_cannot_be_lies_beyond_what_is_unusual() -> None:
    for tissue in TISSUES.values():
        assert tissue.low < tissue.high
        assert tissue.least is None or tissue.least < tissue.low
        assert tissue.greatest is None or tissue.greatest > tissue.high


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("liver,jelly,yes,no,,,,,", "unknown tissue"),
        ("liver,soft,perhaps,no,,,,,", "yes or no"),
        ("liver,soft,yes,no,5,,measured,,", "no range"),
        ("liver,soft,yes,no,5,2,measured,,", "no range"),
        ("liver,soft,yes,no,5,20,,,", "no source"),
        ("liver,soft,yes,no,,,,7,", "no source"),
        ("liver,soft,yes,no,,,,,\nliver,soft,yes,no,,,,,", "stands twice"),
    ],
)
def test_a_broken_row_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / TABLE.name
    path.write_text(f"{HEADER}\n{line}\n")
    with pytest.raises(ConfigurationError, match=message) as raised:
        read(path)
    assert "liver" in str(raised.value)
