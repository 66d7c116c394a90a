"""Faces removed from DICOM files: which pixels change, which stay, and when a series is refused."""

import io

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, RLELossless

from medillus_pipeline.deidentification.deface_files import deface_series
from medillus_pipeline.dicom.outcomes import Quarantine, Reason
from medillus_pipeline_tests.deidentification.head_phantom import grid, head
from medillus_pipeline_tests.dicom.image_files import encoded, image


def _slices(modality: str, orientation: str = "axial", flag: str = "YES") -> list[FileDataset]:
    affine, shape = grid(orientation, (3.0, 2.0, 2.0))
    volume, _ = head(modality, affine, shape)
    made = []
    for k, plane in enumerate(volume):
        stored = np.round(plane + (1024 if modality == "CT" else 50)).clip(0, 4095).astype(np.uint16)
        attributes = {
            "BitsStored": 12,
            "HighBit": 11,
            "InstanceNumber": k,
            "ImagePositionPatient": (affine[:3, 3] + k * affine[:3, 2]).tolist(),
            "ImageOrientationPatient": [*(affine[:3, 0] / 2), *(affine[:3, 1] / 2)],
            "PixelSpacing": [2.0, 2.0],
        }
        if flag:
            attributes["RecognizableVisualFeatures"] = flag
        if modality == "CT":
            attributes |= {"RescaleSlope": 1, "RescaleIntercept": -1024}
        else:
            attributes |= {"Modality": "MR", "SOPClassUID": MRImageStorage}
        made.append(image(stored, **attributes))
    return made


def _read(data: bytes) -> FileDataset:
    return pydicom.dcmread(io.BytesIO(data))


@pytest.mark.parametrize(("modality", "orientation", "air"), [("CT", "axial", 24), ("MR", "sagittal", None)])
def test_the_face_becomes_air_and_all_other_pixels_stay(modality: str, orientation: str, air: int | None) -> None:
    sources = _slices(modality, orientation)
    changed = 0
    least = min(source.pixel_array.min() for source in sources)
    for source, data in zip(sources, deface_series([encoded(source) for source in sources]), strict=True):
        made = _read(data)
        differs = made.pixel_array != source.pixel_array
        changed += differs.sum()
        assert set(np.unique(made.pixel_array[differs])) <= {air if air is not None else least}
        assert made.RecognizableVisualFeatures == "NO"
        assert made.SOPInstanceUID == source.SOPInstanceUID
    assert changed > 100_000 / 8


def test_the_order_of_the_files_does_not_matter_and_is_kept() -> None:
    files = [encoded(source) for source in _slices("CT")]
    assert deface_series(files[::-1])[::-1] == deface_series(files)


def test_compressed_slices_come_back_native_with_the_same_pixels_outside_the_face() -> None:
    plain, packed = _slices("CT"), _slices("CT")
    for dataset in packed:
        dataset.compress(RLELossless)
    expected = [_read(data).pixel_array for data in deface_series([encoded(d) for d in plain])]
    made = [_read(data) for data in deface_series([encoded(d) for d in packed])]
    assert all((one.pixel_array == two).all() for one, two in zip(made, expected, strict=True))
    assert any(one.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian for one in made)


def test_padding_stays_padding() -> None:
    sources = _slices("CT")
    for source in sources:
        pixels = source.pixel_array.copy()
        pixels[:4] = 0
        source.PixelPaddingValue = 0
        source["PixelPaddingValue"].VR = "US"
        source.PixelData = pixels.tobytes()
    for data in deface_series([encoded(source) for source in sources]):
        pixels = _read(data).pixel_array
        assert (pixels[:4] == 0).all()
        assert (pixels[4:] != 0).any()


def test_a_few_axial_slices_pass_with_the_flag_and_unchanged_pixels() -> None:
    sources = _slices("CT")[50:55]
    for source, data in zip(sources, deface_series([encoded(source) for source in sources]), strict=True):
        assert _read(data).PixelData == source.PixelData


def test_a_few_sagittal_slices_show_a_profile_and_are_refused() -> None:
    with pytest.raises(Quarantine) as caught:
        deface_series([encoded(source) for source in _slices("MR", "sagittal")[30:34]])
    assert caught.value.reason is Reason.FACE_NOT_REMOVED


def test_a_series_with_a_missing_slice_is_refused() -> None:
    sources = _slices("CT")
    with pytest.raises(Quarantine) as caught:
        deface_series([encoded(source) for source in sources[:40] + sources[43:]])
    assert caught.value.reason is Reason.FACE_NOT_REMOVED


def test_a_series_of_unknown_content_that_shows_no_head_comes_back_as_it_was() -> None:
    sources = _slices("CT", flag="")
    for source in sources:
        pixels = np.full(source.pixel_array.shape, 24, np.uint16)
        pixels[10:-10, 5:-5] = 1064
        source.PixelData = pixels.tobytes()
    files = [encoded(source) for source in sources]
    assert deface_series(files) == files


def test_a_series_of_unknown_content_that_shows_a_head_is_defaced() -> None:
    files = [encoded(source) for source in _slices("CT", flag="")]
    assert deface_series(files) != files


@pytest.mark.parametrize(("orientation", "first", "last"), [("sagittal", 24, 46), ("coronal", 0, 24)])
def test_a_narrow_block_of_mr_slices_of_unknown_content_is_refused(orientation: str, first: int, last: int) -> None:
    with pytest.raises(Quarantine) as caught:
        deface_series([encoded(source) for source in _slices("MR", orientation, flag="")[first:last]])
    assert caught.value.reason is Reason.FACE_NOT_REMOVED
