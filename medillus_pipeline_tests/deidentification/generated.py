"""Random DICOM files for property tests: attributes of the whole dictionary, nested and private, conforming or not.

The examples are the same in every run (`SETTLED`), so a failure can be repeated anywhere.
"""

import struct
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from pydicom._dicom_dict import DicomDictionary
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from medillus_pipeline.dicom.encoding import Encoder, file_meta
from medillus_pipeline_tests.deidentification.delivered_files import image

SETTLED = settings(
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)
SECRET = "Geheim~4711~"
"""Allowed in text only: no other VR may hold the tilde."""

SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)
CHARACTER_SETS = {
    "": "ascii",
    "GB18030": "gb18030",
    "ISO_IR 100": "latin-1",
    "ISO_IR 144": "iso8859-5",
    "ISO_IR 192": "utf-8",
}
TEXT_VRS = ("AE", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT")
LONGEST = {"AE": 16, "SH": 16, "LO": 64, "PN": 64}
NUMBERS = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
MAXIMUM_DEPTH = 4

_DECIDING = {0x00080005, 0x00080008, 0x00080016, 0x00080018, 0x00080060, 0x00280301}
"""Attributes that decide what a file is; they stay as in the sound image."""

BY_VR: dict[str, list[int]] = {}
for _tag, (_vr, *_rest) in DicomDictionary.items():
    if 0x0008 <= _tag >> 16 < 0x7FE0 and _tag & 0xFFFF and _tag not in _DECIDING and len(_vr) == 2:
        BY_VR.setdefault(_vr, []).append(_tag)


@dataclass(frozen=True)
class Item:
    """Elements by tag: VR and the encoded value, or the items of a sequence."""

    elements: dict[int, tuple[str, "bytes | list[Item]"]] = field(default_factory=dict)


def encode(item: Item, encoder: Encoder) -> bytes:
    """The item in the encoder's syntax, by ascending tag."""
    parts = []
    for tag in sorted(item.elements):
        vr, value = item.elements[tag]
        if isinstance(value, list):
            parts.append(encoder.sequence(tag, [encode(inner, encoder) for inner in value]))
        else:
            parts.append(encoder.element(tag, vr, value))
    return b"".join(parts)


def file_of(item: Item, syntax: str = ExplicitVRLittleEndian, *, preamble: bytes = bytes(128)) -> bytes:
    """The item, completed to a sound CT slice, as a file."""
    end = ">" if syntax == ExplicitVRBigEndian else "<"
    encoder = Encoder(implicit=syntax == ImplicitVRLittleEndian, little=end == "<")
    whole = dict(item.elements)
    for element in image():
        if isinstance(element.value, bytes):
            whole[int(element.tag)] = ("OW", element.value)
        elif element.VR == "US":
            whole[int(element.tag)] = ("US", struct.pack(end + "H", element.value))
        else:
            values = element.value if element.VM > 1 else [element.value]
            whole.setdefault(int(element.tag), (element.VR, "\\".join(str(value) for value in values).encode()))
    meta = file_meta("1.2.840.10008.5.1.4.1.1.2", "1.2.826.0.1.99.1", syntax)
    return preamble + meta[128:] + encode(Item(whole), encoder)


@st.composite
def values(draw: st.DrawFn, vr: str, codec: str, end: str) -> bytes:
    """A value that conforms to its VR; in text, some hold the secret."""
    if vr in TEXT_VRS:
        letters = st.characters(codec=codec, exclude_characters="\\^=~", exclude_categories=("C", "Z"))
        text = draw(st.text(alphabet=letters, max_size=8))
        text += draw(st.sampled_from(["", SECRET if vr in LONGEST and LONGEST[vr] < 20 else f"{SECRET} et al"]))
        return text.encode(codec)[: LONGEST.get(vr, 200)]
    if vr in NUMBERS:
        whole = {"H": (0, 65535), "h": (-32768, 32767), "L": (0, 2**32 - 1), "l": (-(2**31), 2**31 - 1)}
        low, high = whole.get(NUMBERS[vr], (0, 2**31))
        return struct.pack(end + NUMBERS[vr], draw(st.integers(low, high)))
    return draw(
        {
            "DA": st.dates().map(lambda d: f"{d:%Y%m%d}".rjust(8, "0")),
            "TM": st.times().map(lambda t: f"{t:%H%M%S.%f}"),
            "DT": st.datetimes().map(lambda d: f"{d:%Y%m%d%H%M%S.%f}".rjust(21, "0") + "+0000"),
            "AS": st.integers(0, 999).map(lambda n: f"{n:03}Y"),
            "DS": st.floats(-1e6, 1e6).map(lambda f: f"{f:.6g}"),
            "IS": st.integers(-(2**31), 2**31 - 1).map(str),
            "CS": st.text(alphabet="ABCXYZ019_ ", max_size=16),
            "UI": st.integers(1, 10**20).map(lambda n: f"1.2.40.{n}"),
            "AT": st.just("\x08\x00\x18\x00"),
        }.get(vr, st.binary(max_size=8).map(lambda b: b.decode("latin-1") + SECRET))
    ).encode("latin-1")


@st.composite
def items(draw: st.DrawFn, codec: str, end: str, *, conforming: bool, depth: int = 0) -> Item:
    """A data set of some attributes of any VR, private blocks, and sequences of such data sets."""
    item = Item()
    for vr in draw(st.lists(st.sampled_from(sorted(BY_VR)), max_size=12 if depth == 0 else 5)):
        tag = draw(st.sampled_from(BY_VR[vr]))
        if vr == "SQ":
            inner = items(codec, end, conforming=conforming, depth=depth + 1)
            item.elements[tag] = ("SQ", draw(st.lists(inner, max_size=2)) if depth < MAXIMUM_DEPTH else [])
        elif conforming or draw(st.booleans()):
            item.elements[tag] = (vr, draw(values(vr, codec, end)))
        else:
            item.elements[tag] = (draw(st.sampled_from(sorted(set(BY_VR) - {"SQ"}))), draw(contradicting()))
    if draw(st.booleans()):
        group = draw(st.sampled_from([0x0009, 0x0029, 0x2001, 0x7001]))
        item.elements[group << 16 | 0x10] = ("LO", f"{SECRET} HOUSE".encode())
        item.elements[group << 16 | 0x1001] = ("UN", SECRET.encode())
        if depth < MAXIMUM_DEPTH:
            inner = items(codec, end, conforming=conforming, depth=depth + 1)
            item.elements[group << 16 | 0x1002] = ("SQ", [draw(inner)])
    return item


def contradicting() -> st.SearchStrategy[bytes]:
    """Values that hardly any VR allows."""
    return st.one_of(
        st.binary(max_size=40),
        st.just(SECRET.encode()),
        st.binary(max_size=6).map(lambda b: SECRET.encode() + b),
        st.just(b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + SECRET.encode()),
    )


@st.composite
def files(draw: st.DrawFn, *, conforming: bool = True) -> bytes:
    """A whole file in one of three transfer syntaxes and five character sets."""
    charset = draw(st.sampled_from(sorted(CHARACTER_SETS)))
    syntax = draw(st.sampled_from(SYNTAXES))
    end = ">" if syntax == ExplicitVRBigEndian else "<"
    item = draw(items(CHARACTER_SETS[charset], end, conforming=conforming))
    if charset:
        item.elements[0x00080005] = ("CS", charset.encode())
    return file_of(item, syntax, preamble=SECRET.encode().ljust(128, b"\x00"))


@st.composite
def mutated(draw: st.DrawFn, data: bytes) -> bytes:
    """A file with some of its bytes overwritten, cut out, doubled or put in."""
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, max(len(changed) - 1, 0)))
        piece: Any = draw(st.binary(max_size=8))
        changed[start : start + draw(st.integers(0, 16))] = piece
    return bytes(changed[: draw(st.one_of(st.none(), st.integers(0, len(changed))))])
