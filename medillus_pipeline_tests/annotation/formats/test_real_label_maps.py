"""Public label maps on slices of their own images, against what another reader makes of the same files."""

import csv
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image

from medillus_pipeline.annotation.drawing import Drawing
from medillus_pipeline.annotation.formats import nrrd
from medillus_pipeline.annotation.vocabulary import load
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.dicom.from_nifti import wrap_volume
from medillus_pipeline_tests.annotation.formats.placed import masks, only, read_files, stack_of
from medillus_pipeline_tests.annotation.published import row, rows_of_files

SERIES = "1.2.3.4"
WORDS = load()


def rows_of_wrapped(files: list[bytes], pseudonymiser: Pseudonymiser) -> list[dict[str, Any]]:
    import io

    found = []
    for data in files:
        d = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True)
        found.append(
            row(
                pseudonymiser,
                d.SOPInstanceUID,
                series_instance_uid=pseudonymiser.uid(d.SeriesInstanceUID),
                rows=d.Rows,
                columns=d.Columns,
                pixel_spacing=[float(v) for v in d.PixelSpacing],
                position=[float(v) for v in d.ImagePositionPatient],
                orientation=[float(v) for v in d.ImageOrientationPatient],
                slice_spacing=float(d.SliceThickness),
            )
            | {"original": str(d.SeriesInstanceUID)}
        )
    return found


def compared(drawing: Drawing, slices: list[dict[str, Any]], truth: np.ndarray, names: dict[str, str]) -> int:
    """Check every structure of `truth` (slices, rows, columns) exactly; how many there were."""
    present = [int(v) for v in np.unique(truth) if v]
    for value in present:
        structure = WORDS.resolve(names[str(value)])
        assert structure is not None, names[str(value)]
        assert np.array_equal(masks(drawing, slices, structure.key), truth == value), structure.key
    assert len(drawing.structures) == len(present)
    return len(present)


def test_totalsegmentator_labels_meet_their_image_that_came_as_dicom(
    shared_data: Path, pseudonymiser: Pseudonymiser
) -> None:
    folder = shared_data / "ct_abdomen_totalseg"
    image: Any = nib.load(folder / "ct.nii.gz")
    labels: Any = nib.load(folder / "seg.nii.gz")
    files = wrap_volume(np.asanyarray(image.dataobj), image.affine, patient_id="one")
    slices = rows_of_wrapped(files, pseudonymiser)
    series = slices[0]["original"]
    drawing = only(read_files({f"{series}.nii.gz": (folder / "seg.nii.gz").read_bytes()}, slices, pseudonymiser))
    assert not drawing.notes and not drawing.remarks
    truth = np.asanyarray(labels.dataobj)[::-1, ::-1].transpose(2, 1, 0)  # RAS to columns left, rows to the back
    names = json.loads((shared_data / "totalseg_labels.json").read_text())
    assert compared(drawing, slices, truth, names) == 61


def test_one_file_per_organ_draws_what_each_file_holds(shared_data: Path, pseudonymiser: Pseudonymiser) -> None:
    folder = shared_data / "ct_abdomen_totalseg"
    slices = stack_of(nib.load(folder / "ct_sub30.nii.gz"), pseudonymiser)
    organs = {f"{SERIES}/{file.name}": file for file in (folder / "per_organ_sub30").iterdir()}
    found = read_files({path: file.read_bytes() for path, file in organs.items()}, slices, pseudonymiser)
    assert len(found) == 5
    for path, one in found.items():
        image: Any = nib.load(organs[path])
        assert isinstance(one, Drawing) and not one.notes
        truth = np.asanyarray(image.dataobj).transpose(2, 1, 0) > 0
        assert np.array_equal(masks(one, slices, Path(path).name.removesuffix(".nii.gz")), truth)


