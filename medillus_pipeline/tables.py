"""The tables: their columns (name, type, meaning, key) and the partitioned Parquet store that holds them.

One file per partition, `tables/<table>/partition=<key>/part-0.parquet`, published in one atomic act. The columns are
plain Python, so that the asset graph can show a table's schema without loading pyarrow; pyarrow is imported where a
table is really built or read. What must hold of the values is not here: see `quality/suites.py`.
"""

import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medillus_pipeline.zones import StoreRefused, Zone

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Column:
    """A column: its Arrow type by alias (`string`, `int32`, `list<double>` …), its meaning, whether it may be null."""

    name: str
    type: str
    description: str
    nullable: bool = False


@dataclass(frozen=True)
class Table:
    """A table's name, meaning, columns and the columns that identify a row."""

    name: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]

    def arrow_schema(self) -> "pa.Schema":
        """The pyarrow schema, with descriptions as field metadata."""
        import pyarrow as pa

        return pa.schema(
            [
                pa.field(c.name, _arrow_type(c.type), nullable=c.nullable, metadata={"description": c.description})
                for c in self.columns
            ],
            metadata={"table": self.name},
        )

    def to_arrow(self, rows: Sequence[Mapping[str, Any]]) -> "pa.Table":
        """Rows (dictionaries with every column) as a pyarrow table, sorted by the key.

        Raises ValueError when a row lacks a column, has one too many, or holds null where none may stand.
        """
        import pyarrow as pa

        names = [column.name for column in self.columns]
        for row in rows:
            if set(row) != set(names):
                odd = sorted(set(row) ^ set(names))
                raise ValueError(f"a row of table {self.name} has missing or unknown columns: {odd}")
        ordered = sorted(rows, key=lambda row: tuple("" if row[k] is None else row[k] for k in self.key))
        table = pa.Table.from_pylist([{name: row[name] for name in names} for row in ordered], self.arrow_schema())
        for column in self.columns:
            if not column.nullable and table.column(column.name).null_count:
                raise ValueError(f"column {column.name} of table {self.name} holds nulls")
        return table


def _arrow_type(alias: str) -> "pa.DataType":
    import pyarrow as pa

    if alias.startswith("list<"):
        return pa.list_(_arrow_type(alias[5:-1]))
    return pa.type_for_alias(alias)


INSTANCES = Table(
    "instances",
    "De-identified DICOM instances, one row each.",
    (
        Column("sop_instance_uid", "string", "pseudonymous SOP Instance UID (2.25.…)"),
        Column("sop_class_uid", "string", "SOP Class UID, as in the source"),
        Column("series_instance_uid", "string", "pseudonymous Series Instance UID"),
        Column("study_instance_uid", "string", "pseudonymous Study Instance UID"),
        Column("frame_of_reference_uid", "string", "pseudonymous Frame of Reference UID", True),
        Column("patient", "string", "patient pseudonym, p-<16 hex>"),
        Column("split_token", "string", "keyed hash that the frozen split orders patients by; survives key rotation"),
        Column("modality", "string", "DICOM Modality, upper case"),
        Column("body_part", "string", "BodyPartExamined, upper case", True),
        Column("face", "string", "whether its series may show a face: none, possible, unknown, or removed"),
        Column("rows", "int32", "rows of a frame in pixels; 0 without pixel data"),
        Column("columns", "int32", "columns of a frame in pixels; 0 without pixel data"),
        Column("frames", "int32", "number of frames; 0 without pixel data"),
        Column("transfer_syntax_uid", "string", "transfer syntax of the stored object"),
        Column("pixel_hash", "string", "XXH3 (128 bits) of the encoded pixel data as stored", True),
        Column("path", "string", "payload path of the de-identified DICOM file in the clean zone"),
        Column("sha256", "string", "SHA-256 of the de-identified file"),
        Column("bytes", "int64", "size of the de-identified file"),
    ),
    ("sop_instance_uid",),
)

