import gzip
import io
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest

from medillus_pipeline.dicom.slices import render_delivery
from medillus_pipeline.dicom.volumes import build_volumes
from medillus_pipeline.errors import InputError
from medillus_pipeline.tables import SLICES, VOLUMES, from_parquet, to_parquet
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.dicom.image_files import encoded, image, instance_row, item
from medillus_pipeline_tests.dicom.volume_files import AXIAL, HU, lps_affine, pixels_of, rotation, series

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
PLAIN = lps_affine(AXIAL, (0.8, 0.8, 2.5), (-10.0, 20.0, -300.0))
OBLIQUE = lps_affine(rotation(14, -23), (0.7, 0.9, 3.25), (-61.5, 12.25, 990.125))
SHAPE = (5, 7, 6)


def build(clean: Zone, instances: list[dict[str, Any]], **options: Any) -> list[dict[str, Any]]:
    rows = build_volumes(render_delivery(instances, clean).slices, instances, clean, **options)
    return VOLUMES.to_arrow(rows).to_pylist()


def nifti(clean: Zone, row: dict[str, Any]) -> nib.Nifti1Image:
    loaded = nib.Nifti1Image.from_bytes(gzip.decompress(clean.read(row["path"])))
    assert isinstance(loaded, nib.Nifti1Image)
    return loaded


def values(clean: Zone, row: dict[str, Any]) -> np.ndarray:
    """The volume as an independent reader finds it, (column, row, slice)."""
    return nifti(clean, row).get_fdata(dtype=np.float64)


@pytest.mark.parametrize("affine", [PLAIN, OBLIQUE], ids=["axial", "oblique and anisotropic"])
def test_a_volume_holds_the_values_of_its_slices_where_the_files_say(clean: Zone, affine: np.ndarray) -> None:
    stored = pixels_of(SHAPE)
    (row,) = build(clean, series(clean, stored, affine, **HU))
    loaded = nifti(clean, row)
    assert loaded.affine is not None
    assert np.array_equal(values(clean, row), stored.transpose(2, 1, 0).astype(float) - 1024)
    assert loaded.get_data_dtype() == np.int16
    assert np.allclose(loaded.affine, LPS_TO_RAS @ affine, atol=1e-4)
    assert np.allclose(loaded.get_qform(), loaded.get_sform(), atol=1e-3)
    assert (int(loaded.header["qform_code"]), int(loaded.header["sform_code"])) == (1, 1)
    assert loaded.header.get_xyzt_units()[0] == "mm"
    assert np.allclose(np.reshape(row["affine"], (4, 4)), affine, atol=1e-6)
    assert (row["verdict"], row["unit"], row["shape"], row["slices"]) == ("volume", "HU", [6, 7, 5], 5)
    assert np.allclose(row["spacing"], np.linalg.norm(affine[:3, :3], axis=0))
    assert (row["minimum"], row["maximum"]) == (int(stored.min()) - 1024, int(stored.max()) - 1024)


def test_a_volume_can_be_rebuilt_from_the_table_of_slices_alone(clean: Zone) -> None:
    instances = series(clean, pixels_of(SHAPE), OBLIQUE, **HU)
    table = to_parquet(SLICES.to_arrow(render_delivery(instances, clean).slices))
    (row,) = build(clean, instances)
    slices = sorted(from_parquet(table).to_pylist(), key=lambda line: line["ordinal"])
    across, down = np.reshape(slices[0]["orientation"], (2, 3))
    first, last = (np.array(slices[k]["position"]) for k in (0, -1))
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = across * slices[0]["pixel_spacing"][1], down * slices[0]["pixel_spacing"][0]
    affine[:3, 2], affine[:3, 3] = (last - first) / (len(slices) - 1), first
    assert np.isclose(slices[0]["slice_spacing"], np.linalg.norm(affine[:3, 2]))
    files = [pydicom.dcmread(io.BytesIO(clean.read(line["instance_path"]))) for line in slices]
    volume = np.stack([d.pixel_array.T * float(d.RescaleSlope) + float(d.RescaleIntercept) for d in files], axis=2)
    assert np.array_equal(values(clean, row), volume)
    assert np.allclose(np.reshape(row["affine"], (4, 4)), affine, atol=1e-9)


