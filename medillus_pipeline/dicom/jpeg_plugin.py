"""JPEG as pydicom decodes it through imagecodecs: lossless (process 14) and 12-bit extended (process 4).

A decoding plugin in the form that pydicom asks for; `decoding.py` registers it. What is not here: the other codecs,
which pydicom finds by itself, and what becomes of the samples (`decoding.py`).
"""

from importlib.util import find_spec

from pydicom import uid
from pydicom.pixels.decoders.base import DecodeRunner, get_decoder

NAME = "imagecodecs"
DECODER_DEPENDENCIES = dict.fromkeys((uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1), ("numpy", NAME))
"""What the plugin needs for each transfer syntax that it serves; pydicom reads it."""


def is_available(syntax: str) -> bool:
    """Whether this plugin can decode the transfer syntax; pydicom asks once, when the plugin is registered."""
    return syntax in DECODER_DEPENDENCIES and find_spec(NAME) is not None


def register() -> None:
    """Make the plugin known to pydicom's decoders, once."""
    for syntax in DECODER_DEPENDENCIES:
        decoder = get_decoder(syntax)
        if NAME not in decoder.available_plugins and is_available(syntax):
            decoder.add_plugin(NAME, (__name__, "decode_frame"))


def decode_frame(src: bytes, runner: DecodeRunner) -> bytes:
    """The samples of one encoded frame, interleaved, in the machine's byte order; YBR stays YBR.

    Raises ValueError when the image is not of the size that the data set states. imagecodecs raises errors of its own
    for a damaged stream; pydicom collects either.
    """
    import imagecodecs

    samples = runner.samples_per_pixel
    space = "RGB" if samples == 3 else None
    array = imagecodecs.jpeg8_decode(src, colorspace=space, outcolorspace=space)
    expected = (runner.rows, runner.columns, samples) if samples > 1 else (runner.rows, runner.columns)
    if array.shape != expected:
        raise ValueError("the encoded image is not of the size that the data set states")
    runner.set_option("bits_allocated", array.dtype.itemsize * 8)
    if samples > 1:
        runner.set_option("planar_configuration", 0)
    return array.tobytes()
