"""The page of a batch says what became of it, shows the slices that matter, names nobody, and needs nothing."""

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medillus_pipeline.annotation.outcomes import MEANINGS, Reason
from medillus_pipeline.annotation.plausibility.findings import ADVICE, Finding, FindingKind, Severity, rows
from medillus_pipeline.annotation.review.agreement import agreement_rows
from medillus_pipeline.annotation.review.batch_report import build_batch_report
from medillus_pipeline.annotation.review.batch_summary import BatchRows, Titles, amounts, groups, verdict
from medillus_pipeline.annotation.review.slice_figure import edge_letters, slice_figure
from medillus_pipeline.annotation.review.worst_slices import choose
from medillus_pipeline.annotation.vocabulary import load
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.annotation.published import SQUARE as CORNERS
from medillus_pipeline_tests.annotation.published import Desk, labelme, row, rows_of_files, shape, stack
from medillus_pipeline_tests.annotation.review.readers import A, B, mask_row, square, with_pictures

RECORDED = {"overlap_policy": "the smaller one", "vocabulary": "0123456789abcdef"}
WINDOW = {"window": "soft-tissue", "window_center": 50.0, "window_width": 350.0}


@pytest.fixture
def batch(clean: Zone, pseudonymiser: Pseudonymiser) -> BatchRows:
    """Nine slices by reader A, of which the fifth has an overlap, and reader B on the last."""
    slices = [one | WINDOW for one in with_pictures(clean, stack(pseudonymiser, 9))]
    masks = [mask_row(clean, one, square(10, 10), A, **RECORDED) for one in slices]
    masks[4]["overlap_pixels"] = 7
    other = mask_row(clean, slices[8], square(10, 13), B, **RECORDED)
    return BatchRows(
        masks=masks,
        items=[receipt("liver", "accepted", "", 9), receipt("ptv", "kept", "planning_target", 3)],
        slices=slices,
        agreement=agreement_rows([*masks, other], slices, clean.read, load()),
        others=[other],
    )


def receipt(structure: str, outcome: str, reason: str, slices: int) -> dict[str, Any]:
    return {
        "item": "i-000000000001",
        "structure": structure,
        "source_format": "labelme",
        "outcome": outcome,
        "reason": reason,
        "remark": "",
        "slices": slices,
    }


def finding(kind: FindingKind, slice_name: str | None, severity: Severity = Severity.WARN) -> dict[str, Any]:
    found = Finding(kind, load().by_key("liver").id, slice_name, 3.0, None, 1.0, "parts", severity)
    return rows([found], "1.2.3.4", A, load())[0]