def test_the_same_series_gives_the_same_bytes_and_the_gzip_header_has_no_time(clean: Zone, tmp_path: Path) -> None:
    other = Zone((tmp_path / "other").as_uri())
    made = [
        build(zone, series(zone, pixels_of(SHAPE), PLAIN, **HU)[::step]) for zone, step in ((clean, 1), (other, -1))
    ]
    assert made[0] == made[1]
    assert clean.files("volumes") == other.files("volumes")
    assert clean.read(made[0][0]["path"])[3:8] == bytes(5), "no file name, no time"


@pytest.mark.parametrize(
    ("attributes", "type_", "scale"),
    [
        ({"RescaleSlope": "0.25", "RescaleIntercept": "-3.5"}, np.int16, (0.25, -3.5)),
        ({"RescaleSlope": lambda k: f"{1 + k / 8}", "RescaleIntercept": 0}, np.float32, (1, 0)),
        ({"RescaleSlope": lambda k: "1" if k else "0.5", "RescaleIntercept": 0}, np.float32, (1, 0)),
        ({"RescaleSlope": 20, "RescaleIntercept": 0}, np.float32, (1, 0)),
        ({}, np.int16, (1, 0)),
    ],
    ids=["one fraction", "a slope each", "a slope that changes", "beyond 16 bits", "none"],
)
def test_values_stay_integers_where_one_scale_holds_for_all(
    clean: Zone, attributes: dict[str, Any], type_: type, scale: tuple[float, float]
) -> None:
    stored = pixels_of(SHAPE)
    (row,) = build(clean, series(clean, stored, PLAIN, Modality="MR", **attributes))
    slope, intercept = attributes.get("RescaleSlope", 1), float(attributes.get("RescaleIntercept", 0))
    slopes = np.array([float(slope(k) if callable(slope) else slope) for k in range(len(stored))])  # type: ignore[arg-type]
    expected = stored * slopes[:, None, None] + intercept
    assert np.allclose(values(clean, row), expected.transpose(2, 1, 0), rtol=1e-6)
    header = nifti(clean, row).header
    assert header.get_data_dtype() == type_
    raw = nib.Nifti1Header.from_fileobj(io.BytesIO(gzip.decompress(clean.read(row["path"]))))
    assert (float(raw["scl_slope"]), float(raw["scl_inter"])) == scale
    assert row["unit"] == "calibrated"


def test_padding_keeps_its_value_in_the_volume_and_is_named(clean: Zone) -> None:
    stored = pixels_of(SHAPE).astype(np.int16)
    stored[:, 0] = -2000
    (row,) = build(clean, series(clean, stored, PLAIN, PixelPaddingValue=-2000, **HU))
    assert row["padding"] == -3024
    assert (values(clean, row)[:, 0] == -3024).all()
    assert row["minimum"] > -1025


@pytest.mark.parametrize(("face", "pictured"), [("none", 1), ("removed", 1), ("possible", 0), ("unknown", 0)])
def test_who_may_show_a_face_gets_a_volume_and_no_picture(clean: Zone, face: str, pictured: int) -> None:
    instances = series(clean, pixels_of(SHAPE), PLAIN, **HU)
    instances[2] |= {"face": face}
    (row,) = build(clean, instances)
    assert (row["face"], row["verdict"]) == (face, "volume")
    assert len(clean.files("reformats")) == pictured
    assert (row["preview"] is None) == (not pictured)


