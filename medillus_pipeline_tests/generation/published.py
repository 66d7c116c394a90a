"""Published rows and payloads for tests: a volume as de-identified CT instances, slices and masks in a clean zone."""

import hashlib
import io
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.dicom.png import encode_png
from medillus_pipeline.generation.split import assign
from medillus_pipeline.phantom.anatomy import torso
from medillus_pipeline.zones import Zone

AXIAL = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]


@dataclass
class Published:
    """Rows of the three tables that a snapshot is built from."""

    clean: Zone
    slices: list[dict[str, Any]] = field(default_factory=list)
    masks: list[dict[str, Any]] = field(default_factory=list)
    instances: list[dict[str, Any]] = field(default_factory=list)

    @property
    def splits(self) -> dict[str, str]:
        return assign({row["split_token"] for row in self.slices}, {})

    def add_volume(
        self,
        number: int,
        hu: np.ndarray,
        labels: np.ndarray | None,
        *,
        spacing: tuple[float, float, float],
        origin: tuple[float, float, float],
        orientation: list[float] | None = None,
        modality: str = "CT",
    ) -> None:
        """A series of patient `number`; arrays (slices, rows, columns), spacing and origin as in the phantom."""
        token = hashlib.sha256(f"patient {number}".encode()).hexdigest()
        for index, plane in enumerate(hu):
            uid = f"2.25.{number + 1}{index:04d}"
            position = [origin[0], origin[1], origin[2] + index * spacing[0]]
            geometry = {
                "pixel_spacing": [spacing[1], spacing[2]],
                "position": position,
                "orientation": orientation or AXIAL,
            }
            payload = self.clean.put("instances", _ct(plane, uid, geometry), ".dcm")
            series = f"2.25.{number + 1}"
            shared = {
                "sop_instance_uid": uid,
                "series_instance_uid": series,
                "study_instance_uid": series + "1",
                "frame_of_reference_uid": None,
                "patient": f"p-{number:016x}",
                "split_token": token,
                "modality": modality,
                "body_part": "CHESTABDOMEN",
                "rows": plane.shape[0],
                "columns": plane.shape[1],
            }
            self.instances.append(shared | {"path": payload.path})
            name = f"s-{hashlib.sha256(uid.encode()).hexdigest()[:16]}-0001"
            row = shared | geometry | {"slice_name": name, "frame": 1, "ordinal": index, "instance_path": payload.path}
            self.slices.append(row)
            if labels is not None:
                self.add_mask(row, labels[index])

    def add_mask(self, row: dict[str, Any], labels: np.ndarray, *, annotator: str = "a-1", revision: int = 1) -> None:
        """A label map (rows, columns) of vocabulary ids for a row of `slices`."""
        payload = self.clean.put("masks", encode_png(labels, vocabulary.load().palette()), ".png")
        present = [label for label in np.unique(labels).tolist() if label]
        self.masks.append(
            {
                "slice_name": row["slice_name"],
                "sop_instance_uid": row["sop_instance_uid"],
                "frame": row["frame"],
                "patient": row["patient"],
                "annotator": annotator,
                "revision": revision,
                "rows": labels.shape[0],
                "columns": labels.shape[1],
                "labels": present,
                "path": payload.path,
            }
        )


def publish_phantoms(
    clean: Zone,
    patients: int,
    *,
    shape: tuple[int, int, int] = (8, 64, 64),
    spacing: tuple[float, float, float] = (30.0, 6.4, 6.4),
    seed: int = 7,
) -> Published:
    """That many synthetic torsos, all labelled."""
    published = Published(clean)
    for number in range(patients):
        patient = torso(np.random.default_rng([seed, number]), shape=shape, spacing=spacing)
        published.add_volume(number, patient.hu, patient.labels, spacing=patient.spacing, origin=patient.origin)
    return published


def _ct(plane: np.ndarray, uid: str, geometry: dict[str, list[float]]) -> bytes:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = uid
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = uid
    dataset.Modality = "CT"
    dataset.Rows, dataset.Columns = plane.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
    dataset.PixelSpacing = geometry["pixel_spacing"]
    dataset.ImagePositionPatient = geometry["position"]
    dataset.ImageOrientationPatient = geometry["orientation"]
    dataset.PixelData = plane.astype("<i2").tobytes()
    sink = io.BytesIO()
    dataset.save_as(sink, enforce_file_format=True)
    return sink.getvalue()
