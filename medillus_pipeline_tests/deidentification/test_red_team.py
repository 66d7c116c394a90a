"""Ways in which an identifying value once reached the clean side, each closed: overlays, codes, warnings, remarks in
compressed frames and colour profiles, names and dates as people and machines write them."""

import io
import struct
import unicodedata
import warnings

import numpy as np
import pydicom
import pytest
from PIL import Image, ImageCms
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

from medillus_pipeline.deidentification.ingest import Ingested, ingest_delivery
from medillus_pipeline.deidentification.options import DEFAULT_OPTIONS, Option
from medillus_pipeline.deidentification.policy import Policy
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.deidentification.delivered_files import deliver, encoded, image, item

QUARANTINED = {"quarantined/residual_identifier": 1}


@pytest.fixture
def outcome(landing: Zone, clean: Zone, pseudonymiser: Pseudonymiser):
    """One file through the whole ingest: what became of it, and every byte of the clean side."""

    def run(data: bytes, *options: Option) -> tuple[Ingested, bytes]:
        deliver(landing, "one", {"a.dcm": data})
        policy = Policy(options=DEFAULT_OPTIONS | frozenset(options))
        made = ingest_delivery(landing, "one", clean, pseudonymiser, policy=policy)
        return made, b"\0".join([*(clean.read(path) for path in clean.files()), repr(made.instances).encode()])

    return run


@pytest.mark.parametrize("elements", [{0x10: 32}, {0x10: 8192}, {0x10: 16, 0x3000: b""}, {0x102: 12}])
@pytest.mark.parametrize("group", [0x6000, 0x6020])
def test_an_overlay_in_unused_bits_is_quarantined_whatever_its_size_and_group(outcome, elements, group) -> None:
    slice_ = image()
    for number, value in elements.items():
        slice_.add_new(group << 16 | number, "OW" if isinstance(value, bytes) else "US", value)
    assert outcome(encoded(slice_))[0].counts == {"quarantined/burned_in_annotation": 1}


@pytest.mark.parametrize("said", [b"VOGELWEIDE", b"ISO_IR 192\\VOGELWEIDE", b"ISO-IR-VOGELWEIDE"])
def test_text_in_place_of_a_character_set_is_in_no_warning(outcome, said) -> None:
    at = b"\x08\x00\x08\x00CS"
    value = said + b" " * (len(said) % 2)
    data = encoded(image()).replace(at, b"\x08\x00\x05\x00CS" + struct.pack("<H", len(value)) + value + at, 1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _, written = outcome(data)
    assert b"VOGELWEIDE" not in written
    assert not [str(warning.message) for warning in caught if "VOGELWEIDE" in str(warning.message)]


def test_code_text_without_a_scheme_is_a_sites_own(outcome) -> None:
    slice_ = image(AnatomicRegionSequence=item(CodeValue="BGD1", CodeMeaning="Klinik Burgdorf"), CodeMeaning="Prof. Es")
    made, written = outcome(encoded(slice_))
    assert made.counts == {"published": 1}
    assert not [word for word in (b"BGD1", b"Klinik", b"Prof. Es") if word in written]


def test_a_retired_lookup_table_holds_no_text(outcome) -> None:
    slice_ = image()
    slice_.add_new(0x00281200, "OW", b"born 24 Dec 1961")
    made, written = outcome(encoded(slice_))
    assert made.counts == {"published": 1}
    assert b"born" not in written


@pytest.mark.parametrize(
    "text", ["12/24/1961", "24 Dec 1961", "Dec 24, 1961", "24.12.61", "1961 12 24", "DOB19611224", "19611224T12"]
)
def test_a_date_in_kept_text_is_found_however_it_is_written(outcome, text) -> None:
    assert outcome(encoded(image(ConvolutionKernel=text)))[0].counts == QUARANTINED


@pytest.mark.parametrize("text", ["syngo 1.2.61.5", "B30f 512 512"])
def test_a_version_is_no_date(outcome, text) -> None:
    assert outcome(encoded(image(SoftwareVersions=text)))[0].counts == {"published": 1}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Vogelweide^Walther", "VOGELWEIDE2"),
        ("Vogelweide^Walther", "WVogelweide"),
        ("Wang^Ming", "MINGWANG"),
        ("Leutheusser-Schnarrenberg^Sabine", "Schnarrenberg"),
        ("O'Brien^Pat", "OBRIEN"),
        ("Müller^Jürg", "MUELLER"),
        ("Müller^Jürg", "Muller"),
        ("Müller^Jürg", unicodedata.normalize("NFD", "Müller")),
        ("Vogelweide^Walther", "ＶＯＧＥＬＷＥＩＤＥ"),
    ],
)
def test_a_name_in_kept_text_is_found_as_machines_write_it(outcome, name, text) -> None:
    data = encoded(image(name=name, ReceiveCoilName=text, SpecificCharacterSet="ISO_IR 192"))
    assert outcome(data)[0].counts == QUARANTINED


