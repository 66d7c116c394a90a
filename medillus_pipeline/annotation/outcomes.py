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
    CODE_AND_LABEL_DIFFER = "code_and_label_differ"
    BROKEN_FILE = "broken_file"
    TOO_LARGE = "too_large"
    UNSUPPORTED_FORMAT = "unsupported_format"
    NOT_AN_ANNOTATION = "not_an_annotation"
    UNSUPPORTED_SHAPE = "unsupported_shape"
    NO_AREA = "no_area"
    OPEN_CONTOUR = "open_contour"
    MASK_SIZE_DIFFERS = "mask_size_differs"
    OTHER_GEOMETRY = "other_geometry"
    OTHER_PATIENT = "other_patient"
    OTHER_SERIES = "other_series"
    OTHER_SPACE = "other_space"
    CROSSING_CONTOURS = "crossing_contours"
    TWO_SLICES = "two_slices"
    AMBIGUOUS_SERIES = "ambiguous_series"
    NOT_IN_INDEX = "not_in_index"
    NO_LABEL_NAMES = "no_label_names"
    PART_MISSING = "part_missing"
    NOT_A_LABEL_MAP = "not_a_label_map"
    PLANNING_TARGET = "planning_target"
    UNION_OF_PARTS = "union_of_parts"
    HIDDEN = "hidden"
    SLICE_TWICE = "slice_twice"
    REVISION_EXISTS = "revision_exists"
    CORRECTED = "corrected"
    NOT_READABLE = "not_readable"
    SUBMITTED_BEFORE = "submitted_before"
    SIDES_SWAPPED = "sides_swapped"
    OUTSIDE_BODY = "outside_body"
    WRONG_TISSUE = "wrong_tissue"
    PROPOSAL_UNCONFIRMED = "proposal_unconfirmed"
    EMPTY = "empty"
    NO_LABEL_COLUMNS = "no_label_columns"
    BROKEN_LINE = "broken_line"
    UNKNOWN_VALUE = "unknown_value"
    LABELS_DIFFER = "labels_differ"


MEANINGS: dict[Reason, str] = {
    Reason.UNKNOWN_SLICE: "no published slice fits; it is tried again when a delivery is published",
    Reason.UNKNOWN_LABEL: "the name is in no row of the vocabulary; rename it, or add it as a synonym",
    Reason.CODE_AND_LABEL_DIFFER: "its code and its label name two different structures; correct one of them",
    Reason.BROKEN_FILE: "the file cannot be read; export it again",
    Reason.TOO_LARGE: "the file or its contents exceed the limits for untrusted input; split it",
    Reason.UNSUPPORTED_FORMAT: "the format is not read here; export LabelMe, RTSTRUCT, DICOM SEG, NIfTI, NRRD or PNG",
    Reason.NOT_AN_ANNOTATION: "it draws nothing: an image, or the picture of a slice; images belong to a delivery",
    Reason.UNSUPPORTED_SHAPE: "the kind of shape is not known; use a polygon, rectangle, circle or mask",
    Reason.NO_AREA: "it encloses no pixel's centre: a line, a point, or too thin; draw a closed shape",
    Reason.OPEN_CONTOUR: "the contour is open, a point or outside any plane; close it",
    Reason.MASK_SIZE_DIFFERS: "the mask or drawing does not have the size of its slice; draw on the slice as published",
    Reason.OTHER_GEOMETRY: "it lies on another grid or between slices; resample it to the series",
    Reason.OTHER_PATIENT: "it names another patient than the slices that it points at",
    Reason.OTHER_SERIES: "it names another series than that of the slices that it points at; export it for one series",
    Reason.OTHER_SPACE: "its coordinates are in another frame of reference than its slices; export it for their series",
    Reason.CROSSING_CONTOURS: "two outlines of it all but coincide, so none is its area; keep one of them",
    Reason.TWO_SLICES: "its file name and its image path name two different slices; correct one of them",
    Reason.AMBIGUOUS_SERIES: "several series of its frame of reference fit; name the series",
    Reason.NOT_IN_INDEX: "neither its name nor an index.json says which series or slice it belongs to; add it",
    Reason.NO_LABEL_NAMES: "nothing in or beside the file says what its values mean; add a label description",
    Reason.PART_MISSING: "the file that holds its data is not in the same folder of the batch; add it",
    Reason.NOT_A_LABEL_MAP: "its values are not whole numbers from 0 to 65535, or too many for a mask; export labels",
    Reason.PLANNING_TARGET: "CTV, PTV and ITV are drawn across organs: they are kept as layers, not in the label maps",
    Reason.UNION_OF_PARTS: "all of its parts are drawn in the same item and stand in its place; it is kept as a layer",
    Reason.HIDDEN: "structures of higher priority cover it entirely; it is kept as a layer",
    Reason.SLICE_TWICE: "another item of the batch already draws this structure on this slice",
    Reason.REVISION_EXISTS: "the annotator already has a published mask of this revision; raise the number",
    Reason.CORRECTED: "the same batch holds a newer revision of the slice by the same annotator",
    Reason.NOT_READABLE: "the file may not be read; give permission, then hand it in again",
    Reason.SUBMITTED_BEFORE: "the annotator's mask in force is the same to the last pixel; nothing was changed",
    Reason.SIDES_SWAPPED: "left and right are exchanged; exchange the names, unless the patient is mirrored",
    Reason.OUTSIDE_BODY: "it lies outside the body; draw it on the slice that it belongs to",
    Reason.WRONG_TISSUE: "the values inside are not those of its tissue; check its name, its slice and its place",
    Reason.PROPOSAL_UNCONFIRMED: "a model drew it and nobody confirmed it; correct it, then take the mark off",
    Reason.EMPTY: "nothing is drawn",
    Reason.NO_LABEL_COLUMNS: "labels.csv needs a header with a study, series or slice and a kind of label; add it",
    Reason.BROKEN_LINE: "the line has more cells than the header, or names no study, series or slice; correct it",
    Reason.UNKNOWN_VALUE: "the pathology, stage or contrast phase is not in the lists; write it as they do",
    Reason.LABELS_DIFFER: "other lines say something else of the same study or series; keep one of them",
}
"""One sentence per reason: what was wrong and what to do."""


class Refused(Exception):
    """Raised while reading one item that cannot be used at all; the batch quarantines the item and goes on."""

    def __init__(self, reason: Reason, outcome: Outcome = Outcome.REFUSED) -> None:
        super().__init__(MEANINGS[reason])
        self.reason = reason
        self.outcome = outcome
