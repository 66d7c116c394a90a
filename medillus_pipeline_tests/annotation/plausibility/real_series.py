"""Real and synthetic series with what was drawn on them, as plausibility is examined: slices, regions, values in HU.

Everything is read by the project's own readers. What is not here: defects (the tests plant those).
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.annotation.formats import nifti, rtstruct
from medillus_pipeline.annotation.label_map import Region, trimmed
from medillus_pipeline.annotation.references import References
from medillus_pipeline.annotation.slice_index import SliceIndex, Target
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.dicom.pixels import calibrated
from medillus_pipeline.phantom import cohort
from medillus_pipeline_tests.annotation.published import row, rows_of_files

TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Drawn:
    """One annotator's drawing of one series, ready for `examine`."""

    name: str
    stack: Sequence[Target]
    regions: dict[str, dict[int, Region]]
    values: Callable[[Target], np.ndarray | None]
    modality: str = "CT"


def of_structure_set(name: str, images: Path, structures: Path, pseudonymiser: Pseudonymiser) -> Drawn:
    """DICOM slices with their RT Structure Set; the values are read as the dataset reads them, padding as NaN."""
    rows, files = rows_of_files(images, pseudonymiser)
    index = SliceIndex(rows)
    drawing = rtstruct.read(structures.read_bytes(), References(index, pseudonymiser), index, vocabulary.load())

    def values(target: Target) -> np.ndarray:
        return calibrated(pydicom.dcmread(files[target.slice_name]), target.frame, padding=np.nan)

    return Drawn(name, list(index.by_name.values()), drawing.regions, values, rows[0]["modality"])


def of_volume(
    name: str,
    labels: Path,
    names: dict[int, str],
    pseudonymiser: Pseudonymiser,
    *,
    image: Path | None = None,
    offset: float = 0.0,
    modality: str = "CT",
) -> Drawn:
    """A NIfTI label map on its own grid; `image` on the same grid holds the values, less by `offset` than HU."""
    volume: Any = nib.load(labels)
    lps = TO_LPS @ volume.affine
    sizes = np.linalg.norm(lps[:3, :3], axis=0)
    steps = lps[:3, :3] / sizes
    columns, height, count = volume.shape[:3]
    rows = [
        row(
            pseudonymiser,
            f"{name}.{k}",
            rows=height,
            columns=columns,
            ordinal=k,
            modality=modality,
            pixel_spacing=[float(sizes[1]), float(sizes[0])],
            position=[float(v) for v in lps[:3, 3] + k * lps[:3, 2]],
            orientation=[float(v) for v in (*steps[:, 0], *steps[:, 1])],
            slice_spacing=float(sizes[2]),
        )
        for k in range(count)
    ]
    index = SliceIndex(rows)
    entry = nifti.VolumeEntry(labels.name, rows[0]["series_instance_uid"], names)
    bare = nib.Nifti1Image(np.asanyarray(volume.dataobj), volume.affine).to_bytes()
    drawing = nifti.read(bare, entry, index, vocabulary.load())
    numbers = {one["slice_name"]: k for k, one in enumerate(rows)}
    scanned = None if image is None else np.asanyarray(nib.load(image).dataobj)  # type: ignore[attr-defined]

    def values(target: Target) -> np.ndarray | None:
        if scanned is None:
            return None
        return scanned[:, :, numbers[target.slice_name]].T.astype(np.float32) + offset

    return Drawn(name, list(index.by_name.values()), drawing.regions, values, modality)


def of_phantom(number: int, pseudonymiser: Pseudonymiser, shape: tuple[int, int, int] = (40, 256, 256)) -> Drawn:
    """A patient of the demo's cohort with its whole label map."""
    phantom, _ = cohort.patient(20260101, number, shape)
    x, y, z = phantom.origin
    rows = [
        row(
            pseudonymiser,
            f"phantom.{number}.{k}",
            rows=shape[1],
            columns=shape[2],
            ordinal=k,
            pixel_spacing=list(phantom.spacing[1:]),
            position=[x, y, z + k * phantom.spacing[0]],
            slice_spacing=phantom.spacing[0],
        )
        for k in range(shape[0])
    ]
    index = SliceIndex(rows)
    numbers = {one["slice_name"]: k for k, one in enumerate(rows)}
    regions = {}
    for name, k in numbers.items():
        found = {int(v): trimmed(phantom.labels[k] == v) for v in np.unique(phantom.labels[k]) if v}
        if found:
            regions[name] = {i: region for i, region in found.items() if region is not None}
    return Drawn(
        f"phantom {number}",
        list(index.by_name.values()),
        regions,
        lambda target: phantom.hu[numbers[target.slice_name]].astype(np.float32),
    )


