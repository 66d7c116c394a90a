"""Regions of slices become a DICOM segmentation (PS3.3 A.51 or A.90) that annotation tools open beside the images.

It refers to the de-identified instances that are passed in, and to nothing else: patient, study and frame of reference
are theirs. What is written comes back through `segmentation.py` as it was. The same arguments give the same bytes.
What is not here: how segments are coded (`segment_coding.py`), which slices are worth an annotator's time.
"""

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Literal

import numpy as np
from pydicom import DataElement, Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from medillus_pipeline.annotation.formats.segment_coding import Algorithm, description
from medillus_pipeline.annotation.formats.segment_identity import OWN_SCHEME
from medillus_pipeline.annotation.label_map import Region, trimmed
from medillus_pipeline.annotation.slice_index import Target
from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.dicom.reading import silenced
from medillus_pipeline.errors import InputError

SegmentationType = Literal["BINARY", "LABELMAP"]
MANUFACTURER, MODEL = "medillus", "medillus-pipeline"
SERIES_NUMBER = 900
MAXIMUM_BYTES = 2**31
"""Of the array that is handed to the writer: a byte per pixel, once for a label map, once per segment for overlaps."""
IDENTITY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
"""Attributes of type 2, which are empty where the source has none."""
CARRIED = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality"),
    *("PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence"),
    *("LongitudinalTemporalInformationModified", "FrameOfReferenceUID", "PositionReferenceIndicator"),
    *("Rows", "Columns", "NumberOfFrames", "PixelSpacing", "ImagerPixelSpacing", "SliceThickness"),
    *("SpacingBetweenSlices", "ImagePositionPatient", "ImageOrientationPatient"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "DimensionOrganizationSequence"),
    *("DimensionIndexSequence", "DimensionOrganizationType"),
)
"""What a segmentation may take from its source, besides `IDENTITY`."""


def write_segmentation(
    stack: Sequence[Target],
    labels: Mapping[str, np.ndarray | Mapping[int, Region]],
    sources: Sequence[Dataset],
    vocabulary: Vocabulary,
    *,
    software_version: str,
    moment: datetime,
    kind: SegmentationType = "BINARY",
    algorithm: Algorithm | None = None,
    compressed: bool = False,
) -> bytes:
    """A segmentation of `labels` on the slices of `stack`, as the bytes of a DICOM file.

    `labels` gives, by slice name, a label map (rows, columns) of vocabulary ids, or the regions of each id, which may
    overlap; slices without an entry, or with nothing drawn, get no frame. `sources` are the slices' de-identified
    instances: one of several frames, or single frames, all of one series. `algorithm` None means drawn by hand;
    `moment` is the content date and time; `compressed` stores a label map as RLE Lossless.

    Raises InputError when nothing is drawn, a slice has no source or another size than its labels, the slices are of
    several series or sizes, overlapping regions are to go into a LABELMAP, which has one value per pixel, or the
    segmentation would be too large (`MAXIMUM_BYTES`).
    """
    from highdicom.seg import Segmentation

    by_instance = {str(source.SOPInstanceUID): source for source in sources}
    named = {target.slice_name: target for target in stack}
    drawn = {
        name: regions
        for name, given in sorted(labels.items())
        if (regions := _regions(given, named.get(name), by_instance, vocabulary))
    }
    if not drawn:
        raise InputError("nothing is drawn on any of the slices: there is no segmentation to write")
    identifiers = sorted({identifier for regions in drawn.values() for identifier in regions})
    overlapping = any(_overlap(regions, named[name]) for name, regions in drawn.items())
    if overlapping and kind == "LABELMAP":
        raise InputError("structures overlap, and a LABELMAP has one value per pixel: write BINARY")
    images, places = _images([named[name] for name in drawn], by_instance)
    planes = int(images[0].get("NumberOfFrames", 1) or 1) if len(images) == 1 else len(images)
    pixels = _pixels(drawn, places, named, identifiers, overlapping, planes)
    structures = [vocabulary.by_id(identifier) for identifier in identifiers]
    digest = hashlib.sha256(pixels.tobytes())
    digest.update(repr((kind, algorithm, software_version, moment, identifiers, sorted(drawn))).encode())
    digest.update(vocabulary.version.encode())
    identity = digest.hexdigest(), *(str(image.SOPInstanceUID) for image in images)
    with silenced():
        made = Segmentation(
            source_images=[_reduced(image) for image in images],
            pixel_array=pixels,
            segmentation_type=kind,
            segment_descriptions=[
                description(number, structure, vocabulary, algorithm)
                for number, structure in enumerate(structures, start=1)
            ],
            series_instance_uid=_uid("series", *identity),
            series_number=SERIES_NUMBER,
            sop_instance_uid=_uid("instance", *identity),
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=MODEL,
            software_versions=software_version,
            device_serial_number=MODEL,
            content_label="SEGMENTATION",
            content_description="Structures for review",
            transfer_syntax_uid=RLELossless if compressed and kind == "LABELMAP" else ExplicitVRLittleEndian,
            omit_empty_frames=True,
        )
    _settle(made, moment, _uid("dimensions", *identity))
    sink = io.BytesIO()
    made.save_as(sink, enforce_file_format=True)
    return sink.getvalue()


