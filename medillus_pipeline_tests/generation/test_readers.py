"""Which drawing is trained on where several annotators drew a slice."""

from typing import Any

import numpy as np
import pytest

from medillus_pipeline.annotation.vocabulary import load
from medillus_pipeline.dicom.png import decode_png, encode_png
from medillus_pipeline.generation.readers import Rule, one_drawing_each
from medillus_pipeline.zones import Zone

LIVER = load().by_key("liver").id
SLICES = [{"slice_name": f"s-{k}", "series_instance_uid": "2.25.1"} for k in range(3)]


def drawn(clean: Zone, name: str, annotator: str, left: int, revision: int = 1) -> dict[str, Any]:
    values = np.zeros((20, 20), np.uint8)
    values[5:15, left : left + 8] = LIVER
    payload = clean.put("masks", encode_png(values, load().palette()), ".png")
    return {
        "slice_name": name,
        "annotator": annotator,
        "revision": revision,
        "rows": 20,
        "columns": 20,
        "labels": [LIVER],
        "areas": [80],
        "path": payload.path,
        "sha256": payload.sha256,
    }


def area(clean: Zone, row: dict[str, Any]) -> int:
    return int(np.count_nonzero(decode_png(clean.read(row["path"]))))


@pytest.fixture
def masks(clean: Zone) -> list[dict[str, Any]]:
    """Slice 0 drawn by three, of whom the third stands apart; slice 1 by the first alone."""
    return [
        drawn(clean, "s-0", "a-00000001", 4),
        drawn(clean, "s-0", "a-00000002", 0, revision=1),
        drawn(clean, "s-0", "a-00000002", 4, revision=2),
        drawn(clean, "s-0", "a-00000003", 10),
        drawn(clean, "s-1", "a-00000001", 4),
    ]


@pytest.mark.parametrize("rule", ["majority", "staple"])
def test_a_consensus_is_what_most_drew_and_says_that_it_is_nobodys(
    rule: Rule, clean: Zone, masks: list[dict[str, Any]]
) -> None:
    chosen = one_drawing_each(masks, SLICES, rule, clean, load())
    assert np.array_equal(decode_png(clean.read(chosen["s-0"]["path"])), decode_png(clean.read(masks[0]["path"])))
    assert chosen["s-0"]["annotator"] not in {row["annotator"] for row in masks}
    assert chosen["s-0"]["areas"] == [80] and chosen["s-1"] == masks[4]


def test_the_primary_annotator_is_taken_whole(clean: Zone, masks: list[dict[str, Any]]) -> None:
    chosen = one_drawing_each(masks, SLICES, "primary", clean, load())
    assert chosen["s-0"] == masks[0]


def test_of_two_readers_a_majority_is_what_both_drew(clean: Zone) -> None:
    masks = [drawn(clean, "s-0", "a-00000001", 4), drawn(clean, "s-0", "a-00000002", 8)]
    assert area(clean, one_drawing_each(masks, SLICES, "majority", clean, load())["s-0"]) == 40


def test_a_slice_on_which_readers_agree_on_nothing_is_not_trained_on(clean: Zone) -> None:
    masks = [drawn(clean, "s-0", "a-00000001", 0), drawn(clean, "s-0", "a-00000002", 10)]
    assert one_drawing_each(masks, SLICES, "majority", clean, load()) == {}
