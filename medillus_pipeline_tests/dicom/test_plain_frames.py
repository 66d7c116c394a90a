"""Compressed frames that need no pydicom: the same values as its own path gives, and what is left to that path."""

import io
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate, get_frame

from medillus_pipeline.dicom import decoding
from medillus_pipeline.dicom.decoding import PixelError, Skip, decode
from medillus_pipeline.dicom.plain_frames import decode_plain
from medillus_pipeline_tests.dicom.image_files import encoded, image

SYNTAXES = (uid.JPEGLSLossless, uid.JPEG2000Lossless, uid.HTJ2KLossless)


def frames_of(kind: str, bits: int, count: int = 1) -> np.ndarray:
    """(frames, 70, 64) over the whole range of so many bits."""
    rng = np.random.default_rng(bits)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1)) if kind.startswith("i") else (0, 2**bits)
    return rng.integers(low, high, (count, 70, 64), endpoint=False).astype(kind)


def compressed(frames: np.ndarray, syntax: uid.UID, bits: int, *, pieces: int = 1, **changes: Any) -> FileDataset:
    """A file of these frames as a reader gets it, each frame of `pieces` fragments."""
    made = image(frames[0] if len(frames) == 1 else frames, BitsStored=bits, HighBit=bits - 1)
    if syntax == uid.HTJ2KLossless:
        streams = [bytes(imagecodecs.htj2k_encode(frame, reversible=True)) for frame in frames]
    else:
        with_one = [image(frame, BitsStored=bits, HighBit=bits - 1) for frame in frames]
        for each in with_one:
            each.compress(syntax, encapsulate_ext=False)
        streams = [get_frame(each.PixelData, 0, number_of_frames=1) for each in with_one]
    made.PixelData = encapsulate(streams, fragments_per_frame=pieces)
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    made.file_meta.TransferSyntaxUID = syntax
    for keyword, value in changes.items():
        setattr(made, keyword, value)
    return pydicom.dcmread(io.BytesIO(encoded(made)))


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize(("kind", "bits"), [("u1", 8), ("u2", 12), ("u2", 16), ("i2", 16), ("i2", 12), ("i1", 8)])
@pytest.mark.parametrize("count", [1, 3])
def test_every_frame_is_what_was_compressed_and_what_pydicom_makes_of_it(
    syntax: uid.UID, kind: str, bits: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = frames_of(kind, bits, count)
    if syntax == uid.HTJ2KLossless and bits == 12:
        frames = frames_of(kind, 16, count) >> 4  # the encoder counts the bits of the type
        bits = 16
    dataset = compressed(frames, syntax, bits)
    for number, frame in enumerate(frames, start=1):
        plain = decode_plain(dataset, number, count, syntax)
        assert plain is not None
        assert plain.dtype == frame.dtype
        assert np.array_equal(plain, frame)
    with monkeypatch.context() as patch:
        patch.setattr(decoding, "decode_plain", lambda *_: None)
        assert np.array_equal(decode(dataset, count, raw=True), frames[-1])


@pytest.mark.parametrize("syntax", SYNTAXES[:2])
@pytest.mark.parametrize(
    "changes",
    [{"pieces": 2}, {"BitsStored": 11, "HighBit": 10}, {"SamplesPerPixel": 3}, {"Rows": 69}, {"BitsAllocated": 32}],
)
def test_what_is_unusual_is_left_to_pydicom(syntax: uid.UID, changes: dict[str, Any]) -> None:
    dataset = compressed(frames_of("u2", 12), syntax, 12, **changes)
    assert decode_plain(dataset, 1, 1, syntax) is None


@pytest.mark.parametrize("syntax", SYNTAXES[:2])
def test_a_frame_in_two_fragments_comes_out_all_the_same(syntax: uid.UID) -> None:
    frames = frames_of("u2", 12)
    assert np.array_equal(decode(compressed(frames, syntax, 12, pieces=2), 1, raw=True), frames[0])


def test_an_offset_table_that_contradicts_the_fragments_is_left_to_pydicom() -> None:
    dataset = compressed(frames_of("u2", 12, 2), uid.JPEGLSLossless, 12)
    value = bytearray(dataset.PixelData)
    assert value[8:12] == bytes(4)
    value[12] ^= 2
    dataset.PixelData = bytes(value)
    assert decode_plain(dataset, 2, 2, uid.JPEGLSLossless) is None


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_damaged_stream_is_a_damaged_frame(syntax: uid.UID) -> None:
    dataset = compressed(frames_of("u2", 16), syntax, 16)
    value = bytearray(dataset.PixelData)
    value[80:-8] = bytes(len(value) - 88)
    dataset.PixelData = bytes(value)
    try:
        decode(dataset, 1, raw=True)
    except PixelError as error:
        assert error.reason is Skip.DECODE_FAILED
    else:
        assert syntax != uid.JPEGLSLossless, "wavelets of nothing are a picture too"


@pytest.mark.parametrize("size", [0, 1, 8, 20, 30])
def test_a_stream_cut_short_raises_nothing_of_its_own(size: int) -> None:
    for syntax in SYNTAXES:
        dataset = compressed(frames_of("u2", 16), syntax, 16)
        dataset.PixelData = dataset.PixelData[:size]
        assert decode_plain(dataset, 1, 1, syntax) is None