SLICES = Table(
    "slices",
    "Displayable 2D frames as windowed 8-bit PNGs, with their geometry.",
    (
        Column("slice_name", "string", "unique name, s-<16 hex of the SOP Instance UID's hash>-<frame, 4 digits>"),
        Column("sop_instance_uid", "string", "pseudonymous SOP Instance UID"),
        Column("frame", "int32", "frame number, from 1"),
        Column("series_instance_uid", "string", "pseudonymous Series Instance UID"),
        Column("study_instance_uid", "string", "pseudonymous Study Instance UID"),
        Column("frame_of_reference_uid", "string", "pseudonymous Frame of Reference UID", True),
        Column("patient", "string", "patient pseudonym"),
        Column("split_token", "string", "as in instances"),
        Column("modality", "string", "DICOM Modality"),
        Column("body_part", "string", "BodyPartExamined", True),
        Column("ordinal", "int32", "position in the series along the slice normal, from 0"),
        Column("rows", "int32", "height in pixels"),
        Column("columns", "int32", "width in pixels"),
        Column("pixel_spacing", "list<double>", "row spacing, column spacing in mm (PS3.3 10.7.1.3)", True),
        Column("position", "list<double>", "ImagePositionPatient x, y, z in mm, LPS", True),
        Column("orientation", "list<double>", "ImageOrientationPatient, six direction cosines", True),
        Column("slice_spacing", "double", "median distance to the neighbours along the normal in mm", True),
        Column("window", "string", "preset or rule that made the PNG, for example soft-tissue"),
        Column("window_center", "double", "window centre in output units of the Modality LUT (HU for CT)", True),
        Column("window_width", "double", "window width in the same units", True),
        Column("transform", "string", "every step from stored value to grey, to the last digit"),
        Column("minimum", "double", "least calibrated value of the frame, padding left out"),
        Column("maximum", "double", "greatest calibrated value of the frame, padding left out"),
        Column("mean", "double", "mean calibrated value of the frame, padding left out"),
        Column("instance_path", "string", "payload path of the DICOM instance"),
        Column("path", "string", "payload path of the PNG"),
        Column("sha256", "string", "SHA-256 of the PNG"),
    ),
    ("slice_name",),
)

SLICE_WINDOWS = Table(
    "slice_windows",
    "Further pictures of the slices: other windows, 16 bits, or every value with nothing lost.",
    (
        Column("slice_name", "string", "the slice, as in slices"),
        Column("window", "string", "preset or rule that made the PNG, for example lung; lossless for one without"),
        Column("output", "string", "grey8, grey16 (16-bit grey), or lossless (16-bit, value * slope + intercept)"),
        Column("window_center", "double", "window centre in output units of the Modality LUT (HU for CT)", True),
        Column("window_width", "double", "window width in the same units", True),
        Column("slope", "double", "lossless: output units (HU for CT) per step of the PNG's values", True),
        Column("intercept", "double", "lossless: output value (HU for CT) of the PNG's value 0", True),
        Column("transform", "string", "every step from stored value to the PNG's, to the last digit"),
        Column("path", "string", "payload path of the PNG"),
        Column("sha256", "string", "SHA-256 of the PNG"),
    ),
    ("slice_name", "window", "output"),
)

VOLUMES = Table(
    "volumes",
    "Every stack of parallel slices with the verdict whether it is a volume; the volume of each that is one.",
    (
        Column("series_instance_uid", "string", "pseudonymous Series Instance UID"),
        Column("stack", "int32", "number of the stack in its series, the largest is 0; one orientation and size each"),
        Column("study_instance_uid", "string", "pseudonymous Study Instance UID"),
        Column("frame_of_reference_uid", "string", "pseudonymous Frame of Reference UID", True),
        Column("patient", "string", "patient pseudonym"),
        Column("split_token", "string", "as in instances"),
        Column("modality", "string", "DICOM Modality"),
        Column("body_part", "string", "BodyPartExamined", True),
        Column("face", "string", "as in instances: none, possible, unknown, or removed"),
        Column("verdict", "string", "volume, or why the stack is none: gaps, tilted_stack, too_few_slices …"),
        Column("notes", "list<string>", "what is unusual about the stack or its series, in alphabetical order"),
        Column("slices", "int32", "number of slices in the stack"),
        Column("shape", "list<int32>", "columns, rows, slices of the volume", True),
        Column("spacing", "list<double>", "distance of columns, of rows and of slices in mm", True),
        Column("affine", "list<double>", "4x4 row-major: (column, row, slice, 1) to LPS mm; NIfTI's own is RAS", True),
        Column("unit", "string", "HU, or calibrated for other output values of the Modality LUT", True),
        Column("minimum", "double", "least calibrated value, padding left out", True),
        Column("maximum", "double", "greatest calibrated value, padding left out", True),
        Column("padding", "double", "calibrated value of pixels that hold no measurement, if the file names one", True),
        Column("path", "string", "payload path of the volume (.nii.gz)", True),
        Column("sha256", "string", "SHA-256 of the volume's file", True),
        Column("bytes", "int64", "size of the volume's file", True),
        Column("preview", "string", "payload path of the three planes (PNG); null where a face may show", True),
    ),
    ("series_instance_uid", "stack"),
)

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

