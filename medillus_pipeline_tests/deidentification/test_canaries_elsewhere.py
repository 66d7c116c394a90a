"""Claims about text outside Table E.1-1: unknown and private elements, wrong VRs, values that their VR does not allow,
and every place in a file that is not an attribute at all.

Rows of the table are in `test_canaries.py`.
"""

import io
import struct

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from medillus_pipeline.deidentification.deidentify import deidentify
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.dicom.encoding import NUMBER_BYTES, STRING_VRS, Encoder
from medillus_pipeline.dicom.outcomes import Quarantine
from medillus_pipeline_tests.deidentification.delivered_files import encoded, image, item
from medillus_pipeline_tests.deidentification.planted import bytes_of

CANARY = b"WALPURGIS NIGHT!"
LOWER = b"Walpurgis^Faust "
EXPLICIT = Encoder(implicit=False, little=True)


def element(tag: int, vr: str, value: bytes) -> bytes:
    """One element in explicit little endian."""
    return EXPLICIT.element(tag, vr, value)


def items(*bodies: bytes) -> bytes:
    """The value of a sequence."""
    return b"".join(struct.pack("<HHL", 0xFFFE, 0xE000, len(body)) + body for body in bodies)


def spliced(tag: int, elements: bytes, dataset: Dataset | None = None) -> bytes:
    """A file with encoded elements at the place of this tag, whatever they say."""
    made = dataset or image()
    made.pop(tag, None)
    data = encoded(made)
    body = bytes_of(made)
    assert data.endswith(body)
    start = len(data) - len(body) + len(bytes_of(made[:tag]))
    return data[:start] + elements + data[start:]


def survives(data: bytes, pseudonymiser: Pseudonymiser, *canaries: bytes) -> bool:
    """Whether a canary stands in what is published; a quarantined file publishes nothing."""
    searched = [canary.strip(b" \x00").lower() for canary in canaries or (CANARY,)]
    assert all(canary in data.lower() for canary in searched), "not planted"
    try:
        found = deidentify(data, pseudonymiser).data
    except Quarantine:
        return False
    assert dcmread(io.BytesIO(found)).Rows
    return any(canary in found.lower() for canary in searched)


@pytest.mark.parametrize("tag", [0x00180002, 0x00080007, 0x7FDE0020, 0x00261000, 0x00281FFF, 0x0070FFFE])
@pytest.mark.parametrize("vr", ["LO", "UN", "OB", "CS", "UT", "DS"])
def test_an_attribute_of_an_even_group_that_no_dictionary_knows(
    tag: int, vr: str, pseudonymiser: Pseudonymiser
) -> None:
    assert not survives(spliced(tag, element(tag, vr, CANARY)), pseudonymiser)


KEPT = {
    0x00180050: "DS", 0x00180060: "DS", 0x00189073: "FD", 0x00181151: "IS", 0x00185100: "CS", 0x00187050: "CS",
    0x00180015: "CS", 0x00189321: "SQ", 0x00189074: "DT", 0x00181078: "DT", 0x00200013: "IS", 0x00200060: "CS",
    0x00189004: "CS", 0x00189087: "FD", 0x00189151: "DT", 0x0018980B: "CS", 0x00189803: "SQ", 0x00180089: "IS",
}  # fmt: skip
"""Attributes that the profile takes over, shifts or enters, and their VR."""


@pytest.mark.parametrize("tag", KEPT, ids="{:08x}".format)
@pytest.mark.parametrize("vr", sorted(STRING_VRS | set(NUMBER_BYTES) | {"OB", "OW", "SQ", "UN"}))
def test_a_vr_that_contradicts_the_dictionary_or_text_in_the_right_one(
    tag: int, vr: str, pseudonymiser: Pseudonymiser
) -> None:
    assert not survives(spliced(tag, element(tag, vr, CANARY)), pseudonymiser)


@pytest.mark.parametrize("canary", [CANARY, LOWER])
@pytest.mark.parametrize("tag", [t for t, vr in KEPT.items() if vr not in ("SQ", "FD")], ids="{:08x}".format)
def test_text_that_its_vr_does_not_allow(tag: int, canary: bytes, pseudonymiser: Pseudonymiser) -> None:
    for value in (canary, b"1\\" + canary, canary + b"\\1", b"20240131\\" + canary):
        assert not survives(spliced(tag, element(tag, KEPT[tag], value)), pseudonymiser, canary)


@pytest.mark.parametrize(
    ("tag", "vr"), [(0x00280030, "DS"), (0x00180050, "DS"), (0x00181151, "IS"), (0x00185100, "CS"), (0x00180015, "CS")]
)
def test_a_value_longer_than_its_vr_allows(tag: int, vr: str, pseudonymiser: Pseudonymiser) -> None:
    number = b"0012345678901234567890"
    text = number if vr != "CS" else b"FAUST MEPHISTO GRETCHEN"
    assert not survives(spliced(tag, element(tag, vr, text)), pseudonymiser, text)


