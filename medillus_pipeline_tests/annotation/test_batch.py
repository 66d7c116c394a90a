"""A batch: who drew, which revision, what is told to whom, and the same bytes for the same input."""

import json
from typing import Any

import numpy as np
import pytest

from medillus_pipeline.annotation.outcomes import MEANINGS, Reason
from medillus_pipeline.annotation.vocabulary import load
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.tables import LEDGER, MASK_ITEMS, MASKS
from medillus_pipeline_tests.annotation.published import (
    SERIES,
    SQUARE,
    Desk,
    labelme,
    reasons,
    shape,
    square_mm,
    structure_set,
)

OTHER_SQUARE = [[30, 10], [40, 10], [40, 20], [30, 20]]


def name(desk: Desk, k: int = 0) -> str:
    return desk.slices[k]["slice_name"]


def test_an_empty_batch_gives_an_empty_receipt(desk: Desk) -> None:
    desk.drop("_READY", b"")
    batch = desk.read()
    assert (batch.masks, batch.items, batch.ledger, batch.counts) == ([], [], [], {})


def test_every_reason_has_a_sentence() -> None:
    assert set(MEANINGS) == set(Reason)


def test_rows_fit_their_tables(desk: Desk) -> None:
    desk.drop(f"{name(desk)}.json", labelme(shape("liver", SQUARE), shape("???", SQUARE)))
    desk.drop("RS.dcm", structure_set({"Heart": [("CLOSED_PLANAR", f"{SERIES}.1", square_mm(5.0))]}))
    desk.drop("notes.txt", b"read me")
    desk.drop("annotator.txt", b"Dr. Ada Holloway\n")
    desk.drop("_READY", b"")
    batch = desk.read()
    assert MASKS.to_arrow(batch.masks).num_rows == 2
    assert MASK_ITEMS.to_arrow(batch.items).num_rows == 4
    assert LEDGER.to_arrow(batch.ledger).num_rows == 5
    assert batch.counts == {"accepted": 2, "unknown_label": 1, "unsupported_format": 1}


def test_the_same_batch_read_again_gives_the_same_rows_and_bytes(desk: Desk) -> None:
    desk.drop(f"{name(desk)}.json", labelme(shape("liver", SQUARE), shape("heart", OTHER_SQUARE)))
    desk.drop("RS.dcm", structure_set({"Heart": [("CLOSED_PLANAR", f"{SERIES}.1", square_mm(5.0))]}))
    first, again = desk.read(), desk.read()
    assert first == again
    assert len(desk.clean.files("masks")) == 2


def test_the_label_png_is_indexed_by_vocabulary_id_in_its_colours(desk: Desk) -> None:
    from io import BytesIO

    from PIL import Image

    desk.drop(f"{name(desk)}.json", labelme(shape("liver", SQUARE)))
    (mask,) = desk.read().masks
    with Image.open(BytesIO(desk.clean.read(mask["path"]))) as image:
        assert image.mode == "P" and image.size == (50, 40)
        assert np.asarray(image).max() == load().by_key("liver").id
        assert image.convert("RGB").getpixel((15, 15)) == load().by_key("liver").rgb


@pytest.mark.parametrize("declaration", ["annotator.txt", "batch.json"])
def test_the_annotator_is_declared_once_for_the_batch(
    desk: Desk, pseudonymiser: Pseudonymiser, declaration: str
) -> None:
    text = json.dumps({"annotator": "Ada Holloway"}) if declaration == "batch.json" else "Ada  Holloway\n"
    desk.drop(declaration, text.encode())
    desk.drop(f"{name(desk)}.json", labelme(shape("liver", SQUARE)))
    (mask,) = desk.read().masks
    assert mask["annotator"] == pseudonymiser.annotator("Ada Holloway")


def test_without_a_declaration_the_annotator_is_unknown(desk: Desk, pseudonymiser: Pseudonymiser) -> None:
    desk.drop(f"{name(desk)}.json", labelme(shape("liver", SQUARE)))
    (mask,) = desk.read().masks
    assert mask["annotator"] == pseudonymiser.annotator("unknown") and mask["revision"] == 1


def test_a_newer_mask_by_the_same_annotator_is_the_next_revision(desk: Desk) -> None:
    desk.drop(f"{name(desk)}.json", labelme(shape("liver", SQUARE)))
    earlier = desk.read().masks
    assert desk.read(earlier).masks[0]["revision"] == 2
    assert desk.read([earlier[0] | {"revision": 7}]).masks[0]["revision"] == 8


def test_another_annotator_is_a_second_reader(desk: Desk) -> None:
    desk.drop(f"{name(desk)}.json", labelme(shape("liver", SQUARE)))
    earlier = desk.read().masks
    desk.drop("annotator.txt", b"someone else")
    (mask,) = desk.read(earlier).masks
    assert mask["revision"] == 1 and mask["annotator"] != earlier[0]["annotator"]


