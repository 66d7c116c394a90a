"""A batch: who drew, which revision, what is told to whom, and the same bytes for the same input."""

import json
from typing import Any

import numpy as np
import pytest

from medillus_pipeline.annotation.batch import read_batch
from medillus_pipeline.annotation.layers import region_of
from medillus_pipeline.annotation.outcomes import MEANINGS, Reason
from medillus_pipeline.annotation.plausibility.findings import FindingKind
from medillus_pipeline.annotation.publication import Existing
from medillus_pipeline.annotation.receipt import corrections
from medillus_pipeline.annotation.submission import MAXIMUM_DECLARATION_BYTES
from medillus_pipeline.annotation.vocabulary import load
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.errors import StoreError
from medillus_pipeline.tables import LEDGER, MASK_ITEMS, MASK_LAYERS, MASKS, STUDY_LABELS
from medillus_pipeline.zones import Zone
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
    desk.drop(f"{name(desk)}.json", labelme(shape("liver", OTHER_SQUARE)))
    assert desk.read(earlier).masks[0]["revision"] == 2
    assert desk.read([earlier[0] | {"revision": 7}]).masks[0]["revision"] == 8


def test_what_equals_the_mask_in_force_is_no_revision(desk: Desk) -> None:
    desk.drop(f"{name(desk)}.json", labelme(shape("liver", SQUARE), shape("ptv", OTHER_SQUARE)))
    first = desk.read()
    again = desk.read(first.masks, first.layers)
    assert not again.masks and not again.layers
    assert reasons(again) == {("liver", "kept", "submitted_before", 1), ("ptv", "kept", "submitted_before", 1)}


def test_a_revision_that_changes_a_layer_only_is_a_revision(desk: Desk) -> None:
    desk.drop(f"{name(desk)}.json", labelme(shape("liver", SQUARE), shape("ptv", OTHER_SQUARE)))
    first = desk.read()
    desk.drop(f"{name(desk)}.json", labelme(shape("liver", SQUARE), shape("ptv", SQUARE)))
    again = desk.read(first.masks, first.layers)
    assert [row["revision"] for row in (*again.masks, *again.layers)] == [2, 2]


def test_a_folder_says_for_itself_who_drew_what_is_in_it(desk: Desk, pseudonymiser: Pseudonymiser) -> None:
    desk.drop("annotator.txt", b"Ada Holloway")
    desk.drop("second/batch.json", {"annotator": "Ben Okoro", "revision": 3})
    for k, folder in enumerate(("", "first/", "second/deeper/")):
        desk.drop(f"{folder}{name(desk, k)}.json", labelme(shape("liver", SQUARE)))
    found = sorted((row["annotator"], row["revision"]) for row in desk.read().masks)
    ada, ben = pseudonymiser.annotator("Ada Holloway"), pseudonymiser.annotator("Ben Okoro")
    assert found == sorted([(ada, 1), (ada, 1), (ben, 3)])


def test_two_readers_of_one_batch_have_a_mask_each(desk: Desk) -> None:
    for reader, square in (("Ada", SQUARE), ("Ben", OTHER_SQUARE)):
        desk.drop(f"{reader}/annotator.txt", reader.encode())
        desk.drop(f"{reader}/{name(desk)}.json", labelme(shape("liver", square)))
    masks = desk.read().masks
    assert len(masks) == 2 and len({row["annotator"] for row in masks}) == 2
    assert not np.array_equal(*(desk.values(row) for row in masks))


def test_planning_targets_and_covered_structures_are_kept_as_they_were_drawn(desk: Desk) -> None:
    small = [[12, 12], [16, 12], [16, 16], [12, 16]]
    desk.drop(f"{name(desk)}.json", labelme(shape("liver", SQUARE), shape("gtv", small), shape("ptv", OTHER_SQUARE)))
    batch = desk.read()
    assert MASK_LAYERS.to_arrow(batch.layers).num_rows == 2
    found = {load().by_id(row["label"]).key: row for row in batch.layers}
    assert {key: (row["reason"], row["area"], row["hidden_pixels"]) for key, row in found.items()} == {
        "liver": ("overlap", 100, 16),
        "ptv": ("planning_target", 100, 100),
    }
    kept = region_of(found["liver"])
    assert kept.window == (slice(10, 20), slice(10, 20)) and kept.mask.all()
    assert ("ptv", "kept", "planning_target", 1) in reasons(batch)
    assert (desk.values(batch.masks[0]) != load().by_key("ptv").id).all()


