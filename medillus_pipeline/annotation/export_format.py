"""The formats that go out to annotators. Nothing else is here, so that a command line can name them without loading
what writes them.
"""

from enum import StrEnum


class Format(StrEnum):
    """What the files are."""

    LABELME = "labelme"
    DICOM_SEG = "dicom-seg"
    NIFTI = "nifti"
