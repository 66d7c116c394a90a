"""Claims about the reader of encoded elements: it agrees with pydicom, or leaves the file to it."""

import io
import struct
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from medillus_pipeline.deidentification.deidentify import deidentify
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.dicom.encoded import MAXIMUM_DEPTH, Elements, from_pydicom, items_of, scan
from medillus_pipeline.dicom.outcomes import Quarantine, Reason
from medillus_pipeline.dicom.reading import parse, read_encoded, silenced
from medillus_pipeline_tests.deidentification.delivered_files import encoded, image, item

SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]


def differences(ours: Elements, theirs: Elements) -> list[str]:
    """Tags of elements that the two readings disagree on, group lengths aside (pydicom drops them)."""
    tags, others = ({tag for tag in elements if tag & 0xFFFF} for elements in (ours, theirs))
    found = [f"{tag:08x} only once" for tag in tags ^ others]
    for tag in tags & others:
        one, other = ours[tag], theirs[tag]
        if isinstance(other.value, list) or isinstance(one.value, list):
            pairs = list(zip(items_of(one), items_of(other), strict=True)) if one.raw or one.value else []
            found += [difference for pair in pairs for difference in differences(*pair)]
        elif one.raw.strip(b" \x00") != other.raw.strip(b" \x00"):
            found.append(f"{tag:08x} values")
    return found


def nested(depth: int) -> Dataset:
    made = image()
    inner = item(CodeMeaning="Chest")
    for _ in range(depth):
        inner = item(DerivationCodeSequence=inner)
    made.DerivationCodeSequence = inner
    return made


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("depth", [0, 1, 7])
def test_a_sound_file_is_read_as_pydicom_reads_it(depth: int, syntax: str) -> None:
    data = encoded(nested(depth), syntax)
    ours, theirs = scan(data), from_pydicom(parse(data))
    assert ours is not None
    assert (ours.implicit, ours.little) == (theirs.implicit, theirs.little)
    assert ours.declared_sop_class == image().SOPClassUID
    assert differences(ours.elements, theirs.elements) == []


def test_so_are_all_real_files_that_are_sound(shared_data: Path) -> None:
    read, wrong = 0, {}
    for path in sorted(shared_data.rglob("*")):
        data = path.read_bytes() if path.is_file() else b""
        ours = scan(data)
        if ours is None:
            continue
        read += 1
        with silenced():
            theirs = from_pydicom(parse(data))
            found = differences(ours.elements, theirs.elements)
        if found or (ours.implicit, ours.little) != (theirs.implicit, theirs.little):
            wrong[path.name] = found
    assert wrong == {}
    assert read > 500


def test_undefined_lengths_are_followed() -> None:
    made = nested(3)
    made["DerivationCodeSequence"].is_undefined_length = True
    data = encoded(made)
    found = scan(data)
    assert found is not None
    (first,) = items_of(found.elements[0x00089215])
    assert items_of(first[0x00089215])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:-1],
        lambda data: data + b"\x00",
        lambda data: data.replace(b"(\x00\x10\x00US", b"(\x00\x10\x00zz"),
        lambda data: data.replace(b"\x10\x00\x10\x00PN\x12\x00", b"\x10\x00\x10\x00PN\xff\x7f"),
        lambda data: data[:128] + b"MCID" + data[132:],
        lambda data: data.replace(b"UL\x04\x00", b"UL\x02\x00", 1),
    ],
    ids=["cut", "excess", "unknown VR", "length", "no marker", "meta"],
)
def test_an_unsound_file_is_left_to_pydicom(spoil) -> None:
    data = encoded(image())
    spoiled = spoil(data)
    assert spoiled != data
    assert scan(data) is not None and scan(spoiled) is None


def test_a_deflated_file_is_read_through_pydicom() -> None:
    data = encoded(image(), DeflatedExplicitVRLittleEndian)
    assert scan(data) is None
    assert read_encoded(data).text(0x00080060) == "CT"


def test_nesting_beyond_all_reason_is_refused(pseudonymiser: Pseudonymiser) -> None:
    inner = Dataset()
    for _ in range(MAXIMUM_DEPTH + 5):
        outer = Dataset()
        outer.DerivationCodeSequence = Sequence([inner])
        inner = outer
    made = image()
    made.DerivationCodeSequence = Sequence([inner])
    with pytest.raises(Quarantine) as caught:
        deidentify(encoded(made), pseudonymiser)
    assert caught.value.reason is Reason.UNREADABLE


def test_pixels_are_not_copied() -> None:
    data = encoded(image())
    found = scan(data)
    assert found is not None
    pixels = found.elements[0x7FE00010].value
    assert isinstance(pixels, memoryview) and pixels.obj is data


def test_fragments_end_where_the_delimiter_says() -> None:
    made = image()
    data = encoded(made)
    head = data[: data.index(b"\xe0\x7f\x10\x00")].replace(b"1.2.840.10008.1.2.1\x00", b"1.2.840.10008.1.2.5\x00")
    fragments = struct.pack("<HHL", 0xFFFE, 0xE000, 0) + struct.pack("<HHL", 0xFFFE, 0xE000, 4) + b"abcd"
    file = head + b"\xe0\x7f\x10\x00OB\x00\x00\xff\xff\xff\xff" + fragments + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    found = scan(file)
    assert found is not None and found.elements[0x7FE00010].undefined
    assert found.elements[0x7FE00010].raw == fragments
    assert scan(file[:-8]) is None
    assert dcmread(io.BytesIO(file)).file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.5"