def test_a_slice_with_targets_only_has_a_layer_and_no_mask(desk: Desk) -> None:
    desk.drop(f"{name(desk)}.json", labelme(shape("ptv", SQUARE)))
    batch = desk.read()
    assert not batch.masks and len(batch.layers) == 1


def test_a_batch_that_is_published_late_stays_behind_a_later_one(desk: Desk) -> None:
    """The first batch waited for its slices; the second came after it and was published before it."""
    desk.drop(f"{name(desk)}.json", labelme(shape("liver", SQUARE)))
    second = read_batch(desk.submission(), desk.clean, Existing([], arrival=2)).masks
    first = read_batch(desk.submission(), desk.clean, Existing([], arrival=1)).masks
    assert (first[0]["revision"], second[0]["revision"]) == (1, 2)


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


@pytest.mark.parametrize("declaration", ["annotator.txt", "batch.json"])
def test_a_declaration_of_any_size_is_not_read_whole(
    desk: Desk, declaration: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.drop(declaration, b'{"annotator": "A"}' + b" " * MAXIMUM_DECLARATION_BYTES)
    desk.drop(f"{name(desk)}.json", labelme(shape("liver", SQUARE)))
    asked, read = list[str](), Zone.read
    monkeypatch.setattr(Zone, "read", lambda zone, path: asked.append(path) or read(zone, path))
    batch = desk.read()
    assert reasons(batch) == {("*", "refused", "broken_file", 0), ("liver", "accepted", "", 1)}
    assert asked and not [path for path in asked if path.endswith(declaration)]


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
    assert reasons(batch) == {("gtv", "accepted", "", 1), ("liver", "kept", "hidden", 1)}
    assert batch.masks[0]["overlap_pixels"] == 100


@pytest.mark.parametrize(("path", "data"), [("a.dcm", b"not dicom"), ("noextension", b"x"), ("a.mha", b"ObjectType")])
def test_formats_that_are_not_read_here_are_named_as_such(desk: Desk, path: str, data: bytes) -> None:
    desk.drop(path, data)
    assert reasons(desk.read()) == {("*", "refused", "unsupported_format", 0)}


@pytest.mark.parametrize(("path", "data"), [("a.png", b"\x89PNG\r\n\x1a\n"), ("a.nrrd", b"NRRD0004\n")])
def test_a_file_that_nothing_places_is_not_guessed_at(desk: Desk, path: str, data: bytes) -> None:
    desk.drop(path, data)
    assert reasons(desk.read()) == {("*", "refused", "not_in_index", 0)}


def test_a_segmentation_waits_for_its_slices(desk: Desk, shared_data: Any) -> None:
    desk.drop("seg.dcm", (shared_data / "annotations" / "dcmqi_liver_ct" / "liver.dcm").read_bytes())
    assert {line[1:3] for line in reasons(desk.read())} == {("pending", "unknown_slice")}


def test_an_image_that_came_along_is_no_annotation(desk: Desk, shared_data: Any) -> None:
    desk.drop("1.dcm", (shared_data / "ct_thorax_rt" / "ct" / "CT_100_Hashed.dcm").read_bytes())
    assert reasons(desk.read()) == {("*", "refused", "not_an_annotation", 0)}


def test_labels_of_studies_stand_beside_the_masks(desk: Desk) -> None:
    desk.drop("labels.csv", f"series_instance_uid,pathology,note\n{SERIES},lung_cancer,Holloway\n9.9.9,x,\n".encode())
    batch = desk.read()
    assert [(row["kind"], row["value"], row["revision"]) for row in batch.labels] == [("pathology", "lung_cancer", 1)]
    assert STUDY_LABELS.to_arrow(batch.labels).num_rows == 1 and "Holloway" not in json.dumps(batch.items)
    assert ("*", "accepted", "", 1) in reasons(batch) and ("*", "pending", "unknown_slice", 1) in reasons(batch)


def test_a_file_over_the_limit_is_not_read(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medillus_pipeline.annotation.submission.MAXIMUM_FILE_BYTES", 10)
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
    desk.drop("a.txt", b"x")
    desk.drop("b.txt", b"x")
    seen: list[tuple[int, int]] = []
    read_batch(desk.submission(), desk.clean, Existing([]), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]


def test_a_receipt_says_which_batch_corrected_a_mask(desk: Desk) -> None:
    desk.drop(f"{name(desk)}.json", labelme(shape("liver", SQUARE)))
    desk.drop(f"{name(desk, 1)}.json", labelme(shape("liver", SQUARE)))
    first = desk.read().masks
    desk.drop(f"{name(desk)}.json", labelme(shape("liver", OTHER_SQUARE)))
    second = desk.read(first).masks
    desk.drop(f"{name(desk)}.json", labelme(shape("liver", SQUARE), shape("heart", OTHER_SQUARE)))
    third = desk.read([*first, *second]).masks
    later = [("batch-2", row) for row in second] + [("batch-3", row) for row in third]
    (item,) = {row["item"] for row in first if row["slice_name"] == name(desk)}
    assert corrections(first, later) == {(item, "batch-3"): 1}
    assert corrections(third, [("batch-1", row) for row in first]) == {}


def test_a_revision_that_lacks_a_structure_is_a_finding(desk: Desk) -> None:
    desk.drop(f"{name(desk)}.json", labelme(shape("liver", SQUARE), shape("heart", OTHER_SQUARE)))
    first = desk.read()
    desk.drop(f"{name(desk)}.json", labelme(shape("liver", SQUARE)))
    (found,) = [row for row in desk.read(first.masks, first.layers).findings if row["finding"] == "gone"]
    assert (found["structure"], found["slice_name"], found["severity"]) == ("heart", name(desk), "warn")


def test_what_is_surely_wrong_is_refused_and_the_rest_is_published(desk: Desk) -> None:
    """Left and right by the patient's coordinates: columns run to the patient's left."""
    desk.drop(
        f"{name(desk)}.json", labelme(shape("adrenal_gland_left", SQUARE), shape("adrenal_gland_right", OTHER_SQUARE))
    )
    desk.drop(f"{name(desk, 1)}.json", labelme(shape("adrenal_gland_right", SQUARE), shape("liver", OTHER_SQUARE)))
    batch = desk.read()
    assert {("adrenal_gland_left", "refused", "sides_swapped", 1), ("liver", "accepted", "", 1)} <= reasons(batch)
    assert {row["finding"] for row in batch.findings if row["severity"] == "refuse"} == {"sides_swapped"}
    assert all(load().by_key("adrenal_gland_left").id not in row["labels"] for row in batch.masks)
    spared = read_batch(desk.submission(), desk.clean, Existing([]), warn_only=[FindingKind.SIDES_SWAPPED])
    assert ("adrenal_gland_left", "accepted", "", 1) in reasons(spared)


def test_of_two_revisions_in_one_batch_the_newer_counts_whole(desk: Desk) -> None:
    for revision, square in ((1, SQUARE), (2, OTHER_SQUARE)):
        desk.drop(f"v{revision}/batch.json", {"annotator": "Ada", "revision": revision})
        shapes = [shape("liver", square), *([shape("heart", SQUARE)] if revision == 1 else [])]
        desk.drop(f"v{revision}/{name(desk)}.json", labelme(*shapes))
    batch = desk.read()
    (mask,) = batch.masks
    assert mask["revision"] == 2 and mask["labels"] == [load().by_key("liver").id]
    assert desk.values(mask)[15, 35] == mask["labels"][0]
    assert {line[:3] for line in reasons(batch)} == {
        ("liver", "accepted", ""),
        ("liver", "refused", "corrected"),
        ("heart", "refused", "corrected"),
    }


def test_a_file_that_may_not_be_read_costs_no_other(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = f"annotations/Ms Holloway/{name(desk, 1)}.json"
    read = desk.landing.read

    def reading(path: str) -> bytes:
        if path == closed:
            raise StoreError("no") from PermissionError(13, "denied")
        return read(path)

    desk.drop(f"{name(desk)}.json", labelme(shape("liver", SQUARE)))
    desk.drop(f"{name(desk, 1)}.json", labelme(shape("liver", SQUARE)))
    monkeypatch.setattr(desk.landing, "read", reading)
    assert reasons(desk.read()) == {("*", "refused", "not_readable", 0), ("liver", "accepted", "", 1)}


def test_the_name_of_a_declaration_is_taken_in_any_case(desk: Desk, pseudonymiser: Pseudonymiser) -> None:
    desk.drop("Annotator.TXT", b"Ada Holloway")
    desk.drop(f"{name(desk)}.json", labelme(shape("liver", SQUARE)))
    (mask,) = desk.read().masks
    assert mask["annotator"] == pseudonymiser.annotator("Ada Holloway")
