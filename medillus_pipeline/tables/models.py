"""Tables of what models are trained on, and of people's verdicts on them."""

from medillus_pipeline.tables.table import Column, Table

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