def test_a_localizer_is_no_volume_whatever_its_geometry_and_its_series_keeps_the_other_stack(clean: Zone) -> None:
    sagittal = lps_affine(np.array([[0, 0, 1], [1, 0, 0], [0, -1, 0]]), (2.0, 2.0, 9.0), (0.0, 0.0, 0.0))
    planning = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], **HU}
    instances = series(clean, pixels_of(SHAPE), PLAIN, **HU)
    instances += series(clean, pixels_of((3, 7, 6), 2), sagittal, **planning)
    instances += series(clean, pixels_of((1, 9, 9), 3), sagittal, **planning)
    rows = build(clean, instances)
    assert [(row["stack"], row["slices"], row["verdict"]) for row in rows] == [
        (0, 5, "volume"),
        (1, 3, "localizer"),
        (2, 1, "localizer"),
    ]
    assert all(row["notes"] == ["mixed_orientation", "mixed_size"] for row in rows)


def test_an_enhanced_object_is_a_volume_as_an_independent_reader_finds_it(clean: Zone) -> None:
    highdicom = pytest.importorskip("highdicom")
    stored = pixels_of(SHAPE)
    order = [3, 0, 4, 1, 2]
    across, down, _ = np.linalg.norm(OBLIQUE[:3, :3], axis=0)
    directions = [f"{v:.10g}" for v in (*OBLIQUE[:3, 0] / across, *OBLIQUE[:3, 1] / down)]
    frames = [
        item(
            PlanePositionSequence=[
                item(ImagePositionPatient=[f"{v:.10g}" for v in OBLIQUE[:3, 3] + OBLIQUE[:3, 2] * k])
            ],
            FrameContentSequence=[item(DimensionIndexValues=[n])],
        )
        for n, k in enumerate(order, start=1)
    ]
    shared = item(
        PixelMeasuresSequence=[item(PixelSpacing=[f"{down:.10g}", f"{across:.10g}"], SliceThickness="3.25")],
        PlaneOrientationSequence=[item(ImageOrientationPatient=directions)],
        PixelValueTransformationSequence=[item(RescaleSlope="1", RescaleIntercept="-1024", RescaleType="HU")],
    )
    dataset = image(
        stored[order],
        SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1",
        FrameOfReferenceUID="2.25.77",
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=frames,
        DimensionOrganizationSequence=[item(DimensionOrganizationUID="2.25.78")],
        DimensionIndexSequence=[
            item(
                DimensionOrganizationUID="2.25.78",
                DimensionIndexPointer=0x00200032,
                FunctionalGroupPointer=0x00209113,
            )
        ],
    )
    data = encoded(dataset)
    (row,) = build(clean, [instance_row(data, clean, frames=5, face="none")])
    found = highdicom.imread(io.BytesIO(data)).get_volume(apply_modality_transform=True)
    # Its indices are (slice, row, column), and its slices may run the other way.
    matrix = found.affine[:, [2, 1, 0, 3]]
    array = found.array.transpose(2, 1, 0)
    if not np.allclose(matrix[:3, 2], OBLIQUE[:3, 2], atol=1e-3):
        matrix = matrix @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, len(order) - 1], [0, 0, 0, 1]])
        array = array[:, :, ::-1]
    assert np.allclose(np.reshape(row["affine"], (4, 4)), matrix, atol=1e-4)
    assert np.array_equal(values(clean, row), array)
    assert np.array_equal(array, stored.transpose(2, 1, 0).astype(float) - 1024)


