"""Segmentations as others publish them equal their label maps as another library reads them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medillus_pipeline.annotation.drawing import Drawing
from medillus_pipeline.annotation.formats import segmentation
from medillus_pipeline.annotation.outcomes import Reason, Refused
from medillus_pipeline.annotation.references import References
from medillus_pipeline.annotation.slice_index import SliceIndex
from medillus_pipeline.annotation.vocabulary import Vocabulary, load
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline_tests.annotation.published import rows_of_files


def _of_volume(drawing: Drawing, slices: list[dict[str, Any]], identifier: int) -> np.ndarray:
    """(slices by height, rows, columns) bool."""
    ordered = sorted(slices, key=lambda one: one["position"][2])
    found = np.zeros((len(ordered), ordered[0]["rows"], ordered[0]["columns"]), bool)
    for plane, one in zip(found, ordered, strict=True):
        region = drawing.regions.get(one["slice_name"], {}).get(identifier)
        if region is not None:
            plane[region.window] = region.mask
    return found


def _nrrd(path: Path) -> np.ndarray:
    """(slices by height, rows, columns) labels of an axial NRRD, read by another library."""
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.ReadImage(str(path))
    assert np.allclose(np.abs(image.GetDirection()), np.eye(3).ravel(), atol=1e-6)
    image = sitk.DICOMOrient(image, "LPS")
    return sitk.GetArrayFromImage(image)


def _read_file(
    path: Path, shared_data: Path, pseudonymiser: Pseudonymiser, terms: Vocabulary
) -> tuple[Drawing, list[dict[str, Any]]]:
    rows, _ = rows_of_files(shared_data / "annotations" / "dcmqi_liver_ct" / "ct", pseudonymiser)
    index = SliceIndex(rows)
    return segmentation.read(path.read_bytes(), References(index, pseudonymiser), index, terms), rows


def test_a_published_segmentation_equals_its_nrrd_twin(shared_data: Path, pseudonymiser: Pseudonymiser) -> None:
    folder = shared_data / "annotations" / "dcmqi_liver_ct"
    found, rows = _read_file(folder / "liver.dcm", shared_data, pseudonymiser, load())
    twin = _nrrd(folder / "liver_seg.nrrd") > 0
    assert np.array_equal(_of_volume(found, rows, load().by_key("liver").id), twin)
    assert twin.sum() == 107_098 and not found.notes and not found.remarks


def test_published_overlapping_segments_equal_their_nrrd_twins(shared_data: Path, pseudonymiser: Pseudonymiser) -> None:
    folder = shared_data / "annotations" / "dcmqi_liver_ct"
    colours = {1: "GREEN", 2: "ORANGE", 3: "PURPLE", 4: "LIGHT_BLUE", 5: "DARK_BLUE"}
    found, rows = _read_file(folder / "partial_overlaps.dcm", shared_data, pseudonymiser, _named(colours))
    twins = {1: "1", 2: "2", 3: "3", 4: "1", 5: "1"}
    volumes = {number: _of_volume(found, rows, number) for number in colours}
    for number, volume in volumes.items():
        assert np.array_equal(volume, _nrrd(folder / f"partial_overlaps-{twins[number]}.nrrd") == number), number
    assert sum(v.astype(int) for v in volumes.values()).max() > 1 and not found.notes
    ours, _ = _read_file(folder / "partial_overlaps.dcm", shared_data, pseudonymiser, load())
    assert ours.structures == {load().by_key("edema").id}
    assert ours.unknown_labels == {"GREEN", "ORANGE", "PURPLE", "DARK_BLUE"}


def _named(names: dict[int, str]) -> Vocabulary:
    """A vocabulary of nothing but these names."""
    one = load().by_key("lesion")
    assert not one.code
    return Vocabulary(
        tuple(replace(one, id=i, key=name, name_en=name, name_zh=name, synonyms=()) for i, name in names.items()),
        "test",
    )


@pytest.mark.parametrize("name", ["liver_rle", "liver_j2k", "liver_deflate", "liver_nonbyte_aligned"])
def test_every_published_encoding_of_the_liver_holds_the_same_liver(
    name: str, shared_data: Path, pseudonymiser: Pseudonymiser
) -> None:
    liver = load().by_key("liver").id
    plain = shared_data / "annotations" / "dcmqi_liver_ct" / "liver.dcm"
    expected = _of_volume(*_read_file(plain, shared_data, pseudonymiser, load()), liver)
    path = shared_data / "awkward" / "single" / f"{name}.dcm"
    found = _of_volume(*_read_file(path, shared_data, pseudonymiser, load()), liver)
    assert np.array_equal(found, expected)


def test_one_frame_that_claims_three_places_is_broken(shared_data: Path, pseudonymiser: Pseudonymiser) -> None:
    with pytest.raises(Refused) as refused:
        _read_file(shared_data / "awkward" / "single" / "liver_1frame.dcm", shared_data, pseudonymiser, load())
    assert refused.value.reason is Reason.BROKEN_FILE
