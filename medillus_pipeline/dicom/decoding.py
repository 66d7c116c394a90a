"""Decoding a frame, whatever its transfer syntax, and why a frame cannot be shown.

The decoders are those that pydicom finds installed. What is not here: what the stored values mean (`pixels.py`).
"""

from enum import StrEnum
from importlib.util import find_spec

import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import pixel_array

from medillus_pipeline.errors import InputError

MAXIMUM_PIXELS = 2**27
"""Pixels of a frame past which a size is taken for a damaged header rather than allocated."""


class Skip(StrEnum):
    """Why a frame is left out of the slices. A missing decoder names the package to install."""

    NO_PIXEL_DATA = "no_pixel_data"
    NOT_AN_IMAGE = "not_an_image"
    UNREADABLE = "unreadable_file"
    INVALID_DESCRIPTION = "invalid_pixel_description"
    TOO_LARGE = "implausibly_large"
    ONLY_PADDING = "only_padding"
    TRUNCATED = "truncated_pixels"
    DECODE_FAILED = "damaged_pixels"
    UNSUPPORTED_SYNTAX = "unsupported_transfer_syntax"
    COLOUR = "colour_where_grey_is_needed"
    MISSING_GDCM = "missing_decoder_python_gdcm"
    MISSING_LIBJPEG = "missing_decoder_pylibjpeg_libjpeg"
    """Of 12-bit JPEG. Its licence is the GPL: not among the dependencies, for the user to decide."""
    MISSING_OPENJPEG = "missing_decoder_pylibjpeg_openjpeg"
    MISSING_JPEGLS = "missing_decoder_pyjpegls"
    MISSING_PILLOW = "missing_decoder_pillow"


DECODER_PACKAGE = {
    uid.JPEGBaseline8Bit: Skip.MISSING_PILLOW,
    uid.JPEGExtended12Bit: Skip.MISSING_PILLOW,
    uid.JPEGLossless: Skip.MISSING_GDCM,
    uid.JPEGLosslessSV1: Skip.MISSING_GDCM,
    uid.JPEGLSLossless: Skip.MISSING_JPEGLS,
    uid.JPEGLSNearLossless: Skip.MISSING_JPEGLS,
    uid.JPEG2000Lossless: Skip.MISSING_OPENJPEG,
    uid.JPEG2000: Skip.MISSING_OPENJPEG,
    uid.HTJ2KLossless: Skip.MISSING_OPENJPEG,
    uid.HTJ2KLosslessRPCL: Skip.MISSING_OPENJPEG,
    uid.HTJ2K: Skip.MISSING_OPENJPEG,
}
"""The package that decodes a transfer syntax, as the reason to give when it is not installed."""

SEGMENTATIONS = {"1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"}
"""Segmentation and Label Map Segmentation Storage: annotations, which have pixels but are no images."""


class PixelError(InputError):
    """A frame cannot be shown. `reason` says why; the text holds nothing of the data set."""

    def __init__(self, reason: Skip) -> None:
        super().__init__(f"the frame cannot be shown: {reason.value}")
        self.reason = reason

    def __reduce__(self) -> tuple[type["PixelError"], tuple[Skip]]:
        return type(self), (self.reason,)


def frame_count(dataset: Dataset) -> int:
    """Number of frames of a data set with pixels, 1 where it does not say. Raises PixelError when it says nonsense."""
    try:
        count = int(dataset.get("NumberOfFrames", 1) or 1)
    except (ValueError, TypeError) as error:
        raise PixelError(Skip.INVALID_DESCRIPTION) from error
    if count < 1:
        raise PixelError(Skip.INVALID_DESCRIPTION)
    return count


def check_displayable(dataset: Dataset) -> None:
    """Raises PixelError when no frame of the data set can be shown, whatever its pixels: no pixels at all, a
    segmentation, a size that is missing or absurd.
    """
    if not any(keyword in dataset for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise PixelError(Skip.NO_PIXEL_DATA)
    if str(dataset.get("SOPClassUID", "")) in SEGMENTATIONS or str(dataset.get("Modality", "")) == "SEG":
        raise PixelError(Skip.NOT_AN_IMAGE)
    frame_count(dataset)
    rows, columns = dataset.get("Rows"), dataset.get("Columns")
    if not isinstance(rows, int) or not isinstance(columns, int) or rows < 1 or columns < 1:
        raise PixelError(Skip.INVALID_DESCRIPTION)
    if rows * columns > MAXIMUM_PIXELS:
        raise PixelError(Skip.TOO_LARGE)


def decode(dataset: Dataset, frame: int, *, raw: bool) -> np.ndarray:
    """Frame `frame` (from 1): (rows, columns) or (rows, columns, samples), in the machine's byte order.

    Integers hold the stored value, its unused bits cleared or filled with its sign (PS3.5 8.1.1). With `raw` false,
    YBR becomes RGB. Raises PixelError with the reason when the frame cannot be decoded.
    """
    check_displayable(dataset)
    if not 1 <= frame <= frame_count(dataset):
        raise PixelError(Skip.TRUNCATED)
    syntax = getattr(dataset, "file_meta", Dataset()).get("TransferSyntaxUID")
    try:
        if not get_decoder(syntax).is_available:
            raise PixelError(DECODER_PACKAGE.get(syntax, Skip.UNSUPPORTED_SYNTAX))
    except (NotImplementedError, TypeError) as error:  # pydicom's answer to a syntax it does not know, or to none
        raise PixelError(Skip.UNSUPPORTED_SYNTAX) from error
    try:
        if raw:
            values = pixel_array(dataset, index=frame - 1, raw=True, correct_unused_bits=False)
        else:
            values = pixel_array(dataset, index=frame - 1)
    except Exception as error:
        raise PixelError(_reason(dataset, syntax)) from error
    if values.dtype.kind not in "iu":
        return values
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    return _cleared(values, dataset, syntax) if raw else values


def _cleared(values: np.ndarray, dataset: Dataset, syntax: uid.UID) -> np.ndarray:
    width, bits = values.dtype.itemsize * 8, int(dataset.BitsStored)
    if bits < 1 or bits > width or dataset.BitsAllocated == 1:
        if dataset.BitsAllocated == 1:
            return values
        raise PixelError(Skip.INVALID_DESCRIPTION)
    high = dataset.get("HighBit")
    top = high if isinstance(high, int) and bits - 1 <= high < width and not syntax.is_encapsulated else bits - 1
    if bits == width:
        return values
    if values.dtype.kind == "u" and top == bits - 1:
        return values & values.dtype.type(2**bits - 1)
    return (values << (width - 1 - top)) >> (width - bits)


def _reason(dataset: Dataset, syntax: uid.UID) -> Skip:
    """Why decoding failed, from the data set rather than from the decoder's words."""
    if any(dataset.get(k) is None for k in ("BitsAllocated", "SamplesPerPixel", "PhotometricInterpretation")):
        return Skip.INVALID_DESCRIPTION
    if not syntax.is_encapsulated:
        values = dataset.Rows * dataset.Columns * int(dataset.SamplesPerPixel) * frame_count(dataset)
        expected = values * int(dataset.BitsAllocated) // 8
        stored = dataset.get("PixelData") or dataset.get("FloatPixelData") or dataset.get("DoubleFloatPixelData") or b""
        return Skip.TRUNCATED if len(stored) < expected else Skip.INVALID_DESCRIPTION
    if syntax == uid.JPEGExtended12Bit and int(dataset.get("BitsStored", 8)) > 8 and find_spec("libjpeg") is None:
        return Skip.MISSING_LIBJPEG
    return Skip.DECODE_FAILED
