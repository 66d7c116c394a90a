"""What must hold of masks and of the tables beside them: suites as in `suites.py`, declarative.

The words of the closed lists are those of the code that writes them, so a list and its audit cannot drift apart.
What is odd about a drawing, and no fault of form, is not here: `annotation/plausibility/`.
"""

from medillus_pipeline.annotation.formats import labelme, nifti, nrrd, png_masks, rtstruct, segmentation
from medillus_pipeline.annotation.label_map import OVERLAP_POLICY
from medillus_pipeline.annotation.layers import Covered
from medillus_pipeline.annotation.plausibility.findings import FindingKind, Severity
from medillus_pipeline.annotation.review.agreement import BOTH, ONLY_A, ONLY_B
from medillus_pipeline.annotation.study.labels_csv import LABELS
from medillus_pipeline.quality import derived as d
from medillus_pipeline.quality import mask_columns as m
from medillus_pipeline.quality.expectations import (
    NAMED,
    PATIENT,
    SHA256,
    SLICE_NAME,
    UID,
    Expectation,
    Suite,
    among,
    at_least,
    between,
    form_of,
    holds,
    matches,
    payload,
    single,
    some_rows,
)
from medillus_pipeline.tables import MASK_AGREEMENT, MASK_FINDINGS, MASK_LAYERS, MASKS, STUDY_LABELS

ANNOTATOR = r"^a-[0-9a-f]{8}$"
ITEM = r"^i-[0-9a-f]{12}$"
SLICE_OR_SERIES = r"^(s-[0-9a-f]{16}-[0-9]{4,}|\*)$"
ICD11 = r"^([0-9A-Z]{4}(\.[0-9A-Z]{1,2})?)?$"
FORMATS = [form.FORMAT for form in (labelme, rtstruct, segmentation, nifti, nrrd, png_masks)]
UNITS = ("ml", "cm2", "mm", "HU", "share", "slices", "masks", "structures", "parts")
FIXED = "a word of the fixed vocabulary"


def _drawn() -> list[Expectation]:
    """Who drew what on which slice, and where it was handed in."""
    return [
        *matches(SLICE_NAME, "slice names are derived from pseudonyms", "slice_name"),
        *matches(ANNOTATOR, "annotators are pseudonyms", "annotator"),
        *matches(ITEM, "items are pseudonyms", "item"),
        between("revision", 1, None, "revisions count from 1"),
        holds("slice_known", "every mask belongs to a published slice"),
    ]


masks = Suite(
    "masks",
    [
        some_rows("the batch holds at least one mask; its receipt says what became of every item"),
        *form_of(MASKS),
        *_drawn(),
        *matches(UID, "UIDs are pseudonyms", "sop_instance_uid"),
        *matches(PATIENT, "patients are pseudonyms", "patient"),
        among("source_format", FORMATS, FIXED),
        between("frame", 1, None, "frames count from 1"),
        holds("slice_agrees", "size, instance, frame and patient are those of the slice"),
        between("label_count", 1, 255, "a mask shows at least one structure"),
        between("label_low", 1, 255, "vocabulary ids, background left out"),
        between("label_high", 1, 255, "vocabulary ids fit 8 bits"),
        holds("labels_known", "every label is a structure of the vocabulary"),
        holds("labels_ascend", "labels are in order and named once"),
        holds("areas_match", "every label has an area"),
        between("area_low", 1, None, "a label that is named covers at least one pixel"),
        between("covered_share", 0, 1, "labelled pixels fit the slice"),
        between("overlap_share", 0, 1, "pixels claimed twice fit the slice"),
        among("overlap_policy", [OVERLAP_POLICY], "the rule by which this release composes label maps"),
        *matches(r"^[0-9a-f]{16}$", "the vocabulary's version is a hash", "vocabulary"),
        single("vocabularies", "a batch is read with one vocabulary"),
        *matches(SHA256, "a SHA-256", "sha256"),
        *matches(payload(".png", "masks"), "a payload of the clean zone", "path"),
        holds("hash_in_path", NAMED),
    ],
    {
        "slice_known": d.known("slice_name", "slices"),
        "slice_agrees": d.agrees("slice_name", "slices", "rows", "columns", "sop_instance_uid", "frame", "patient"),
        "label_count": d.of_list("labels", len),
        "label_low": d.of_list("labels", d.least),
        "label_high": d.of_list("labels", d.greatest),
        "labels_known": m.labels_in_vocabulary("labels"),
        "labels_ascend": d.of_list("labels", d.ascending),
        "areas_match": d.same_length("labels", "areas"),
        "area_low": d.of_list("areas", d.least),
        "covered_share": d.covered_share,
        "overlap_share": d.overlap_share,
        "vocabularies": d.distinct("vocabulary", "overlap_policy"),
        "hash_in_path": d.hash_in_path("path", "sha256"),
    },
    related=("slices",),
)

mask_layers = Suite(
    "mask_layers",
    [
        some_rows("a published partition of layers holds at least one of them"),
        *form_of(MASK_LAYERS),
        *_drawn(),
        holds("slice_agrees", "a layer has the size of its slice"),
        between("label", 1, 255, "vocabulary ids fit 8 bits"),
        holds("labels_known", "every label is a structure of the vocabulary"),
        among("reason", list(Covered), FIXED),
        between("top", 0, None, "rows count from 0"),
        between("left", 0, None, "columns count from 0"),
        between("height", 1, None, "a box has rows"),
        between("width", 1, None, "a box has columns"),
        holds("box_inside", "the box lies within the slice"),
        holds("runs_fill_box", "the runs, outside and inside in turn, fill the box"),
        holds("area_is_that_of_runs", "the area is that of the runs inside"),
        between("hidden_pixels", 1, None, "what the label map shows in full needs no layer"),
        at_least("area", "hidden_pixels", "no more is hidden than was drawn"),
        holds("hidden_in_full", "planning targets and unions never enter a label map"),
    ],
    {
        "slice_known": d.known("slice_name", "slices"),
        "slice_agrees": d.agrees("slice_name", "slices", "rows", "columns"),
        "labels_known": m.labels_in_vocabulary("label"),
        "box_inside": m.box_inside,
        "runs_fill_box": m.runs_fill_box,
        "area_is_that_of_runs": m.area_is_that_of_runs,
        "hidden_in_full": m.hidden_in_full,
    },
    related=("slices",),
)