def thorax(shared_data: Path, pseudonymiser: Pseudonymiser) -> Drawn:
    """A planning CT with nine structures drawn in the clinic."""
    folder = shared_data / "ct_thorax_rt"
    return of_structure_set("ct_thorax_rt", folder / "ct", folder / "RS.dcm", pseudonymiser)


def all_clean(shared_data: Path, pseudonymiser: Pseudonymiser, phantoms: int = 4) -> Iterator[Drawn]:
    """Every real series with labels that are taken to be right, and some of the phantom's patients."""
    yield thorax(shared_data, pseudonymiser)
    for modality in ("CT", "MR_T1", "PET"):
        folder = shared_data / "rtstruct_sts_002" / modality
        yield of_structure_set(f"rtstruct_sts_002 {modality}", folder / "image", folder / "RS.dcm", pseudonymiser)
    organs = {int(k): v for k, v in json.loads((shared_data / "totalseg_labels.json").read_text()).items()}
    abdomen = shared_data / "ct_abdomen_totalseg"
    yield of_volume("totalseg", abdomen / "seg.nii.gz", organs, pseudonymiser, image=abdomen / "ct.nii.gz")
    yield totalsegmentator_dicom(shared_data, organs, pseudonymiser)
    heads = shared_data / "ct_headneck_openkbp"
    names = {int(k): v for k, v in json.loads((heads / "labels.json").read_text()).items()}
    for folder in sorted(heads.glob("pt_*")):
        image = next(path for path in folder.glob("*.nii.gz") if path.name != "seg.nii.gz")
        labels = folder / "seg.nii.gz"
        yield of_volume(f"openkbp {folder.name}", labels, names, pseudonymiser, image=image, offset=-1000.0)
    hippocampus = {1: "hippocampus_anterior", 2: "hippocampus_posterior"}
    for labels in sorted((shared_data / "mr_hippocampus" / "labels").glob("*.nii.gz")):
        image = labels.parent.parent / "images" / labels.name
        yield of_volume(labels.name, labels, hippocampus, pseudonymiser, image=image, modality="MR")
    for number in range(phantoms):
        yield of_phantom(number, pseudonymiser)


def totalsegmentator_dicom(shared_data: Path, organs: dict[int, str], pseudonymiser: Pseudonymiser) -> Drawn:
    """The 20 slices without identifiers in their headers: instances are numbered by us."""
    folder = shared_data / "ct_abdomen_totalseg_dicom"
    rows, files = [], {}
    for number, file in enumerate(sorted((folder / "ct").iterdir())):
        d = pydicom.dcmread(file, stop_before_pixels=True)
        one = row(
            pseudonymiser,
            f"totalseg-dicom.{number}",
            rows=d.Rows,
            columns=d.Columns,
            pixel_spacing=[float(v) for v in d.PixelSpacing],
            position=[float(v) for v in d.ImagePositionPatient],
            orientation=[float(v) for v in d.ImageOrientationPatient],
            slice_spacing=float(d.SliceThickness),
        )
        rows.append(one)
        files[one["slice_name"]] = file
    index = SliceIndex(rows)
    entry = nifti.VolumeEntry("seg.nii.gz", rows[0]["series_instance_uid"], organs)
    volume: Any = nib.load(folder / "seg.nii.gz")
    bare = nib.Nifti1Image(np.asanyarray(volume.dataobj), volume.affine).to_bytes()
    drawing = nifti.read(bare, entry, index, vocabulary.load())

    def values(target: Target) -> np.ndarray:
        return calibrated(pydicom.dcmread(files[target.slice_name]), target.frame, padding=np.nan)

    return Drawn("totalseg dicom", list(index.by_name.values()), drawing.regions, values)
