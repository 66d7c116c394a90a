"""Retain Safe Private: the standard's list and a site's own, asked by creator."""

import json
from pathlib import Path

import pytest

from medillus_pipeline.deidentification.private import (
    SAFE_PRIVATE_EDITION,
    SafePrivate,
    SafePrivateList,
    standard_safe_private,
)

SIEMENS = "SIEMENS MR HEADER"


def test_every_row_of_the_standard_is_in_the_list_and_nothing_else(shared_data: Path) -> None:
    published = shared_data / "standard" / f"safe_private_attributes_e3_10_1_{SAFE_PRIVATE_EDITION}.json"
    rows = json.loads(published.read_text(encoding="utf-8"))["rows"]

    expected = [
        (row["private_creator"], int(row["tag"][1:5], 16), int(row["tag"][8:10], 16), row["vr"] or "UN") for row in rows
    ]

    assert [(row.creator, row.group, row.element, row.vr) for row in standard_safe_private()] == expected
    assert len(expected) == 130


@pytest.mark.parametrize("row", standard_safe_private(), ids=lambda row: f"{row.group:04x}xx{row.element:02x}")
def test_an_element_of_the_standard_may_stay_with_its_vr(row: SafePrivate) -> None:
    assert SafePrivateList().vr_of(row.creator, row.group, row.element) == row.vr


def test_an_element_of_another_creator_may_not_stay_though_its_number_is_listed() -> None:
    listed = SafePrivateList()

    assert listed.vr_of(SIEMENS, 0x0019, 0x0C) == "IS"
    assert listed.vr_of("GEMS_ACQU_01", 0x0019, 0x0C) is None
    assert listed.vr_of("", 0x0019, 0x0C) is None


def test_creators_are_compared_without_padding_but_with_case() -> None:
    listed = SafePrivateList()

    assert listed.vr_of(f"{SIEMENS} ", 0x0019, 0x0C) == "IS"
    assert listed.vr_of(f"{SIEMENS}\0", 0x0019, 0x0C) == "IS"
    assert listed.vr_of(SIEMENS.lower(), 0x0019, 0x0C) is None
    assert listed.vr_of("SIEMENS  MR HEADER", 0x0019, 0x0C) is None


def test_a_site_can_add_elements_and_say_a_vr_that_the_table_leaves_open() -> None:
    timer = SafePrivate("SIEMENS Ultrasound SC2000", 0x0119, 0x11, "FD")
    own = SafePrivate("CLINIC MODEL ", 0x0029, 0x42, "DS")

    listed = SafePrivateList([timer, own])

    assert SafePrivateList().vr_of(timer.creator, timer.group, timer.element) == "UN"
    assert listed.vr_of(timer.creator, timer.group, timer.element) == "FD"
    assert listed.vr_of("CLINIC MODEL", 0x0029, 0x42) == "DS"
    assert SafePrivateList().vr_of("CLINIC MODEL", 0x0029, 0x42) is None


@pytest.mark.parametrize(
    "row",
    [
        SafePrivate("CLINIC", 0x0010, 0x10, "LO"),
        SafePrivate("CLINIC", 0x0029, 0x100, "LO"),
        SafePrivate(" ", 0x0029, 0x10, "LO"),
    ],
    ids=["even group", "outside the block", "no creator"],
)
def test_a_row_that_names_no_private_element_is_refused(row: SafePrivate) -> None:
    with pytest.raises(ValueError, match="no private element"):
        SafePrivateList([row])