mask_findings = Suite(
    "mask_findings",
    [
        some_rows("a published partition of findings holds at least one of them"),
        *form_of(MASK_FINDINGS),
        *matches(UID, "UIDs are pseudonyms", "series_instance_uid"),
        *matches(ANNOTATOR, "annotators are pseudonyms", "annotator"),
        *matches(SLICE_OR_SERIES, "a slice name, or * for the whole series", "slice_name"),
        holds("place_known", "every finding is about a published series, or a slice of it"),
        holds("structure_known", "a key of the vocabulary, never what an annotator typed"),
        among("finding", list(FindingKind), FIXED),
        among("severity", list(Severity), FIXED),
        among("unit", UNITS, FIXED),
        between("value", -1e12, 1e12, "measured values are finite"),
        holds("bounds_ascend", "the least plausible value is not above the greatest"),
        holds("beyond_bounds", "what was measured lies outside of what is plausible"),
        holds("refusal_has_reason", "a finding that takes a structure off has a reason for the receipt"),
    ],
    {
        "place_known": m.place_known,
        "structure_known": m.structure_known,
        "bounds_ascend": m.bounds_ascend,
        "beyond_bounds": m.beyond_bounds,
        "refusal_has_reason": m.refusal_has_reason,
    },
    related=("slices",),
)

mask_agreement = Suite(
    "mask_agreement",
    [
        some_rows("a published partition of agreement holds at least one comparison"),
        *form_of(MASK_AGREEMENT),
        *matches(UID, "UIDs are pseudonyms", "series_instance_uid"),
        *matches(PATIENT, "patients are pseudonyms", "patient"),
        *matches(ANNOTATOR, "annotators are pseudonyms", "annotator_a", "annotator_b"),
        *matches(SLICE_OR_SERIES, "a slice name, or * for the whole series", "slice_name"),
        holds("place_known", "every comparison is of a published series, or a slice of it"),
        holds("patient_agrees", "the patient is that of the series"),
        holds("structure_known", "a key of the vocabulary, never what an annotator typed"),
        holds("in_order", "annotator a sorts before b, so no pair is compared twice"),
        among("drawn_by", (BOTH, ONLY_A, ONLY_B), FIXED),
        single("whole_series_rows", "every comparison has one row about the whole series"),
        between("slices", 1, None, "a structure was drawn somewhere"),
        between("slices_only_a", 0, None, "a number of slices"),
        between("slices_only_b", 0, None, "a number of slices"),
        holds("slices_counted", "slices that only one drew on are among all of them, one in a row about a slice"),
        between("dice", 0, 1, "Dice is a share"),
        holds("dice_as_drawn", "a Dice is given exactly where both drew the structure in the series"),
        between("dice_of_one", 0, 0, "where only one drew, nothing is common"),
        between("mean_surface_distance_mm", 0, None, "distances are not negative"),
        between("hausdorff_95_mm", 0, None, "distances are not negative"),
        holds("distances_as_drawn", "distances are given together, where both drew the structure"),
        between("area_a_mm2", 0, None, "areas are not negative"),
        between("area_b_mm2", 0, None, "areas are not negative"),
        between("area_difference_percent", -200, 200, "in percent of the mean of two areas"),
    ],
    {
        "place_known": m.place_known,
        "patient_agrees": d.agrees("series_instance_uid", "slices", "patient"),
        "structure_known": m.structure_known,
        "in_order": m.in_order,
        "whole_series_rows": m.whole_series_rows,
        "slices_counted": m.slices_counted,
        "dice_as_drawn": m.dice_as_drawn,
        "dice_of_one": m.dice_of_one,
        "distances_as_drawn": m.distances_as_drawn,
    },
    related=("slices",),
)

study_labels = Suite(
    "study_labels",
    [
        some_rows("a published partition of labels holds at least one of them"),
        *form_of(STUDY_LABELS),
        *matches(UID, "UIDs are pseudonyms", "study_instance_uid"),
        *matches(rf"{UID}|^$", "UIDs are pseudonyms; empty for the whole study", "series_instance_uid"),
        *matches(PATIENT, "patients are pseudonyms", "patient"),
        *matches(ANNOTATOR, "annotators are pseudonyms", "annotator"),
        between("revision", 1, None, "revisions count from 1"),
        holds("series_of_study", "every label is about a published study, or a series of it"),
        holds("patient_agrees", "the patient is that of the study"),
        among("kind", LABELS, FIXED),
        *matches(r"^[A-Za-z0-9_]{1,64}$", "a key, a stage group or TNM, never free text", "value"),
        holds("value_listed", "the value stands in the list of its kind"),
        *matches(ICD11, "an ICD-11 code, or empty", "code"),
        holds("code_as_listed", "the code is that of the pathology"),
        single("values_of_single_kind", "an annotator gives a study or series one stage and one contrast phase"),
    ],
    {
        "series_of_study": m.series_of_study,
        "patient_agrees": d.agrees("study_instance_uid", "slices", "patient"),
        "value_listed": m.value_listed,
        "code_as_listed": m.code_as_listed,
        "values_of_single_kind": m.values_of_single_kind,
    },
    related=("slices",),
)
