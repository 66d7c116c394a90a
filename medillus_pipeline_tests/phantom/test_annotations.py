"""The annotations: every format tells of the same label maps."""

import gzip
import io

import nibabel
import numpy as np
import pydicom
import pytest
from skimage.draw import polygon2mask

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.dicom.slice_names import slice_name
from medillus_pipeline.phantom import annotations, dicom
from medillus_pipeline.phantom.cohort import patient
from medillus_pipeline.phantom.outlines import keyhole, trace
from medillus_pipeline_tests.phantom.conftest import SEED

SHAPE = (10, 128, 128)
WHERE = dicom.Placement(encoding="explicit", table_height=-512.5, signed=True)


@pytest.fixture(scope="module")
def drawn():
    return patient(SEED, 1, SHAPE)


def _dice(first: np.ndarray, second: np.ndarray) -> float:
    return 2 * (first & second).sum() / (first.sum() + second.sum())


def test_rtstruct_contours_enclose_the_labels(drawn) -> None:
    phantom, who = drawn
    dataset = pydicom.dcmread(io.BytesIO(annotations.structure_set(phantom, who, WHERE, "Somebody^Else")))
    x0, y0, z0 = dicom.position(phantom, WHERE, 0)
    names = {roi.ROINumber: vocabulary.load().resolve(roi.ROIName) for roi in dataset.StructureSetROISequence}
    compared = 0
    for item in dataset.ROIContourSequence:
        rebuilt = np.zeros(SHAPE, bool)
        for contour in item.ContourSequence:
            points = np.array(contour.ContourData, float).reshape(-1, 3)
            index = round((points[0, 2] - z0) / phantom.spacing[0])
            assert contour.ContourImageSequence[0].ReferencedSOPInstanceUID == who.slice_uids[index]
            pixels = (points[:, 1::-1] - [y0, x0]) / phantom.spacing[1]
            rebuilt[index] ^= polygon2mask(SHAPE[1:], pixels)
        structure = names[item.ReferencedROINumber]
        assert structure is not None
        label = phantom.labels == structure.id
        assert _dice(rebuilt, label) > (0.95 if label.sum() > 2000 else 0.85), structure.key
        assert [int(v) for v in item.ROIDisplayColor] == list(structure.rgb)
        compared += 1
    assert compared == len(np.unique(phantom.labels)) - 1


def test_labelme_polygons_enclose_the_labels_with_holes_left_open(drawn, demo: Pseudonymiser) -> None:
    import json

    phantom, who = drawn
    files = annotations.labelme(phantom, who, demo)
    for index in range(SHAPE[0]):
        document = json.loads(files[f"{slice_name(demo.uid(who.slice_uids[index]), 1)}.json"])
        assert (document["imageHeight"], document["imageWidth"]) == SHAPE[1:]
        rebuilt: dict[int, np.ndarray] = {}
        for shape in document["shapes"]:
            structure = vocabulary.load().resolve(shape["label"])
            assert structure is not None
            points = np.array(shape["points"])[:, ::-1] - 0.5
            filled = polygon2mask(SHAPE[1:], points)
            rebuilt[structure.id] = rebuilt.get(structure.id, np.zeros(SHAPE[1:], bool)) | filled
        for label, mask in rebuilt.items():
            truth = phantom.labels[index] == label
            if truth.sum() > 150:
                assert _dice(mask, truth) > 0.9


def test_only_the_stray_shape_has_an_unknown_label(drawn, demo: Pseudonymiser) -> None:
    import json

    phantom, who = drawn
    files = annotations.labelme(phantom, who, demo, stray=True)
    labels = [shape["label"] for data in files.values() for shape in json.loads(data)["shapes"]]
    assert [name for name in labels if vocabulary.load().resolve(name) is None] == ["artefact?"]
    assert len({name for name in labels if (vocabulary.load().resolve(name) or "") != ""}) > len(np.unique(labels)) / 2


def test_a_nifti_label_map_lies_on_the_series(drawn) -> None:
    phantom, _ = drawn
    data, legend = annotations.nifti(phantom, WHERE)
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(data))
    values = np.asarray(image.dataobj)
    for value, key in legend.items():
        wanted = phantom.labels == vocabulary.load().by_key(key).id
        assert np.array_equal((values == int(value)).transpose(2, 1, 0), wanted)
    corner = image.affine @ [0, 0, SHAPE[0] - 1, 1]
    x, y, z = dicom.position(phantom, WHERE, SHAPE[0] - 1)
    assert np.allclose(corner[:3], [-x, -y, z], atol=1e-3)


def test_a_keyhole_leaves_the_hole_open() -> None:
    ring = np.zeros((40, 40), bool)
    ring[5:35, 5:35] = True
    ring[14:25, 12:20] = False
    (outline,) = trace(ring)
    assert len(outline.holes) == 1
    rebuilt = polygon2mask(ring.shape, keyhole(outline)[:, ::-1])
    assert _dice(rebuilt, ring) > 0.98
    assert not rebuilt[16:23, 14:18].any()
