"""Compressed bytes from untrusted files, unpacked no further than was asked for."""

import bz2
import zlib

from pydicom.uid import DeflatedExplicitVRLittleEndian

from medillus_pipeline.annotation.outcomes import Reason, Refused

GZIP = b"\x1f\x8b"
MAXIMUM_DATA_SET = 2**29
"""Bytes past which a deflated DICOM data set is not unpacked."""
AFTERWARDS = 2**16
"""Bytes past those asked for that are unpacked to reach the check sum that ends a gzip member."""


def gunzipped(data: bytes, maximum: int) -> bytes:
    """The first `maximum` bytes of gzip data, of several members too (RFC 1952, 2.2), or fewer where they end before.

    Check sums that are reached are checked; whatever follows the last member is passed over. Raises Refused for data
    that are damaged or stop short of both their end and `maximum`.
    """
    parts, room = [], maximum
    while data.startswith(GZIP):
        member = zlib.decompressobj(wbits=31)
        try:
            parts.append(member.decompress(data, room) if room else b"")
            room -= len(parts[-1])
            if room == 0:
                member.decompress(member.unconsumed_tail if maximum else data, AFTERWARDS)
                if member.eof or member.unconsumed_tail:
                    break
        except zlib.error as error:
            raise Refused(Reason.BROKEN_FILE) from error
        if not member.eof:
            raise Refused(Reason.BROKEN_FILE)
        data = member.unused_data.lstrip(b"\0")
    return b"".join(parts)


def bunzipped(data: bytes, maximum: int) -> bytes:
    """The first `maximum` bytes of bzip2 data, or fewer where they end before. Raises Refused for data that are damaged
    or stop short.
    """
    parts, room = [], maximum
    while data and room:
        stream = bz2.BZ2Decompressor()
        try:
            parts.append(stream.decompress(data, room))
        except (OSError, ValueError) as error:
            raise Refused(Reason.BROKEN_FILE) from error
        room -= len(parts[-1])
        if not stream.eof:
            if stream.needs_input:
                raise Refused(Reason.BROKEN_FILE)
            break
        data = stream.unused_data
    return b"".join(parts)


def opened(data: bytes, maximum: int) -> bytes:
    """The first `maximum` bytes of data that are gzip or plain, as their first two bytes say."""
    return gunzipped(data, maximum) if data.startswith(GZIP) else data[:maximum]


def check_inflation(data: bytes) -> None:
    """Raises Refused for a deflated data set (PS3.5 A.5) that would unpack to too much: pydicom unpacks it whole."""
    if DeflatedExplicitVRLittleEndian.encode() not in data[:2048] or data[132:136] != b"\x02\x00\x00\x00":
        return
    start = 144 + int.from_bytes(data[140:144], "little")
    inflate, rest, total = zlib.decompressobj(-zlib.MAX_WBITS), data[start:], 0
    while rest and not inflate.eof:
        total += len(inflate.decompress(rest, 2**24))
        rest = inflate.unconsumed_tail
        if total > MAXIMUM_DATA_SET:
            raise Refused(Reason.TOO_LARGE)