@pytest.mark.parametrize(
    ("patient", "text"),
    [("MRN-0012345", "0012345"), ("MRN-0012345", "X0012345"), ("0012345678", "12345678"), ("12345678", "PID12345678A")],
)
def test_a_number_in_kept_text_is_found_without_what_stands_around_it(outcome, patient, text) -> None:
    assert outcome(encoded(image(patient=patient, ReceiveCoilName=text)))[0].counts == QUARANTINED


def test_a_telephone_number_is_found_without_its_separators(outcome) -> None:
    slice_ = image(PatientTelephoneNumbers="+49 151 123 4567", ReceiveCoilName="491511234567")
    assert outcome(encoded(slice_))[0].counts == QUARANTINED


def test_a_name_spelt_in_numbers_is_found(outcome) -> None:
    slice_ = image()
    slice_.add_new(0x0040A0B0, "US", list(b"Vogelweide"))
    assert outcome(encoded(slice_))[0].counts == QUARANTINED


@pytest.mark.parametrize("keyword", ["ReceiveCoilName", "Modality", "BodyPartExamined", "SequenceName"])
def test_a_short_name_does_not_stay(outcome, keyword) -> None:
    slice_ = image(name="Kim^Ann")
    setattr(slice_, keyword, "KIM")
    assert b"KIM" not in outcome(encoded(slice_))[1]


def test_a_short_name_that_is_a_term_costs_nothing(outcome) -> None:
    _, written = outcome(encoded(image(name="Tse^Head", SequenceName="*tse2d1_3", BodyPartExamined="HEAD")))
    assert b"*tse2d1_3" in written
    assert b"HEAD" in written


def test_small_letters_in_place_of_a_body_part_reach_no_row(outcome) -> None:
    tag = b"\x18\x00\x15\x00CS\x06\x00"
    data = encoded(image()).replace(tag + b"CHEST ", tag + b"weber ")
    made, _ = outcome(data)
    assert [row["body_part"] for row in made.instances] == [None]


def test_another_name_of_the_patient_is_no_term(outcome) -> None:
    slice_ = image(name="Meier^Eva", OtherPatientNames="Hand^Eva", StudyDescription="Hand Thorax")
    _, written = outcome(encoded(slice_), Option.CLEAN_DESCRIPTORS)
    assert b"hand" not in written.lower()


def compressed(frame: bytes, syntax: str) -> bytes:
    slice_ = image(Rows=16, Columns=16, BitsAllocated=8, BitsStored=8, HighBit=7)
    slice_.PixelData = encapsulate([frame])
    slice_["PixelData"].is_undefined_length = True
    return encoded(slice_, syntax)


def frame_with_remarks(kind: str) -> tuple[bytes, str]:
    stream, picture = io.BytesIO(), Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    if kind == "JPEG 2000":
        picture.save(stream, "JPEG2000", no_jp2=True)
        data, remark = stream.getvalue(), b"\x00\x01lives in Burgdorf"
        at = data.index(b"\xff\x52")
        return data[:at] + b"\xff\x64" + struct.pack(">H", len(remark) + 2) + remark + data[at:], JPEG2000Lossless
    if kind == "RLE":
        rows = b"".join(bytes([15, *range(start, start + 16)]) for start in range(0, 256, 16))
        return struct.pack("<LL", 1, 64) + b"lives in Burgdorf".ljust(56, b"\0") + rows, RLELossless
    exif = Image.Exif()
    exif[0xA430] = "lives in Burgdorf"
    remarks = {"EXIF": {"exif": exif.tobytes()}, "comment": {"comment": b"lives in Burgdorf"}}
    picture.save(stream, "JPEG", **remarks.get(kind, {}))
    return stream.getvalue() + (b"lives in Burgdorf" if kind == "after the end" else b""), JPEGBaseline8Bit


@pytest.mark.parametrize("kind", ["EXIF", "comment", "after the end", "JPEG 2000", "RLE"])
def test_remarks_in_a_compressed_frame_are_blanked_and_the_picture_stays(outcome, clean, kind) -> None:
    data = compressed(*frame_with_remarks(kind))
    made, written = outcome(data)
    assert made.counts == {"published": 1}
    assert b"Burgdorf" in data
    assert b"Burgdorf" not in written
    published = pydicom.dcmread(io.BytesIO(clean.read(made.instances[0]["path"])))
    assert np.array_equal(published.pixel_array, pydicom.dcmread(io.BytesIO(data)).pixel_array)


def test_a_colour_profile_keeps_its_colours_and_loses_its_texts(outcome, clean) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    named = profile.replace("sRGB built-in".encode("utf-16-be"), "Kim A 24.12.6".encode("utf-16-be"))
    assert named != profile
    made, written = outcome(encoded(image(ICCProfile=named)))
    assert "Kim A".encode("utf-16-be") not in written
    kept = pydicom.dcmread(io.BytesIO(clean.read(made.instances[0]["path"]))).ICCProfile
    picture = Image.fromarray(np.arange(768, dtype=np.uint8).reshape(16, 16, 3))
    target = ImageCms.createProfile("LAB")
    before, after = (
        ImageCms.applyTransform(picture, ImageCms.buildTransform(io.BytesIO(each), target, "RGB", "LAB"))
        for each in (named, kept)
    )
    assert before is not None
    assert after is not None
    assert before.tobytes() == after.tobytes()
