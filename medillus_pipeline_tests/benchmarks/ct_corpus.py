"""The CT slices that the de-identification benchmarks work on: 512 x 512, 16 bit, explicit little endian, uncompressed.

Real slices where the shared data lie beside the checkout, made ones for the rest. The made headers have what scanners
write: 90 to 150 elements, some sequences, private blocks of two makes. Their pixels are noise, since no measured tool
looks at them. Dates of the real ones that were replaced by what is no date get one: a tool stumbles over them. Nothing
is measured here.
"""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from medillus_pipeline_tests.conftest import REPOSITORY
from medillus_pipeline_tests.deidentification.delivered_files import encoded, image, item

REAL = REPOSITORY.parent / "shared" / "data" / "ct_thorax_rt" / "ct"
SIDE = 512
SLICES_PER_SERIES = 100
_CODE = {"CodingSchemeDesignator": "DCM", "CodeMeaning": "Thorax"}
_TECHNIQUE = {
    "ScanOptions": "HELIX",
    "SliceThickness": "1.25",
    "KVP": "120",
    "DataCollectionDiameter": "500",
    "ReconstructionDiameter": "360.5",
    "DistanceSourceToDetector": "1085.6",
    "DistanceSourceToPatient": "595",
    "GantryDetectorTilt": "0",
    "TableHeight": "151.5",
    "RotationDirection": "CW",
    "ExposureTime": "500",
    "XRayTubeCurrent": "249",
    "Exposure": "124",
    "FilterType": "FLAT",
    "GeneratorPower": "30",
    "FocalSpots": "1.2",
    "ConvolutionKernel": "I30f",
    "PatientPosition": "HFS",
    "SingleCollimationWidth": 0.6,
    "TotalCollimationWidth": 38.4,
    "TableSpeed": 46.0,
    "TableFeedPerRotation": 23.0,
    "SpiralPitchFactor": 0.6,
    "DataCollectionCenterPatient": [0.0, -151.5, 812.0],
    "ReconstructionTargetCenterPatient": [0.0, -151.5, 812.0],
    "ExposureModulationType": "XYZ_EC",
    "EstimatedDoseSaving": 20.0,
    "CTDIvol": 8.4,
    "WindowCenter": ["50", "-600"],
    "WindowWidth": ["350", "1200"],
    "WindowCenterWidthExplanation": ["WINDOW1", "WINDOW2"],
    "RescaleType": "HU",
    "SmallestImagePixelValue": 0,
    "LargestImagePixelValue": 4095,
    "LossyImageCompression": "00",
}
_PEOPLE = {
    "TimezoneOffsetFromUTC": "+0100",
    "InstitutionAddress": "Kirchbergstrasse 117, 3400 Burgdorf",
    "InstitutionalDepartmentName": "Radiologie",
    "StationName": "CTBURG01",
    "PerformingPhysicianName": "Ofterdingen^Heinrich",
    "OperatorsName": "Morungen^Heinrich",
    "PhysiciansOfRecord": "Hausen^Friedrich",
    "PatientAge": "062Y",
    "PatientWeight": "81.5",
    "PatientSize": "1.79",
    "PatientAddress": "Vogelweidhof 3, Lajen",
    "OtherPatientIDs": "ALT-55110",
    "AdmissionID": "FALL-889900",
    "RequestingPhysician": "Aue^Hartmann",
    "RequestedProcedureDescription": "CT Thorax nativ",
    "PerformedProcedureStepID": "PPS-90210",
    "PerformedProcedureStepDescription": "Thorax^Routine (Erwachsene)",
    "PerformedProcedureStepStartDate": "20240131",
    "PerformedProcedureStepStartTime": "234000.000",
    "DeviceSerialNumber": "4711-0815",
    "SoftwareVersions": "syngo CT VA48A",
    "ProtocolName": "Thorax_Routine",
    "StudyDescription": "CT Thorax Vogelweide",
    "SeriesDescription": "Thorax 1.25 I30f 3",
    "ImageComments": "Kontrolle nach Walther",
    "ContrastBolusAgent": "ULTRAVIST",
    "RequestingService": "Innere Medizin",
    "CurrentPatientLocation": "Station 3B",
    "PatientComments": "Angehoerige anrufen",
}