@pytest.mark.parametrize(
    ("tag", "vr", "longest"), [(0x00181210, "SH", 16), (0x00080070, "LO", 64), (0x00180024, "SH", 16)]
)
def test_technical_text_longer_than_its_vr_allows(
    tag: int, vr: str, longest: int, pseudonymiser: Pseudonymiser
) -> None:
    assert not survives(spliced(tag, element(tag, vr, b"B".ljust(longest, b"x") + CANARY)), pseudonymiser)


@pytest.mark.parametrize("value", [b"B31s\x00WALP", b"B31s\\WALP", b"B31s\r\nWALP", b"\x1b$BWALP"])
def test_technical_text_with_control_characters_or_more_values_than_it_has(
    value: bytes, pseudonymiser: Pseudonymiser
) -> None:
    assert not survives(spliced(0x00180024, element(0x00180024, "SH", value)), pseudonymiser, b"WALP")


@pytest.mark.parametrize(
    ("tag", "vr"), [(0x00189073, "FD"), (0x00189087, "FD"), (0x00280106, "US"), (0x00186020, "SL")]
)
def test_text_as_numbers_of_an_attribute_that_has_one_value(tag: int, vr: str, pseudonymiser: Pseudonymiser) -> None:
    assert not survives(spliced(tag, element(tag, vr, CANARY)), pseudonymiser)


@pytest.mark.parametrize("charset", ["ISO_IR 192", "GB18030", "ISO_IR 100", "\\ISO 2022 IR 87", ""])
def test_technical_text_that_cannot_be_decoded(charset: str, pseudonymiser: Pseudonymiser) -> None:
    made = image(SpecificCharacterSet=charset.split("\\")) if charset else image()
    undecodable = {"ISO_IR 100": b"\x1b$)C\xff\xff", "": b"\xc4\xff"}.get(charset, b"\xff\xfe\xff")
    planted = element(0x00180024, "SH", undecodable + b"WALP")
    assert not survives(spliced(0x00180024, planted, made), pseudonymiser, b"WALP")


@pytest.mark.parametrize("value", [["ISO_IR 100", "WALPURGIS NIGHT"], "WALPURGIS NIGHT", "Walpurgis Night"])
def test_text_in_place_of_a_character_set(value: str | list[str], pseudonymiser: Pseudonymiser) -> None:
    for data in (encoded(image(SpecificCharacterSet=value)), encoded(image(
        DerivationCodeSequence=item(SpecificCharacterSet=value, CodeMeaning="x")
    ))):  # fmt: skip
        assert not survives(data, pseudonymiser, b"WALPURGIS")


