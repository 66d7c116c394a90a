"""Masks that go out to annotators come back as they were, whatever the format, and nobody's work is overwritten."""

import io
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.annotation.batch import Batch, read_batch
from medillus_pipeline.annotation.export import Exported, export_folder
from medillus_pipeline.annotation.export_choice import Chosen, Proposed, choose
from medillus_pipeline.annotation.export_format import Format
from medillus_pipeline.annotation.formats.segment_coding import Algorithm
from medillus_pipeline.annotation.formats.segmentation import PROPOSER
from medillus_pipeline.annotation.outcomes import Reason
from medillus_pipeline.annotation.publication import Existing
from medillus_pipeline.annotation.submission import Submission
from medillus_pipeline.deidentification.deidentify import deidentify
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.dicom.png import encode_png
from medillus_pipeline.dicom.source_folder import FolderZone
from medillus_pipeline.errors import InputError
from medillus_pipeline.generation.selection import masks_in_force
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.annotation.formats.segmentations import sources
from medillus_pipeline_tests.annotation.published import (
    SERIES,
    Desk,
    labelme,
    reasons,
    row,
    rows_of_files,
    shape,
    square_mm,
    stack,
    structure_set,
)

pytest.importorskip("highdicom")
MOMENT = datetime(2024, 5, 6, 7, 8, 9)
WORDS = vocabulary.load()
MODEL = Algorithm(PROPOSER, "0123456789abcdef")


def published(desk: Desk) -> list[dict[str, Any]]:
    """The desk's slices with a picture and a de-identified instance in the clean zone."""
    of_series: dict[str, list[dict[str, Any]]] = {}
    for one in desk.slices:
        of_series.setdefault(one["series_instance_uid"], []).append(one)
    for rows in of_series.values():
        images = sources(len(rows), rows[0]["rows"], rows[0]["columns"])
        for image, one in zip(images, rows, strict=True):
            put(desk.clean, image, one)
    return desk.slices


def put(clean: Zone, image: Dataset, one: dict[str, Any]) -> None:
    image.SOPInstanceUID, image.SeriesInstanceUID = one["sop_instance_uid"], one["series_instance_uid"]
    image.FrameOfReferenceUID, image.PatientID = one["frame_of_reference_uid"], one["patient"]
    image.PatientName, image.StudyInstanceUID = one["patient"], one["study_instance_uid"]
    image.ImagePositionPatient = one["position"]
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    sink = io.BytesIO()
    image.save_as(sink, enforce_file_format=True)
    one["instance_path"] = clean.put("instances", sink.getvalue(), ".dcm").path
    grey = np.random.default_rng(one["ordinal"]).integers(0, 256, (one["rows"], one["columns"]), np.uint8)
    one["path"] = clean.put("slices", encode_png(grey), ".png").path


def noise(keys: Sequence[str], seed: int) -> np.ndarray:
    """(40, 50) single pixels and small patches of some structures, and background."""
    identifiers = np.array([0, 0, 0, *(WORDS.by_key(key).id for key in keys)], np.uint8)
    coarse = np.random.default_rng(seed).integers(0, len(identifiers), (20, 25))
    fine = np.random.default_rng(seed + 1).integers(0, len(identifiers), (40, 50))
    values = np.where(
        np.random.default_rng(seed + 2).random((40, 50)) < 0.2, fine, np.kron(coarse, np.ones((2, 2), int))
    )
    return identifiers[values]


def drawn_batch(desk: Desk) -> Batch:
    """Noise of some structures on two slices of the desk, as label PNGs."""
    for number, one in enumerate(desk.slices[:2]):
        values = noise(["liver", "heart", "spleen", "lung_left"], number)
        desk.drop(f"{one['slice_name']}.png", encode_png(values, WORDS.palette()))
    return desk.read()


def chosen_of(batch: Batch, slices: list[dict[str, Any]], **named: Any) -> list[Chosen]:
    masks, layers = ([r | {"partition": "b-1"} for r in rows] for rows in (batch.masks, batch.layers))
    return choose(slices, masks, layers, masks_in_force, **named)


def export(desk: Desk, chosen: list[Chosen], to: Path, format: Format | str, **options: Any) -> Exported:
    settings: dict[str, Any] = {"moment": MOMENT} | options
    return export_folder(chosen, desk.slices, to, desk.clean, WORDS, format=Format(format), **settings)