LEDGER = Table(
    "ledger",
    "Restricted. One row per delivered file or archive member, and what became of it.",
    (
        Column("source", "string", "path inside the landing folder"),
        Column("member", "string", "path inside the archive, or empty"),
        Column("sha256", "string", "SHA-256 of the bytes as delivered"),
        Column("bytes", "int64", "size as delivered"),
        Column(
            "outcome",
            "string",
            "published, duplicate, conflict, annotation, directory, not_dicom, quarantined, pending (annotations), or "
            "refused (reviews)",
        ),
        Column("reason", "string", "from the fixed vocabulary; empty when published"),
        Column("pseudonym", "string", "pseudonymous SOP Instance UID, item or verdict it became", True),
    ),
    ("source", "member"),
)

LANDINGS = Table(
    "landings",
    "Restricted. Which landing folder a partition key stands for; one partition file per key.",
    (
        Column("key", "string", "partition key"),
        Column("kind", "string", "images, annotations or reviews"),
        Column("folder", "string", "folder name in landing (may identify)"),
        Column("arrived", "string", "ISO 8601 time at which the marker was first seen, UTC"),
    ),
    ("key",),
)

PATIENT_SPLITS = Table(
    "patient_splits",
    "The frozen split, append-only; one partition file per round of assignment.",
    (
        Column("split_token", "string", "keyed hash of the patient, from instances"),
        Column("split", "string", "train, judge, validation or locked_test"),
        Column("round", "int32", "round of assignment, from 1"),
    ),
    ("split_token",),
)

TRAINING_SLICES = Table(
    "training_slices",
    "Index of a dataset snapshot; row i describes entry i of each of its arrays.",
    (
        Column("row", "int32", "position in the packed arrays, from 0"),
        Column("slice_name", "string", "the slice it came from"),
        Column("patient", "string", "patient pseudonym"),
        Column("split", "string", "train, judge, validation or locked_test"),
        Column("series_instance_uid", "string", "pseudonymous Series Instance UID"),
        Column("annotator", "string", "annotator pseudonym of the mask"),
        Column("modality", "string", "DICOM Modality"),
        Column("body_part", "string", "BodyPartExamined", True),
        Column("contrast_phase", "string", "contrast phase that annotators gave its series, as in study_labels", True),
        Column("pathology", "list<string>", "pathologies that they gave its series or study, ascending"),
        Column("stage", "string", "stage group or TNM that they gave", True),
        Column("level", "double", "normalised position along the body axis in the series, 0 feet to 1 head"),
        Column("affine", "list<double>", "4x4 row-major: (column, row, 0, 1) of the canonical frame to LPS mm"),
        Column("labels", "list<int32>", "vocabulary ids present after resampling"),
        Column("body_fraction", "double", "share of the frame inside the body, 0 to 1"),
        Column("mean", "double", "mean calibrated value inside the body"),
        Column("source_value_sha256", "string", "SHA-256 of the packed values of this row"),
    ),
    ("row",),
)

