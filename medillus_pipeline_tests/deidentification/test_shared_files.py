"""Claims about every file of the real data sets with planted identities (`phi`) and with awkward files (`awkward`).

Each file is published or left out for the reason that its data/README.md and MANIFEST.csv give; the tables below say
which. What the files that pass show as images is not tested here: see `test_pixels.py` and `test_slices.py`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from medillus_pipeline.deidentification.ingest import Ingested, ingest_delivery
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.dicom.outcomes import Reason
from medillus_pipeline.dicom.reading import silenced
from medillus_pipeline.tables import INSTANCES, LEDGER
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.deidentification.delivered_files import deliver
from medillus_pipeline_tests.deidentification.planted import facts, vr_of

PUBLISHED = Reason.NONE
JPEG_LOSSLESS = Reason.SAME_PIXELS if find_spec("imagecodecs") else Reason.DIFFERENT_PIXELS
"""Without a decoder nobody can tell whether a copy of a slice is the same: it stays out as a conflict."""

PHI = {
    "burned_in_flag/burned_in_no.dcm": PUBLISHED,
    "burned_in_flag/burned_in_yes.dcm": Reason.BURNED_IN_ANNOTATION,
    "burned_in_flag/burned_in_other.dcm": Reason.BURNED_IN_ANNOTATION,  # a flag that is not NO
    "burned_in_flag/*": Reason.SECONDARY_CAPTURE,  # NM slices stored as Secondary Capture; no flag
    "charsets/chrFrenMulti.dcm": Reason.SECONDARY_CAPTURE,
    "charsets/chr*Multi*.dcm": Reason.NO_PIXEL_DATA,
    "charsets/chrSQEncoding*.dcm": Reason.NO_PIXEL_DATA,
    "charsets/*": Reason.SECONDARY_CAPTURE,
    "deid_data/us_burned_in_grey.dcm": Reason.BURNED_IN_ANNOTATION,
    "deid_data/*": Reason.SECONDARY_CAPTURE,
    "mr_*": PUBLISHED,
    "private_tags_ct.dcm": PUBLISHED,
    "pseudo_phi/burned_in_ct_kaufman.dcm": Reason.CT_LOCALIZER,
    "pseudo_phi/rgb_pet_rodgers.dcm": Reason.SECONDARY_CAPTURE,
    "pseudo_phi/ground_truth.json": Reason.NOT_DICOM,
    "reports/*": Reason.STRUCTURED_REPORT,
    "two_patients/*": PUBLISHED,
}
AWKWARD = {
    "dicomdir/98892001/CT2N/*": Reason.CT_LOCALIZER,
    "dicomdir/[79]*": PUBLISHED,
    "dicomdir/DICOMDIR*": Reason.MEDIA_DIRECTORY,
    "dicomdir/TINY_ALPHA/DICOMDIR": Reason.MEDIA_DIRECTORY,
    "dicomdir/TINY_ALPHA/PT*": Reason.NO_PIXEL_DATA,
    "*README*": Reason.NOT_DICOM,
    "not_dicom/bad.dcm": Reason.UNREADABLE,  # 336 bytes, but marked as DICOM
    "not_dicom/*": Reason.NOT_DICOM,
    "one_ct_many_syntaxes/CTImage.dcm": PUBLISHED,  # the first of the copies
    "one_ct_many_syntaxes/*JPEG2000TransferSyntax*": PUBLISHED,  # lossy: instances of their own
    "one_ct_many_syntaxes/*JPEGLSLossy*": PUBLISHED,
    "one_ct_many_syntaxes/*JPEGProcess1[T0]*": PUBLISHED,
    "one_ct_many_syntaxes/*JPEGProcess[26]*": PUBLISHED,
    "one_ct_many_syntaxes/*JPEGProcess14*": JPEG_LOSSLESS,
    "one_ct_many_syntaxes/*": Reason.SAME_PIXELS,
    "series_gantry_tilt/*": PUBLISHED,
    "series_rgb/*": Reason.SECONDARY_CAPTURE,
    "series_*": Reason.RESIDUAL_IDENTIFIER,  # the patient's name stands in Sequence Name, which is kept
    "single/693_*": PUBLISHED,
    "single/CT*": PUBLISHED,
    "single/J2K_pixelrep_mismatch.dcm": PUBLISHED,
    "single/MR_small.dcm": PUBLISHED,
    "single/MR_small_*": Reason.SAME_PIXELS,
    "single/MR_truncated.dcm": Reason.TRUNCATED_PIXELS,
    "single/RG3_J2KI.dcm": PUBLISHED,
    "single/bad_sequence.dcm": PUBLISHED,
    "single/eCT_Supplemental.dcm": PUBLISHED,
    "single/emri_small.dcm": PUBLISHED,
    "single/emri_*_too_short.dcm": Reason.TRUNCATED_PIXELS,
    "single/emri_*": Reason.SAME_PIXELS,
    "single/explicit_VR-UN.dcm": PUBLISHED,
    "single/parametric_map_float.dcm": PUBLISHED,
    "single/liver_*": Reason.SEGMENTATION,
    "single/rtstruct.dcm": Reason.RTSTRUCT,
    "single/no_meta.dcm": Reason.NOT_DICOM,  # one element, which says nothing about an image
    "single/UN_sequence.dcm": Reason.NO_PIXEL_DATA,
    "single/priv_SQ.dcm": Reason.NO_PIXEL_DATA,
    "single/no_meta_group_length.dcm": Reason.NO_PIXEL_DATA,
    "single/ExplVR_BigEnd.dcm": Reason.ULTRASOUND,
    "single/ExplVR_*NoMeta.dcm": Reason.NOT_AN_IMAGE,  # RT Ion Plan
    "single/OBXXXX1A_rle.dcm": Reason.ULTRASOUND,
    "single/color-p*.dcm": Reason.ULTRASOUND,
    "single/examples_palette.dcm": Reason.ULTRASOUND,
    "single/no-pixel-spacing.dcm": Reason.ULTRASOUND,
    "single/badVR.dcm": Reason.NOT_AN_IMAGE,  # RT Dose
    "single/empty_charset_LEI.dcm": Reason.NOT_AN_IMAGE,
    "single/no-pixel-data.dcm": Reason.STRUCTURED_REPORT,
    "single/reportsi*": Reason.STRUCTURED_REPORT,
    "single/rt[dp]*": Reason.NOT_AN_IMAGE,
    "single/waveform_ecg.dcm": Reason.NOT_AN_IMAGE,
    "single/*": Reason.SECONDARY_CAPTURE,
}
"""Pattern → why a file is left out; the first that matches counts."""

FOLDERS = {"phi": PHI, "awkward": AWKWARD}


@dataclass(frozen=True)
class Delivery:
    """A folder of shared data as it was delivered and ingested."""

    source: Path
    clean: Zone
    result: Ingested

    def reasons(self) -> dict[str, Reason]:
        """Path inside the folder → reason."""
        assert not any(row["member"] for row in self.result.ledger)
        return {row["source"].split("/", 2)[2]: Reason(row["reason"]) for row in self.result.ledger}

    def published(self) -> Iterator[tuple[Path, bytes]]:
        """Each published file: where it came from, and its bytes."""
        paths = {row["sop_instance_uid"]: row["path"] for row in self.result.instances}
        for row in self.result.ledger:
            if row["outcome"] == "published":
                yield self.source / row["source"].split("/", 2)[2], self.clean.read(paths[row["pseudonym"]])


@pytest.fixture(scope="module", params=FOLDERS)
def delivery(request, shared_data: Path, pseudonymiser: Pseudonymiser, tmp_path_factory) -> Delivery:
    source, home = shared_data / request.param, tmp_path_factory.mktemp(request.param)
    for name in ("landing", "clean"):
        (home / name).mkdir()
    landing, clean = (Zone((home / name).as_uri(), cache=home / "cache") for name in ("landing", "clean"))
    deliver(landing, "d", {f.relative_to(source).as_posix(): f.read_bytes() for f in source.rglob("*") if f.is_file()})
    return Delivery(source, clean, ingest_delivery(landing, "d", clean, pseudonymiser))


def test_every_file_is_published_or_left_out_for_the_right_reason(delivery: Delivery) -> None:
    expected = FOLDERS[delivery.source.name]
    found = delivery.reasons()
    assert set(found) == {f.relative_to(delivery.source).as_posix() for f in delivery.source.rglob("*") if f.is_file()}
    matched = {path: next(pattern for pattern in expected if fnmatch(path, pattern)) for path in found}
    assert {path: str(reason) for path, reason in found.items()} == {
        path: str(expected[pattern]) for path, pattern in matched.items()
    }
    assert set(expected) == set(matched.values()), "a pattern matches no file"


def test_the_counts_and_tables_of_the_delivery_agree(delivery: Delivery) -> None:
    result = delivery.result
    INSTANCES.to_arrow(result.instances)
    LEDGER.to_arrow(result.ledger)
    assert sum(result.counts.values()) == len(result.ledger)
    assert result.counts["published"] == len(result.instances)
    assert sorted(delivery.clean.files("instances")) == sorted({row["path"] for row in result.instances})


def test_nothing_that_identifies_survives_in_what_is_published(delivery: Delivery) -> None:
    header = b"\x00".join(without_pixels(data) for _, data in delivery.published())
    cells = "\x00".join(str(cell) for row in delivery.result.instances for cell in row.values())
    everything = header + b"\x00" + cells.encode()
    values = set[bytes]()
    with silenced():
        for file in (f for f in delivery.source.rglob("*") if f.is_file()):
            values |= {value for value, vr in identifying(file) if vr not in ("DA", "DT")}
    assert len(values) > 400
    assert sorted(value for value in values - HARMLESS if stands_in(value, everything)) == []


def test_no_date_of_a_file_survives_in_it(delivery: Delivery) -> None:
    checked = 0
    with silenced():
        for source, data in delivery.published():
            dates = {value[:8] for value, vr in identifying(source) if vr in ("DA", "DT") and value[:8].isdigit()}
            header = without_pixels(data)
            assert not [date for date in dates if len(date) == 8 and stands_in(date, header)]
            checked += len(dates)
    assert checked > 40


HARMLESS = frozenset(
    [
        *(b"TOSHIBA", b"GE MEDICAL SYSTEMS", b"HiSpeed CT/i", b"LightSpeed Plus"),  # also institutions and private
        *(b"WHOLE BODY", b"Brain", b"Uncompressed", b"normalized"),  # codes, defined terms: also comments
        b"REMOVED",  # a patient's name in a file that somebody cleaned before, and our dummy
    ]
)
"""Values that stand in an attribute that goes, and in their own right in one that stays."""

TIMEZONE = 0x00080201
"""Kept with modified dates, which move by whole days; the same offset stands in many files."""

_BY_TAG = {int(fact.tag, 16): fact for fact in facts() if fact.tag != "odd" and "x" not in fact.tag}


def without_pixels(data: bytes) -> bytes:
    """A published file up to its pixel data."""
    ends = [data.rfind(mark) for mark in (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10", b"\xe0\x7f\x08\x00")]
    return data[: max(ends)]


def identifying(file: Path) -> Iterator[tuple[bytes, str]]:
    """Values, and their VR, of all attributes that the table lists and of private ones: text of five characters or more
    (two, where it is not ASCII) as UTF-8 and as stored, components of names too; dates; UIDs."""
    try:
        dataset = dcmread(file, force=True, stop_before_pixels=True)
        yield from _identifying(dataset)
    except Exception:  # noqa: BLE001 - files that nobody can read hold no value to look for
        return


def _identifying(dataset: Dataset) -> Iterator[tuple[bytes, str]]:
    for tag in list(dataset.keys()):
        stored = dataset.get_item(tag)
        raw = stored.value if stored is not None and isinstance(stored.value, bytes) else b""
        element = dataset[tag]
        if element.VR == "SQ":
            for item in element.value:
                yield from _identifying(item)
            continue
        if not (tag.is_private or tag in _BY_TAG) or tag.element == 0 or tag == TIMEZONE:
            continue
        vr = element.VR if tag.is_private else vr_of(int(tag))
        if vr not in ("AE", "DA", "DT", "LO", "LT", "PN", "SH", "ST", "UC", "UI", "UR", "UT", "UN"):
            continue
        for value in str(element.value).split("\\") if element.VM == 1 else [str(single) for single in element.value]:
            parts = [value, *re.split(r"[\^=]", value)] if vr == "PN" else [value]
            for part in (part.strip(" \x00") for part in parts):
                if len(part) >= 5 or (not part.isascii() and len(part) >= 2):
                    yield part.encode("utf-8", "replace"), vr
        if not raw.isascii() and vr != "UN":
            yield from ((part, vr) for part in re.split(rb"[\^=\\]", raw.strip(b" \x00")) if len(part) > 4)


def stands_in(value: bytes, text: bytes) -> bool:
    """Whether the value occurs with no letter, digit or point next to it."""
    if value not in text:
        return False
    return re.search(rb"(?<![0-9A-Za-z.])%b(?![0-9A-Za-z.])" % re.escape(value), text) is not None
