"""Labels as revisions: the same labels again are none, a taken one is refused, contradicting files are not believed."""

from collections.abc import Sequence
from typing import Any

from medillus_pipeline.annotation.batch import Batch, read_batch
from medillus_pipeline.annotation.publication import Existing
from medillus_pipeline_tests.annotation.published import SERIES, SQUARE, STUDY, Desk, labelme, reasons, shape

HEADER = "study_instance_uid,series_instance_uid,pathology,stage\n"


def read(desk: Desk, *before: dict[str, Any]) -> Batch:
    return read_batch(desk.submission(), desk.clean, Existing([], [], before))


def said(rows: Sequence[dict[str, Any]]) -> set[tuple[str, int]]:
    return {(row["value"], row["revision"]) for row in rows}


def drop(desk: Desk, *lines: str, folder: str = "") -> None:
    desk.drop(f"{folder}labels.csv", (HEADER + "\n".join(lines)).encode())


def test_labels_that_are_in_force_already_are_no_revision(desk: Desk) -> None:
    drop(desk, f"{STUDY},,emphysema,IIIA")
    first = read(desk)
    again = read(desk, *first.labels)
    assert not again.labels and reasons(again) == {("*", "kept", "submitted_before", 2)}


def test_only_what_changed_becomes_a_revision(desk: Desk) -> None:
    drop(desk, f"{STUDY},,emphysema,IIIA")
    first = read(desk)
    drop(desk, f"{STUDY},,emphysema,IIIB", f"{STUDY},{SERIES},pneumonia,")
    again = read(desk, *first.labels)
    assert said(again.labels) == {("IIIB", 2), ("pneumonia", 1)}
    assert reasons(again) == {("*", "accepted", "", 2), ("*", "kept", "submitted_before", 1)}


def test_a_declared_revision_of_labels_is_never_taken_twice(desk: Desk) -> None:
    desk.drop("batch.json", {"revision": 4})
    drop(desk, f"{STUDY},,emphysema,")
    first = read(desk)
    assert said(first.labels) == {("emphysema", 4)}
    drop(desk, f"{STUDY},,pneumonia,")
    again = read(desk, *first.labels)
    assert not again.labels and reasons(again) == {("*", "refused", "revision_exists", 1)}


def test_two_files_that_contradict_each_other_are_not_believed_and_cost_no_mask(desk: Desk) -> None:
    drop(desk, f"{STUDY},,emphysema,IIIA", folder="a/")
    drop(desk, f"{STUDY},,pneumonia,IIIB", folder="b/")
    desk.drop(f"{desk.slices[0]['slice_name']}.json", labelme(shape("liver", SQUARE)))
    batch = read(desk)
    assert said(batch.labels) == {("emphysema", 1), ("pneumonia", 1)} and len(batch.masks) == 1
    assert ("*", "refused", "labels_differ", 1) in reasons(batch)


def test_two_readers_may_differ(desk: Desk) -> None:
    for reader, stage in (("Ada", "IIIA"), ("Ben", "IIIB")):
        desk.drop(f"{reader}/annotator.txt", reader.encode())
        drop(desk, f"{STUDY},,,{stage}", folder=f"{reader}/")
    assert said(read(desk).labels) == {("IIIA", 1), ("IIIB", 1)}
