"""The sheet is blind: half real, in random order, no slice twice, and nothing in the page says which is which."""

import base64
import json
import re
from collections import Counter

import pytest

from medillus_pipeline.dicom.png import decode_png
from medillus_pipeline.errors import NotEnoughDataError
from medillus_pipeline.review.page import POLICY, build_page
from medillus_pipeline.review.sheet import plan_sheet
from medillus_pipeline_tests.review.sheets import PATIENTS, WEIGHTS, roster, sheet


def test_half_are_real_no_slice_is_there_twice_and_patients_take_turns() -> None:
    plan = plan_sheet(PATIENTS, 8, version="3", weights_sha256=WEIGHTS)
    assert Counter(place.origin for place in plan) == {"real": 4, "generated": 4}
    assert len({place.row for place in plan}) == 8
    assert set(Counter(PATIENTS[place.row] for place in plan).values()) == {2}


def test_the_order_is_that_of_the_version_and_not_sorted_by_origin() -> None:
    plans = [plan_sheet(PATIENTS, 12, version=str(v), weights_sha256=WEIGHTS) for v in range(8)]
    assert plans[3] == plan_sheet(PATIENTS, 12, version="3", weights_sha256=WEIGHTS)
    assert len({tuple(plan) for plan in plans}) == 8
    starts = Counter(plan[0].origin for plan in plans)
    assert set(starts) == {"real", "generated"}


def test_an_odd_number_and_too_few_slices() -> None:
    assert len(plan_sheet(PATIENTS, 7, version="3", weights_sha256=WEIGHTS)) == 6
    with pytest.raises(NotEnoughDataError, match="at least 2 labelled slices"):
        plan_sheet(PATIENTS[:1], 8, version="3", weights_sha256=WEIGHTS)


def test_the_page_holds_neither_origin_nor_slice_nor_patient_nor_reviewer() -> None:
    made = sheet()
    page = build_page(made, roster().ethics).decode()
    assert "Anatomy teaching, first year." in page
    content = json.loads(re.findall(r'<script type="application/json" id="content">(.*?)</script>', page, re.S)[0])
    assert all(set(image) == {"id", "picture", "labels", "structures"} for image in content["images"])
    hidden = ["s-0000", "p-0000", "Holloway", "Head of anatomy", *roster().reviewers[0].keys]
    assert not [word for word in hidden if word in page]
    assert {image["origin"] for image in made.key["images"].values()} == {"real", "generated"}


def test_pictures_are_png_of_pixels_and_nothing_else() -> None:
    for image in sheet().images:
        for png in (image.picture, image.labels):
            chunks = re.findall(rb"(IHDR|PLTE|IDAT|IEND|tEXt|iTXt|zTXt|tIME|eXIf|pHYs|gAMA)", png)
            assert set(chunks) <= {b"IHDR", b"PLTE", b"IDAT", b"IEND"}
            assert decode_png(png).shape == (48, 48)


def test_the_page_needs_no_network_and_cannot_use_one() -> None:
    page = build_page(sheet(), None).decode()
    assert POLICY.replace("'", "&#39;") in page
    plain = re.sub(r"data:image/png;base64,[\w+/=]*", "", page)
    assert not re.findall(r"https?:|//[a-z]|@import|src=\"(?!data)", plain.replace("// ", ""))


def test_the_same_sheet_is_the_same_page_and_its_id_is_of_what_is_shown() -> None:
    assert build_page(sheet(), None) == build_page(sheet(), None)
    ids = {made.id for made in (sheet(), sheet(version="4"), sheet(weights="0" * 64), sheet(count=4))}
    assert len(ids) == 4


def test_text_in_the_page_cannot_end_its_script() -> None:
    from dataclasses import replace

    made = replace(sheet(), model='x</script><img src="y">')
    page = build_page(made, None).decode()
    assert "</script><img" not in page
    assert base64.b64encode(made.images[0].picture).decode() in page
