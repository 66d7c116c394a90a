"""Claims that hold for any file: what is published is sound, clean, and the same every time.

The files are generated (`generated.py`). Idempotent means here: what is published can be de-identified again, and
that finds nothing to remove; every data set keeps its attributes, and all values but identifiers (UIDs, pseudonyms)
and dates, which are mapped and moved once more, stay as they are.
"""

import datetime
import hashlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.datadict import dictionary_VM, dictionary_VR
from pydicom.dataset import Dataset

from medillus_pipeline.deidentification.deidentify import Deidentified, deidentify
from medillus_pipeline.deidentification.outside_table import CODED_TEXT
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.dicom.outcomes import Quarantine
from medillus_pipeline_tests.conftest import REPOSITORY
from medillus_pipeline_tests.deidentification.delivered_files import encoded, image, item
from medillus_pipeline_tests.deidentification.generated import NUMBERS, SECRET, SETTLED, Item, file_of, files, mutated
from medillus_pipeline_tests.deidentification.planted import CHAINS, planted_file

KEY = Pseudonymiser(key=b"k" * 32, split_salt=b"s" * 32)
OTHER_KEY = Pseudonymiser(key=b"o" * 32, split_salt=b"s" * 32)
PSEUDONYMS = (0x00100010, 0x00100020, 0x00080050)
VALID = st.dates(datetime.date(1925, 1, 1), datetime.date(2100, 12, 31))


def result_of(data: bytes) -> Deidentified | None:
    """The result, or None for a file that is quarantined. Whatever else is raised is a defect."""
    try:
        return deidentify(data, KEY)
    except Quarantine as quarantine:
        assert str(quarantine) == str(quarantine.reason)
        return None


def published(data: bytes) -> Dataset:
    return dcmread(io.BytesIO(deidentify(data, KEY).data))


def shape(dataset: Dataset) -> list[object]:
    """Attributes at every level, with their values where these are neither identifiers nor dates."""
    return [
        (int(e.tag), [shape(inner) for inner in e.value])
        if e.VR == "SQ"
        else (int(e.tag), None if e.VR in ("UI", "DA", "DT") or e.tag in PSEUDONYMS else e.value)
        for e in dataset
    ]


def contradictions(dataset: Dataset) -> list[str]:
    """Attributes whose VR is not the dictionary's, or whose value cannot be read under it."""
    wrong = []
    for tag in list(dataset.keys()):
        try:
            element = dataset[tag]
            if element.VR not in dictionary_VR(tag).split(" or "):
                wrong.append(f"{tag}: VR {element.VR}")
            if element.VR == "SQ":
                wrong += [line for inner in element.value for line in contradictions(inner)]
            else:
                str(element.value)
        except (KeyError, ValueError, TypeError, OverflowError) as error:
            wrong.append(f"{tag}: {type(error).__name__}")
    return wrong


def holders(data: bytes) -> list[str]:
    """Where the secret stands in a file. Technical text apart, since the residual gate looks after that, and arrays of
    any number of binary numbers, since nobody can tell text from those."""
    return _holders(dcmread(io.BytesIO(data)))


def _holders(dataset: Dataset) -> list[str]:
    found = []
    for tag in list(dataset.keys()):
        stored = dataset.get_item(tag)
        value = stored.value if stored is not None else None
        numbers = dictionary_VR(tag) in NUMBERS and dictionary_VM(tag).endswith("n")
        if isinstance(value, bytes) and tag not in CODED_TEXT and not numbers and SECRET.encode() in value:
            found.append(str(tag))
        if dataset[tag].VR == "SQ":
            found += [line for inner in dataset[tag].value for line in _holders(inner)]
    return found


@settings(SETTLED, max_examples=150)
@given(files())
def test_any_sound_file_is_published_sound_and_without_its_secrets(data: bytes) -> None:
    result = deidentify(data, KEY)
    found = dcmread(io.BytesIO(result.data))
    assert holders(result.data) == []
    assert contradictions(found) == []
    assert result.data[:128] == bytes(128)
    assert found.PixelData == image().PixelData


@settings(SETTLED, max_examples=150)
@given(files(conforming=False))
def test_any_file_with_contradicting_values_is_published_sound_or_quarantined(data: bytes) -> None:
    result = result_of(data)
    if result is None:
        return
    found = dcmread(io.BytesIO(result.data))
    assert holders(result.data) == []
    assert contradictions(found) == []


