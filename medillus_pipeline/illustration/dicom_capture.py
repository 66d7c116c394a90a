"""A finished figure as DICOM Secondary Capture (PS3.3 A.8.1), so that it can lie in a picture archive without passing
for an acquisition.

It says of itself that it is derived and, where a model drew it, synthetic: ImageType, SyntheticData (0008,001C) and
contributing equipment (109100, DCM, "Synthesizing Equipment"). It has no pixel spacing: the plate is enlarged and set
among text, and a viewer's ruler on it would measure wrongly. BurnedInAnnotation is YES: the footer prints pseudonyms,
and whoever replaces those in the header must know. Volumes are not here (`volumes/`).
"""

import hashlib
import io
import logging
import re
from datetime import datetime
from typing import Any

import numpy as np
from pydicom.uid import RLELossless
from pydicom.valuerep import DT

from medillus_pipeline.errors import InputError
from medillus_pipeline.illustration.provenance import Origin
from medillus_pipeline.illustration.request import FigureRequest

MANUFACTURER = "medillus-pipeline"
_LO, _ST, _CS = 64, 1024, 16
_METHOD = "keyed pseudonyms"


def secondary_capture(
    png: bytes, request: FigureRequest, origin: Origin, *, title: str, warning: str, content_sha256: str
) -> bytes:
    """The file, RGB, lossless (RLE), the same bytes for the same arguments.

    Args:
        png: the figure as drawn; any transparency is laid on white.
        request: for BodyPartExamined and the orientation of the plate.
        origin: its `made_at` gives every date and time; its patient pseudonym is name and id.
        title, warning: English, for the descriptions; cut to the length of their VR.
        content_sha256: hash of the figure, 64 hexadecimal digits, from which all UIDs come.

    Raises:
        InputError: the PNG cannot be read, or the origin has no patient pseudonym.
    """
    import highdicom
    from highdicom.sc import SCImage

    if not origin.patient:
        raise InputError("a DICOM figure needs a patient pseudonym")
    made = datetime.fromisoformat(origin.made_at)
    generated = origin.source == "generated"
    _quiet(highdicom)
    image = SCImage(
        _pixels(png),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        study_instance_uid=figure_uid("study", content_sha256),
        series_instance_uid=figure_uid("series", content_sha256),
        sop_instance_uid=figure_uid("instance", content_sha256),
        series_number=1,
        instance_number=1,
        manufacturer=MANUFACTURER,
        patient_id=_line(origin.patient, _LO),
        patient_name=_line(origin.patient, _LO - 1) + "^",
        study_date=made.date(),
        study_time=made.time(),
        patient_orientation=(request.orientation[1], request.orientation[3]),
        transfer_syntax_uid=RLELossless,
        contributing_equipment=[_equipment(origin)] if generated else None,
        manufacturer_model_name=_line(origin.model_name, _LO) or None,
        software_versions=_line(origin.code_version or "unknown", _LO),
    )
    for keyword in ("SeriesDate", "ContentDate", "DateOfSecondaryCapture", "InstanceCreationDate"):
        setattr(image, keyword, made.strftime("%Y%m%d"))
    for keyword in ("SeriesTime", "ContentTime", "TimeOfSecondaryCapture", "InstanceCreationTime"):
        setattr(image, keyword, made.strftime("%H%M%S"))
    image.ConversionType = "SYN" if generated else "WSD"  # synthetic image, workstation: PS3.3 C.8.6.1
    image.SyntheticData = "YES" if generated else "NO"
    image.BurnedInAnnotation = "YES"
    image.LossyImageCompression = "00"
    image.PatientIdentityRemoved = "YES"
    image.DeidentificationMethod = _METHOD
    image.StudyDescription = _line(title, _LO)
    image.SeriesDescription = _line(warning, _LO)
    image.StudyID = _line(origin.figure, 16)
    image.DerivationDescription = _line(f"Figure {origin.figure}: {origin.sentence()}. {warning}.", _ST)
    image.ImageComments = _line(f"{origin.digital_source_type}; figure SHA-256 {content_sha256}", 10240)
    for item in image.ContributingEquipmentSequence:
        item.ContributionDateTime = DT(made.strftime("%Y%m%d%H%M%S"))  # the library's own item says now
    if part := re.sub(r"[^A-Z0-9 _]", "", (request.body_part or "").upper()).strip()[:_CS].strip():
        image.BodyPartExamined = part
    sink = io.BytesIO()
    image.save_as(sink)
    return sink.getvalue()


def figure_uid(kind: str, content_sha256: str) -> str:
    """A UID under 2.25 (PS3.5 B.2) for a study, series or instance of the figure with this hash."""
    digest = hashlib.sha256(f"medillus figure {kind}\x00{content_sha256}".encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16])}"


def _equipment(origin: Origin) -> Any:
    from highdicom import ContributingEquipment
    from pydicom.sr.codedict import codes

    report = f"; verdict of its report: {origin.model_verdict}" if origin.model_verdict else ""
    return ContributingEquipment(
        manufacturer=MANUFACTURER,
        purpose_of_reference=codes.DCM.SynthesizingEquipment,
        manufacturer_model_name=_line(origin.model_name, _LO) or "generator",
        software_versions=_line(f"model {origin.model_version}", _LO),
        contribution_datetime=datetime.fromisoformat(origin.made_at),
        contribution_description=_line(
            f"image generated, seed {origin.seed}, dataset {origin.dataset_fingerprint}{report}", _ST
        ),
    )


def _pixels(png: bytes) -> np.ndarray:
    """(height, width, 3) uint8."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as opened:
            picture = opened.convert("RGBA")
    except (UnidentifiedImageError, OSError, ValueError):
        raise InputError("the figure's PNG cannot be read: draw it again") from None
    paper = Image.new("RGBA", picture.size, "white")
    return np.asarray(Image.alpha_composite(paper, picture).convert("RGB"))


def _line(text: str | None, limit: int) -> str:
    """Text for a VR of this many characters: no control characters, no backslash (PS3.5 6.1.2.3)."""
    plain = "".join(c if c.isprintable() and c != "\\" else " " for c in text or "")
    return " ".join(plain.split())[:limit].strip()


def _quiet(highdicom: Any) -> None:
    logging.getLogger(highdicom.__name__).setLevel(logging.WARNING)