def test_what_cannot_become_a_volume_says_so_and_costs_no_other_its_place(clean: Zone) -> None:
    good = series(clean, pixels_of(SHAPE), PLAIN, SeriesInstanceUID="2.25.11", **HU)
    cut = series(clean, pixels_of(SHAPE, 6), PLAIN, SeriesInstanceUID="2.25.12", **HU)
    slices = render_delivery(good + cut, clean).slices
    damaged = Path(clean.full(cut[0]["path"]))
    damaged.write_bytes(damaged.read_bytes()[:-40])
    verdicts = {row["series_instance_uid"]: row["verdict"] for row in build_volumes(slices, good + cut, clean)}
    assert verdicts == {"2.25.11": "volume", "2.25.12": "undecodable"}
    small = build_volumes(slices, good + cut, clean, maximum_voxels=5 * 7 * 6 - 1)
    assert {row["verdict"] for row in small} == {"too_large"}
    damaged.unlink()
    with pytest.raises(InputError, match="no longer in the clean zone"):
        build_volumes(slices, good + cut, clean)


AWKWARD = {
    "series_compressed_jpeg": [(4, "volume", [])],
    "series_compressed_jpegls": [(4, "volume", [])],
    "series_gantry_tilt": [(8, "tilted_stack", ["gaps", "tilted_stack", "uneven_spacing"])],
    "series_notavolume": [(4, "duplicate_positions", ["duplicate_positions"])],
    "series_rgb": [(4, "colour", [])],
    "series_slicecount": [(2, "too_few_slices", [])],
    "series_sliceorientation": [
        (2, "too_few_slices", ["mixed_orientation"]),
        (2, "too_few_slices", ["mixed_orientation"]),
    ],
}


def of_folder(folder: Path, clean: Zone, **changes: Any) -> list[dict[str, Any]]:
    return [instance_row(path.read_bytes(), clean, **changes) for path in sorted(folder.glob("*.dcm"))]


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_series_get_the_right_verdict(shared_data: Path, clean: Zone, name: str) -> None:
    rows = build(clean, of_folder(shared_data / "awkward" / name, clean))
    assert [(row["slices"], row["verdict"], row["notes"]) for row in rows] == AWKWARD[name]


def by_simple_itk(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The volume (column, row, slice) and its affine to LPS mm, as SimpleITK reads the only series of a folder."""
    sitk = pytest.importorskip("SimpleITK")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    read = reader.Execute()
    directions = np.reshape(read.GetDirection(), (3, 3))
    return sitk.GetArrayFromImage(read).transpose(2, 1, 0), lps_affine(directions, read.GetSpacing(), read.GetOrigin())


@pytest.mark.parametrize(
    "name", ["ct_thorax_rt/ct", "mr_head_t1", "awkward/series_compressed_jpeg", "awkward/series_compressed_jpegls"]
)
def test_simple_itk_finds_the_same_voxels_at_the_same_places(shared_data: Path, clean: Zone, name: str) -> None:
    source = shared_data / name
    (row,) = build(clean, of_folder(source, clean))
    array, affine = by_simple_itk(source)
    assert np.allclose(np.reshape(row["affine"], (4, 4)), affine, atol=1e-3)
    assert np.array_equal(values(clean, row), array)


@pytest.mark.parametrize("affine", [PLAIN, OBLIQUE], ids=["axial", "oblique and anisotropic"])
def test_simple_itk_reads_the_same_from_files_and_from_the_volume(
    clean: Zone, tmp_path: Path, affine: np.ndarray
) -> None:
    sitk = pytest.importorskip("SimpleITK")
    instances = series(clean, pixels_of(SHAPE), affine, **HU)
    for number, instance in enumerate(instances):
        (tmp_path / f"{number}.dcm").write_bytes(clean.read(instance["path"]))
    array, placed = by_simple_itk(tmp_path)
    (row,) = build(clean, instances)
    assert np.allclose(np.reshape(row["affine"], (4, 4)), placed, atol=1e-4)
    assert np.array_equal(values(clean, row), array)
    again = sitk.ReadImage(clean.full(row["path"]))
    assert np.array_equal(sitk.GetArrayFromImage(again).transpose(2, 1, 0), array)
    directions = np.reshape(again.GetDirection(), (3, 3))
    assert np.allclose(lps_affine(directions, again.GetSpacing(), again.GetOrigin()), placed, atol=1e-3)