@settings(SETTLED, max_examples=300)
@given(st.data())
def test_damage_of_any_kind_raises_nothing_but_quarantine(data: st.DataObject) -> None:
    result = result_of(data.draw(mutated(SOUND)))
    if result is not None:
        assert dcmread(io.BytesIO(result.data)).SOPInstanceUID.startswith("2.25.")


SOUND = encoded(
    image(
        DerivationCodeSequence=item(PatientName="Tristan", CodeValue="1", CodingSchemeDesignator="DCM"),
        ReferencedImageSequence=item(ReferencedSOPInstanceUID="1.2.3"),
    )
)


@settings(SETTLED, max_examples=100)
@given(files(conforming=False))
def test_nothing_is_left_to_remove_and_a_rerun_gives_the_same_bytes(data: bytes) -> None:
    result = result_of(data)
    assume(result is not None)
    assert result is not None and deidentify(data, KEY).data == result.data
    once, again = dcmread(io.BytesIO(result.data)), published(result.data)
    assert shape(again) == shape(once)


@pytest.mark.parametrize("route", CHAINS)
def test_nothing_is_left_to_remove_from_a_file_with_the_whole_table(route) -> None:
    once = deidentify(planted_file(route).data, KEY).data
    assert shape(published(once)) == shape(dcmread(io.BytesIO(once)))


@pytest.mark.parametrize("seed", ["0", "1", "4711"])
def test_another_process_gives_the_same_bytes(seed: str, tmp_path: Path) -> None:
    paths = []
    for number, data in enumerate([SOUND, *(planted_file(route).data for route in CHAINS)]):
        paths.append(tmp_path / str(number))
        paths[-1].write_bytes(data)
    program = (
        "import hashlib, pathlib, sys\n"
        "from medillus_pipeline.deidentification.deidentify import deidentify\n"
        "from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser\n"
        "key = Pseudonymiser(key=b'k' * 32, split_salt=b's' * 32)\n"
        "for name in sys.argv[1:]:\n"
        "    print(hashlib.sha256(deidentify(pathlib.Path(name).read_bytes(), key).data).hexdigest())\n"
    )
    environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(REPOSITORY)}
    ran = subprocess.run(
        [sys.executable, "-c", program, *map(str, paths)], env=environment, capture_output=True, text=True, check=True
    )
    ours = [hashlib.sha256(deidentify(path.read_bytes(), KEY).data).hexdigest() for path in paths]
    assert ran.stdout.split() == ours


UIDS = st.integers(1, 10**25).map(lambda number: f"1.2.826.0.1.{number}")


@settings(SETTLED, max_examples=60)
@given(st.lists(UIDS, min_size=2, max_size=6, unique=True))
def test_references_resolve_across_files_and_another_key_links_nothing(uids: list[str]) -> None:
    whole = image(ReferencedImageSequence=item(ReferencedSOPInstanceUID=uids[0]), SourceImageSequence=[])
    whole.SourceImageSequence = [item(ReferencedSOPInstanceUID=uid)[0] for uid in uids]
    ours = published(encoded(whole))
    mapped = [reference.ReferencedSOPInstanceUID for reference in ours.SourceImageSequence]
    for uid, expected in zip(uids, mapped, strict=True):
        assert published(encoded(image(SOPInstanceUID=uid))).SOPInstanceUID == expected
    assert ours.ReferencedImageSequence[0].ReferencedSOPInstanceUID == mapped[0]
    assert len(set(mapped)) == len(uids)
    theirs = dcmread(io.BytesIO(deidentify(encoded(whole), OTHER_KEY).data))
    others = {reference.ReferencedSOPInstanceUID for reference in theirs.SourceImageSequence}
    others |= {theirs.StudyInstanceUID, theirs.SeriesInstanceUID, theirs.FrameOfReferenceUID}
    assert not others & {*mapped, ours.StudyInstanceUID, ours.SeriesInstanceUID, ours.FrameOfReferenceUID}
    assert theirs.PatientID != ours.PatientID and theirs.AccessionNumber != ours.AccessionNumber


@settings(SETTLED, max_examples=60)
@given(st.text(alphabet=st.characters(codec="ascii", categories=("L", "N", "P"), exclude_characters="\\"), min_size=1),
       st.integers(0, 3), st.booleans())  # fmt: skip
def test_one_patient_whatever_the_padding_and_case(patient: str, padding: int, upper: bool) -> None:
    assume(len(patient) < 40)
    spelling = " " * padding + (patient.upper() if upper else patient.lower()) + " " * padding
    one, two = (deidentify(encoded(image(patient=p)), KEY) for p in (patient, spelling))
    assert one.row["patient"] == two.row["patient"] and one.row["split_token"] == two.row["split_token"]
    assert dcmread(io.BytesIO(one.data)).StudyDate == dcmread(io.BytesIO(two.data)).StudyDate


