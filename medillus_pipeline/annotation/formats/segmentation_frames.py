"""The frames of a DICOM segmentation as they are stored, each unpacked when it is wanted and none kept.

Sizes, counts and lengths are judged against one another before anything is unpacked. Beside what pydicom decodes, two
encodings of one-bit frames are read that it leaves out: RLE of packed bits, and Deflated Image Frame (PS3.5 A.4.13).
What is not here: what the values mean, and which slice a frame belongs to (`segmentation.py`).
"""

import struct
import zlib
from collections.abc import Collection, Iterator

import numpy as np
from pydicom import Dataset, uid
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.decoders.base import get_decoder

from medillus_pipeline.annotation.outcomes import Reason, Refused
from medillus_pipeline.dicom.decoding import MAXIMUM_PIXELS, frame_count

DEFLATED_IMAGE_FRAME = "1.2.840.10008.1.2.8.1"
PLAIN = (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian)
MAXIMUM_FRAMES = 200_000
MAXIMUM_PIXELS_IN_ALL = 2**35
SPARE_BYTES = 2**16
"""What a compressed frame may exceed twice its unpacked size by: codecs hardly ever make a frame larger."""
_JPEG_SIZES = frozenset((*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0), 0xF7))
"""Second bytes of the markers that state the size of a JPEG or JPEG-LS frame (ITU-T T.81 table B.1, T.87 C.2)."""


