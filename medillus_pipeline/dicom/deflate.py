"""Deflate by ISA-L (RFC 1950, 1952) that gives the same bytes for the same data in every process.

ISA-L's levels 1 and 2 (2.30 to 2.32.1) take the hash of a new stream's third byte from the address of the stream
(`igzip_icf_body_h1_gr_bt.asm`, `.write_first_byte` shifts a register that still holds the pointer). The stream is valid
whatever that hash is, but now and then a match is found in one process and missed in another: about one process in 25
wrote at least one of 300 small pictures with other bytes. A stream of a few bytes goes through other code. Here the
first `HEAD` bytes are such a stream, ended by a sync flush, which keeps the history: 10 to 20 bytes more, no time.
"""

from collections.abc import Iterable

from isal import isal_zlib

ZLIB, GZIP = 15, 31
"""Window bits that ask for a zlib or a gzip wrapper."""
HEAD = 8
"""Fewer than the 16 bytes from which on ISA-L takes the code in question."""


def deflated(parts: Iterable[bytes | memoryview], *, level: int, bits: int = ZLIB) -> bytes:
    """The `parts`, in bytes, as one stream; `level` 0 to 3 of ISA-L. A gzip wrapper has no time and no name."""
    stream = isal_zlib.compressobj(level, isal_zlib.DEFLATED, bits)
    made, begun = [], False
    for part in parts:
        rest = part
        if not begun:
            made += [stream.compress(part[:HEAD]), stream.flush(isal_zlib.Z_SYNC_FLUSH)]
            rest, begun = part[HEAD:], True
        made.append(stream.compress(rest))
    made.append(stream.flush())
    return b"".join(made)