class Page(HTMLParser):
    """The text of a page, its addresses, and its pictures without an `alt`."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.addresses, self.alts = "", list[str](), list[str | None]()
        self.hidden = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.hidden = tag == "style"
        self.addresses += [named[key] or "" for key in ("src", "href") if key in named]
        if tag == "img":
            self.alts.append(named.get("alt"))

    def handle_data(self, data: str) -> None:
        self.text += "" if self.hidden else data + " "


def page(batch: BatchRows, clean: Zone) -> Page:
    return Page(build_batch_report("b-1", batch, clean.read, load()))


def test_the_page_is_the_same_each_time_and_in_any_order_of_rows(batch: BatchRows, clean: Zone) -> None:
    rows = {f.name: value for f in dataclasses.fields(batch) if not isinstance(value := getattr(batch, f.name), bool)}
    turned = BatchRows(**{name: list(value)[::-1] for name, value in rows.items()})
    assert build_batch_report("b-1", batch, clean.read, load()) == build_batch_report("b-1", turned, clean.read, load())


def test_the_page_loads_nothing_from_outside_and_describes_its_pictures(batch: BatchRows, clean: Zone) -> None:
    made = page(batch, clean)
    assert made.addresses and all(address.startswith("data:image/png;base64,") for address in made.addresses)
    assert None not in made.alts and any("1 liver" in (alt or "") for alt in made.alts)
    assert not re.search(r"https?://|<script|@import|url\(", build_batch_report("b-1", batch, clean.read, load()))


def test_text_from_rows_is_escaped(batch: BatchRows, clean: Zone) -> None:
    made = build_batch_report("<b>", batch, clean.read, load())
    assert "<b>" not in made and "&lt;b&gt;" in made


def test_every_outcome_comes_with_what_to_do(batch: BatchRows, clean: Zone) -> None:
    items = [*batch.items, receipt("*", "refused", "broken_file", 0), receipt("heart", "pending", "unknown_slice", 2)]
    text = page(dataclasses.replace(batch, items=items), clean).text
    for reason in (Reason.BROKEN_FILE, Reason.UNKNOWN_SLICE, Reason.PLANNING_TARGET):
        assert MEANINGS[reason] in text
    assert "refused: whole file" in text and "waiting for slices: heart" in text


def test_every_reason_has_a_page(batch: BatchRows, clean: Zone) -> None:
    items = [receipt("liver", "refused", reason, 1) for reason in Reason]
    text = page(dataclasses.replace(batch, items=items), clean).text
    assert all(MEANINGS[reason] in text for reason in Reason)


def test_the_verdict_is_good_only_when_nothing_asks_for_a_look(batch: BatchRows) -> None:
    assert verdict(batch, load())[0] == "good"
    assert "9 slices of 1 patient have masks of 1 structure" in verdict(batch, load())[1]
    for change in (
        {"items": [receipt("heart", "refused", "empty", 0)]},
        {"findings": [finding(FindingKind.VOLUME, None)]},
    ):
        assert verdict(dataclasses.replace(batch, **change), load())[0] == "look"
    assert verdict(dataclasses.replace(batch, masks=[]), load())[0] == "good"
    refused = [receipt("heart", "refused", "broken_file", 0)]
    assert verdict(dataclasses.replace(batch, masks=[], items=refused), load())[0] == "bad"
    waiting = [receipt("heart", "pending", "unknown_slice", 2)]
    assert verdict(dataclasses.replace(batch, masks=[], items=waiting), load())[0] == "look"


def test_an_empty_batch_has_a_page_too(clean: Zone) -> None:
    assert "No mask came out of this batch" in page(BatchRows([], [], []), clean).text


def test_volumes_are_area_times_spacing(batch: BatchRows, clean: Zone) -> None:
    (liver,) = amounts(batch, load())
    assert liver.slices == 9 and liver.millilitres == (pytest.approx(9 * 100 * 2 * 5 / 1000),) * 3
    flat = dataclasses.replace(batch, slices=[one | {"slice_spacing": None} for one in batch.slices])
    assert amounts(flat, load())[0].millilitres is None
    assert "–" in page(flat, clean).text


def test_slices_without_geometry_are_shown_without_sides_and_scale(batch: BatchRows, clean: Zone) -> None:
    bare = {"pixel_spacing": None, "orientation": None, "position": None, "slice_spacing": None}
    slices = [one | bare for one in batch.slices]
    agreement = agreement_rows([*batch.masks, *batch.others], slices, clean.read, load())
    made = build_batch_report("b-1", BatchRows(batch.masks, batch.items, slices, agreement), clean.read, load())
    assert '<span class="side' not in made and "5 cm" not in made and 'class="slice"' in made


def test_findings_go_before_disagreement_and_disagreement_before_overlap(batch: BatchRows) -> None:
    names = [one["slice_name"] for one in batch.slices]
    found = [finding(FindingKind.ISLANDS, names[0]), finding(FindingKind.VOLUME, None)]
    worst, middle = choose(
        batch.masks, batch.slices, worst=4, median=2, findings=found, agreement=batch.agreement
    )  # fmt: skip
    assert [one.mask["slice_name"] for one in worst] == [names[0], names[8], names[4]]
    assert len(middle) == 2 and not {one.mask["slice_name"] for one in middle} & {names[0], names[8], names[4]}
    grave = [*found, finding(FindingKind.OUTSIDE_BODY, names[2], Severity.REFUSE)]
    assert choose(batch.masks, batch.slices, worst=1, median=0, findings=grave)[0][0].mask["slice_name"] == names[2]


def test_neighbours_of_a_shown_slice_give_way(batch: BatchRows) -> None:
    names = [one["slice_name"] for one in batch.slices]
    found = [finding(FindingKind.ISLANDS, names[k]) for k in (3, 3, 3, 4, 4, 8)]
    worst, _ = choose(batch.masks, batch.slices, worst=2, median=0, findings=found)
    assert [one.mask["slice_name"] for one in worst] == [names[3], names[8]]


def test_the_page_says_why_a_slice_is_shown(batch: BatchRows, clean: Zone) -> None:
    found = [finding(FindingKind.ISLANDS, batch.slices[0]["slice_name"])]
    text = page(dataclasses.replace(batch, findings=found), clean).text
    assert "liver: small parts lie far from the rest" in text and ADVICE[FindingKind.ISLANDS] in text
    assert "readers differ most on liver (Dice 0.70)" in text and "7 pixels in more than one structure" in text
    assert "the smaller one" in text and "0123456789abcdef" in text and "at most 1" in text


def test_a_structure_that_one_reader_drew_is_named_with_its_reader(batch: BatchRows, clean: Zone) -> None:
    extra = mask_row(clean, batch.slices[8], square(25, 25, 5, "spleen"), B, **RECORDED)
    agreement = agreement_rows([*batch.masks, extra], batch.slices, clean.read, load())
    text = page(dataclasses.replace(batch, others=[extra], agreement=agreement), clean).text
    assert f"drawn by {B} only: not compared" in text and f"drawn by {A} only: not compared" in text


def test_series_are_numbered_where_there_are_several(batch: BatchRows, pseudonymiser: Pseudonymiser) -> None:
    assert Titles(batch.masks, batch.slices).slice(batch.slices[3]) == "CT slice 4 of 9"
    second = row(pseudonymiser, "8.8.1", series_instance_uid=pseudonymiser.uid("8.8"))
    masks = [*batch.masks, {**batch.masks[0], "slice_name": second["slice_name"]}]
    titles = Titles(masks, [*batch.slices, second])
    assert re.fullmatch(r"series [12], CT slice 4 of 9", titles.slice(batch.slices[3])) and len(titles.series) == 2


@pytest.mark.parametrize(
    ("orientation", "letters"),
    [
        ([1, 0, 0, 0, 1, 0], ("R", "L", "A", "P")),
        ([0, 1, 0, 0, 0, -1], ("A", "P", "H", "F")),
        ([-1, 0, 0, 0, 0, -1], ("L", "R", "H", "F")),
        (None, ()),
    ],
)
def test_edges_carry_the_side_of_the_patient(orientation: list[float] | None, letters: tuple[str, ...]) -> None:
    assert edge_letters(orientation) == letters


def test_numbers_stand_inside_large_structures_and_beside_small_ones(batch: BatchRows) -> None:
    picture = np.full((40, 50), 200, np.uint8)
    values = square(5, 5, 20) + square(34, 30, 1, "spleen")
    numbers = {load().by_key("liver").id: 1, load().by_key("spleen").id: 2}
    made = slice_figure(picture, values, batch.slices[0], load().palette(), numbers)
    tags = {tag.number: tag for tag in made.tags}
    assert 10 < tags[1].left < 50 and 5 / 40 * 100 < tags[1].top < 25 / 40 * 100
    assert tags[2].left > 100 * 31 / 50
    assert made.aspect == pytest.approx(50 * 1 / (40 * 2), rel=0.01) and made.scale == pytest.approx(100)


def test_nothing_of_the_annotators_files_reaches_the_page(desk: Desk, clean: Zone) -> None:
    secret = "Holloway 1930"
    name = desk.slices[0]["slice_name"]
    desk.drop(f"{name}.json", labelme(shape("liver", CORNERS), shape(secret, CORNERS), imagePath=secret))
    made = desk.read()
    slices = [one | WINDOW for one in with_pictures(clean, desk.slices)]
    text = build_batch_report("b-1", BatchRows(made.masks, made.items, slices), clean.read, load())
    assert "Holloway" not in text and "MRN" not in text and MEANINGS[Reason.UNKNOWN_LABEL] in text


def test_a_clinics_batch_counts_what_was_drawn(
    shared_data: Path, landing: Zone, clean: Zone, pseudonymiser: Pseudonymiser
) -> None:
    rows, _ = rows_of_files(shared_data / "ct_thorax_rt" / "ct", pseudonymiser)
    desk = Desk(landing, clean, pseudonymiser, rows)
    desk.drop("RS.dcm", (shared_data / "ct_thorax_rt" / "RS.dcm").read_bytes())
    made = desk.read()
    found = {a.structure.key: a for a in amounts(BatchRows(made.masks, made.items, rows), load())}
    assert (found["spinal_cord"].slices, found["heart"].slices) == (85, 19)
    both = [found[key].millilitres for key in ("lung_left", "lung_right")]
    assert all(one and 700 < one[0] < 3500 for one in both)


def test_labels_and_unknown_names_are_called_so(batch: BatchRows) -> None:
    labels = receipt("*", "accepted", "", 12) | {"source_format": "labels"}
    unknown = receipt("*", "refused", "unknown_label", 1)
    said = {group.structures for group in groups([labels, unknown], load())}
    assert said == {"labels of studies (12)", "structures with unknown names (1 slice)"}
    assert "refused: structures with unknown names" in verdict(dataclasses.replace(batch, items=[unknown]), load())[1]
