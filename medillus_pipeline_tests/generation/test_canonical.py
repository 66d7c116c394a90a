from pathlib import Path

import numpy as np
import pydicom
import pytest

from medillus_pipeline.dicom.geometry import slice_to_lps_affine
from medillus_pipeline.dicom.pixels import calibrated
from medillus_pipeline.generation import canonical
from medillus_pipeline.generation.canonical import AIR, Frame


def disc(size: int, spacing: float, centre: tuple[float, float], radius: float) -> np.ndarray:
    """A disc; centre (row, column) and radius in mm from the grid's first pixel."""
    rows, columns = np.mgrid[:size, :size] * spacing
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


def scan_with_table() -> tuple[np.ndarray, np.ndarray]:
    """A body on a thin table that it touches, 512 pixels of 0.8 mm."""
    body = disc(512, 0.8, (170.0, 200.0), 120.0)
    values = np.where(body, 40.0, -1000.0)
    values[362:365, 40:480] = 300.0
    return values, body


def test_the_body_is_found_without_the_table_it_lies_on():
    values, body = scan_with_table()
    found = canonical.body_mask(values, (0.8, 0.8))
    assert not (body & ~found).any()
    assert (found & ~body).sum() < 0.06 * body.sum()
    assert not found[362:, :200].any()


def test_lungs_belong_to_the_body():
    values, body = scan_with_table()
    values[disc(512, 0.8, (150.0, 160.0), 40.0)] = -850
    assert canonical.body_mask(values, (0.8, 0.8))[body].all()


def test_a_slice_of_air_has_no_body():
    mask = canonical.body_mask(np.full((64, 64), -1000.0), (5.0, 5.0))
    assert not mask.any()
    assert canonical.body_box(mask, np.eye(4)) is None


def test_the_canonical_affine_says_where_each_pixel_is():
    frame = Frame(64, 320.0, 10.0, -20.0)
    affine = frame.affine(7.0)
    np.testing.assert_allclose(affine @ [31.5, 31.5, 0, 1], [10, -20, 7, 1])
    np.testing.assert_allclose((affine @ [63.5, 63.5, 0, 1])[:2] - (affine @ [-0.5, -0.5, 0, 1])[:2], [320, 320])


@pytest.mark.parametrize(
    ("position", "orientation"),
    [
        ((-200.0, -150.0, 5.0), [1, 0, 0, 0, 1, 0]),
        ((200.0, 150.0, 5.0), [-1, 0, 0, 0, -1, 0]),
        ((-200.0, -150.0, 5.0), [0, 1, 0, 1, 0, 0]),
        ((200.0, -150.0, 5.0), [-1, 0, 0, 0, 1, 0]),
    ],
    ids=["supine", "turned", "transposed", "mirrored storage"],
)
def test_whatever_way_a_slice_is_stored_it_arrives_the_same(position, orientation):
    """A spot at x = +60 mm (patient's left), y = -30 mm (front) lands right of the middle and above it."""
    affine = slice_to_lps_affine(position, orientation, (2.0, 1.0))
    rows, columns = np.mgrid[:400, :400]
    x = affine[0, 0] * columns + affine[0, 1] * rows + affine[0, 3]
    y = affine[1, 0] * columns + affine[1, 1] * rows + affine[1, 3]
    spot = (x - 60) ** 2 + (y + 30) ** 2 <= 45**2
    frame = Frame(64, 320.0, 0.0, 0.0)
    grid, k = canonical.source_grid(affine, frame)
    values = canonical.resample_values(np.where(spot, 100.0, 0.0), grid, k, 0.0)
    down, right = np.array(np.nonzero(values > 50)).mean(1)
    np.testing.assert_allclose(frame.affine(0)[:2] @ [right, down, 0, 1], [60, -30], atol=1.0)
    labels = canonical.resample_labels(spot.astype(np.uint8) * 9, grid, k)
    assert set(np.unique(labels)) == {0, 9}
    assert labels.astype(bool).sum() * 25 == pytest.approx(np.pi * 45**2, rel=0.03)


def test_downsampling_averages_instead_of_picking():
    fine = np.indices((256, 256)).sum(0) % 2 * 100.0
    affine = slice_to_lps_affine((-127.5, -127.5, 0), [1, 0, 0, 0, 1, 0], (1.0, 1.0))
    grid, k = canonical.source_grid(affine, Frame(32, 256.0, 0.0, 0.0))
    assert k == 8
    np.testing.assert_allclose(canonical.resample_values(fine, grid, k, AIR), 50, atol=1e-3)


def test_beyond_the_scanned_area_there_is_air():
    affine = slice_to_lps_affine((-31.5, -31.5, 0), [1, 0, 0, 0, 1, 0], (1.0, 1.0))
    grid, k = canonical.source_grid(affine, Frame(32, 256.0, 0.0, 0.0))
    values = canonical.resample_values(np.full((64, 64), 40.0), grid, k, AIR)
    assert values[0, 0] == AIR and values[16, 16] == 40
    assert not canonical.resample_labels(np.full((64, 64), 3, np.uint8), grid, k)[0].any()


def test_a_coarse_source_is_interpolated_smoothly():
    affine = slice_to_lps_affine((-120, -120, 0), [1, 0, 0, 0, 1, 0], (16.0, 16.0))
    grid, k = canonical.source_grid(affine, Frame(64, 128.0, 0.0, 0.0))
    ramp = np.tile(np.arange(16) * 16.0, (16, 1))
    steps = np.diff(canonical.resample_values(ramp, grid, k, 0.0), axis=1)
    np.testing.assert_allclose(steps, 2.0, atol=1e-3)


def test_only_slices_across_the_body_axis_are_axial():
    tilted = [1, 0, 0, 0, np.cos(np.radians(15)), np.sin(np.radians(15))]
    for orientation, expected in ([1, 0, 0, 0, 1, 0], True), (tilted, True), ([0, 1, 0, 0, 0, -1], False):
        affine = slice_to_lps_affine((0, 0, 0), orientation, (1, 1))
        assert canonical.is_axial(affine, 20.0) is expected


def test_values_without_a_unit_are_scaled_by_their_percentiles():
    samples = np.concatenate([np.linspace(100, 900, 1001), [1e6]])
    scaled = canonical.normalised(samples, canonical.series_scale(samples))
    assert scaled.min() == -1000 and scaled.max() == 1000
    assert abs(scaled[500]) < 30
    assert np.isfinite(canonical.normalised(np.zeros(9), canonical.series_scale(np.zeros(9)))).all()


def test_the_table_of_a_real_scan_is_removed_and_the_patient_kept(shared_data: Path):
    """`ct_thorax_rt`: table top and mattress edges lie below the patient's back and are brighter than -300 HU."""
    scans = [pydicom.dcmread(path) for path in sorted((shared_data / "ct_thorax_rt").rglob("*.dcm"))]
    scans = sorted((s for s in scans if s.Modality == "CT"), key=lambda s: float(s.ImagePositionPatient[2]))
    for scan in scans[10:70:15]:
        values = calibrated(scan, 1, padding=AIR)
        found = canonical.body_mask(values, (float(scan.PixelSpacing[0]), float(scan.PixelSpacing[1])))
        bright = values > canonical.BODY_THRESHOLD_HU
        back = np.nonzero(found.any(1))[0].max()
        assert bright[back + 5 :].sum() > 500
        inside = found[: back + 1]
        assert (bright[: back + 1] & ~inside).sum() < 0.03 * inside.sum()
        assert 0.1 < found.mean() < 0.5