def handed_back(desk: Desk, folder: Path, batch: Batch, name: str = "Second Reader") -> Batch:
    """The exported folder as the batch of another annotator."""
    (folder / "annotator.txt").write_text(name)
    submission = Submission(FolderZone(folder), "", desk.slices, desk.pseudonymiser, WORDS, desk.pseudonymiser)
    back = read_batch(submission, desk.clean, Existing(batch.masks, batch.layers))
    (folder / "annotator.txt").unlink()
    return back


def maps(batch: Batch) -> dict[str, str]:
    return {one["slice_name"]: one["sha256"] for one in batch.masks}


def layers(batch: Batch) -> set[tuple[Any, ...]]:
    columns = ("slice_name", "label", "reason", "area", "hidden_pixels", "top", "left", "height", "width")
    return {(*(one[column] for column in columns), tuple(one["runs"])) for one in batch.layers}


def unexpected(batch: Batch) -> set[str]:
    """Reasons that are not those of the pictures, the marker and the page that lie in the folder too."""
    own = {Reason.NOT_A_LABEL_MAP, Reason.NO_LABEL_NAMES, Reason.UNSUPPORTED_FORMAT, Reason.NOT_AN_ANNOTATION}
    return {reason for structure, _, reason, _ in reasons(batch) if structure != "*" or reason not in own} - {""}


@pytest.mark.parametrize("labelmap", [False, True])
@pytest.mark.parametrize("format", list(Format))
def test_importing_an_export_gives_identical_label_maps(
    desk: Desk, tmp_path: Path, format: Format, labelmap: bool
) -> None:
    published(desk)
    batch = drawn_batch(desk)
    assert len(batch.masks) == 2
    done = export(desk, chosen_of(batch, desk.slices), tmp_path / "out", format, label_map_segmentation=labelmap)
    assert (done.slices, done.structures, done.status) == (2, 4, 0)
    back = handed_back(desk, tmp_path / "out", batch)
    assert maps(back) == maps(batch) and not back.layers and not unexpected(back)
    assert {one["annotator"] for one in back.masks}.isdisjoint(one["annotator"] for one in batch.masks)


@pytest.mark.parametrize("format", list(Format))
def test_what_its_own_annotator_hands_back_unchanged_is_no_revision(desk: Desk, tmp_path: Path, format: Format) -> None:
    published(desk)
    desk.drop("annotator.txt", b"Ada Holloway")
    batch = drawn_batch(desk)
    export(desk, chosen_of(batch, desk.slices), tmp_path / "out", format)
    back = handed_back(desk, tmp_path / "out", batch, name="Ada Holloway")
    assert not back.masks and not back.layers and unexpected(back) == {Reason.SUBMITTED_BEFORE}


def overlapping(desk: Desk) -> Batch:
    """An RTSTRUCT with an organ under a tumour, a planning target alone on a slice, and lungs with both parts."""
    published(desk)
    contours = {
        "Liver": (0.0, -20.0, 20.0),
        "GTV": (0.0, -5.0, 5.0),
        "PTV": (5.0, -10.0, 10.0),
        "Lung_L": (10.0, 0.0, 20.0),
        "Lung_R": (10.0, -18.0, -2.0),
        "Lungs": (10.0, -18.0, 20.0),
    }
    rois = {n: [("CLOSED_PLANAR", "", square_mm(z, low, high))] for n, (z, low, high) in contours.items()}
    desk.drop("RS.dcm", structure_set(rois))
    batch = desk.read()
    assert {one["reason"] for one in batch.layers} == {"overlap", "planning_target", "union_of_parts"}
    return batch


@pytest.mark.parametrize("format", ["dicom-seg", "labelme"])
def test_a_format_whose_structures_may_overlap_takes_along_what_lies_beneath(
    desk: Desk, tmp_path: Path, format: str
) -> None:
    batch = overlapping(desk)
    chosen = chosen_of(batch, desk.slices)
    assert [each.mask is None for each in chosen].count(True) == 1
    done = export(desk, chosen, tmp_path / "out", format)
    assert (done.layers_lost, done.slices) == (0, 3)
    back = handed_back(desk, tmp_path / "out", batch)
    assert maps(back) == maps(batch) and layers(back) == layers(batch)
    again = handed_back(desk, tmp_path / "out", batch, name="unknown")
    assert not again.masks and not again.layers and Reason.SUBMITTED_BEFORE in unexpected(again)


