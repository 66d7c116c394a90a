"""The credential: a figure's signed manifest inside its own files, where no reader is disturbed by it.

    SVG    <metadata id="medillus-credential"> before the end
    PNG    an iTXt chunk (PNG, third edition, 11.3.3.4) before IEND
    HTML   a comment before the end
    PDF    a comment (ISO 32000-1, 7.2.4) before the last `startxref`, which no offset counts across
    DICOM  a private element (PS3.5 7.8.1) after the pixel data

Taking it out gives the bytes that were hashed. What is not here: who signed it (`signing.py`).
"""

import base64
import re
import struct
import zlib
from typing import Literal

from medillus_pipeline.dicom.encoding import Encoder
from medillus_pipeline.dicom.png import SIGNATURE
from medillus_pipeline.errors import InputError

Kind = Literal["svg", "png", "html", "pdf", "dicom"]

_IEND = b"\x00\x00\x00\x00IEND\xaeB`\x82"
_KEYWORD = b"medillus credential"
_CREATOR, _ELEMENT = 0x7FE10010, 0x7FE11001
_EXPLICIT = Encoder(implicit=False, little=True)
_DICOM_CREATOR = _EXPLICIT.element(_CREATOR, "LO", b"MEDILLUS")
_MARKS: dict[Kind, bytes] = {
    "svg": b'<metadata id="medillus-credential">',
    "png": b"iTXt" + _KEYWORD + b"\x00\x00\x00\x00\x00",
    "html": b"<!--medillus-credential ",
    "pdf": b"%medillus-credential ",
    "dicom": _DICOM_CREATOR + _EXPLICIT.header(_ELEMENT, "UT", 0)[:8],
}
_BEFORE: dict[Kind, bytes] = {"svg": b"</svg>", "png": _IEND, "html": b"</html>", "pdf": b"startxref"}
_BASE64 = re.compile(rb"[A-Za-z0-9+/]*={0,2}")
_ALTERED = "its credential was moved or altered: take the file again from where it came"


def kind_of(data: bytes) -> Kind | None:
    """The format by its first bytes, None for one that carries no credential."""
    head = data[:1024].lstrip().lower()
    if data.startswith(SIGNATURE):
        return "png"
    if data.startswith(b"%PDF-"):
        return "pdf"
    if data[128:132] == b"DICM":
        return "dicom"
    if head.startswith(b"<!doctype html"):
        return "html"
    return "svg" if head.startswith((b"<?xml", b"<svg")) and b"<svg" in data[:65536] else None


def attach(data: bytes, credential: bytes) -> bytes:
    """The file with the credential in it. Raises InputError for a format or a file that cannot carry one."""
    kind = kind_of(data)
    if kind is None:
        raise InputError("this format carries no credential: its manifest lies beside it")
    at = len(data) if kind == "dicom" else data.rfind(_BEFORE[kind])
    if at < 0:
        raise InputError(f"the {kind.upper()} file has no end: it is cut off")
    return data[:at] + _block(kind, credential) + data[at:]


def detach(data: bytes) -> tuple[bytes, bytes | None]:
    """The file without its credential, and the credential, None where there is none.

    Raises InputError where the credential is not exactly as `attach` puts it: nothing may hide beside it.
    """
    kind = kind_of(data)
    mark = b"" if kind is None else _MARKS[kind]
    at = -1 if kind is None else data.rfind(mark)
    if kind is None or at < 0:
        return data, None
    text = at + len(mark) + (4 if kind == "dicom" else 0)
    stop = len(data)
    if kind == "png":  # a checksum follows, whose bytes may be letters too
        stop = at + 4 + int.from_bytes(data[max(at - 4, 0) : at], "big")
    found = _BASE64.match(data, text, stop)
    try:
        credential = base64.b64decode(found.group() if found else b"", validate=True)
    except ValueError:
        raise InputError(_ALTERED) from None
    begin = at - 4 if kind == "png" else at
    bare = data[:begin] + data[begin + len(_block(kind, credential)) :]
    if kind_of(bare) != kind or attach(bare, credential) != data:
        raise InputError(_ALTERED)
    return bare, credential


def _block(kind: Kind, credential: bytes) -> bytes:
    text = base64.b64encode(credential)
    mark = _MARKS[kind]
    if kind == "svg":
        return mark + text + b"</metadata>\n"
    if kind == "html":
        return mark + text + b"-->\n"
    if kind == "pdf":
        return mark + text + b"\n"
    if kind == "png":
        return png_chunk(b"iTXt", mark[4:] + text)
    return _DICOM_CREATOR + _EXPLICIT.element(_ELEMENT, "UT", text)


def png_chunk(name: bytes, content: bytes) -> bytes:
    """A PNG chunk with length and checksum."""
    body = name + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))
