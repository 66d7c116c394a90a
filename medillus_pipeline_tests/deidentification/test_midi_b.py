"""Ten kinds of check, as the MIDI-B challenge has them, over the planted files of the shared data: all are met."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import Dataset

from medillus_pipeline.deidentification.policy import Policy
from medillus_pipeline_tests.deidentification.answer_key import (
    CLEANED,
    LEFT_OUT,
    PLAIN,
    Check,
    Kind,
    answer_key,
    read,
    sources,
)
from medillus_pipeline_tests.deidentification.midi_b_report import (
    CLEANING,
    can_clean_pixels,
    deidentified,
    main,
    scored,
)
from medillus_pipeline_tests.deidentification.scoring import score

PHOTOGRAPH = "deid_data/cookie2.dcm"
"""Full of structure that reads like words, so that it may stay out where pixels are cleaned."""


@pytest.fixture(scope="module")
def phi(shared_data: Path) -> Path:
    return shared_data / "phi"


@pytest.fixture(scope="module")
def plain(phi: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What the default policy publishes."""
    return deidentified(phi, tmp_path_factory.mktemp("plain"), Policy())


@pytest.fixture(scope="module")
def cleaned(phi: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What comes out where pixels are cleaned."""
    if not can_clean_pixels():
        pytest.skip("text in pixels cannot be found here: install Tesseract")
    return deidentified(phi, tmp_path_factory.mktemp("cleaned"), CLEANING)


def test_the_key_knows_every_file_of_the_folder(phi: Path) -> None:
    files = {path.relative_to(phi).as_posix() for path in phi.rglob("*") if path.is_file()}
    assert files == {*PLAIN, *CLEANED, *LEFT_OUT}
    assert len(files) == len(PLAIN) + len(CLEANED) + len(LEFT_OUT)


def test_only_images_that_cannot_show_text_are_published_by_default(plain: dict[str, bytes]) -> None:
    assert set(plain) == set(PLAIN)


def test_every_check_is_met_by_default(phi: Path, plain: dict[str, bytes]) -> None:
    result = scored(sources(phi, cleaned=False), phi.parent / "standard", plain)
    assert result.failed() == [], result.table()
    for kind, (checks, _) in result.counts().items():
        assert checks >= (0 if kind is Kind.PIXELS_HIDDEN else 40), kind


@pytest.mark.slow  # minutes of OCR over large colour frames
def test_every_check_is_met_where_pixels_are_cleaned(phi: Path, cleaned: dict[str, bytes]) -> None:
    assert {*PLAIN, *CLEANED} - set(cleaned) <= {PHOTOGRAPH}
    published = {name: source for name, source in sources(phi, cleaned=True).items() if name in cleaned}
    result = scored(published, phi.parent / "standard", cleaned)
    assert result.failed() == [], result.table()
    assert all(checks for checks, _ in result.counts().values())
    assert len(result.results) > 4000


def test_a_plain_copy_removes_nothing_and_keeps_everything(phi: Path) -> None:
    """The control: a report that a copy could pass would say nothing."""
    found = sources(phi, cleaned=True)
    copies = {name: (phi / name).read_bytes() for name in found}
    result = scored(found, phi.parent / "standard", copies)
    counts = result.counts()
    kept = (Kind.TAG_RETAINED, Kind.TEXT_NOTNULL, Kind.TEXT_RETAINED, Kind.PIXELS_RETAINED)
    for kind in Kind:
        checks, met = counts[kind]
        assert checks > 0
        assert met == (checks if kind in kept else 0), kind
    assert result.percent() < 70


def test_a_tool_that_empties_everything_fails_the_other_half(phi: Path) -> None:
    found = sources(phi, cleaned=False)
    empty = dict.fromkeys(found, b"\x00" * 128 + b"DICM")
    counts = scored(found, phi.parent / "standard", empty).counts()
    for kind in (Kind.TAG_RETAINED, Kind.TEXT_NOTNULL, Kind.TEXT_RETAINED, Kind.PIXELS_RETAINED, Kind.UID_CONSISTENT):
        assert counts[kind][1] == 0, kind


def test_a_file_that_did_not_come_out_fails_all_of_its_checks(phi: Path, plain: dict[str, bytes]) -> None:
    found = sources(phi, cleaned=False)
    gone = PLAIN[0]
    result = scored(found, phi.parent / "standard", {name: data for name, data in plain.items() if name != gone})
    assert result.failed() == [check for check, _ in result.results if check.file == gone]


def _move_a_date(made: Dataset) -> None:
    made.SeriesDate = "19990102"


def _other_patient(made: Dataset) -> None:
    made.PatientID = "p-0000000000000000"


def _other_frame_of_reference(made: Dataset) -> None:
    made.FrameOfReferenceUID = "2.25.1"


def _hide_a_name(made: Dataset) -> None:
    made.add_new(0x00091010, "LO", "of Compressedsamples")


def _lose_an_attribute(made: Dataset) -> None:
    del made.StudyID


def _empty_the_modality(made: Dataset) -> None:
    made.Modality = ""


def _round_a_value(made: Dataset) -> None:
    made.EchoTime = "241"


def _touch_a_pixel(made: Dataset) -> None:
    made.PixelData = b"\x01\x00" + bytes(made.PixelData)[2:]


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (_move_a_date, Kind.DATE_SHIFTED),
        (_other_frame_of_reference, Kind.UID_CONSISTENT),
        (_hide_a_name, Kind.TEXT_REMOVED),
        (_lose_an_attribute, Kind.TAG_RETAINED),
        (_empty_the_modality, Kind.TEXT_NOTNULL),
        (_round_a_value, Kind.TEXT_RETAINED),
        (_touch_a_pixel, Kind.PIXELS_RETAINED),
    ],
)
def test_each_kind_notices_its_fault(
    phi: Path, plain: dict[str, bytes], spoil: Callable[[Dataset], None], kind: Kind
) -> None:
    """Two slices of a series, since consistency is between files; the fault is in the second."""
    names = ["two_patients/p01_s01_s01_i01.dcm", "two_patients/p01_s01_s01_i02.dcm"]
    found = {name: read((phi / name).read_bytes()) for name in names}
    key = answer_key(found, phi.parent / "standard")
    outputs = {name: plain[name] for name in names}
    assert score(key, found, outputs).failed() == []
    outputs[names[1]] = _spoilt(plain[names[1]], spoil)
    assert kind in {check.kind for check in score(key, found, outputs).failed()}


def test_a_patient_with_two_pseudonyms_is_noticed(phi: Path, plain: dict[str, bytes]) -> None:
    names = [name for name in PLAIN if name.startswith("two_patients/p02")]
    found = {name: read((phi / name).read_bytes()) for name in names}
    outputs = {name: plain[name] for name in names} | {names[0]: _spoilt(plain[names[0]], _other_patient)}
    failed = score(answer_key(found, phi.parent / "standard"), found, outputs).failed()
    assert {check.kind for check in failed} == {Kind.PATID_CONSISTENT}
    assert {check.file for check in failed} == set(names)


def test_letters_that_are_only_dimmed_are_not_hidden(phi: Path) -> None:
    name = "pseudo_phi/burned_in_ct_kaufman.dcm"
    found = {name: read((phi / name).read_bytes())}
    check = Check(name, Kind.PIXELS_HIDDEN, "0,0,73,13", "KAUFMAN")

    def with_letters(level: float) -> bytes:
        made = read((phi / name).read_bytes())
        array = made.pixel_array.copy()
        array[:13, :73] = array[:13, :73] * level
        made.PixelData = array.tobytes()
        return _bytes(made)

    assert score([check], found, {name: with_letters(0.0)}).failed() == []
    assert score([check], found, {name: with_letters(0.6)}).failed() == [check]


def test_the_command_prints_the_table_and_its_status_says_whether_all_is_met(
    phi: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--outputs", str(phi), "--failures"]) == 1
    said = capsys.readouterr().out
    assert [line.split()[0] for line in said.splitlines()[2:12]] == [str(kind) for kind in Kind]
    assert "mr_invented_patient.dcm: text_removed * [ANDREWS]" in said


def _spoilt(data: bytes, spoil: Callable[[Dataset], None]) -> bytes:
    made = read(data)
    spoil(made)
    return _bytes(made)


def _bytes(made: Dataset) -> bytes:
    stream = io.BytesIO()
    made.save_as(stream)
    return stream.getvalue()
