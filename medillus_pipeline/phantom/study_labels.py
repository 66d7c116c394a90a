"""`labels.csv` of a synthetic annotation batch: the pathology and the contrast phase of each series.

Batches of the hospital name series and patient by its own identifiers; batches that were drawn on published PNGs name a
slice. What is not here: which patient is in which batch (`cohort.py`).
"""

import csv
import io

from medillus_pipeline.annotation.study import labels_csv
from medillus_pipeline.annotation.study.pathology import NORMAL
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.dicom.slice_names import slice_name
from medillus_pipeline.phantom.identities import Identity
from medillus_pipeline.phantom.lesions import Key

CONTRAST_PHASE = "portal_venous"
"""The phase whose tissue values the phantoms have."""


def by_series(patients: list[tuple[Identity, Key | None]]) -> bytes:
    """Lines by the hospital's Series Instance UID, with the patient's ID to compare by."""
    lines = [
        {"series_instance_uid": who.series_uid, labels_csv.PATIENT: who.patient_id, **_labels(lesion)}
        for who, lesion in patients
    ]
    return _table(["series_instance_uid", labels_csv.PATIENT, *labels_csv.LABELS], lines)


def by_slice(patients: list[tuple[Identity, Key | None]], pseudonymiser: Pseudonymiser) -> bytes:
    """Lines by the name of the middle slice as it is published."""
    lines = [
        {"slice_name": slice_name(pseudonymiser.uid(who.slice_uids[len(who.slice_uids) // 2]), 1), **_labels(lesion)}
        for who, lesion in patients
    ]
    return _table(["slice_name", *labels_csv.LABELS], lines)


def _labels(lesion: Key | None) -> dict[str, str]:
    return {"pathology": lesion or NORMAL, "contrast_phase": CONTRAST_PHASE}


def _table(columns: list[str], lines: list[dict[str, str]]) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue().encode()
