"""Decoding a frame, whatever its transfer syntax, and why a frame cannot be shown.

The decoders are those that pydicom finds installed, and imagecodecs for the JPEG that they leave out
(`jpeg_plugin.py`); the usual frames of some codecs need no pydicom (`plain_frames.py`). What is not here: what the
stored values mean (`pixels.py`), palettes (`colours.py`).
"""

from copy import copy
from enum import StrEnum
from typing import Any

import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels.decoders.base import get_decoder

from medillus_pipeline.dicom import jpeg_plugin
from medillus_pipeline.dicom.colours import ybr_to_rgb
from medillus_pipeline.dicom.plain_frames import decode_plain
from medillus_pipeline.errors import InputError

jpeg_plugin.register()

PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
"""Keywords of the elements that hold pixels."""
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
    UNSUPPORTED_COLOUR = "unsupported_colour_space"
    COLOUR = "colour_where_grey_is_needed"
    TOO_DEEP = "more_than_16_bits"
    """Its values do not fit a 16-bit picture without loss."""
    MISSING_IMAGECODECS = "missing_decoder_imagecodecs"
    MISSING_OPENJPEG = "missing_decoder_pylibjpeg_openjpeg"
    MISSING_JPEGLS = "missing_decoder_pyjpegls"
    MISSING_PILLOW = "missing_decoder_pillow"


DECODER_PACKAGE = {
    uid.JPEGBaseline8Bit: Skip.MISSING_PILLOW,
    uid.JPEGExtended12Bit: Skip.MISSING_PILLOW,
    uid.JPEGLossless: Skip.MISSING_IMAGECODECS,
    uid.JPEGLosslessSV1: Skip.MISSING_IMAGECODECS,
    uid.JPEGLSLossless: Skip.MISSING_JPEGLS,
    uid.JPEGLSNearLossless: Skip.MISSING_JPEGLS,
    uid.JPEG2000Lossless: Skip.MISSING_OPENJPEG,
    uid.JPEG2000: Skip.MISSING_OPENJPEG,
    uid.HTJ2KLossless: Skip.MISSING_OPENJPEG,
    uid.HTJ2KLosslessRPCL: Skip.MISSING_OPENJPEG,
    uid.HTJ2K: Skip.MISSING_OPENJPEG,
}
"""The package that decodes a transfer syntax, as the reason to give when it is not installed."""

RETIRED_JPEG = {"1.2.840.10008.1.2.4.53", "1.2.840.10008.1.2.4.55"}
"""Spectral selection and full progression, 12-bit: retired, but the codec of JPEG extended reads them."""

COLOUR_SPACES = {"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "PALETTE COLOR"}
"""Photometric interpretations of colour images that can be shown. HSV, ARGB, CMYK and YBR_PARTIAL,
all retired, cannot.
"""

UNTOUCHED: dict[str, Any] = {"raw": True, "correct_unused_bits": False}
"""Options under which pydicom gives samples as they are stored; it shifts no bits and converts no colours."""

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
    if not any(keyword in dataset for keyword in PIXELS):
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
    frames = frame_count(dataset)
    if not 1 <= frame <= frames:
        raise PixelError(Skip.TRUNCATED)
    stated = getattr(dataset, "file_meta", Dataset()).get("TransferSyntaxUID")
    syntax = uid.JPEGExtended12Bit if stated in RETIRED_JPEG else stated
    if syntax != stated:
        dataset = copy(dataset)
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = syntax
    try:
        decoder = get_decoder(syntax)
    except (NotImplementedError, TypeError) as error:  # pydicom's answer to a syntax it does not know, or to none
        raise PixelError(Skip.UNSUPPORTED_SYNTAX) from error
    if not decoder.is_available:
        raise PixelError(DECODER_PACKAGE.get(syntax, Skip.UNSUPPORTED_SYNTAX))
    if (plain := decode_plain(dataset, frame, frames, syntax)) is not None:
        return plain
    try:
        plugin = _plugin(dataset, syntax)
        values, found = decoder.as_array(dataset, index=frame - 1, decoding_plugin=plugin, **UNTOUCHED)
    except Exception as error:
        raise PixelError(_reason(dataset, syntax)) from error
    if values.dtype.kind not in "iu":
        return values
    values = _cleared(values.astype(values.dtype.newbyteorder("="), copy=False), dataset, syntax)
    if not raw and values.ndim == 3:
        space = str(found.get("photometric_interpretation", "")).strip().upper()
        if space not in COLOUR_SPACES:
            raise PixelError(Skip.UNSUPPORTED_COLOUR)
        if space in ("YBR_FULL", "YBR_FULL_422"):
            return ybr_to_rgb(values, int(dataset.BitsStored))
    return values


def _plugin(dataset: Dataset, syntax: uid.UID) -> str:
    """The plugin to name to pydicom: for 12-bit JPEG the one that knows it, before others try and fail; else none."""
    if syntax != uid.JPEGExtended12Bit or dataset.get("BitsStored") == 8:
        return ""
    return jpeg_plugin.NAME if jpeg_plugin.NAME in get_decoder(syntax).available_plugins else ""


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
    if syntax == uid.JPEGExtended12Bit and jpeg_plugin.NAME not in get_decoder(syntax).available_plugins:
        return Skip.MISSING_IMAGECODECS if int(dataset.get("BitsStored", 8)) > 8 else Skip.DECODE_FAILED
    return Skip.DECODE_FAILED
