"""What is wrong with an item, in every format in which it can be: one clear reason each, and the rest is published.

Formats that name no patient and no series (LabelMe, PNG, NIfTI, NRRD) are matched by the name of a slice, or by the
series that an index names; there the fault shows as another size, another grid, or slices that are not there yet.
"""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from medillus_pipeline.annotation.outcomes import MEANINGS, Reason
from medillus_pipeline.annotation.vocabulary import load
from medillus_pipeline_tests.annotation.formats import segmentations
from medillus_pipeline_tests.annotation.formats.test_nifti import GRID, packed
from medillus_pipeline_tests.annotation.formats.test_nrrd import header, raw
from medillus_pipeline_tests.annotation.formats.test_png_masks import encoded
from medillus_pipeline_tests.annotation.published import (
    PATIENT,
    SERIES,
    SQUARE,
    STUDY,
    Desk,
    labelme,
    reasons,
    row,
    shape,
    square_mm,
    structure_set,
)

Files = dict[str, bytes]
Line = tuple[str, str, str, int]
STRANGER, ELSEWHERE, NONSENSE = "MRN 0099", "1.2.3.99", "Ms Holloway's heart"
OTHER_STUDY, OTHER_SERIES = "1.2.3.50", "1.2.3.51"
"""A second study of the same patient, on slices of another size."""
ALREADY = "already.json"


def whole(reason: str, slices: int = 0, outcome: str = "refused") -> Line:
    return "*", outcome, reason, slices


def heart(reason: str, slices: int = 1, outcome: str = "refused") -> Line:
    return "heart", outcome, reason, slices


def drawn(label: str = "heart", **changes: Any) -> Callable[[Desk], Files]:
    return lambda desk: {f"{desk.slices[0]['slice_name']}.json": labelme(shape(label, SQUARE), **changes)}


def contours(name: str = "Heart", z: float = 0.0, reference: str = f"{SERIES}.0", **changes: Any) -> bytes:
    return structure_set({name: [("CLOSED_PLANAR", reference, square_mm(z))]}, **changes)


def segments(kind: Any = segmentations.LIVER, **changes: Any) -> bytes:
    pixels = segmentations.masks(1)
    return segmentations.made(pixels, [segmentations.segment(1, kind)], **changes)


def other_series(dataset: Any) -> None:
    dataset.ReferencedSeriesSequence[0].SeriesInstanceUID = ELSEWHERE


def unheard_of(dataset: Any) -> None:
    segment = dataset.SegmentSequence[0]
    segment.SegmentLabel = NONSENSE
    segment.SegmentedPropertyTypeCodeSequence[0].CodeValue = "999"


def nothing_drawn(dataset: Any) -> None:
    dataset.PixelData = bytes(len(dataset.PixelData))


def volume(value: int = 1) -> np.ndarray:
    values = np.zeros((50, 40, 3), np.uint8)
    values[10:20, 5:9, 1] = value
    return values


def indexed(name: str, data: bytes, label: str = "heart", series: str = SERIES) -> Callable[[Desk], Files]:
    document = {"volumes": [{"file": name, "series_instance_uid": series}], "labels": {"1": label}}
    return lambda desk: {name: data, "index.json": json.dumps(document).encode()}


def nifti(label: str = "heart", series: str = SERIES, data: bytes | None = None) -> Callable[[Desk], Files]:
    return indexed("heart.nii.gz", packed(volume()) if data is None else data, label, series)


def nrrd(
    label: str = "heart", series: str = SERIES, values: bytes | None = None, **fields: str | None
) -> Callable[[Desk], Files]:
    return indexed("heart.nrrd", header(**fields) + (raw(volume()) if values is None else values), label, series)


def picture(data: bytes, structure: str = "heart", place: int | str = 0) -> Callable[[Desk], Files]:
    def files(desk: Desk) -> Files:
        name = desk.slices[place]["slice_name"] if isinstance(place, int) else place
        document = {"masks": [{"file": "mask.png", "slice": name, "structure": structure}]}
        return {"mask.png": data, "index.json": json.dumps(document).encode()}

    return files


def said(header: str, *lines: str) -> Callable[[Desk], Files]:
    return lambda desk: {"labels.csv": "\n".join([header, *lines]).encode()}


def file(data: bytes | Callable[[], bytes], name: str = "object.dcm") -> Callable[[Desk], Files]:
    return lambda desk: {name: data() if callable(data) else data}


