"""A generated volume as files of images: a NIfTI volume, and a DICOM series that says of itself that it is synthetic.

What is not here: labels and scenes (`slicer_scene.py`).
"""

import io

import numpy as np
import pydicom
from pydicom import DataElement, Dataset
from pydicom.sr.coding import Code

from medillus_pipeline import __version__
from medillus_pipeline.dicom.from_nifti import RAS_TO_LPS, wrap_volume
from medillus_pipeline.dicom.nifti_file import encode_nifti
from medillus_pipeline.illustration.volumes.generated_volume import GeneratedVolume

SYNTHETIC_DATA = 0x0008001C
"""Tag of Synthetic Data (PS3.3 C.12.1), YES or NO."""

SYNTHESIZING = Code("109100", "DCM", "Synthesizing Equipment")
"""Purpose of reference of the equipment that made the images (PS3.16 CID 7005)."""

SERIES_NUMBER = 901
WINDOW = ("50", "350")
"""Centre and width, HU, that viewers open the series with."""

PATIENT_NAME = "SYNTHETIC^NOT A PATIENT"


def write_volume_nifti(volume: GeneratedVolume) -> bytes:
    """A `.nii.gz` (int16, HU for CT) with the volume's affine in scanner coordinates, RAS mm; the same bytes again."""
    return encode_nifti(volume.values, volume.affine)


def write_labels_nifti(volume: GeneratedVolume) -> bytes:
    """A `.nii.gz` (int16 vocabulary ids) of the label stack on the same grid."""
    return encode_nifti(volume.labels.astype(np.int16), volume.affine)


def write_volume_dicom(volume: GeneratedVolume, *, subject: str = "", description: str = "") -> list[bytes]:
    """The slices, feet first, as DICOM files: derived, synthetic, of nobody.

    CT (or MR) images of the storage class of `volume.modality` (PS3.3 A.3, A.4). `subject` is the Patient ID (at most
    64 characters, a pseudonym; default: "synthetic-" and a digest). UIDs follow from subject and content, so the same
    volume gives the same files. Synthetic Data (0008,001C) is YES, the Contributing Equipment Sequence names the model
    as synthesizing equipment. Raises InputError for a CT outside 16 bits and a sheared affine.
    """
    pseudonym = subject or f"synthetic-{volume.sha256[:16]}"
    files = wrap_volume(
        volume.values.transpose(2, 1, 0),
        RAS_TO_LPS @ volume.affine,
        patient_id=pseudonym,
        modality=volume.modality,
        body_part=volume.body_part or None,
    )
    equipment = _equipment(volume)
    return [_marked(data, volume, equipment, description) for data in files]


def _marked(data: bytes, volume: GeneratedVolume, equipment: Dataset, description: str) -> bytes:
    file = pydicom.dcmread(io.BytesIO(data))
    file.add(DataElement(SYNTHETIC_DATA, "CS", "YES"))
    file.ImageType = ["DERIVED", "SECONDARY", file.ImageType[2]]
    file.PatientName = PATIENT_NAME
    if not volume.body_part:
        file.Laterality = ""  # conditional on a paired body part: unknown where the part is
    file.SeriesNumber = SERIES_NUMBER
    file.SeriesDescription = (description or "Synthetic, not for diagnosis")[:64]
    file.DerivationDescription = "Drawn by a generative model from a label map; no scanner took it"
    file.ImageComments = "SYNTHETIC IMAGE, not for diagnosis"
    file.SoftwareVersions = f"medillus_pipeline {__version__}"
    file.ContributingEquipmentSequence = [equipment]
    if volume.modality == "CT":
        file.WindowCenter, file.WindowWidth = WINDOW
    sink = io.BytesIO()
    file.save_as(sink, enforce_file_format=True)
    return sink.getvalue()


def _equipment(volume: GeneratedVolume) -> Dataset:
    purpose = Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator = SYNTHESIZING.value, SYNTHESIZING.scheme_designator
    purpose.CodeMeaning = SYNTHESIZING.meaning
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [purpose]
    item.Manufacturer = "medillus_pipeline"
    item.ManufacturerModelName = (volume.model or "generator")[:64]
    item.SoftwareVersions = __version__
    item.ContributionDescription = (
        f"seed {volume.seed}; steps {volume.steps}; noise correlation {volume.correlation:.3f}; "
        f"dataset {volume.dataset_fingerprint[:16]}"
    )
    return item
