"""Tables of what annotators drew and said, and of what was found odd about it."""

from medillus_pipeline.tables.table import Column, Table

MASKS = Table(
    "masks",
    "Label maps, one row per (instance, frame, annotator, revision).",
    (
        Column("slice_name", "string", "the slice that the mask belongs to"),
        Column("sop_instance_uid", "string", "pseudonymous SOP Instance UID"),
        Column("frame", "int32", "frame number, from 1"),
        Column("patient", "string", "patient pseudonym"),
        Column("annotator", "string", "annotator pseudonym, a-<8 hex>"),
        Column("revision", "int32", "revision by that annotator, growing, with gaps; the greatest is in force"),
        Column("source_format", "string", "labelme, rtstruct, nifti …"),
        Column("item", "string", "the submitted item it came from, as in mask_items"),
        Column("rows", "int32", "height in pixels, equal to the slice's"),
        Column("columns", "int32", "width in pixels, equal to the slice's"),
        Column("labels", "list<int32>", "vocabulary ids present, ascending, without background"),
        Column("areas", "list<int32>", "pixels of each of them"),
        Column("overlap_pixels", "int32", "pixels claimed by more than one structure, resolved by priority"),
        Column("overlap_policy", "string", "the rule by which the label map chose among structures"),
        Column("vocabulary", "string", "version of the vocabulary that the ids are of"),
        Column("path", "string", "payload path of the label PNG (8 bit, palette, value = vocabulary id)"),
        Column("sha256", "string", "SHA-256 of the label PNG"),
    ),
    ("slice_name", "annotator", "revision"),
)

MASK_LAYERS = Table(
    "mask_layers",
    "Structures that the label map of their slice does not show in full, as they were drawn.",
    (
        Column("slice_name", "string", "the slice, as in masks"),
        Column("annotator", "string", "annotator pseudonym"),
        Column("revision", "int32", "revision, as in masks"),
        Column("label", "int32", "vocabulary id of the structure"),
        Column("reason", "string", "overlap, planning_target or union_of_parts"),
        Column("item", "string", "the submitted item it came from, as in mask_items"),
        Column("rows", "int32", "height of the slice in pixels"),
        Column("columns", "int32", "width of the slice in pixels"),
        Column("area", "int32", "pixels of the structure as drawn"),
        Column("hidden_pixels", "int32", "pixels of it that the label map gives to others, or leaves out"),
        Column("top", "int32", "first row of its box, from 0"),
        Column("left", "int32", "first column of its box, from 0"),
        Column("height", "int32", "rows of the box"),
        Column("width", "int32", "columns of the box"),
        Column("runs", "list<int32>", "lengths of the runs in the box, row by row, outside and inside in turn"),
    ),
    ("slice_name", "annotator", "revision", "label"),
)

MASK_FINDINGS = Table(
    "mask_findings",
    "What is odd about the structures of a batch, one row per finding.",
    (
        Column("series_instance_uid", "string", "pseudonymous Series Instance UID"),
        Column("annotator", "string", "annotator pseudonym"),
        Column("structure", "string", "structure key"),
        Column("finding", "string", "from the fixed vocabulary of annotation/plausibility/findings.py"),
        Column("slice_name", "string", "the slice, or * for the whole series"),
        Column("value", "double", "what was measured, outside of low to high"),
        Column("low", "double", "least plausible value", True),
        Column("high", "double", "greatest plausible value", True),
        Column("unit", "string", "of value, low and high: ml, cm2, mm, HU, share, slices, masks, structures, parts"),
        Column("severity", "string", "refuse (the structure was taken off) or warn"),
    ),
    ("series_instance_uid", "annotator", "structure", "finding", "slice_name"),
)

MASK_AGREEMENT = Table(
    "mask_agreement",
    "How far two annotators agree on a structure, per slice and for all slices of a series together.",
    (
        Column("series_instance_uid", "string", "pseudonymous Series Instance UID"),
        Column("slice_name", "string", "the slice, or * for all slices of the series together"),
        Column("structure", "string", "structure key"),
        Column("annotator_a", "string", "pseudonym of the one that sorts first"),
        Column("annotator_b", "string", "pseudonym of the other"),
        Column("patient", "string", "patient pseudonym"),
        Column("drawn_by", "string", "both, only_a or only_b"),
        Column("slices", "int32", "slices that both read and on which either drew the structure"),
        Column("slices_only_a", "int32", "of them, those on which only a drew it"),
        Column("slices_only_b", "int32", "of them, those on which only b drew it"),
        Column("dice", "double", "0 to 1; null when only one drew it anywhere in the series", True),
        Column("mean_surface_distance_mm", "double", "average symmetric, in the plane, where both drew it", True),
        Column("hausdorff_95_mm", "double", "greater directed 95th percentile, in the plane, where both drew it", True),
        Column("area_a_mm2", "double", "area by a, summed over the slices; null without a pixel spacing", True),
        Column("area_b_mm2", "double", "area by b", True),
        Column("area_difference_percent", "double", "b less a, in percent of their mean", True),
    ),
    ("series_instance_uid", "slice_name", "structure", "annotator_a", "annotator_b"),
)

MASK_ITEMS = Table(
    "mask_items",
    "The receipt: what became of every item that was submitted in an annotation batch.",
    (
        Column("item", "string", "pseudonym of the submitted file, i-<12 hex>; the vault's ledger maps it"),
        Column("structure", "string", "structure key the line is about, or * for the whole item"),
        Column("source_format", "string", "labelme, rtstruct, dicom_seg, nifti, nrrd, png, labels, or unknown"),
        Column("outcome", "string", "accepted, kept (as a layer, not in the label map), pending or refused"),
        Column("reason", "string", "from the fixed vocabulary of annotation/outcomes.py; empty when accepted"),
        Column("slices", "int32", "number of slices concerned; for labels, of labels or lines"),
        Column("remark", "string", "how the item was read, where there was a choice; empty when there was none"),
    ),
    ("item", "structure", "outcome", "reason"),
)

STUDY_LABELS = Table(
    "study_labels",
    "What annotators said of whole studies and series, from closed lists.",
    (
        Column("study_instance_uid", "string", "pseudonymous Study Instance UID"),
        Column("series_instance_uid", "string", "pseudonymous Series Instance UID; empty for the whole study"),
        Column("patient", "string", "patient pseudonym"),
        Column("kind", "string", "pathology, stage or contrast_phase"),
        Column("value", "string", "key of annotation/study/pathology.csv, stage group or TNM, or contrast phase"),
        Column("code", "string", "ICD-11 MMS code of a pathology, or empty"),
        Column("annotator", "string", "annotator pseudonym, a-<8 hex>"),
        Column("revision", "int32", "revision by that annotator, growing, with gaps; the greatest is in force"),
    ),
    ("study_instance_uid", "series_instance_uid", "kind", "value", "annotator", "revision"),
)
