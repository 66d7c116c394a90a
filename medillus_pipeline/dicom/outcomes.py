"""What can become of a delivered file, and the fixed vocabulary of reasons. The clean side sees only these words."""

from enum import StrEnum


class Outcome(StrEnum):
    """Where a file of a delivery ended."""

    PUBLISHED = "published"
    DUPLICATE = "duplicate"
    """Same SOP Instance UID and same pixels as a published file."""
    CONFLICT = "conflict"
    """Same SOP Instance UID as another file, but other pixels: none of them is published."""
    ANNOTATION = "annotation"
    """An RTSTRUCT or SEG among the images: forwarded as an annotation batch of its own."""
    DIRECTORY = "directory"
    """A DICOMDIR: an index of other files."""
    NOT_DICOM = "not_dicom"
    QUARANTINED = "quarantined"


class Reason(StrEnum):
    """Why a file was not published. Empty for a published one."""

    NONE = ""
    SAME_PIXELS = "same_pixels"
    DIFFERENT_PIXELS = "different_pixels"
    RTSTRUCT = "rtstruct"
    SEGMENTATION = "segmentation"
    MEDIA_DIRECTORY = "media_directory"
    NOT_DICOM = "not_dicom"
    UNREADABLE = "unreadable"
    """DICOM by its marker, but it cannot be parsed."""
    FILE_NOT_READABLE = "file_not_readable"
    """The landing file could not be opened: no permission, or it vanished."""
    UNKNOWN_TRANSFER_SYNTAX = "unknown_transfer_syntax"
    UNKNOWN_SOP_CLASS = "unknown_sop_class"
    NOT_AN_IMAGE = "not_an_image"
    NO_PIXEL_DATA = "no_pixel_data"
    TRUNCATED_PIXELS = "truncated_pixels"
    BURNED_IN_ANNOTATION = "burned_in_annotation"
    SECONDARY_CAPTURE = "secondary_capture"
    ULTRASOUND = "ultrasound"
    ANGIOGRAPHY_OR_FLUOROSCOPY = "angiography_or_fluoroscopy"
    PHOTOGRAPH_OR_VIDEO = "photograph_or_video"
    DERIVED_CT = "derived_ct"
    CT_LOCALIZER = "ct_localizer"
    STRUCTURED_REPORT = "structured_report"
    ENCAPSULATED_DOCUMENT = "encapsulated_document"
    UNDECODABLE_PIXELS = "undecodable_pixels"
    """The pixels had to be cleaned, and cannot be decoded."""
    TEXT_REMAINS = "text_remains"
    """Text was still found in the pixels after they had been cleaned several times."""
    FACE_NOT_REMOVED = "face_not_removed"
    RESIDUAL_IDENTIFIER = "residual_identifier"
    ARCHIVE_UNREADABLE = "archive_unreadable"
    ARCHIVE_ENCRYPTED = "archive_encrypted"
    UNSAFE_ARCHIVE_MEMBER = "unsafe_archive_member"
    ARCHIVE_LIMIT = "archive_limit"
    """A member, or an archive as a whole, is larger than the limits in `reading.py`."""
    UNEXPECTED_ERROR = "unexpected_error"
    WITHDRAWN = "withdrawn"
    """Of a patient who was withdrawn: the vault's list of refused patients names them."""

    @property
    def outcome(self) -> Outcome:
        """The outcome that this reason leads to."""
        return _OUTCOMES.get(self, Outcome.QUARANTINED)


_OUTCOMES = {
    Reason.NONE: Outcome.PUBLISHED,
    Reason.SAME_PIXELS: Outcome.DUPLICATE,
    Reason.DIFFERENT_PIXELS: Outcome.CONFLICT,
    Reason.RTSTRUCT: Outcome.ANNOTATION,
    Reason.SEGMENTATION: Outcome.ANNOTATION,
    Reason.MEDIA_DIRECTORY: Outcome.DIRECTORY,
    Reason.NOT_DICOM: Outcome.NOT_DICOM,
}


_MEANINGS: dict[Outcome | Reason, str] = {
    Outcome.CONFLICT: "files with one SOP Instance UID hold different pixels; ask the sender which one is right",
    Outcome.NOT_DICOM: "no DICOM file; nothing to do, unless an image was expected in its place",
    Reason.UNREADABLE: "the file is damaged; export it and send it again",
    Reason.FILE_NOT_READABLE: "the file could not be opened; give the pipeline permission to read it, then run again",
    Reason.UNKNOWN_TRANSFER_SYNTAX: "its encoding is not known here; export it uncompressed",
    Reason.UNKNOWN_SOP_CLASS: "its kind of object is not known here, so it cannot be de-identified safely",
    Reason.NOT_AN_IMAGE: "it is no image (a report, a plan, a presentation state); nothing to do",
    Reason.NO_PIXEL_DATA: "it is an image without pixels; export it and send it again",
    Reason.TRUNCATED_PIXELS: "the file ends before its pixels do; export it and send it again",
    Reason.BURNED_IN_ANNOTATION: "text is burned into its pixels and may identify somebody; export the original image",
    Reason.SECONDARY_CAPTURE: "a screenshot may show a name in its pixels; export the original image",
    Reason.ULTRASOUND: "such images show names in their pixels as a rule; they are not published",
    Reason.ANGIOGRAPHY_OR_FLUOROSCOPY: "such images may show names in their pixels; they are not published",
    Reason.PHOTOGRAPH_OR_VIDEO: "such images may show a face; they are not published",
    Reason.DERIVED_CT: "a derived CT may show text in its pixels; export the original slices",
    Reason.CT_LOCALIZER: "a CT localizer often has names and plans drawn into its pixels; only one flagged as free of "
    "text is let through",
    Reason.STRUCTURED_REPORT: "a report is published only where the option clean-structured-content is chosen",
    Reason.ENCAPSULATED_DOCUMENT: "a document (PDF, CDA) is published only where `documents` is chosen, and then "
    "without its content",
    Reason.UNDECODABLE_PIXELS: "its pixels had to be searched for text or a face, and cannot be decoded; export it "
    "uncompressed",
    Reason.TEXT_REMAINS: "text was still found in its pixels after they had been cleaned; export the original image",
    Reason.FACE_NOT_REMOVED: "it may show a face that could not be removed; export the series as parallel slices",
    Reason.RESIDUAL_IDENTIFIER: "an identifying value would have stayed in it; the check residual_identifiers names "
    "the attribute",
    Reason.ARCHIVE_UNREADABLE: "the archive is damaged or of an unknown kind; send the files without it",
    Reason.ARCHIVE_ENCRYPTED: "the archive is encrypted; send the files without a password",
    Reason.UNSAFE_ARCHIVE_MEMBER: "a path in the archive leads outside it; pack the archive again",
    Reason.ARCHIVE_LIMIT: "the archive exceeds the limits for untrusted input; send the files without it",
    Reason.UNEXPECTED_ERROR: "a defect of this release; report it to the maintainers",
    Reason.WITHDRAWN: "its patient was withdrawn; nothing of it was read further: take the file out of landing",
}

WHAT_TO_DO: dict[str, str] = {
    f"{Outcome.QUARANTINED}/{why}" if isinstance(why, Reason) else str(why): text for why, text in _MEANINGS.items()
}
"""What was wrong and what to do, by the names under which `Ingested.counts` counts files that were left out."""


class Quarantine(Exception):
    """A file that is not published, and why. The text is the reason and nothing else, so it can stand in any log."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(str(reason))
        self.reason = reason

    def __reduce__(self) -> tuple[type["Quarantine"], tuple[Reason]]:
        return Quarantine, (self.reason,)
