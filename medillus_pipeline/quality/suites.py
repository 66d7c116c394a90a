"""What must hold of each table before anyone downstream sees it, one suite a table. Declarative; nothing runs here.

How a table is held to its suite is in `gate.py`; the suites of pictures and volumes are in `image_suites.py`, those of
masks in `mask_suites.py`. A bound that is a matter of plausibility, not of form, says `mostly`: one odd image does not
keep a delivery back, a systematic fault (a missing rescale intercept, say) does.
"""

from typing import TYPE_CHECKING

from medillus_pipeline.annotation.study.pathology import CONTRAST_PHASES
from medillus_pipeline.quality import attribute_columns as a
from medillus_pipeline.quality import derived as d
from medillus_pipeline.quality.expectations import (
    ANY_UID,
    NAMED,
    PATIENT,
    SHA256,
    SLICE_NAME,
    TOKEN,
    UID,
    Frame,
    Related,
    Suite,
    among,
    between,
    covers,
    form_of,
    holds,
    matches,
    payload,
    single,
    some_rows,
    unique,
)
from medillus_pipeline.quality.image_suites import slice_windows, slices, volumes
from medillus_pipeline.quality.mask_suites import (
    ANNOTATOR,
    mask_agreement,
    mask_findings,
    mask_layers,
    masks,
    study_labels,
)
from medillus_pipeline.tables import ILLUSTRATIONS, INSTANCES, TRAINING_SLICES

if TYPE_CHECKING:
    import pandas as pd

DRAWN_FROM = rf"({SLICE_NAME})|(^(mask|sketch|text)-[0-9a-f]{{12}}$)"
"""A slice, or a label map that somebody asked for, named by its content."""
PATIENT_OR_NOBODY = rf"({PATIENT})|(^no-patient$)"

SPLITS = ("train", "judge", "validation", "locked_test")

instances = Suite(
    "instances",
    [
        some_rows("the delivery holds at least one usable instance; its counts by reason say what became of the files"),
        *form_of(INSTANCES),
        *matches(UID, "UIDs are pseudonyms", "sop_instance_uid", "series_instance_uid", "study_instance_uid"),
        *matches(UID, "UIDs are pseudonyms", "frame_of_reference_uid"),
        *matches(ANY_UID, "a UID of the standard, as in the source", "sop_class_uid", "transfer_syntax_uid"),
        *matches(PATIENT, "patients are pseudonyms", "patient"),
        *matches(TOKEN, "the split orders patients by a keyed hash", "split_token"),
        *matches(r"^[A-Z0-9_ ]{1,16}$", "a code string (PS3.5 6.2)", "modality"),
        between("rows", 0, 65535, "Rows is an unsigned 16-bit number"),
        between("columns", 0, 65535, "Columns is an unsigned 16-bit number"),
        between("frames", 0, 1_000_000, "a plausible number of frames"),
        holds("all_or_no_pixels", "an instance has rows, columns and frames, or no pixel data at all"),
        *matches(SHA256, "a SHA-256", "sha256"),
        *matches(r"^[0-9a-f]{32}$", "an XXH3 of 128 bits", "pixel_hash"),
        *matches(r"^(none|possible|unknown|removed)$", "a word of the fixed vocabulary", "face"),
        *matches(payload(".dcm"), "a payload of the clean zone, never a landing path", "path"),
        holds("hash_in_path", NAMED),
        between("bytes", 132, None, "a DICOM file has a preamble and a prefix (PS3.10 7.1)"),
        single("patients_of_study", "a study belongs to one patient; two mean mixed-up files"),
        single("studies_of_series", "a series belongs to one study"),
        single("tokens_of_patient", "a patient has one place in the split"),
    ],
    {
        "all_or_no_pixels": d.all_or_no_pixels,
        "hash_in_path": d.hash_in_path("path", "sha256"),
        "patients_of_study": d.distinct("patient", "study_instance_uid"),
        "studies_of_series": d.distinct("study_instance_uid", "series_instance_uid"),
        "tokens_of_patient": d.distinct("split_token", "patient"),
    },
)

