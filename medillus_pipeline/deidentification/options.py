"""The options of PS3.15 E.3: their names in settings and their codes. What each does to an attribute: `profile.py`."""

from enum import Enum


class Option(Enum):
    """The options of PS3.15 E.3: name in settings, column of the table (none for what concerns pixels), code value and
    meaning in CID 7050."""

    CLEAN_PIXEL_DATA = ("clean-pixel-data", "", "113101", "Clean Pixel Data Option")
    CLEAN_VISUAL_FEATURES = ("clean-visual-features", "", "113102", "Clean Recognizable Visual Features Option")
    CLEAN_GRAPHICS = ("clean-graphics", "graphics", "113103", "Clean Graphics Option")
    CLEAN_STRUCTURED_CONTENT = ("clean-structured-content", "structured", "113104", "Clean Structured Content Option")
    CLEAN_DESCRIPTORS = ("clean-descriptors", "descriptors", "113105", "Clean Descriptors Option")
    RETAIN_FULL_DATES = (
        "retain-full-dates",
        "full_dates",
        "113106",
        "Retain Longitudinal Temporal Information Full Dates Option",
    )
    RETAIN_MODIFIED_DATES = (
        "retain-dates",
        "modified_dates",
        "113107",
        "Retain Longitudinal Temporal Information Modified Dates Option",
    )
    RETAIN_PATIENT_CHARACTERISTICS = ("retain-patient", "patient", "113108", "Retain Patient Characteristics Option")
    RETAIN_DEVICE_IDENTITY = ("retain-device", "device", "113109", "Retain Device Identity Option")
    RETAIN_UIDS = ("retain-uids", "uids", "113110", "Retain UIDs Option")
    RETAIN_SAFE_PRIVATE = ("retain-safe-private", "private", "113111", "Retain Safe Private Option")
    RETAIN_INSTITUTION_IDENTITY = (
        "retain-institution",
        "institution",
        "113112",
        "Retain Institution Identity Option",
    )

    @property
    def name_in_settings(self) -> str:
        """`retain-…` or `clean-…`."""
        return self.value[0]

    @property
    def column(self) -> str:
        """Column of `ps3_15_table.csv`; empty for the options that concern pixels."""
        return self.value[1]

    @property
    def code(self) -> tuple[str, str]:
        """Code value and meaning (CID 7050, scheme DCM)."""
        return self.value[2], self.value[3]


BASIC_PROFILE_CODE = ("113100", "Basic Application Confidentiality Profile")
DEFAULT_OPTIONS = frozenset({Option.RETAIN_MODIFIED_DATES})
