"""Greys by arithmetic: the table's very greys, or the table itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medillus_pipeline.dicom.grey_tables import GreyTable
from medillus_pipeline.dicom.windows import PRESETS, Function, Window, apply_window


def table_of(
    window: Window, *, bits: int, signed: bool, slope: float = 1.0, intercept: float = -1024.0, inverse: bool = False
) -> GreyTable:
    """The greys of every word, words with unused bits set included."""
    words = np.arange(65536) & (2**bits - 1)
    values = np.where(signed & (words >= 2 ** (bits - 1)), words - 2**bits, words)
    greys = apply_window(values * slope + intercept, window)
    return GreyTable(255 - greys if inverse else greys, bits, signed, window.width / abs(slope))


def every_word(table: GreyTable) -> np.ndarray:
    low = -(2 ** (table.bits - 1)) if table.signed else 0
    return np.arange(low, low + 2**table.bits).astype("<i2" if table.signed else "<u2").view("<u2").reshape(2, -1)


@given(
    center=st.floats(-2000, 3000),
    width=st.floats(1, 5000),
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
    bits=st.integers(2, 16),
    signed=st.booleans(),
    slope=st.sampled_from([1.0, -1.0, 2.5, 0.1]),
    inverse=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_every_word_gets_the_tables_grey(
    center: float, width: float, function: Function, bits: int, signed: bool, slope: float, inverse: bool
) -> None:
    window = Window("any", center, width, function)
    table = table_of(window, bits=bits, signed=signed, slope=slope, inverse=inverse)
    words = every_word(table)
    assert np.array_equal(table.of(words), table.greys[words])


@pytest.mark.parametrize("name", sorted(PRESETS))
@pytest.mark.parametrize(("bits", "signed"), [(12, False), (16, False), (16, True), (12, True)])
@pytest.mark.parametrize("inverse", [False, True])
def test_the_presets_of_ct_need_no_table(name: str, bits: int, signed: bool, inverse: bool) -> None:
    table = table_of(PRESETS[name], bits=bits, signed=signed, inverse=inverse, intercept=0.0 if signed else -1024.0)
    assert table.is_ramp
    assert np.array_equal(table.of(every_word(table)), table.greys[every_word(table)])


def test_padding_that_is_black_in_the_middle_of_a_ramp_ends_the_arithmetic() -> None:
    greys = table_of(PRESETS["bone"], bits=12, signed=False).greys.copy()
    greys[1500] = 0
    table = GreyTable(greys, 12, False, PRESETS["bone"].width)
    assert not table.is_ramp
    assert table.of(np.full((2, 2), 1500, np.uint16)).max() == 0


def test_pictures_that_were_given_out_do_not_change_with_the_next() -> None:
    table = table_of(PRESETS["bone"], bits=12, signed=False)
    first = table.of(np.full((4, 4), 1500, np.uint16))
    kept = first.copy()
    table.of(np.full((4, 4), 2000, np.uint16))
    assert np.array_equal(first, kept)
