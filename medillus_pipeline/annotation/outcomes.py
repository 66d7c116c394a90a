"""What can become of a submitted annotation: the fixed vocabulary of outcomes and reasons that receipts use.

Receipts are read on the clean side, so nothing that an annotator typed stands in them: structures are named by our own
keys, files by pseudonyms.
"""

from enum import StrEnum


class Outcome(StrEnum):
    """What became of an item, or of one structure in it. KEPT: as a layer, but not in the label map."""

    ACCEPTED = "accepted"
    KEPT = "kept"
    PENDING = "pending"
    REFUSED = "refused"


class Reason(StrEnum):
    """Why something is pending or refused. `MEANINGS` says it in a sentence with what to do."""

    UNKNOWN_SLICE = "unknown_slice"
    UNKNOWN_LABEL = "unknown_label"
    BROKEN_FILE = "broken_file"
    TOO_LARGE = "too_large"
    UNSUPPORTED_FORMAT = "unsupported_format"
    UNSUPPORTED_SHAPE = "unsupported_shape"
    NO_AREA = "no_area"
    OPEN_CONTOUR = "open_contour"
    MASK_SIZE_DIFFERS = "mask_size_differs"
    OTHER_GEOMETRY = "other_geometry"
    OTHER_PATIENT = "other_patient"
    AMBIGUOUS_SERIES = "ambiguous_series"
    NOT_IN_INDEX = "not_in_index"
    NOT_A_LABEL_MAP = "not_a_label_map"
    PLANNING_TARGET = "planning_target"
    UNION_OF_PARTS = "union_of_parts"
    HIDDEN = "hidden"
    SLICE_TWICE = "slice_twice"
    REVISION_EXISTS = "revision_exists"
    SUBMITTED_BEFORE = "submitted_before"
    CORRECTED = "corrected"
    SIDES_SWAPPED = "sides_swapped"
    OUTSIDE_BODY = "outside_body"
    WRONG_TISSUE = "wrong_tissue"
    EMPTY = "empty"


MEANINGS: dict[Reason, str] = {
    Reason.UNKNOWN_SLICE: "no published slice fits; it is tried again when a delivery is published",
    Reason.UNKNOWN_LABEL: "the name is in no row of the vocabulary; rename it, or add it as a synonym",
    Reason.BROKEN_FILE: "the file cannot be read; export it again",
    Reason.TOO_LARGE: "the file or its contents exceed the limits for untrusted input; split it",
    Reason.UNSUPPORTED_FORMAT: "the format is not read here; export LabelMe JSON, RTSTRUCT or NIfTI",
    Reason.UNSUPPORTED_SHAPE: "the kind of shape is not known; use a polygon, rectangle, circle or mask",
    Reason.NO_AREA: "lines and points enclose no area; draw a closed shape",
    Reason.OPEN_CONTOUR: "the contour is open, a point or outside any plane; close it",
    Reason.MASK_SIZE_DIFFERS: "the mask or drawing does not have the size of its slice; draw on the slice as published",
    Reason.OTHER_GEOMETRY: "it lies on another grid or between slices; resample it to the series",
    Reason.OTHER_PATIENT: "it names another patient than the slices that it points at",
    Reason.AMBIGUOUS_SERIES: "several series of its frame of reference fit; name the series",
    Reason.NOT_IN_INDEX: "no index.json says which series and labels the volume belongs to; add it",
    Reason.NOT_A_LABEL_MAP: "the values are not whole numbers from 0 to 65535; export a label map",
    Reason.PLANNING_TARGET: "CTV, PTV and ITV are drawn across organs and are left out of the label maps",
    Reason.UNION_OF_PARTS: "all of its parts are drawn in the same item and stand in its place",
    Reason.HIDDEN: "structures of higher priority cover it entirely",
    Reason.SLICE_TWICE: "another item of the batch already draws this structure on this slice",
    Reason.REVISION_EXISTS: "the annotator already has a published mask of this revision; raise the number",
    Reason.SUBMITTED_BEFORE: "an earlier batch holds the same file; nothing new is in it",
    Reason.CORRECTED: "a newer revision by the same annotator stands in its place",
    Reason.SIDES_SWAPPED: "left and right are exchanged; exchange the names, unless the patient is mirrored",
    Reason.OUTSIDE_BODY: "it lies outside the body; draw it on the slice that it belongs to",
    Reason.WRONG_TISSUE: "the values inside are not those of its tissue; check its name, its slice and its place",
    Reason.EMPTY: "nothing is drawn",
}
"""One sentence per reason: what was wrong and what to do."""


class Refused(Exception):
    """Raised while reading one item that cannot be used at all; the batch quarantines the item and goes on."""

    def __init__(self, reason: Reason, outcome: Outcome = Outcome.REFUSED) -> None:
        super().__init__(MEANINGS[reason])
        self.reason = reason
        self.outcome = outcome