def date_of(text: str) -> datetime.date:
    return datetime.datetime.strptime(text[:8], "%Y%m%d").date()


@settings(SETTLED, max_examples=120)
@given(VALID, VALID, st.times(), st.sampled_from(["", "+0100", "-1200", "+1400", "+0545"]))
def test_intervals_are_kept_between_every_kind_of_date(
    first: datetime.date, second: datetime.date, time: datetime.time, zone: str
) -> None:
    clock = f"{time:%H%M%S.%f}"
    made = image(StudyDate=f"{first:%Y%m%d}", StudyTime=clock, AcquisitionDateTime=f"{second:%Y%m%d}{clock}{zone}")
    made.DerivationCodeSequence = item(ContentDate=f"{second:%Y%m%d}", ExpiryDate=f"{first:%Y%m%d}")
    found = published(encoded(made))
    days = date_of(found.StudyDate) - first
    assert -3650 <= days.days <= -365
    assert found.StudyTime == clock
    assert date_of(found.AcquisitionDateTime) - second == days
    assert found.AcquisitionDateTime[8:] == clock + zone
    assert date_of(found.DerivationCodeSequence[0].ContentDate) - second == days
    assert date_of(found.DerivationCodeSequence[0].ExpiryDate) - first == days


@pytest.mark.parametrize(
    ("first", "second"),
    [("20240228", "20240301"), ("20230228", "20230301"), ("19991231", "20000101"), ("20000229", "20040229")],
)
def test_intervals_are_kept_over_leap_days_and_the_turn_of_the_century(first: str, second: str) -> None:
    for patient in ("a", "b", "c", "d", "e"):
        found = published(encoded(image(patient=patient, StudyDate=first, SeriesDate=second)))
        assert date_of(found.SeriesDate) - date_of(found.StudyDate) == date_of(second) - date_of(first)


@settings(SETTLED, max_examples=60)
@given(st.integers(1930, 2100), st.integers(1, 12), st.sampled_from([4, 6]))
def test_a_datetime_of_a_year_or_month_moves_and_keeps_its_precision(year: int, month: int, digits: int) -> None:
    value = f"{year}{month:02}"[:digits]
    made = published(encoded(image(AcquisitionDateTime=value, StudyDate=f"{year}{month:02}01"))).AcquisitionDateTime
    assert len(made) == digits and made != value
    moved = date_of(published(encoded(image(StudyDate=f"{year}{month:02}01"))).StudyDate)
    assert abs(int(made[:4]) - moved.year) <= (1 if digits == 4 else 0)


@settings(SETTLED, max_examples=150)
@given(st.text(alphabet="0123456789.+- :/T", min_size=1, max_size=26), st.sampled_from(["DA", "DT", "TM"]))
def test_what_is_no_date_or_time_is_removed_and_not_copied(value: str, vr: str) -> None:
    tag = {"DA": 0x00080020, "DT": 0x0008002A, "TM": 0x00080030}[vr]
    raw = value.encode()
    data = file_of(Item({tag: (vr, raw)}))
    element = published(data).get(tag)
    written = "" if element is None else str(element.value)
    assert not written or is_valid(vr, value.strip())
    assert not written or vr == "TM" or written != value.strip()


def is_valid(vr: str, value: str) -> bool:
    """Whether this is a date, datetime or time of PS3.5 6.2 (or of ACR-NEMA, with points or colons)."""
    if vr == "DA":
        forms = ["%Y%m%d", "%Y.%m.%d"]
    elif vr == "TM":
        forms = ["%H", "%H%M", "%H%M%S", "%H%M%S.%f", "%H:%M", "%H:%M:%S", "%H:%M:%S.%f"]
    else:
        value, zone = (value[:-5], value[-5:]) if value[-5:-4] in ("+", "-") else (value, "")
        if zone and not ("0000" <= zone[1:] <= "1400" and zone[3:] < "60"):
            return False
        forms = ["%Y", "%Y%m", "%Y%m%d", "%Y%m%d%H", "%Y%m%d%H%M", "%Y%m%d%H%M%S", "%Y%m%d%H%M%S.%f"]
    for form in forms:
        try:
            if len(datetime.datetime.strptime(value, form).strftime(form)) >= len(value):
                return True
        except ValueError:
            continue
    return False