def _regions(
    given: np.ndarray | Mapping[int, Region],
    target: Target | None,
    by_instance: Mapping[str, Dataset],
    vocabulary: Vocabulary,
) -> dict[int, Region]:
    """The regions drawn on a slice by vocabulary id, empty ones left out; judged against slice and source."""
    source = None if target is None else by_instance.get(target.sop_instance_uid)
    if target is None or source is None:
        raise InputError("a slice with labels has no source instance: pass the instance that it was made of")
    size = target.rows, target.columns
    if (int(source.Rows), int(source.Columns)) != size:
        raise InputError("a source instance has another size than its slice: pass the instance that it was made of")
    if isinstance(given, np.ndarray):
        if given.shape != size:
            raise InputError(f"labels of {given.shape} do not fit a slice of {size} (rows, columns)")
        found = {int(value): trimmed(given == value) for value in np.unique(given) if value}
    else:
        found = {int(identifier): trimmed(r.mask, r.top, r.left) for identifier, r in given.items()}
    regions = {identifier: region for identifier, region in found.items() if region is not None}
    for identifier, region in regions.items():
        try:
            vocabulary.by_id(identifier)
        except KeyError as error:
            raise InputError(f"labels hold the id {identifier}, which the vocabulary does not have") from error
        rows, columns = region.window
        if min(rows.start, columns.start) < 0 or rows.stop > size[0] or columns.stop > size[1]:
            raise InputError("a region reaches beyond its slice: cut it to the slice first")
    return regions


def _overlap(regions: Mapping[int, Region], target: Target) -> bool:
    claims = np.zeros((target.rows, target.columns), np.uint16)
    for region in regions.values():
        claims[region.window] += region.mask
    return bool(claims.max() > 1)


def _images(targets: Sequence[Target], by_instance: Mapping[str, Dataset]) -> tuple[list[Dataset], dict[str, int]]:
    """The source images, and the place of each slice's plane in the array that goes with them."""
    images = list({t.sop_instance_uid: by_instance[t.sop_instance_uid] for t in targets}.values())
    if len({str(image.SeriesInstanceUID) for image in images}) > 1:
        raise InputError("the slices are of several series: write a segmentation for each series")
    if all(int(image.get("NumberOfFrames", 1) or 1) == 1 for image in images):
        return images, {t.slice_name: k for k, t in enumerate(targets)}
    if len(images) > 1:
        raise InputError("the slices are of several multi-frame instances: write a segmentation for each instance")
    return images, {t.slice_name: t.frame - 1 for t in targets}


def _reduced(source: Dataset) -> Dataset:
    """The source with only what the segmentation refers to or inherits, in a character set that is stated."""
    reduced = Dataset()
    reduced.file_meta = FileMetaDataset()
    reduced.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    reduced.SpecificCharacterSet = "ISO_IR 192"
    for keyword in IDENTITY:
        setattr(reduced, keyword, source.get(keyword) or "")
    for keyword in CARRIED:
        if keyword in source:
            setattr(reduced, keyword, source[keyword].value)
    return reduced


def _pixels(
    drawn: Mapping[str, Mapping[int, Region]],
    places: Mapping[str, int],
    named: Mapping[str, Target],
    identifiers: Sequence[int],
    overlapping: bool,
    planes: int,
) -> np.ndarray:
    """(planes, rows, columns) segment numbers from 1, or (planes, rows, columns, segments) of 0 and 1 for overlaps."""
    sizes = {(named[name].rows, named[name].columns) for name in drawn}
    if len(sizes) > 1:
        raise InputError("the slices differ in size: write a segmentation for each size")
    shape = (planes, *sizes.pop(), *([len(identifiers)] if overlapping else []))
    if np.prod(shape, dtype=np.int64) > MAXIMUM_BYTES:
        raise InputError("the segmentation is too large to write at once: write fewer slices or structures")
    pixels = np.zeros(shape, np.uint8)
    segments = {identifier: number for number, identifier in enumerate(identifiers, start=1)}
    for name, regions in drawn.items():
        for identifier, region in regions.items():
            plane = pixels[places[name]]
            if overlapping:
                plane[..., segments[identifier] - 1][region.window][region.mask] = 1
            else:
                plane[region.window][region.mask] = segments[identifier]
    return pixels


def _settle(made: Dataset, moment: datetime, dimensions: str) -> None:
    """Declare our coding scheme, and replace what the writer took from the clock and from chance, wherever it is."""
    scheme = Dataset()
    scheme.CodingSchemeDesignator, scheme.CodingSchemeName = OWN_SCHEME, "Vocabulary of medillus-pipeline"
    scheme.CodingSchemeResponsibleOrganization = MANUFACTURER
    made.CodingSchemeIdentificationSequence = [*made.get("CodingSchemeIdentificationSequence", []), scheme]
    date, time = moment.strftime("%Y%m%d"), moment.strftime("%H%M%S")
    for element in _elements(made):
        if element.VR == "DA" and element.keyword in ("InstanceCreationDate", "ContentDate", "SeriesDate"):
            element.value = date
        elif element.VR == "TM" and element.keyword in ("InstanceCreationTime", "ContentTime", "SeriesTime"):
            element.value = time
        elif element.keyword == "ContributionDateTime":
            element.value = date + time
        elif element.keyword == "DimensionOrganizationUID":
            element.value = dimensions


def _elements(dataset: Dataset) -> Iterator[DataElement]:
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from _elements(item)
        else:
            yield element


def _uid(*parts: str) -> str:
    return f"2.25.{int.from_bytes(hashlib.sha256('/'.join(parts).encode()).digest()[:16])}"
