"""Segmentations for annotators: what is written comes back as it was, coded, and with nothing of the sources but what
it refers to.
"""

import io
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom import Dataset

from medillus_pipeline.annotation.formats.segmentation_writing import Algorithm, SegmentationType, write_segmentation
from medillus_pipeline.annotation.label_map import Region
from medillus_pipeline.annotation.slice_index import SliceIndex
from medillus_pipeline.annotation.vocabulary import load
from medillus_pipeline.deidentification.deidentify import deidentify
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.errors import InputError
from medillus_pipeline_tests.annotation.formats.segmentations import read, sources
from medillus_pipeline_tests.annotation.published import Desk, row, rows_of_files, stack

pytest.importorskip("highdicom")
MOMENT = datetime(2024, 5, 6, 7, 8, 9)
Labels = Mapping[str, np.ndarray | Mapping[int, Region]]


def clean_sources(desk: Desk, **changes: Any) -> list[Dataset]:
    """The de-identified instances of the desk's slices, without pixels."""
    images = sources(len(desk.slices), PatientName=desk.slices[0]["patient"], **changes)
    for image, published in zip(images, desk.slices, strict=True):
        image.SOPInstanceUID, image.SeriesInstanceUID = published["sop_instance_uid"], published["series_instance_uid"]
        image.FrameOfReferenceUID, image.PatientID = published["frame_of_reference_uid"], published["patient"]
    return images


def write(desk: Desk, labels: Labels, images: Sequence[Dataset] = (), **options: Any) -> bytes:
    targets = list(SliceIndex(desk.slices).by_name.values())
    settings = {"software_version": "1.2", "moment": MOMENT} | options
    return write_segmentation(targets, labels, images or clean_sources(desk), load(), **settings)


def label_maps(desk: Desk, keys: Sequence[str], seed: int = 3) -> dict[str, np.ndarray]:
    """Noise of the structures, all of them present, and background."""
    identifiers = np.array([0, 0, *(load().by_key(key).id for key in keys)], np.uint8)
    values = np.random.default_rng(seed).integers(0, len(identifiers), (len(desk.slices), 40, 50))
    values.ravel()[: len(identifiers)] = np.arange(len(identifiers))
    return {one["slice_name"]: identifiers[v] for one, v in zip(desk.slices, values, strict=True)}


def read_back(data: bytes, desk: Desk) -> dict[str, np.ndarray]:
    found = read(data, desk)
    assert not found.notes
    maps = {}
    for name, regions in found.regions.items():
        maps[name] = np.zeros((40, 50), np.uint8)
        for identifier, region in regions.items():
            assert not maps[name][region.window][region.mask].any()
            maps[name][region.window][region.mask] = identifier
    return maps


def same(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(("kind", "compressed"), [("BINARY", False), ("LABELMAP", False), ("LABELMAP", True)])
def test_every_structure_of_the_vocabulary_comes_back_as_itself(
    desk: Desk, kind: SegmentationType, compressed: bool
) -> None:
    labels = label_maps(desk, [structure.key for structure in load()])
    data = write(desk, labels, kind=kind, compressed=compressed)
    assert same(read_back(data, desk), labels)
    syntax = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True).file_meta.TransferSyntaxUID
    assert syntax.is_encapsulated is compressed


def test_slices_without_labels_get_no_frame(desk: Desk) -> None:
    labels = label_maps(desk, ["liver"])
    first, second, third = labels
    labels[second][:] = 0
    del labels[third]
    data = write(desk, labels)
    assert same(read_back(data, desk), {first: labels[first]})
    assert pydicom.dcmread(io.BytesIO(data)).NumberOfFrames == 1


def test_overlapping_regions_come_back_whole(desk: Desk) -> None:
    liver, tumor = load().by_key("liver").id, load().by_key("liver_tumor").id
    regions = {liver: Region(5, 6, np.ones((20, 30), bool)), tumor: Region(20, 30, np.eye(15, dtype=bool))}
    name = desk.slices[1]["slice_name"]
    found = read(write(desk, {name: regions}), desk).regions
    assert found.keys() == {name} and found[name].keys() == regions.keys()
    for identifier, region in regions.items():
        back = found[name][identifier]
        assert (back.top, back.left) == (region.top, region.left) and np.array_equal(back.mask, region.mask)
    with pytest.raises(InputError, match="BINARY"):
        write(desk, {name: regions}, kind="LABELMAP")