ILLUSTRATIONS = Table(
    "illustrations",
    "Labelled figures made by the champion, or labelled real slices where no model can be trained yet.",
    (
        Column("figure", "string", "figure name, f-<12 hex>"),
        Column("source", "string", "generated or scan"),
        Column("slice_name", "string", "slice whose mask conditioned the figure"),
        Column("patient", "string", "patient pseudonym of that mask"),
        Column("split", "string", "split of that patient; never locked_test for a generated figure", True),
        Column("labels", "list<int32>", "vocabulary ids labelled in the figure"),
        Column("confidences", "list<double>", "per label, 0 to 1; NaN where there is no segmenter"),
        Column("seed", "int64", "seed of the generated image", True),
        Column("model_version", "string", "MLflow version of the generator", True),
        Column("dataset_fingerprint", "string", "fingerprint of the dataset snapshot", True),
        Column("svg_path", "string", "payload path of the SVG"),
        Column("png_path", "string", "payload path of the PNG"),
        Column("sidecar_path", "string", "payload path of the JSON provenance"),
        Column("sha256", "string", "SHA-256 of the SVG"),
    ),
    ("figure",),
)

ILLUSTRATION_RECORDS = Table(
    "illustration_records",
    "What is told of each figure beside its row in illustrations: all of its files, its approval, its checks.",
    (
        Column("figure", "string", "figure name, as in illustrations"),
        Column("slice_name", "string", "as in illustrations"),
        Column("patient", "string", "as in illustrations"),
        Column("request", "string", "the request that it answers, q-<12 hex>; null where nobody asked", True),
        Column("style", "string", "radiology, textbook, patient, journal or quiz"),
        Column("modality", "string", "DICOM Modality"),
        Column("level", "double", "position along the body, 0 feet to 1 head", True),
        Column("contrast_phase", "string", "contrast phase that was asked for, or that the slice has", True),
        Column("pathologies", "list<string>", "keys of pathologies that the slice has or that were asked for"),
        Column("stage", "string", "stage of the disease", True),
        Column("endings", "list<string>", "endings of its files: .svg, .png, .json, .manifest.json and others"),
        Column("paths", "list<string>", "payload paths of these files, in the same order"),
        Column("made_at", "string", "ISO 8601 time, UTC, that its files say"),
        Column("failed_checks", "list<string>", "checks that it did not pass; empty: it passed all that were made"),
        Column("approved_by", "list<string>", "pseudonyms of reviewers who approved its model; empty: not reviewed"),
        Column("publication", "bool", "whether it was made for publication, which takes an approval"),
    ),
    ("figure",),
)

ILLUSTRATION_REQUESTS = Table(
    "illustration_requests",
    "Requests for figures as they may leave landing: names, free words and drawings stay there.",
    (
        Column("request", "string", "q-<12 hex>, a keyed hash of what was asked"),
        Column("ways", "list<string>", "how it was asked: mask, sketch, text, scan"),
        Column("document", "string", "the request as canonical JSON, as IllustrationRequest reads it"),
        Column("mask_path", "string", "payload path of the label map; null where none was drawn", True),
        Column("mask_sha256", "string", "SHA-256 of the label map", True),
        Column("remarks", "list<string>", "what was assumed when a drawing was read"),
    ),
    ("request",),
)

VOLUME_ILLUSTRATIONS = Table(
    "volume_illustrations",
    "Generated volumes: CT slices that belong together, drawn from the label stack of a held-out patient.",
    (
        Column("volume", "string", "v-<12 hex>"),
        Column("patient", "string", "patient pseudonym of the label stack"),
        Column("series_instance_uid", "string", "pseudonymous Series Instance UID of the label stack"),
        Column("split", "string", "split of that patient; never locked_test"),
        Column("modality", "string", "DICOM Modality"),
        Column("slices", "int32", "number of slices"),
        Column("side", "int32", "rows and columns"),
        Column("spacing", "list<double>", "slice, row, column distance in mm"),
        Column("labels", "list<int32>", "vocabulary ids in the stack"),
        Column("seed", "int64", "seed of all slices"),
        Column("model_version", "string", "MLflow version of the generator"),
        Column("dataset_fingerprint", "string", "fingerprint of the dataset snapshot"),
        Column("flicker", "double", "difference of neighbouring slices as a share of the real one", True),
        Column("lag", "double", "the same over eight slices", True),
        Column("texture_spread", "double", "spread of texture as a share of the real one", True),
        Column("neighbour_correlation", "double", "of texture in neighbouring slices", True),
        Column("neighbour_correlation_real", "double", "the same of the real volume", True),
        Column("dice_ratio", "double", "judged Dice as a share of that on the real slices", True),
        Column("failed_checks", "list<string>", "bars of coherence that are missed, in words"),
        Column("nifti_path", "string", "payload path of the volume as NIfTI"),
        Column("labels_path", "string", "payload path of its label stack as NIfTI"),
        Column("dicom_path", "string", "payload path of the DICOM series, zipped"),
        Column("surfaces_path", "string", "payload path of the surfaces as GLB"),
        Column("scene_path", "string", "payload path of the scene for 3D Slicer, zipped"),
        Column("picture_path", "string", "payload path of the surfaces as PNG"),
        Column("manifest_path", "string", "payload path of the signed manifest of these files"),
        Column("made_at", "string", "ISO 8601 time, UTC"),
        Column("approved_by", "list<string>", "pseudonyms of reviewers who approved its model; empty: not reviewed"),
        Column("sha256", "string", "SHA-256 of the NIfTI volume"),
    ),
    ("volume",),
)