NAMES = [
    ("ISO_IR 192", "Wáng^XiǎoDōng=王^小东=왕^소동"),
    ("GB18030", "Wang^XiaoDong=王^小东"),
    (["ISO 2022 IR 6", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    (["ISO 2022 IR 6", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
    ("ISO_IR 144", "Люкceмбypг"),
    ("ISO_IR 127", "قباني^لنزار"),
]


@pytest.mark.parametrize(("charset", "name"), NAMES)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_names_in_every_character_set_and_every_group(
    charset: str | list[str], name: str, syntax: str, pseudonymiser: Pseudonymiser
) -> None:
    inner = item(SpecificCharacterSet=charset, PatientName=name, OperatorsName=[name, name], SeriesDescription=name)
    made = image(SpecificCharacterSet=charset, name=name, OtherPatientNames=[name, name], DerivationCodeSequence=inner)
    data = encoded(made, syntax)
    stored = dcmread(io.BytesIO(data)).get_item(0x00100010).value
    groups = [group for group in stored.strip().split(b"=") if len(group) > 4]
    assert groups and all(data.count(group) >= 5 for group in groups)
    assert not survives(data, pseudonymiser, *groups)


def test_text_in_the_preamble_the_meta_information_and_the_groups_of_messages_and_directories(
    pseudonymiser: Pseudonymiser,
) -> None:
    vrs = {0x00020016: "AE", 0x00020026: "UR", 0x00020100: "UI", 0x00020102: "OB", 0x00021111: "LO"}
    meta = b"".join(element(tag, vr, CANARY) for tag, vr in vrs.items())
    files = b"".join(element(tag, "LO", CANARY) for tag in (0x00041130, 0x00041430, 0x00041500, 0x00061000))
    implicit = Encoder(implicit=True, little=True)
    command = b"".join(implicit.element(tag, "LO", CANARY) for tag in (0x00000000, 0x00000600, 0x00001030))
    for extra in (meta, meta + files, files, command, meta + command):
        data = spliced(0x00020000, extra)
        assert not survives(CANARY * 8 + data[128:], pseudonymiser)


def test_text_behind_the_pixels_and_behind_the_last_element(pseudonymiser: Pseudonymiser) -> None:
    made = image(DataSetTrailingPadding=CANARY)
    made.add_new(0x7FE11010, "OB", CANARY)
    for end in (CANARY, bytes(4) + CANARY, element(0xFFFAFFFA, "SQ", b"") + CANARY, element(0x00100010, "PN", CANARY)):
        assert not survives(encoded(made) + end, pseudonymiser)


def test_text_between_and_behind_compressed_frames(pseudonymiser: Pseudonymiser) -> None:
    made = image()
    made.PixelData = encapsulate([made.PixelData], has_bot=False)
    made["PixelData"].is_undefined_length = True
    data = encoded(made, RLELossless)
    table = b"\xfe\xff\x00\xe0\x00\x00\x00\x00"
    start = data.rindex(b"\xe0\x7f\x10\x00OB") + 12
    assert data[start:].startswith(table)
    in_table = data[:start] + b"\xfe\xff\x00\xe0\x10\x00\x00\x00" + CANARY + data[start + 8 :]
    in_end = data[:-4] + struct.pack("<L", 16) + CANARY
    for changed in (in_table, in_end, data + CANARY):
        assert not survives(changed, pseudonymiser)


def test_private_elements_whatever_their_block_says(pseudonymiser: Pseudonymiser) -> None:
    for tag, vr in (
        (0x00290001, "LO"), (0x0029000F, "OB"), (0x00290010, "LO"), (0x002900FF, "LO"), (0x00291000, "UN"),
        (0x00299999, "LO"), (0x0029FFFF, "LO"), (0x002B0010, "UN"), (0x002B1001, "SQ"), (0x002D0000, "UL"),
        (0x00090010, "LO"), (0x60010010, "LO"), (0x7FE10010, "LO"),
    ):  # fmt: skip
        value = items(element(0x00081030, "LO", CANARY)) if vr == "SQ" else CANARY
        assert not survives(spliced(tag, element(tag, vr, value)), pseudonymiser), hex(tag)
    nested = image(DerivationCodeSequence=item(PatientName="x"))
    block = nested.DerivationCodeSequence[0].private_block(0x0029, CANARY.decode(), create=True)
    block.add_new(1, "LO", CANARY.decode())
    assert not survives(encoded(nested), pseudonymiser)


@pytest.mark.parametrize("vr", ["UL", "LO", "OB"])
@pytest.mark.parametrize("group", [0x0008, 0x0010, 0x0018, 0x0028, 0x0040, 0x0070])
def test_text_in_place_of_a_group_length(group: int, vr: str, pseudonymiser: Pseudonymiser) -> None:
    assert not survives(spliced(group << 16, element(group << 16, vr, CANARY)), pseudonymiser)


@pytest.mark.parametrize(
    ("tag", "vr"),
    [
        (0x00282000, "OB"), (0x00281201, "OW"), (0x00281221, "OW"), (0x00283006, "OW"), (0x7FE00001, "OV"),
        (0x00281408, "OW"), (0x00420011, "OB"), (0x00660023, "OW"),
        (0x56000020, "OF"), (0x54000110, "OB"), (0x00144065, "OB"),
    ],
)  # fmt: skip
def test_text_in_binary_attributes(tag: int, vr: str, pseudonymiser: Pseudonymiser) -> None:
    planted = element(tag, vr, CANARY)
    assert not survives(spliced(tag, planted), pseudonymiser)
    assert not survives(spliced(0x00089215, element(0x00089215, "SQ", items(planted))), pseudonymiser)


def test_pixels_inside_a_sequence_are_not_published_unseen(pseudonymiser: Pseudonymiser) -> None:
    inner = image(PixelData=CANARY * 24)
    assert not survives(encoded(image(DerivationCodeSequence=Sequence([inner]))), pseudonymiser)


def test_text_between_the_items_of_a_sequence(pseudonymiser: Pseudonymiser) -> None:
    end = struct.pack("<HHL", 0xFFFE, 0xE00D, 16) + CANARY
    for body in (CANARY, items(b"") + CANARY, CANARY + items(b""), items(b"") + end):
        for vr in ("SQ", "UN"):
            assert not survives(spliced(0x00089215, element(0x00089215, vr, body)), pseudonymiser)


@pytest.mark.parametrize("value", [CANARY, b"1.2.840.10008.1.2\\" + CANARY, b"1.2.3 " + CANARY, CANARY + b".1"])
@pytest.mark.parametrize("tag", [0x00080016, 0x00081150, 0x00080018, 0x00020002, 0x00020010, 0x00200052])
def test_text_in_place_of_a_uid(tag: int, value: bytes, pseudonymiser: Pseudonymiser) -> None:
    planted = element(tag, "UI", value)
    assert not survives(spliced(0x00089215, element(0x00089215, "SQ", items(planted))), pseudonymiser)
    assert not survives(spliced(tag, planted), pseudonymiser)
