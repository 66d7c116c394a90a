"""Small DICOM images built for a test, and rows of INSTANCES for files, so that rendering can be tested by itself."""

import hashlib
import io
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from medillus_pipeline.zones import Zone


def image(pixels: np.ndarray, **attributes: Any) -> FileDataset:
    """A data set with `pixels` (rows, columns), (frames, rows, columns) or RGB (rows, columns, 3), and `attributes`.

    Bits follow the array's type unless `attributes` say otherwise.
    """
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    colour = attributes.get("SamplesPerPixel", 1) == 3
    frames = len(pixels) if pixels.ndim == 3 and not colour else 1
    digest = hashlib.sha256(pixels.tobytes() + repr(sorted(attributes.items(), key=str)).encode()).hexdigest()
    made = FileDataset("", Dataset(), file_meta=meta, preamble=b"\0" * 128)
    made.SOPClassUID = CTImageStorage
    made.SOPInstanceUID = f"2.25.{int(digest[:24], 16)}"
    made.StudyInstanceUID, made.SeriesInstanceUID, made.Modality = "2.25.1", "2.25.2", "CT"
    made.Rows, made.Columns = pixels.shape[1:3] if frames > 1 else pixels.shape[:2]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = pixels.dtype.itemsize * 8
    made.HighBit = made.BitsStored - 1
    made.PixelRepresentation = int(pixels.dtype.kind == "i")
    if frames > 1:
        made.NumberOfFrames = frames
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    made.PixelData = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes() + b"\0" * (pixels.nbytes % 2)
    made["PixelData"].VR = "OW"
    return made


def item(**attributes: Any) -> Dataset:
    """A sequence item."""
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def encoded(dataset: FileDataset) -> bytes:
    """The data set as the bytes of a file."""
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    sink = io.BytesIO()
    dataset.save_as(sink, enforce_file_format=True)
    return sink.getvalue()


def instance_row(data: bytes, clean: Zone, **changes: Any) -> dict[str, Any]:
    """Store a file in the clean zone and describe it as a row of INSTANCES."""
    payload = clean.put("instances", data, ".dcm")
    is_dicom = data[128:132] == b"DICM"
    header = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True) if is_dicom else Dataset()
    row = {
        "sop_instance_uid": f"2.25.{int(payload.sha256[:24], 16)}",
        "sop_class_uid": str(header.get("SOPClassUID", "")),
        "series_instance_uid": str(header.get("SeriesInstanceUID", "") or "2.25.9"),
        "study_instance_uid": str(header.get("StudyInstanceUID", "") or "2.25.8"),
        "frame_of_reference_uid": None,
        "patient": "p-0000000000000000",
        "split_token": "0" * 32,
        "modality": str(header.get("Modality", "") or "OT"),
        "body_part": str(header.get("BodyPartExamined", "") or "").upper() or None,
        "rows": int(header.get("Rows", 0) or 0),
        "columns": int(header.get("Columns", 0) or 0),
        "frames": 1,
        "transfer_syntax_uid": "",
        "pixel_hash": None,
        "face": "unknown",
        "path": payload.path,
        "sha256": payload.sha256,
        "bytes": payload.bytes,
    }
    return row | changes