PROMOTIONS = Table(
    "promotions",
    "Append-only: which version became champion when and why; one partition file per row, never written twice.",
    (
        Column("number", "int32", "order of the rows, from 1 without gaps"),
        Column("version", "string", "MLflow version of the generator that the row is about"),
        Column("action", "string", "promote, rollback, or revoke (never champion again)"),
        Column("previous", "string", "champion until then; null for none, and for revoke", True),
        Column("run_id", "string", "Dagster run that did it, or command-line"),
        Column("at", "string", "ISO 8601 time, UTC"),
        Column("reason", "string", "what the person said, or the sentence of the gates"),
        Column("document", "string", "payload path of what was published of the version; empty for revoke"),
    ),
    ("number",),
)

REVIEWS = Table(
    "reviews",
    "What reviewers said of each image of a blind sheet, from verdicts whose signatures hold.",
    (
        Column("verdict", "string", "the signed verdict, v-<12 hex>"),
        Column("image", "string", "the image on the sheet, 12 hex"),
        Column("reviewer", "string", "reviewer pseudonym, r-<8 hex>"),
        Column("roles", "list<string>", "roles of the reviewer when the verdict was read"),
        Column("public_key", "string", "public key that the verdict was signed with, 64 hex"),
        Column("model_version", "string", "MLflow version of the generator"),
        Column("weights_sha256", "string", "SHA-256 of its weights"),
        Column("sheet", "string", "SHA-256 of what the sheet shows"),
        Column("slice_name", "string", "slice that the image is, or whose mask conditioned it"),
        Column("origin", "string", "what the image is: real or generated"),
        Column("said_origin", "string", "what the reviewer took it for: real, generated or unsure"),
        Column("anatomy", "int32", "anatomical correctness, 1 (impossible) to 5 (correct)"),
        Column("realism", "int32", "realism, 1 (clearly artificial) to 5 (like a scan)"),
        Column("labels_fit", "string", "whether the labels fit the image: yes, no or unsure"),
        Column("structures", "list<int32>", "vocabulary ids that the labels show"),
        Column("wrong_structures", "list<int32>", "of them, those whose anatomy the reviewer calls wrong"),
        Column("comment_characters", "int32", "length of the comment, 0 without one"),
        Column("comment", "string", "the comment, where the roster says that comments are kept", True),
        Column("decision", "string", "of the whole verdict: approve, reject or abstain"),
        Column("signed_at", "string", "ISO 8601 time of signing by the reviewer's clock, UTC"),
    ),
    ("verdict", "image"),
)

TABLES = (
    INSTANCES,
    SLICES,
    SLICE_WINDOWS,
    VOLUMES,
    MASKS,
    MASK_LAYERS,
    MASK_FINDINGS,
    MASK_AGREEMENT,
    MASK_ITEMS,
    STUDY_LABELS,
    LEDGER,
    LANDINGS,
    PATIENT_SPLITS,
    TRAINING_SLICES,
    ILLUSTRATIONS,
    ILLUSTRATION_RECORDS,
    ILLUSTRATION_REQUESTS,
    VOLUME_ILLUSTRATIONS,
    REVIEWS,
    PROMOTIONS,
)