def test_a_declared_revision_is_kept_and_never_taken_twice(desk: Desk) -> None:
    desk.drop("batch.json", {"revision": 4})
    desk.drop(f"{name(desk)}.json", labelme(shape("liver", SQUARE)))
    earlier = desk.read().masks
    assert earlier[0]["revision"] == 4
    batch = desk.read(earlier)
    assert not batch.masks and reasons(batch) == {("liver", "refused", "revision_exists", 1)}


@pytest.mark.parametrize("document", [b"{", b"[]", b'{"revision": 0}', b'{"revision": "2"}', b'{"annotator": 7}'])
def test_a_broken_declaration_is_reported_and_costs_no_mask(desk: Desk, document: bytes) -> None:
    desk.drop("batch.json", document)
    desk.drop(f"{name(desk)}.json", labelme(shape("liver", SQUARE)))
    batch = desk.read()
    assert len(batch.masks) == 1
    assert reasons(batch) == {("*", "refused", "broken_file", 0), ("liver", "accepted", "", 1)}


def test_items_on_one_slice_share_its_label_map(desk: Desk) -> None:
    desk.drop(f"a/{name(desk)}.json", labelme(shape("liver", SQUARE)))
    desk.drop(f"b/{name(desk)}.json", labelme(shape("heart", OTHER_SQUARE), shape("liver", OTHER_SQUARE)))
    batch = desk.read()
    (mask,) = batch.masks
    assert mask["labels"] == sorted(load().by_key(key).id for key in ("liver", "heart")) and mask["areas"] == [100, 100]
    assert reasons(batch) == {
        ("liver", "accepted", "", 1),
        ("heart", "accepted", "", 1),
        ("liver", "refused", "slice_twice", 1),
    }


def test_a_structure_that_is_covered_entirely_is_said_to_be_hidden(desk: Desk) -> None:
    desk.drop(f"{name(desk)}.json", labelme(shape("liver", SQUARE), shape("gtv", SQUARE)))
    batch = desk.read()
    assert reasons(batch) == {("gtv", "accepted", "", 1), ("liver", "refused", "hidden", 1)}
    assert batch.masks[0]["overlap_pixels"] == 100


@pytest.mark.parametrize(
    ("path", "data"),
    [("a.png", b"\x89PNG\r\n\x1a\n"), ("a.nrrd", b"NRRD0004\n"), ("a.dcm", b"not dicom"), ("noextension", b"x")],
)
def test_formats_that_are_not_read_here_are_named_as_such(desk: Desk, path: str, data: bytes) -> None:
    desk.drop(path, data)
    assert reasons(desk.read()) == {("*", "refused", "unsupported_format", 0)}


def test_a_segmentation_object_waits_for_its_reader(desk: Desk, shared_data: Any) -> None:
    desk.drop("seg.dcm", (shared_data / "annotations" / "dcmqi_liver_ct" / "liver.dcm").read_bytes())
    assert reasons(desk.read()) == {("*", "refused", "unsupported_format", 0)}


def test_a_file_over_the_limit_is_not_read(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medillus_pipeline.annotation.batch.MAXIMUM_FILE_BYTES", 10)
    desk.drop(f"{name(desk)}.json", labelme(shape("liver", SQUARE)))
    assert reasons(desk.read()) == {("*", "refused", "too_large", 0)}


def test_names_typed_by_people_reach_the_ledger_only(desk: Desk) -> None:
    label = "kidney left, pt Holloway"
    desk.drop("annotator.txt", b"Dr. Ada Holloway")
    desk.drop(
        f"Holloway Ada/{name(desk)}.json",
        labelme(shape(label, SQUARE), shape("kidny left", SQUARE), shape("liver", SQUARE, description="Ada Holloway")),
    )
    batch = desk.read()
    told = json.dumps([batch.masks, batch.items, batch.counts, batch.unknown_labels])
    stored = b"".join(desk.clean.read(path) for path in desk.clean.files())
    assert "Holloway" not in told and b"Holloway" not in stored and "kidny" not in told
    (unknown,) = batch.unknown_labels
    assert unknown["labels"] == 2 and "kidney_left" in unknown["suggestions"]
    assert f'label "{label}"' in {r["member"] for r in batch.ledger}
    assert len({(r["source"], r["member"]) for r in batch.ledger}) == len(batch.ledger)


def test_text_that_is_no_unicode_costs_no_mask(desk: Desk) -> None:
    desk.drop("batch.json", b'{"annotator": "\\ud800"}')
    desk.drop(f"{name(desk)}.json", labelme(shape("\ud800", SQUARE), shape("liver", SQUARE)))
    batch = desk.read()
    assert len(batch.masks) == 1 and LEDGER.to_arrow(batch.ledger).num_rows == 3


def test_progress_counts_the_files(desk: Desk) -> None:
    from medillus_pipeline.annotation.batch import read_batch

    desk.drop("a.txt", b"x")
    desk.drop("b.txt", b"x")
    seen: list[tuple[int, int]] = []
    arguments = (desk.landing, "Ms Holloway", desk.slices, desk.clean, desk.pseudonymiser, load(), [])
    read_batch(*arguments, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]