def test_totalsegmentator_labels_on_delivered_dicom(shared_data: Path, pseudonymiser: Pseudonymiser) -> None:
    folder = shared_data / "ct_abdomen_totalseg_dicom"
    heads = [pydicom.dcmread(f, force=True, stop_before_pixels=True) for f in sorted((folder / "ct").iterdir())]
    slices = [
        row(
            pseudonymiser,
            f"1.2.3.{k}",
            rows=d.Rows,
            columns=d.Columns,
            pixel_spacing=[float(v) for v in d.PixelSpacing],
            position=[float(v) for v in d.ImagePositionPatient],
            orientation=[float(v) for v in d.ImageOrientationPatient],
            slice_spacing=2.0,
        )
        for k, d in enumerate(sorted(heads, key=lambda d: float(d.ImagePositionPatient[2])))
    ]
    drawing = only(read_files({f"{SERIES}.nii.gz": (folder / "seg.nii.gz").read_bytes()}, slices, pseudonymiser))
    image: Any = nib.load(folder / "seg.nii.gz")
    assert not drawing.notes and not drawing.remarks
    truth = np.asanyarray(image.dataobj)[:, ::-1].transpose(2, 1, 0)
    names = json.loads((shared_data / "totalseg_labels.json").read_text())
    assert compared(drawing, slices, truth, names) == 31


@pytest.mark.parametrize("folder", ["ct_headneck_openkbp", "mr_hippocampus"])
def test_research_label_maps_survive_voxel_for_voxel(
    shared_data: Path, pseudonymiser: Pseudonymiser, folder: str
) -> None:
    if folder == "mr_hippocampus":
        names = {"1": "hippocampus_anterior", "2": "hippocampus_posterior"}
        files = sorted((shared_data / folder / "labels").iterdir())
    else:
        names = json.loads((shared_data / folder / "labels.json").read_text())
        files = [one / "seg.nii.gz" for one in sorted((shared_data / folder).glob("pt_*"))][:6]
    index = json.dumps({"volumes": [{"file": "x.nii.gz", "series_instance_uid": SERIES}], "labels": names}).encode()
    if not all(WORDS.resolve(name) for name in names.values()):
        pytest.skip("the vocabulary has no row for these structures")
    structures = 0
    for file in files:
        image: Any = nib.load(file)
        slices = stack_of(image, pseudonymiser)
        drawing = only(read_files({"x.nii.gz": file.read_bytes(), "index.json": index}, slices, pseudonymiser))
        assert not drawing.notes and not drawing.remarks
        structures += compared(drawing, slices, np.asanyarray(image.dataobj).transpose(2, 1, 0), names)
    assert structures >= 2 * len(files)


def dcmqi(shared_data: Path) -> list[Path]:
    return sorted((shared_data / "annotations" / "dcmqi_liver_ct").glob("*.nrrd"))


def test_nrrd_label_maps_of_dcmqi_equal_what_simpleitk_reads(shared_data: Path, pseudonymiser: Pseudonymiser) -> None:
    sitk = pytest.importorskip("SimpleITK")
    rows, files = rows_of_files(shared_data / "annotations" / "dcmqi_liver_ct" / "ct", pseudonymiser)
    slices = sorted(rows, key=lambda one: one["position"][2])
    series = str(pydicom.dcmread(next(iter(files.values())), stop_before_pixels=True).SeriesInstanceUID)
    compared_files = 0
    for file in dcmqi(shared_data):
        image = sitk.ReadImage(str(file))
        truth = sitk.GetArrayFromImage(image)
        keys = ["liver", "spleen", "heart", "aorta", "stomach", "pancreas", "gallbladder"]
        values = [int(v) for v in np.unique(truth) if v]
        names = dict(zip(map(str, values), keys, strict=False))
        entry = {"file": "x.nrrd", "series_instance_uid": series, "labels": names}
        drawing = only(
            read_files(
                {"x.nrrd": file.read_bytes(), "index.json": json.dumps({"volumes": [entry]}).encode()},
                slices,
                pseudonymiser,
            )
        )
        assert not drawing.notes and not drawing.remarks
        heights = [image.TransformIndexToPhysicalPoint((0, 0, k))[2] for k in range(truth.shape[0])]
        order = [int(np.argmin(np.abs(np.array(heights) - one["position"][2]))) for one in slices]
        assert compared(drawing, slices, truth[order], names) == len(values)
        compared_files += 1
    assert compared_files >= 7


