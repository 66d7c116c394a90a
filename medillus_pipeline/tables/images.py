"""Tables of what was delivered and what images became of it."""

from medillus_pipeline.tables.table import Column, Table

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