@pytest.mark.parametrize(("format", "labelmap"), [("nifti", False), ("dicom-seg", True)])
def test_a_format_of_one_value_a_pixel_keeps_the_label_maps_and_counts_what_it_cannot_hold(
    desk: Desk, tmp_path: Path, format: str, labelmap: bool
) -> None:
    batch = overlapping(desk)
    done = export(desk, chosen_of(batch, desk.slices), tmp_path / "out", format, label_map_segmentation=labelmap)
    assert done.layers_lost == len(batch.layers)
    assert maps(handed_back(desk, tmp_path / "out", batch)) == maps(batch)


@pytest.mark.parametrize("format", list(Format))
def test_a_union_in_a_label_map_beside_its_parts_stays_there(desk: Desk, tmp_path: Path, format: Format) -> None:
    published(desk)
    name = desk.slices[0]["slice_name"]
    desk.drop(f"a/{name}.json", labelme(shape("lungs", [[5, 5], [45, 5], [45, 35], [5, 35]])))
    parts = [
        shape("lung_right", [[5, 5], [20, 5], [20, 35], [5, 35]]),
        shape("lung_left", [[30, 5], [45, 5], [45, 35]]),
    ]
    desk.drop(f"b/{name}.json", labelme(*parts))
    batch = desk.read()
    assert {WORDS.by_id(label).key for label in batch.masks[0]["labels"]} == {"lungs", "lung_left", "lung_right"}
    export(desk, chosen_of(batch, desk.slices), tmp_path / "out", format)
    back = handed_back(desk, tmp_path / "out", batch)
    assert maps(back) == maps(batch) and not unexpected(back)


def test_the_real_structure_set_comes_back_with_every_layer(
    shared_data: Path, pseudonymiser: Pseudonymiser, landing: Zone, clean: Zone, tmp_path: Path
) -> None:
    folder = shared_data / "ct_thorax_rt"
    rows, files = rows_of_files(folder / "ct", pseudonymiser)
    for one in rows:
        treated = deidentify(files[one["slice_name"]].read_bytes(), pseudonymiser)
        stored = clean.put("instances", b"".join((treated.header, *treated.pixels)), ".dcm")
        one |= {"ordinal": 0, "instance_path": stored.path}
    desk = Desk(landing, clean, pseudonymiser, rows)
    desk.drop("RS.dcm", (folder / "RS.dcm").read_bytes())
    batch = desk.read()
    assert batch.masks and batch.layers
    done = export(desk, chosen_of(batch, rows), tmp_path / "out", "dicom-seg")
    assert (done.layers_lost, done.status) == (0, 0)
    back = handed_back(desk, tmp_path / "out", batch)
    assert maps(back) == maps(batch) and layers(back) == layers(batch)


def two_series(desk: Desk) -> Batch:
    """The desk's series and an uneven one, with the same drawing on a slice of each."""
    uneven = [
        row(
            desk.pseudonymiser,
            f"1.2.3.5.{k}",
            series_instance_uid=desk.pseudonymiser.uid("1.2.3.5"),
            position=[-20.0, -30.0, z],
            ordinal=k,
        )
        for k, z in enumerate((0.0, 5.0, 12.0))
    ]
    desk.slices += uneven
    published(desk)
    for one in (desk.slices[0], uneven[0]):
        desk.drop(f"{one['slice_name']}.png", encode_png(noise(["liver", "heart"], 5), WORDS.palette()))
    return desk.read()


def test_a_series_that_is_no_even_stack_is_left_out_of_nifti_and_the_others_are_written(
    desk: Desk, tmp_path: Path
) -> None:
    batch = two_series(desk)
    done = export(desk, chosen_of(batch, desk.slices), tmp_path / "out", "nifti")
    assert list(done.left_out) == [desk.pseudonymiser.uid("1.2.3.5")] and done.status == 4
    assert "uneven steps" in done.left_out[desk.pseudonymiser.uid("1.2.3.5")]
    back = handed_back(desk, tmp_path / "out", batch)
    assert maps(back) == {name: sha for name, sha in maps(batch).items() if name == desk.slices[0]["slice_name"]}
    for format in ("labelme", "dicom-seg"):
        export(desk, chosen_of(batch, desk.slices), tmp_path / format, format)
        assert maps(handed_back(desk, tmp_path / format, batch)) == maps(batch)