def test_an_nrrd_of_a_brain_whose_rows_run_forward_lies_where_simpleitk_puts_it(shared_data: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    file = shared_data / "annotations" / "nrrd_brain" / "brain1_label.nrrd"
    data, image = file.read_bytes(), sitk.ReadImage(str(file))
    (layer,), affine = nrrd.load_layers(data, nrrd.read_header(data), None)
    assert np.array_equal(layer, sitk.GetArrayFromImage(image).transpose(2, 1, 0))
    assert layer.any()
    for voxel in ((0, 0, 0), (255, 3, 24), (17, 200, 5)):
        assert np.allclose((affine @ [*voxel, 1])[:3], image.TransformIndexToPhysicalPoint(voxel))


def test_a_slicer_segmentation_that_names_no_space_is_read_as_far_as_its_header(shared_data: Path) -> None:
    (file,) = (shared_data / "annotations" / "slicer_seg_nrrd").iterdir()
    header = nrrd.read_header(file.read_bytes())
    assert header.keys["Segment0_Name"] == "Bladder_Union_PTV"
    assert header.fields["sizes"] == "60 89 38 1"


def test_pictures_of_organs_go_to_the_slice_of_their_name(shared_data: Path, pseudonymiser: Pseudonymiser) -> None:
    folder = shared_data / "annotations" / "png_slices_masks" / "masks"
    slices = [row(pseudonymiser, "1.2.3.4.5", rows=512, columns=512)]
    name = slices[0]["slice_name"]
    files = {name + file.name.removeprefix("amos_0004_75"): file.read_bytes() for file in folder.glob("amos*.png")}
    found = read_files(files, slices, pseudonymiser)
    assert len(found) == 3
    for path, one in found.items():
        key = path.removeprefix(name + "_").removesuffix("_000.png")
        truth = np.array(Image.open(folder / f"amos_0004_75_{key}_000.png"))
        assert isinstance(one, Drawing)
        assert np.array_equal(masks(one, slices, key)[0], truth > 0)


@pytest.mark.parametrize("patient", ["cxr1", "cxr2"])
def test_masks_of_chest_x_rays_are_put_where_their_table_says(
    shared_data: Path, pseudonymiser: Pseudonymiser, patient: str
) -> None:
    folder = shared_data / "xray_chest_masks" / patient
    width, height = Image.open(folder / "image.jpg").size
    slices = [row(pseudonymiser, "1.2.3.4.5", rows=height, columns=width, position=None, orientation=None)]
    files = {f"1.2.3.4.5/{file.name}": file.read_bytes() for file in folder.iterdir() if file.suffix != ".jpg"}
    found = read_files(files, slices, pseudonymiser)
    drawn = 0
    for line in csv.DictReader((folder / "masks.csv").read_text().splitlines()):
        one = found[f"1.2.3.4.5/{line['mask']}"]
        assert isinstance(one, Drawing)
        structure = WORDS.resolve(line["structure"])
        if structure is None:
            assert one.unknown_labels == {line["structure"]}
            continue
        pixels = np.array(Image.open(folder / line["mask"]).convert("RGB")).any(axis=2)
        truth = np.zeros((height, width), bool)
        top, left = int(line["top"]), int(line["left"])
        truth[top : top + int(line["height"]), left : left + int(line["width"])] = pixels
        assert np.array_equal(masks(one, slices, structure.key)[0], truth)
        drawn += 1
    assert drawn >= 2