def test_slices_of_a_multi_frame_instance_come_back_to_their_frames(desk: Desk, pseudonymiser: Pseudonymiser) -> None:
    desk.slices = [
        row(pseudonymiser, "1.2.3.4.0", frame=k + 1, slice_name=f"s-{k}", position=[-20.0, -30.0, 5.0 * k])
        for k in range(3)
    ]
    image = clean_sources(desk)[0]
    image.SOPClassUID, image.NumberOfFrames = "1.2.840.10008.5.1.4.1.1.2.1", 3
    measures, orientation, shared = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = image.PixelSpacing, image.SliceThickness
    orientation.ImageOrientationPatient = image.ImageOrientationPatient
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    image.SharedFunctionalGroupsSequence, image.PerFrameFunctionalGroupsSequence = [shared], []
    for k in range(3):
        place, content, groups = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient, content.DimensionIndexValues = [-20.0, -30.0, 5.0 * k], [k + 1]
        groups.PlanePositionSequence, groups.FrameContentSequence = [place], [content]
        image.PerFrameFunctionalGroupsSequence.append(groups)
    index = Dataset()
    index.DimensionOrganizationUID, index.DimensionIndexPointer = "1.2.3.8", 0x00200032
    index.FunctionalGroupPointer = 0x00209113
    image.DimensionIndexSequence = [index]
    labels = label_maps(desk, ["liver", "spleen"])
    del labels["s-1"]
    data = write(desk, labels, [image])
    assert same(read_back(data, desk), labels)
    frames = pydicom.dcmread(io.BytesIO(data)).PerFrameFunctionalGroupsSequence
    named = {frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber for frame in frames}
    assert named == {1, 3}


def test_radiographs_without_a_place_in_the_patient_come_back(desk: Desk, pseudonymiser: Pseudonymiser) -> None:
    nowhere = dict.fromkeys(("position", "orientation", "pixel_spacing", "slice_spacing"))
    desk.slices = [one | nowhere | {"frame_of_reference_uid": None} for one in stack(pseudonymiser, 1)]
    (image,) = clean_sources(desk, SOPClassUID="1.2.840.10008.5.1.4.1.1.1")
    for keyword in (
        "FrameOfReferenceUID", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness",
    ):  # fmt: skip
        delattr(image, keyword)
    labels = label_maps(desk, ["lung_left", "heart"])
    assert same(read_back(write(desk, labels, [image]), desk), labels)


def test_the_same_arguments_give_the_same_bytes_and_others_another_object(desk: Desk) -> None:
    labels = label_maps(desk, ["liver"])
    once, again = write(desk, labels), write(desk, labels)
    assert once == again
    other = write(desk, label_maps(desk, ["liver"], seed=4))
    uids = {pydicom.dcmread(io.BytesIO(data)).SOPInstanceUID for data in (once, other)}
    assert len(uids) == 2


def test_segments_carry_codes_sides_regions_and_colours(desk: Desk) -> None:
    from highdicom.color import CIELabColor

    keys = ["liver", "kidney_left", "kidney_cyst_right", "liver_tumor", "lesion"]
    data = write(desk, label_maps(desk, keys), algorithm=Algorithm("organ_segmenter", "3"))
    segments = {s.SegmentLabel: s for s in pydicom.dcmread(io.BytesIO(data)).SegmentSequence}
    assert segments.keys() == {load().by_key(key).name_en for key in keys}

    def concept(item: Dataset) -> tuple[str, str, str]:
        return str(item.CodingSchemeDesignator), str(item.CodeValue), str(item.CodeMeaning)

    kinds = {name: s.SegmentedPropertyTypeCodeSequence[0] for name, s in segments.items()}
    assert concept(kinds["liver"]) == ("SCT", "10200004", "Liver")
    assert concept(kinds["lesion"]) == ("99MEDILLUS", "lesion", "lesion")
    sides = kinds["left kidney"].SegmentedPropertyTypeModifierCodeSequence
    assert [concept(side) for side in sides] == [("SCT", "7771000", "Left")]
    region = segments["cyst of right kidney"].AnatomicRegionSequence[0]
    assert concept(region) == ("SCT", "64033007", "Kidney")
    assert concept(region.AnatomicRegionModifierSequence[0]) == ("SCT", "24028007", "Right")
    assert concept(segments["tumor of the liver"].AnatomicRegionSequence[0]) == ("SCT", "10200004", "Liver")
    for key in keys:
        structure = load().by_key(key)
        colour = CIELabColor.from_dicom_value(segments[structure.name_en].RecommendedDisplayCIELabValue).to_rgb()
        assert np.abs(np.subtract(colour, structure.rgb)).max() <= 2
    assert {s.SegmentAlgorithmType for s in segments.values()} == {"AUTOMATIC"}
    assert {s.SegmentAlgorithmName for s in segments.values()} == {"organ_segmenter"}


def test_nothing_of_the_sources_is_taken_but_what_is_referred_to(desk: Desk) -> None:
    images = clean_sources(desk, PatientComments="Holloway", InstitutionName="Holloway", OperatorsName="Holloway")
    for image in images:
        image.add_new(0x00091010, "LO", "Holloway")
        image.SharedFunctionalGroupsSequence = []
    assert b"Holloway" not in write(desk, label_maps(desk, ["liver"]), images)