def storable(text: str) -> str:
    """Text from outside as UTF-8 can hold it: file names and JSON may carry lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode()


def to_parquet(table: "pa.Table") -> bytes:
    """The table as Parquet bytes; the same table gives the same bytes."""
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def from_parquet(data: bytes) -> "pa.Table":
    """The inverse of `to_parquet`, in this thread: pyarrow 25's pool can abort a short-lived process when it exits."""
    import pyarrow.parquet as pq

    return pq.read_table(io.BytesIO(data), use_threads=False)


class TableStore:
    """The tables of one zone. Publishing replaces a partition's file in one atomic act."""

    def __init__(self, zone: Zone) -> None:
        self.zone = zone

    def path(self, table: Table, key: str) -> str:
        """Where the partition's file stands."""
        return f"tables/{table.name}/partition={key}/part-0.parquet"

    def publish(self, table: Table, key: str, data: "pa.Table") -> str:
        """Make `data` the partition's content; returns its data version (SHA-256 of the Parquet bytes).

        An unchanged partition is not written again.
        """
        encoded = to_parquet(data)
        version = hashlib.sha256(encoded).hexdigest()
        path = self.path(table, key)
        if not (self.zone.exists(path) and self.zone.read(path) == encoded):
            self.zone.write(path, encoded)
        return version

    def keys(self, table: Table) -> list[str]:
        """Partitions that are published, sorted. The folder of one that could not be written is none."""
        prefix, suffix = f"tables/{table.name}/partition=", "/part-0.parquet"
        files = [path for path in self.zone.files(f"tables/{table.name}") if path.endswith(suffix)]
        return sorted(path.removeprefix(prefix).removesuffix(suffix) for path in files)

    def read(self, table: Table, key: str) -> "pa.Table":
        """One partition. Raises FileNotFoundError when it was never published, StoreRefused when another release wrote
        it, or something that does not write tables.
        """
        return self._checked(table, key, self.zone.read(self.path(table, key)))

    def version(self, table: Table, key: str) -> str | None:
        """Data version of a published partition, None when it was never published."""
        try:
            return hashlib.sha256(self.zone.read(self.path(table, key))).hexdigest()
        except FileNotFoundError:
            return None

    def read_all(self, table: Table, keys: Iterable[str] | None = None) -> "pa.Table":
        """All partitions (or those named) as one table with one column more, `partition`; empty when there are none."""
        import pyarrow as pa

        parts = []
        for key in self.keys(table) if keys is None else keys:
            part = self.read(table, key)
            parts.append(part.append_column("partition", pa.array([key] * part.num_rows, pa.string())))
        schema = table.arrow_schema().append(pa.field("partition", pa.string()))
        return pa.concat_tables([p.cast(schema) for p in parts]) if parts else schema.empty_table()

    def _checked(self, table: Table, key: str, data: bytes) -> "pa.Table":
        import pyarrow as pa

        try:
            read = from_parquet(data)
        except pa.ArrowException as error:
            raise StoreRefused(
                f"partition {key} of the stored table {table.name} is no Parquet file, so it was changed from outside: "
                "materialize the partition again, or restore it from a backup"
            ) from error
        expected, found = table.arrow_schema(), read.schema
        if (found.names, found.types) != (expected.names, expected.types):
            raise StoreRefused(
                f"partition {key} of the stored table {table.name} has other columns than this release expects "
                f"({_differences(expected, found)}): it was written by another release; materialize the partition again"
            )
        return read


def _differences(expected: "pa.Schema", found: "pa.Schema") -> str:
    """What stands in one of two schemas only, by name."""
    wanted, there = (
        dict(zip(expected.names, expected.types, strict=True)),
        dict(zip(found.names, found.types, strict=True)),
    )
    said = [f"no {name}" for name in expected.names if name not in there]
    said += [f"{storable(name)[:40]!r} is unknown" for name in found.names if name not in wanted][:5]
    said += [f"{name} is {there[name]} and no {kind}" for name, kind in wanted.items() if there.get(name, kind) != kind]
    return ", ".join(said) or "in another order"