def cut(data: bytes) -> bytes:
    return data[: len(data) * 3 // 4]


MASK = np.zeros((40, 50), np.uint8)
MASK[5:20, 10:30] = 255
SHIFTED = GRID + np.array([[0, 0, 0, 0.5], [0, 0, 0, 0], [0, 0, 0, 2.5], [0, 0, 0, 0]])
MOVED = segmentations.moved([0.5, 0.0, 0.0])
REFUSALS: dict[str, dict[str, tuple[Callable[[Desk], Files], Line]]] = {
    "labelme": {
        "two slices": (
            lambda desk: drawn(imagePath=f"{desk.slices[1]['slice_name']}.png")(desk),
            whole("two_slices"),
        ),
        "wrong grid": (drawn(imageHeight=80), whole("mask_size_differs")),
        "unknown label": (drawn(NONSENSE), whole("unknown_label", 1)),
        "broken file": (lambda desk: {name: cut(data) for name, data in drawn()(desk).items()}, whole("broken_file")),
        "nothing drawn": (lambda desk: {f"{desk.slices[0]['slice_name']}.json": labelme()}, whole("empty")),
        "no slice yet": (
            lambda desk: {"s-0123456789abcdef-0001.json": labelme(shape("heart", SQUARE))},
            whole("unknown_slice", 0, "pending"),
        ),
    },
    "rtstruct": {
        "wrong patient": (file(contours(patient=STRANGER)), whole("other_patient")),
        "wrong series": (file(contours(series=ELSEWHERE)), heart("other_series")),
        "wrong grid": (file(contours(z=900.0)), heart("other_geometry")),
        "unknown label": (file(contours(NONSENSE)), whole("unknown_label", 1)),
        "broken file": (file(cut(contours())), whole("broken_file")),
        "nothing drawn": (file(structure_set({"Heart": []})), whole("empty")),
        "no slice yet": (
            file(contours(reference=f"{ELSEWHERE}.0", z=900.0)),
            heart("unknown_slice", 1, "pending"),
        ),
    },
    "dicom_seg": {
        "wrong patient": (
            file(lambda: segments(images=segmentations.sources(PatientID=STRANGER))),
            whole("other_patient"),
        ),
        "wrong series": (file(lambda: segments(edit=other_series)), ("liver", "refused", "other_series", 3)),
        "wrong grid": (file(lambda: segments(edit=MOVED)), ("liver", "refused", "other_geometry", 3)),
        "unknown label": (file(lambda: segments(edit=unheard_of)), whole("unknown_label", 3)),
        "broken file": (file(lambda: cut(segments())), whole("broken_file")),
        "nothing drawn": (file(lambda: segments(edit=nothing_drawn)), whole("empty")),
    },
    "nifti": {
        "wrong series": (nifti(series=OTHER_SERIES), whole("other_geometry", 1)),
        "wrong grid": (nifti(data=packed(volume(), SHIFTED)), whole("other_geometry", 3)),
        "unknown label": (nifti(NONSENSE), whole("unknown_label", 1)),
        "broken file": (nifti(data=cut(packed(volume()))), whole("broken_file")),
        "nothing drawn": (nifti(data=packed(volume(0))), whole("empty")),
        "no slice yet": (nifti(series=ELSEWHERE), whole("unknown_slice", 0, "pending")),
    },
    "nrrd": {
        "wrong series": (nrrd(series=OTHER_SERIES), whole("other_geometry", 1)),
        "wrong grid": (nrrd(space_origin="(-19.5,-30,2.5)"), whole("other_geometry", 3)),
        "unknown label": (nrrd(NONSENSE), whole("unknown_label", 1)),
        "broken file": (nrrd(values=cut(raw(volume()))), whole("broken_file")),
        "nothing drawn": (nrrd(values=raw(volume(0))), whole("empty")),
        "no slice yet": (nrrd(series=ELSEWHERE), whole("unknown_slice", 0, "pending")),
    },
    "png": {
        "wrong series": (picture(encoded(MASK), place=3), whole("mask_size_differs")),
        "wrong grid": (picture(encoded(MASK[:-1])), whole("mask_size_differs")),
        "unknown label": (picture(encoded(MASK), NONSENSE), whole("unknown_label", 1)),
        "broken file": (picture(cut(encoded(MASK))), whole("broken_file")),
        "nothing drawn": (picture(encoded(MASK * 0)), whole("empty")),
        "no slice yet": (picture(encoded(MASK), place="s-0123456789abcdef-0001"), whole("unknown_slice", 0, "pending")),
    },
    "labels": {
        "wrong patient": (
            said("study_instance_uid,patient_id,pathology", f"{STUDY},{STRANGER},emphysema"),
            whole("other_patient", 1),
        ),
        "wrong series": (
            said("study_instance_uid,series_instance_uid,pathology", f"{STUDY},{OTHER_SERIES},emphysema"),
            whole("other_series", 1),
        ),
        "unknown label": (said("study_instance_uid,pathology", f"{STUDY},{NONSENSE}"), whole("unknown_value", 1)),
        "broken file": (file("study_instance_uid,stage\n\xe9".encode("latin-1"), "labels.csv"), whole("broken_file")),
        "nothing drawn": (said("study_instance_uid,pathology"), whole("empty")),
        "no slice yet": (
            said("study_instance_uid,pathology", f"{ELSEWHERE},emphysema"),
            whole("unknown_slice", 1, "pending"),
        ),
    },
}  # fmt: skip


@pytest.fixture
def two_studies(desk: Desk) -> Desk:
    """The three slices, and one of 30 x 20 pixels of another size in a study of its own; a spleen that is in order."""
    names = desk.pseudonymiser
    other = {"series_instance_uid": names.uid(OTHER_SERIES), "study_instance_uid": names.uid(OTHER_STUDY)}
    desk.slices.append(row(names, f"{OTHER_SERIES}.0", rows=30, columns=20, pixel_spacing=[1.5, 1.5], **other))
    desk.drop(ALREADY, labelme(shape("spleen", SQUARE), imagePath=f"{desk.slices[2]['slice_name']}.png"))
    return desk


@pytest.mark.parametrize(("source_format", "fault"), [(form, fault) for form in REFUSALS for fault in REFUSALS[form]])
def test_a_fault_is_one_reason_and_costs_nothing_else_its_place(
    two_studies: Desk, source_format: str, fault: str
) -> None:
    desk = two_studies
    (good,) = desk.read().masks
    files, line = REFUSALS[source_format][fault]
    for path, data in files(desk).items():
        desk.drop(f"holloway/{path}", data)
    batch = desk.read()
    assert reasons(batch) == {("spleen", "accepted", "", 1), line}
    assert {one["source_format"] for one in batch.items if one["outcome"] != "accepted"} == {source_format}
    assert batch.counts == {"accepted": 1, line[2]: 1}
    assert batch.masks == [good] and not batch.layers and not batch.labels
    assert MEANINGS[Reason(line[2])]
    told = json.dumps([batch.masks, batch.items, batch.counts, batch.unknown_labels, batch.findings]).lower()
    assert not [word for word in ("holloway", STRANGER.lower(), PATIENT.lower()) if word in told]


@pytest.mark.parametrize("source_format", REFUSALS)
def test_without_its_fault_the_item_is_accepted(two_studies: Desk, source_format: str) -> None:
    """A refusal proves nothing where nothing is ever taken."""
    sound: dict[str, Callable[[Desk], Files]] = {
        "labelme": drawn(),
        "rtstruct": file(contours()),
        "dicom_seg": file(segments),
        "nifti": nifti(),
        "nrrd": nrrd(),
        "png": picture(encoded(MASK)),
        "labels": said("study_instance_uid,patient_id,pathology", f"{STUDY},{PATIENT},emphysema"),
    }
    for path, data in sound[source_format](two_studies).items():
        two_studies.drop(f"holloway/{path}", data)
    batch = two_studies.read()
    assert {(line["outcome"], line["reason"]) for line in batch.items} == {("accepted", "")}
    assert {line["source_format"] for line in batch.items} == {source_format, "labelme"}
    assert bool(batch.labels) == (source_format == "labels")


def test_all_faults_at_once_cost_nothing_else_its_place(two_studies: Desk) -> None:
    desk = two_studies
    (good,) = desk.read().masks
    every = [(f"{form} {fault}", *of) for form, faults in REFUSALS.items() for fault, of in faults.items()]
    for folder, files, _ in every:
        for path, data in files(desk).items():
            desk.drop(f"{folder}/{path}", data)
    batch = desk.read()
    assert batch.masks == [good]
    assert sorted(line["reason"] for line in batch.items if line["reason"]) == sorted(line[2] for _, _, line in every)


def test_every_format_that_is_read_has_its_refusals(desk: Desk) -> None:
    from medillus_pipeline.quality.mask_suites import FORMATS

    assert set(REFUSALS) == {*FORMATS, "labels"}
    assert load().resolve(NONSENSE) is None


@pytest.mark.parametrize("files", [{}, {"_READY": b""}, {"_READY": b"{}", "annotator.txt": b"Ada Holloway"}])
def test_an_empty_batch_has_an_empty_receipt(desk: Desk, files: Files) -> None:
    for path, data in files.items():
        desk.drop(path, data)
    batch = desk.read()
    assert not batch.masks and not batch.items and batch.counts == {}