def test_what_cannot_be_written_says_why(desk: Desk, pseudonymiser: Pseudonymiser) -> None:
    labels = label_maps(desk, ["liver"])
    name = next(iter(labels))
    with pytest.raises(InputError, match="nothing is drawn"):
        write(desk, {name: np.zeros((40, 50), np.uint8)})
    with pytest.raises(InputError, match="no source"):
        write(desk, labels, clean_sources(desk)[:2])
    with pytest.raises(InputError, match="no source"):
        write(desk, {"s-unknown": labels[name]})
    with pytest.raises(InputError, match="do not fit"):
        write(desk, {name: labels[name][:-1]})
    with pytest.raises(InputError, match="another size"):
        write(desk, labels, clean_sources(desk, Rows=39))
    with pytest.raises(InputError, match="the vocabulary does not have"):
        write(desk, {name: np.full((40, 50), 255, np.uint8)})
    with pytest.raises(InputError, match="beyond its slice"):
        write(desk, {name: {5: Region(35, 0, np.ones((10, 10), bool))}})
    images = clean_sources(desk)
    images[1].SeriesInstanceUID = "2.25.7"
    with pytest.raises(InputError, match="several series"):
        write(desk, labels, images)


def test_another_library_reads_the_same_pixels(desk: Desk) -> None:
    import highdicom

    labels = label_maps(desk, ["liver", "spleen", "lesion"])
    found = highdicom.seg.segread(io.BytesIO(write(desk, labels)))
    uids = [one["sop_instance_uid"] for one in desk.slices]
    planes = found.get_pixels_by_source_instance(source_sop_instance_uids=uids, combine_segments=False)
    for number in found.segment_numbers:
        identifier = load().resolve(found.get_segment_description(number).SegmentLabel).id  # type: ignore[union-attr]
        for plane, values in zip(planes[..., number - 1], labels.values(), strict=True):
            assert np.array_equal(plane > 0, values == identifier)


@pytest.mark.parametrize("algorithm", [None, Algorithm("organ_segmenter", "3")])
def test_the_validator_of_the_object_definitions_finds_no_error(
    desk: Desk, tmp_path: Path, algorithm: Algorithm | None
) -> None:
    validator = shutil.which("dciodvfy")
    if validator is None:
        pytest.skip("dciodvfy (dicom3tools) is not installed")
    labels = label_maps(desk, [structure.key for structure in load()])
    (tmp_path / "written.dcm").write_bytes(write(desk, labels, algorithm=algorithm))
    done = subprocess.run([validator, "-new", tmp_path / "written.dcm"], capture_output=True, text=True, check=False)
    said = (done.stdout + done.stderr).splitlines()
    assert "Segmentation" in said and not [line for line in said if line.startswith(("Error", "Abort"))]


def test_a_clinics_slices_deidentified_and_drawn_on_come_back(
    shared_data: Path, desk: Desk, pseudonymiser: Pseudonymiser
) -> None:
    folder = shared_data / "annotations" / "dcmqi_liver_ct" / "ct"
    desk.slices, files = rows_of_files(folder, pseudonymiser)
    made = {name: deidentify(path.read_bytes(), pseudonymiser).data for name, path in files.items()}
    images = [pydicom.dcmread(io.BytesIO(data)) for data in made.values()]
    bodies = {one["slice_name"]: (image.pixel_array > 0) for one, image in zip(desk.slices, images, strict=True)}
    labels = {name: np.where(body, load().by_key("liver").id, 0).astype(np.uint8) for name, body in bodies.items()}
    data = write(desk, labels, images)
    found = read(data, desk)
    assert not found.notes and not found.remarks
    for name, body in bodies.items():
        (region,) = found.regions[name].values()
        assert np.array_equal(region.mask, body[region.window]) and region.area == body.sum()
    originals = [pydicom.dcmread(path, stop_before_pixels=True) for path in files.values()]
    for original in originals:
        for keyword in ("PatientID", "PatientName", "SOPInstanceUID", "StudyInstanceUID", "AccessionNumber"):
            assert str(original[keyword].value).encode() not in data


def test_a_slice_is_named_by_what_it_shows_not_by_its_place_in_the_stack(desk: Desk) -> None:
    labels = label_maps(desk, ["liver"])
    targets = list(SliceIndex(desk.slices).by_name.values())
    turned = [replace(target) for target in reversed(targets)]
    settings: dict[str, Any] = {"software_version": "1.2", "moment": MOMENT}
    data = write_segmentation(turned, labels, list(reversed(clean_sources(desk))), load(), **settings)
    assert same(read_back(data, desk), labels)