class StoredFrames:
    """The frames of a segmentation, numbered from 1, each (rows, columns).

    Raises Refused for sizes that contradict one another, too much to unpack, or pixels that no decoder here reads.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self.syntax = uid.UID(dataset.file_meta.TransferSyntaxUID)
        self.rows, self.columns = int(dataset.Rows), int(dataset.Columns)
        self.count = frame_count(dataset)
        self.bits = int(dataset.BitsAllocated)
        pixels = self.rows * self.columns
        if self.rows < 1 or self.columns < 1 or self.bits not in (1, 8, 16) or int(dataset.SamplesPerPixel) != 1:
            raise Refused(Reason.BROKEN_FILE)
        if pixels > MAXIMUM_PIXELS or self.count > MAXIMUM_FRAMES or pixels * self.count > MAXIMUM_PIXELS_IN_ALL:
            raise Refused(Reason.TOO_LARGE)
        self._pixels = pixels
        self._frame_bytes = -(-pixels * self.bits // 8)
        self._plain = self.syntax in PLAIN
        if self._plain or self.syntax == uid.ExplicitVRBigEndian:
            needed = -(-pixels * self.bits * self.count // 8)
            if not needed <= len(dataset.PixelData) <= needed + needed % 2:
                raise Refused(Reason.BROKEN_FILE)

    def take(self, wanted: Collection[int]) -> Iterator[tuple[int, np.ndarray]]:
        """The wanted frames in ascending order, as unsigned integers."""
        if self._plain:
            for number in sorted(wanted):
                yield number, self._native(number)
        elif self.syntax == uid.ExplicitVRBigEndian:
            decoder = get_decoder(self.syntax)
            for number in sorted(wanted):
                yield number, decoder.as_array(self._dataset, index=number - 1, raw=True)[0]
        else:
            yield from self._encapsulated(wanted)

    def _native(self, number: int) -> np.ndarray:
        data = self._dataset.PixelData
        first = (number - 1) * self._pixels
        if self.bits == 1:
            packed = np.frombuffer(data, np.uint8)[first // 8 : -(-(first + self._pixels) // 8)]
            return self._unpacked(packed, first % 8)
        values = np.frombuffer(data, "<u2" if self.bits == 16 else "u1", self._pixels, first * self.bits // 8)
        return values.reshape(self.rows, self.columns)

    def _unpacked(self, packed: np.ndarray, skip: int = 0) -> np.ndarray:
        bits = np.unpackbits(packed, count=skip + self._pixels, bitorder="little")[skip:]
        return bits.reshape(self.rows, self.columns)

    def _encapsulated(self, wanted: Collection[int]) -> Iterator[tuple[int, np.ndarray]]:
        found = 0
        for encoded in generate_frames(
            self._dataset.PixelData, number_of_frames=self.count, extended_offsets=self._extended_offsets()
        ):
            found += 1
            if found > self.count:
                break
            if found in wanted:
                if len(encoded) > 2 * self._frame_bytes + SPARE_BYTES:
                    raise Refused(Reason.BROKEN_FILE)
                yield found, self._decoded(encoded)
        if found != self.count:
            raise Refused(Reason.BROKEN_FILE)

    def _extended_offsets(self) -> tuple[bytes, bytes] | None:
        table = self._dataset.get("ExtendedOffsetTable")
        return (table, self._dataset.ExtendedOffsetTableLengths) if table else None

    def _decoded(self, encoded: bytes) -> np.ndarray:
        if self.syntax == DEFLATED_IMAGE_FRAME:
            return self._from_bytes(zlib.decompressobj(-zlib.MAX_WBITS).decompress(encoded, self._frame_bytes))
        if self.syntax == uid.RLELossless and self.bits == 1:
            return self._from_bytes(_packbits(encoded, self._frame_bytes))
        self._check_codestream(encoded)
        one = Dataset()
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = self.syntax
        one.Rows, one.Columns, one.SamplesPerPixel, one.NumberOfFrames = self.rows, self.columns, 1, 1
        one.BitsAllocated = self.bits
        one.BitsStored, one.HighBit = self._dataset.BitsStored, self._dataset.HighBit
        one.PixelRepresentation, one.PhotometricInterpretation = 0, "MONOCHROME2"
        one.PixelData = encapsulate([encoded])
        try:
            decoder = get_decoder(self.syntax)
        except NotImplementedError as error:  # pydicom's answer to a syntax that it does not know
            raise Refused(Reason.UNSUPPORTED_FORMAT) from error
        values, _ = decoder.as_array(one, index=0, raw=True)
        if values.shape != (self.rows, self.columns):
            raise Refused(Reason.BROKEN_FILE)
        return values

    def _from_bytes(self, data: bytes | bytearray) -> np.ndarray:
        if len(data) < self._frame_bytes:
            raise Refused(Reason.BROKEN_FILE)
        if self.bits == 1:
            return self._unpacked(np.frombuffer(data, np.uint8))
        return np.frombuffer(data, "<u2" if self.bits == 16 else "u1", self._pixels).reshape(self.rows, self.columns)

    def _check_codestream(self, encoded: bytes) -> None:
        """Raises Refused where a codestream states another size than the data set: decoders allocate what it says."""
        size = _stated_size(encoded)
        if size is not None and size != (self.rows, self.columns):
            raise Refused(Reason.BROKEN_FILE)


def _stated_size(encoded: bytes) -> tuple[int, int] | None:
    """(rows, columns) as a JPEG, JPEG-LS or JPEG 2000 codestream gives them; None for any other encoding."""
    if encoded.startswith(b"\xff\x4f\xff\x51"):  # SOC, SIZ (ITU-T T.800 A.5.1)
        right, bottom, left, top = struct.unpack_from(">4L", encoded, 8)
        return bottom - top, right - left
    if not encoded.startswith(b"\xff\xd8"):
        return None
    position = 2
    while position + 9 <= len(encoded) and encoded[position] == 0xFF:
        if encoded[position + 1] in _JPEG_SIZES:
            rows, columns = struct.unpack_from(">2H", encoded, position + 5)
            return rows, columns
        position += 2 + int(struct.unpack_from(">H", encoded, position + 2)[0])
    return None


def _packbits(encoded: bytes, length: int) -> bytearray:
    """The only segment of an RLE frame (PS3.5 annex G), at most `length` bytes of it."""
    segments, first = struct.unpack_from("<2L", encoded)
    if segments != 1 or first != 64:
        raise Refused(Reason.BROKEN_FILE)
    unpacked = bytearray()
    position = first
    while len(unpacked) < length and position + 1 < len(encoded):
        control = encoded[position]
        if control < 128:
            unpacked += encoded[position + 1 : position + 2 + control]
            position += 2 + control
        else:
            if control > 128:
                unpacked += encoded[position + 1 : position + 2] * (257 - control)
            position += 2 if control > 128 else 1
    return unpacked[:length]