training_slices = Suite(
    "training_slices",
    [
        some_rows("there is at least one labelled slice"),
        *form_of(TRAINING_SLICES),
        between("row_offset", 0, 0, "rows count from 0 without a gap, as the packed arrays do"),
        unique("a slice is packed once for each annotator", "slice_name", "annotator"),
        *matches(SLICE_NAME, "slice names are derived from pseudonyms", "slice_name"),
        *matches(PATIENT, "patients are pseudonyms", "patient"),
        *matches(UID, "UIDs are pseudonyms", "series_instance_uid"),
        *matches(ANNOTATOR, "annotators are pseudonyms", "annotator"),
        among("split", SPLITS, "one of the four splits"),
        covers("split", SPLITS, "every split has slices; otherwise nothing can be trained, judged or tested"),
        single("splits_of_patient", "a patient is in one split only, or figures measure memory"),
        single("splits_of_values", "the same image is in one split only, whatever patient it claims"),
        single("patients_of_series", "a series belongs to one patient"),
        among("contrast_phase", [phase.key for phase in CONTRAST_PHASES], "a word of the fixed list"),
        holds("pathologies_listed", "pathologies stand in the list, in order, and a normal finding stands alone"),
        holds("stage_listed", "a stage group or TNM as it is usually written"),
        single("phases_of_series", "a series has one contrast phase, or none that is known"),
        between("level", 0, 1, "a share of the way along the body axis"),
        between("pixel_area", 0.01, 400, "a pixel of the canonical frame has a plausible area, in mm²"),
        between("axis_agreement", 0.7, 1.001, "columns run to the patient's left and rows to the back"),
        between("label_count", 1, 255, "a training slice shows at least one structure"),
        between("label_low", 1, 255, "vocabulary ids, background left out"),
        between("label_high", 1, 255, "vocabulary ids fit 8 bits"),
        holds("labels_ascend", "labels are in order and named once"),
        between("body_fraction", 0.005, 1, "the body is in the frame", mostly=0.95),
        between("ct_mean", -900, 1500, "mean HU inside the body is that of a body", mostly=0.95),
        *matches(SHA256, "a SHA-256", "source_value_sha256"),
    ],
    {
        "row_offset": d.row_offset,
        "splits_of_patient": d.distinct("split", "patient"),
        "splits_of_values": d.distinct("split", "source_value_sha256"),
        "patients_of_series": d.distinct("patient", "series_instance_uid"),
        "pathologies_listed": a.pathologies_listed,
        "stage_listed": a.stage_listed,
        "phases_of_series": a.phases_of_series,
        "pixel_area": d.of_list("affine", d.pixel_area),
        "axis_agreement": d.of_list("affine", d.axis_agreement),
        "label_count": d.of_list("labels", len),
        "label_low": d.of_list("labels", d.least),
        "label_high": d.of_list("labels", d.greatest),
        "labels_ascend": d.of_list("labels", d.ascending),
        "ct_mean": d.when("mean", "modality", "CT"),
    },
)


def split_known(frame: Frame, related: Related) -> "pd.Series":
    """1 where a generated figure names the split of its patient, or its label map is nobody's."""
    told = frame["split"].notna() | (frame["patient"] == "no-patient") | (frame["source"] != "generated")
    return told.astype(float)


illustrations = Suite(
    "illustrations",
    [
        some_rows("there is at least one figure"),
        *form_of(ILLUSTRATIONS),
        *matches(r"^f-[0-9a-f]{12}$", "figure names are hashes", "figure"),
        among("source", ("generated", "scan"), "made by the champion, or a labelled real slice"),
        *matches(DRAWN_FROM, "slice names are derived from pseudonyms, label maps from content", "slice_name"),
        *matches(PATIENT_OR_NOBODY, "patients are pseudonyms", "patient"),
        among("split", SPLITS, "one of the four splits"),
        between("locked_test_shown", 0, 0, "masks of the locked test are never illustrated"),
        between("label_count", 1, 255, "a figure labels at least one structure"),
        between("label_low", 1, 255, "vocabulary ids, background left out"),
        between("label_high", 1, 255, "vocabulary ids fit 8 bits"),
        holds("confidences_match", "every label has a confidence"),
        between("confidence_faults", 0, 0, "confidences are from 0 to 1, or unknown"),
        between("seed", 0, 2**63 - 1, "seeds count from 0"),
        holds("provenance_complete", "a generated figure names seed, model version and dataset"),
        holds("split_known", "a generated figure from a patient's label map names that patient's split"),
        *matches(payload(".svg"), "a payload of the clean zone", "svg_path"),
        *matches(payload(".png"), "a payload of the clean zone", "png_path"),
        *matches(payload(".json"), "a payload of the clean zone", "sidecar_path"),
        *matches(SHA256, "a SHA-256", "sha256"),
        holds("hash_in_path", NAMED),
    ],
    {
        "locked_test_shown": d.locked_test_shown,
        "label_count": d.of_list("labels", len),
        "label_low": d.of_list("labels", d.least),
        "label_high": d.of_list("labels", d.greatest),
        "confidences_match": d.same_length("labels", "confidences"),
        "confidence_faults": d.of_list("confidences", d.outside_unit),
        "provenance_complete": d.filled_when("source", "generated", "seed", "model_version", "dataset_fingerprint"),
        "split_known": split_known,
        "hash_in_path": d.hash_in_path("svg_path", "sha256"),
    },
)

SUITES = {
    suite.name: suite
    for suite in (
        instances,
        slices,
        slice_windows,
        volumes,
        masks,
        mask_layers,
        mask_findings,
        mask_agreement,
        study_labels,
        training_slices,
        illustrations,
    )
}