def corpus(count: int = 500) -> Iterator[bytes]:
    """`count` CT slices as files: up to 105 real ones where they are there, the rest made; always the same."""
    real = sorted(REAL.glob("*"))[:count] if REAL.is_dir() else []
    for path in real:
        dataset = dcmread(path)
        dataset.decompress()
        for element in dataset:
            if element.VR == "DA" and not str(element.value).isdigit():
                element.value = "20170811"
        buffer = io.BytesIO()
        dataset.save_as(buffer, enforce_file_format=True)
        yield buffer.getvalue()
    for made in range(count - len(real)):
        yield encoded(_slice(*divmod(made, SLICES_PER_SERIES)))


def write_corpus(folder: Path, count: int = 500) -> list[Path]:
    """The corpus under `folder`, one file per slice; paths in order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, data in enumerate(corpus(count)):
        paths.append(folder / f"slice{number:05d}.dcm")
        paths[-1].write_bytes(data)
    return paths


def _slice(series: int, number: int) -> Dataset:
    """Slice `number` of a made series; every second series is of the other make, with longer header."""
    second = series % 2 == 1
    attributes: dict[str, Any] = {**_TECHNIQUE, **_PEOPLE}
    dataset = image(number=number, patient=f"MRN-{series:07d}", **attributes)
    dataset.SOPInstanceUID = f"1.2.826.0.1.99.{series}.{number}"
    dataset.SeriesInstanceUID = f"1.2.826.0.1.97.{series}.1"
    dataset.StudyInstanceUID = f"1.2.826.0.1.98.{series}"
    dataset.InstanceNumber, dataset.SliceLocation = number, f"{number * 1.25:.2f}"
    dataset.SeriesDate = dataset.ContentDate = dataset.InstanceCreationDate = "20240131"
    dataset.SeriesTime = dataset.ContentTime = f"2350{number % 60:02d}.125000"
    dataset.ReferencedStudySequence = _reference(1, number)
    dataset.ProcedureCodeSequence = item(CodeValue="RPID17", **_CODE)
    request = Dataset()
    request.RequestedProcedureID = "RP-1"
    request.ScheduledProcedureStepDescription = "CT Thorax Vogelweide"
    request.ScheduledProtocolCodeSequence = item(CodeValue="RPID17", **_CODE)
    dataset.RequestAttributesSequence = Sequence([request])
    if second:
        dataset.Manufacturer, dataset.ManufacturerModelName = "GE MEDICAL SYSTEMS", "Revolution CT"
        dataset.ReferencedImageSequence = Sequence([*_reference(2, number), *_reference(3, number)])
        dataset.SourceImageSequence = _reference(4, number)
        dataset.AnatomicRegionSequence = item(CodeValue="51185008", **_CODE)
        _private(dataset, {0x0009: "GEMS_IDEN_01", 0x0019: "GEMS_ACQU_01", 0x0043: "GEMS_PARM_01"}, 11)
    else:
        dataset.ManufacturerModelName = "SOMATOM Force"
        dataset.ReferencedImageSequence = _reference(2, number)
        _private(dataset, {0x0029: "SIEMENS CSA HEADER"}, 3)
        dataset.private_block(0x0029, "SIEMENS CSA HEADER").add_new(0x10, "OB", bytes(6_000))
    dataset.Rows = dataset.Columns = SIDE
    noise = np.random.default_rng((series, number)).integers(0, 4096, (SIDE, SIDE), dtype="<u2")
    dataset.PixelData = noise.tobytes()
    return dataset


def _reference(kind: int, number: int) -> Sequence:
    instance = f"1.2.826.0.1.95.{kind}.{number}"
    return item(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.2", ReferencedSOPInstanceUID=instance)


def _private(dataset: Dataset, creators: dict[int, str], elements: int) -> None:
    for group, creator in creators.items():
        block = dataset.private_block(group, creator, create=True)
        for offset in range(1, elements + 1):
            vr = ("LO", "DS", "SL", "SH")[offset % 4]
            block.add_new(offset, vr, offset if vr == "SL" else str(offset) if vr == "DS" else f"Vogelweide {offset}")