def test_where_no_series_can_be_written_nothing_is(desk: Desk, tmp_path: Path) -> None:
    batch = two_series(desk)
    only = chosen_of(batch, desk.slices, series=[desk.pseudonymiser.uid("1.2.3.5")])
    with pytest.raises(InputError, match=r"no series could be written: .*uneven"):
        export(desk, only, tmp_path / "out", "nifti")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("format", list(Format))
def test_the_same_export_gives_the_same_bytes_and_replaces_itself(desk: Desk, tmp_path: Path, format: Format) -> None:
    published(desk)
    batch = drawn_batch(desk)
    chosen = chosen_of(batch, desk.slices)
    export(desk, chosen, tmp_path / "a", format)
    first = {p.relative_to(tmp_path / "a"): p.read_bytes() for p in (tmp_path / "a").rglob("*") if p.is_file()}
    export(desk, chosen, tmp_path / "a", format)
    again = {p.relative_to(tmp_path / "a"): p.read_bytes() for p in (tmp_path / "a").rglob("*") if p.is_file()}
    assert first == again and len(first) >= 3


def test_what_an_annotator_changed_or_added_is_never_overwritten(desk: Desk, tmp_path: Path) -> None:
    published(desk)
    chosen = chosen_of(drawn_batch(desk), desk.slices)
    out = tmp_path / "out"
    export(desk, chosen, out, "labelme")
    drawing = next(out.glob("*.json"))
    drawing.write_bytes(drawing.read_bytes() + b"\n")
    with pytest.raises(InputError, match="changed since"):
        export(desk, chosen, out, "labelme")
    drawing.write_bytes(drawing.read_bytes()[:-1])
    (out / "annotator.txt").write_text("Ada Holloway")
    with pytest.raises(InputError, match="did not write"):
        export(desk, chosen, out, "labelme")


def test_a_folder_of_somebody_else_and_a_file_are_refused_and_kept(desk: Desk, tmp_path: Path) -> None:
    published(desk)
    chosen = chosen_of(drawn_batch(desk), desk.slices)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="did not make it"):
        export(desk, chosen, tmp_path / "theirs", "nifti")
    with pytest.raises(InputError, match="a file stands there"):
        export(desk, chosen, tmp_path / "theirs" / "thesis.txt", "nifti")
    assert (tmp_path / "theirs" / "thesis.txt").read_text() == "years of work"


def test_another_choice_into_the_same_folder_leaves_nothing_of_the_former(desk: Desk, tmp_path: Path) -> None:
    published(desk)
    chosen = chosen_of(drawn_batch(desk), desk.slices)
    export(desk, chosen, tmp_path / "out", "labelme")
    export(desk, chosen[:1], tmp_path / "out", "labelme")
    name = chosen[0].slice["slice_name"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"{name}.png",
        f"{name}.json",
        "README.txt",
        ".medillus.json",
    }


def test_an_export_that_was_cut_off_is_done_by_running_it_again(desk: Desk, tmp_path: Path) -> None:
    published(desk)
    chosen = chosen_of(drawn_batch(desk), desk.slices)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            export(desk, chosen, tmp_path / "out", "labelme", progress=stop)
        (tmp_path / "out" / ".unfinished").mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / ".unfinished" / "left.json").write_text("{}")
    export(desk, chosen, tmp_path / "out", "labelme")
    assert len(list((tmp_path / "out").glob("*.json"))) == 3 and not (tmp_path / "out" / ".unfinished").exists()


def mask(slice_name: str, annotator: str, revision: int, batch: str) -> dict[str, Any]:
    return {"slice_name": slice_name, "annotator": annotator, "revision": revision, "partition": batch}


