"""Requests as they come into landing: what may leave, and what is put aside with which reason."""

import hashlib
import json
from collections.abc import Mapping

import numpy as np
import pytest

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.dicom.png import encode_png
from medillus_pipeline.illustration.landed_requests import (
    GREATEST_DOCUMENT,
    MOST_REQUESTS,
    Known,
    LandedRequests,
    read_landed_requests,
)
from medillus_pipeline.zones import Zone

WORDS = vocabulary.load()
SLICE = "s-0123456789abcdef-0001"
LIVER = WORDS.by_key("liver").id


def read(landing: Zone, files: Mapping[str, bytes]) -> LandedRequests:
    for name, data in files.items():
        landing.write(f"requests/of Vogelweide/{name}", data)
    return read_landed_requests(
        landing,
        "requests/of Vogelweide",
        marker="_READY",
        vocabulary=WORDS,
        known=Known({SLICE}, {"CT"}, {"ABDOMEN"}),
        name_of=lambda asked: hashlib.sha256(asked).hexdigest()[:12],
        read_sketch=None,
    )


def mask(identifier: int = LIVER) -> bytes:
    ids = np.zeros((16, 16), np.uint8)
    ids[4:9, 4:9] = identifier
    return encode_png(ids)


def asked(**fields: object) -> bytes:
    return json.dumps(fields).encode()


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (asked(scan="s-ffffffffffffffff-0001"), "scan_not_published"),
        (asked(scan="../vault/key"), "scan_not_published"),
        (asked(mask="../x.png"), "drawing_missing"),
        (asked(mask="/etc/passwd"), "drawing_missing"),
        (asked(mask="a.json"), "mask_not_readable"),
        (asked(sketch="a.json"), "no_sketch_segmenter"),
        (asked(text="CT of Walther von der Vogelweide, liver"), "text_not_understood"),
        (asked(text="liver without liver"), "text_not_understood"),
        (asked(text="axial CT, liver", body_part="VOGELWEIDE"), "unknown_name"),
        (asked(text="axial CT, liver", stage="Walther"), "unknown_name"),
        (asked(text="axial CT, liver", structures=["vogelweide"]), "unknown_name"),
        (asked(text="axial CT, liver", patient="Walther"), "request_not_valid"),
        (asked(), "request_not_valid"),
        (asked(text="liver", candidates=10**9), "request_not_valid"),
        (b"[" * 100_000, "request_not_readable"),
        (b"[]", "request_not_readable"),
        (b"\xff\xfe{", "request_not_readable"),
        (b" " * (GREATEST_DOCUMENT + 1), "request_too_large"),
    ],
)
def test_a_request_that_must_not_leave_is_put_aside_with_its_reason(
    landing: Zone, document: bytes, reason: str
) -> None:
    found = read(landing, {"a.json": document})
    assert found.admitted == []
    assert dict(found.refused) == {reason: 1}
    (line,) = found.ledger
    assert (line["source"], line["reason"], line["pseudonym"]) == ("a.json", reason, None)


def test_of_a_text_its_terms_leave_and_a_name_given_to_the_request_does_not(landing: Zone) -> None:
    text = "axial abdominal CT, portal venous phase, enlarged spleen"
    found = read(landing, {"a.json": asked(name="Walther", text=text)})
    (one,) = found.admitted
    assert one.request.text == text
    assert one.request.name == one.name and one.name.startswith("q-")
    assert "Walther" not in one.request.model_dump_json()


def test_a_text_in_chinese_leaves_as_it_was_understood(landing: Zone) -> None:
    (one,) = read(landing, {"a.json": asked(text="急性胰腺炎CT表现")}).admitted
    assert one.request.text == "急性胰腺炎CT表现"


def test_a_mask_leaves_as_label_map_of_the_vocabulary_without_its_file(landing: Zone) -> None:
    found = read(landing, {"a.toml": b'mask = "of Walther.png"\n', "of Walther.png": mask(), "b.json": b"{}"})
    (one,) = found.admitted
    assert one.mask is not None and set(np.unique(one.mask)) == {0, LIVER}
    assert "Walther" not in one.request.model_dump_json()


def test_a_mask_of_ids_that_are_none_is_put_aside(landing: Zone) -> None:
    known = {structure.id for structure in WORDS}
    free = next(number for number in range(255, 0, -1) if number not in known)
    assert dict(read(landing, {"a.json": asked(mask="m.png"), "m.png": mask(free)}).refused) == {"mask_not_readable": 1}


def test_a_table_holds_a_request_in_each_row_and_a_row_twice_counts_once(landing: Zone) -> None:
    rows = f"scan,style,structures\n{SLICE},journal,liver;spleen\n{SLICE},journal,liver;spleen\n{SLICE},quiz,\n"
    found = read(landing, {"all.csv": rows.encode()})
    assert [one.request.style for one in found.admitted] == ["journal", "quiz"]
    assert found.admitted[0].request.structures == ("liver", "spleen")
    assert dict(found.refused) == {"asked_twice": 1}
    assert [line["member"] for line in found.ledger] == ["1", "2", "3"]


def test_a_folder_answers_a_bounded_number_of_requests(landing: Zone) -> None:
    rows = "scan,seed\n" + "".join(f"{SLICE},{seed}\n" for seed in range(MOST_REQUESTS + 50))
    found = read(landing, {"all.csv": rows.encode()})
    assert len(found.admitted) == MOST_REQUESTS
    assert dict(found.refused) == {"too_many_requests": 1}


def test_the_same_request_has_the_same_name_wherever_it_stands(landing: Zone) -> None:
    first = read(landing, {"a.json": asked(scan=SLICE)}).admitted[0].name
    other = read(landing, {"a.json": asked(scan=SLICE, name="else")}).admitted[0].name
    assert first == other
