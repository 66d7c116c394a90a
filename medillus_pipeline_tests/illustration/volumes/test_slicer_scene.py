"""The scene for 3D Slicer: a segmentation that our own reader finds, and a scene that refers to its files."""

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from medillus_pipeline.annotation.drawing import Drawing
from medillus_pipeline.annotation.formats import nrrd, slicer_segments
from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.errors import InputError
from medillus_pipeline.illustration.volumes.generated_volume import GeneratedVolume
from medillus_pipeline.illustration.volumes.slicer_scene import terminology, write_scene, write_segmentation_nrrd


@pytest.fixture(scope="module")
def segmentation(volume: GeneratedVolume, words: Vocabulary) -> bytes:
    return write_segmentation_nrrd(volume, words)


def test_what_is_written_is_read_back_as_annotations_are(
    volume: GeneratedVolume, words: Vocabulary, segmentation: bytes
):
    header = nrrd.read_header(segmentation)
    (layer,), affine = nrrd.load_layers(segmentation, header, None)
    np.testing.assert_allclose(affine, volume.affine, atol=1e-9)
    segments = slicer_segments.read(header.keys, 1)
    meanings = slicer_segments.meanings(segments, {}, 1, words, Drawing("nrrd"))[0]
    back = np.zeros(256, np.uint8)
    for value, meaning in meanings.items():
        back[value] = meaning if isinstance(meaning, int) else meaning.id
    np.testing.assert_array_equal(back[layer].transpose(2, 1, 0), volume.labels)


def test_another_reader_finds_names_colours_and_codes(
    volume: GeneratedVolume, words: Vocabulary, segmentation: bytes, tmp_path: Path
):
    sitk = pytest.importorskip("SimpleITK")
    (tmp_path / "labels.seg.nrrd").write_bytes(segmentation)
    image = sitk.ReadImage(str(tmp_path / "labels.seg.nrrd"))
    assert np.count_nonzero(sitk.GetArrayFromImage(image)) == np.count_nonzero(volume.labels)
    np.testing.assert_allclose(image.GetOrigin(), volume.affine[:3, 3], atol=1e-6)
    names = {image.GetMetaData(key) for key in image.GetMetaDataKeys() if key.endswith("_Name")}
    assert {"liver", "spleen"} <= {name.casefold() for name in names}
    assert any("SCT^10200004^Liver" in image.GetMetaData(k) for k in image.GetMetaDataKeys() if k.endswith("_Tags"))


def test_a_side_is_a_modifier_and_a_region_has_its_own(words: Vocabulary):
    kind, modifier = terminology(words.by_key("kidney_left"), words).split("~")[2:4]
    assert kind == "SCT^64033007^Kidney" and modifier == "SCT^7771000^Left"
    regional = next(structure for structure in words if structure.region)
    assert terminology(regional, words).split("~")[5].startswith(f"SCT^{regional.region}^")


def test_every_structure_of_the_vocabulary_has_seven_parts_that_lead_back_to_it(words: Vocabulary):
    for structure in words:
        parts = terminology(structure, words).split("~")
        assert len(parts) == 7 and all(part.count("^") == 2 for part in (*parts[1:4], *parts[5:]))
        keys = {"Segment0_Name": structure.name_en, "Segment0_LabelValue": "1", "Segment0_Layer": "0"}
        keys["Segment0_Tags"] = f"TerminologyEntry:{'~'.join(parts)}|"
        found = slicer_segments.meanings(slicer_segments.read(keys, 1), {}, 1, words, Drawing("nrrd"))
        assert found[0][1] == structure.id or found[0][1] is structure


def test_the_scene_refers_to_files_and_nodes_that_are_there(volume: GeneratedVolume, words: Vocabulary):
    files = write_scene(volume, words)
    scene = ElementTree.fromstring(files["scene.mrml"])
    identifiers = {node.attrib["id"] for node in scene}
    assert {node.attrib["fileName"] for node in scene if "fileName" in node.attrib} == set(files) - {"scene.mrml"}
    referred = [
        reference.partition(":")[2]
        for node in scene
        for reference in node.attrib.get("references", "").split(";")
        if reference
    ]
    assert len(referred) == 5 and set(referred) <= identifiers
    assert write_scene(volume, words) == files


def test_nothing_drawn_and_unknown_labels_are_refused(volume: GeneratedVolume, words: Vocabulary):
    with pytest.raises(InputError, match="nothing is drawn"):
        write_segmentation_nrrd(replace(volume, labels=np.zeros_like(volume.labels)), words)
    with pytest.raises(InputError, match="no ids"):
        write_segmentation_nrrd(replace(volume, labels=np.full_like(volume.labels, 255)), words)