def test_the_choice_takes_the_mask_in_force_of_the_slices_that_are_named(pseudonymiser: Pseudonymiser) -> None:
    slices = stack(pseudonymiser)
    a, b, c = (one["slice_name"] for one in slices)
    masks = [mask(a, "a-1", 1, "b-1"), mask(a, "a-1", 2, "b-2"), mask(b, "a-1", 1, "b-1"), mask(b, "a-2", 1, "b-3")]
    masks.append(mask(c, "a-2", 1, "b-3") | {"slice_name": "s-gone"})

    def found(**named: Any) -> set[tuple[str, str, int]]:
        chosen = choose(slices, masks, [], masks_in_force, **named)
        return {(m["slice_name"], m["annotator"], m["revision"]) for each in chosen if (m := each.mask)}

    assert found() == {(a, "a-1", 2), (b, "a-1", 1)}
    assert found(batch="b-1") == {(a, "a-1", 2), (b, "a-1", 1)}
    assert found(batch="b-2") == {(a, "a-1", 2)}
    assert found(annotator="a-2") == {(b, "a-2", 1)}
    for named in ({"series": ["1.2.3"]}, {"patients": ["MRN 0042"]}, {"batch": "b-9"}, {"annotator": "a-9"}):
        with pytest.raises(InputError, match="cannot be found") as refused:
            found(**named)
        assert "MRN" not in str(refused.value)
    with pytest.raises(InputError, match="no mask fits"):
        found(batch="b-2", annotator="a-2")


def proposed(desk: Desk) -> list[Chosen]:
    published(desk)
    values = np.zeros((40, 50), np.uint8)
    values[5:20, 5:20], values[22:35, 25:45] = WORDS.by_key("liver").id, WORDS.by_key("heart").id
    confidence = {WORDS.by_key("liver").id: 0.5, WORDS.by_key("heart").id: 0.75}
    return [
        Chosen(one, proposed=Proposed(values, confidence, uncertain))
        for one, uncertain in zip(desk.slices[:2], (0.2, 0.6), strict=True)
    ]


def confirm_labelme(folder: Path) -> None:
    for path in folder.glob("s-*.json"):
        document = json.loads(path.read_bytes())
        for each in document["shapes"]:
            if each["label"] == "heart":
                each["flags"] = {"proposal": False}
        path.write_text(json.dumps(document))


def confirm_segmentation(folder: Path) -> None:
    for path in folder.glob("*.dcm"):
        dataset = dcmread(path)
        assert {s.SegmentAlgorithmType for s in dataset.SegmentSequence} == {"AUTOMATIC"}
        assert (
            dataset.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0].AlgorithmVersion == MODEL.version
        )
        for segment in dataset.SegmentSequence:
            if "eart" in segment.SegmentLabel:
                segment.SegmentAlgorithmType = "SEMIAUTOMATIC"
        dataset.save_as(path)


def confirm_nifti(folder: Path) -> None:
    assert {path.name[:9] for path in folder.glob("*.nii.gz")} == {"proposal-"}
    for path in folder.glob("*.label"):
        path.write_text(path.read_text().replace("proposal: heart", "heart"))


@pytest.mark.parametrize(
    ("format", "confirm", "reason"),
    [
        ("labelme", confirm_labelme, Reason.PROPOSAL_UNCONFIRMED),
        ("dicom-seg", confirm_segmentation, Reason.PROPOSAL_UNCONFIRMED),
        ("nifti", confirm_nifti, Reason.PROPOSAL_UNCONFIRMED),
    ],
)
def test_a_proposal_counts_only_where_somebody_confirmed_it(
    desk: Desk, tmp_path: Path, format: str, confirm: Any, reason: Reason
) -> None:
    done = export(desk, proposed(desk), tmp_path / "out", format, model=MODEL)
    assert (done.slices, done.structures) == (2, 2)
    untouched = handed_back(desk, tmp_path / "out", Batch([], [], [], [], [], [], {}, []))
    assert not untouched.masks and reason in {line["reason"] for line in untouched.items}
    confirm(tmp_path / "out")
    back = handed_back(desk, tmp_path / "out", Batch([], [], [], [], [], [], {}, []))
    assert [one["labels"] for one in back.masks] == [[WORDS.by_key("heart").id]] * 2
    assert [one["areas"] for one in back.masks] == [[13 * 20]] * 2


def test_the_page_says_how_to_go_on_and_lists_proposals_by_uncertainty(desk: Desk, tmp_path: Path) -> None:
    chosen = proposed(desk)
    for format in Format:
        export(desk, chosen, tmp_path / format, format, model=MODEL)
        text = (tmp_path / format / "README.txt").read_text()
        certain, uncertain = (text.index(each.slice["slice_name"]) for each in chosen)
        assert uncertain < certain and "annotator.txt" in text and "until somebody confirms" in text
        assert SERIES not in text and max(map(len, text.splitlines())) <= 80
