"""Damaged and hostile segmentations: refused, whatever is wrong with them, before they cost much."""

import io
import tracemalloc
import zlib
from collections.abc import Callable

import numpy as np
import pydicom
import pytest
from pydicom import Dataset, uid
from pydicom.encaps import encapsulate

from medillus_pipeline.annotation.formats import segmentation
from medillus_pipeline.annotation.outcomes import Reason, Refused
from medillus_pipeline_tests.annotation.formats.segmentations import made, masks, read
from medillus_pipeline_tests.annotation.published import Desk

Edit = Callable[[Dataset], None]


def _sets(**attributes: object) -> Edit:
    def edit(dataset: Dataset) -> None:
        for keyword, value in attributes.items():
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)

    return edit


def _first_frame(**attributes: object) -> Edit:
    def edit(dataset: Dataset) -> None:
        frame = dataset.PerFrameFunctionalGroupsSequence[0]
        for keyword, value in attributes.items():
            setattr(frame, keyword, value)

    return edit


def _one_segment_twice(dataset: Dataset) -> None:
    dataset.SegmentSequence[1].SegmentNumber = 1


def _a_segment_less(dataset: Dataset) -> None:
    dataset.SegmentSequence = dataset.SegmentSequence[:1]


def _a_frame_less(dataset: Dataset) -> None:
    dataset.PerFrameFunctionalGroupsSequence = dataset.PerFrameFunctionalGroupsSequence[:-1]


@pytest.mark.parametrize(
    "edit",
    [
        *(_sets(NumberOfFrames=count) for count in (0, 1, 5, 7, 199_999)),
        *(_sets(Rows=rows) for rows in (0, 1, 39, 41, 65_535)),
        *(_sets(**{keyword: None}) for keyword in (
            "Rows", "Columns", "SegmentSequence", "SegmentationType", "PerFrameFunctionalGroupsSequence",
            "PixelData", "SOPClassUID", "SamplesPerPixel",
        )),
        _sets(BitsAllocated=8), _sets(BitsAllocated=32), _sets(SamplesPerPixel=3), _sets(SegmentationType="OTHER"),
        _sets(SegmentationType="FRACTIONAL"), _sets(PixelData=b""), _sets(SOPClassUID=uid.CTImageStorage),
        _sets(SegmentSequence=[]), _first_frame(SegmentIdentificationSequence=[]),
        _one_segment_twice, _a_segment_less, _a_frame_less,
    ],
)  # fmt: skip
def test_contradictions_are_a_broken_file(desk: Desk, edit: Edit) -> None:
    with pytest.raises(Refused) as refused:
        read(made(masks(), edit=edit), desk)
    assert refused.value.reason is Reason.BROKEN_FILE


def test_a_claim_of_many_or_large_frames_is_refused_before_memory_is_taken(desk: Desk) -> None:
    def claims(**attributes: int) -> bytes:
        return made(masks(), kind="LABELMAP", transfer_syntax_uid=uid.RLELossless, edit=_sets(**attributes))

    hostile = [
        claims(Rows=65_535, Columns=65_535),
        claims(NumberOfFrames=2**31 - 1),
        claims(Rows=32_768, NumberOfFrames=99_999),
    ]
    for data in hostile:
        tracemalloc.start()
        try:
            with pytest.raises(Refused) as refused:
                read(data, desk)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert refused.value.reason is Reason.TOO_LARGE and peak < 2**23


DEFLATED_IMAGE_FRAME = b"1.2.840.10008.1.2.8.1\0"
"""pydicom does not write it: it is put in place of another of its length."""


def _encoded(frames: list[bytes]) -> Edit:
    def edit(dataset: Dataset) -> None:
        dataset.file_meta.TransferSyntaxUID = uid.JPEG2000Lossless
        dataset.PixelData = encapsulate(frames)
        dataset["PixelData"].VR = "OB"

    return edit


def _relabelled(data: bytes) -> bytes:
    return data.replace(uid.JPEG2000Lossless.encode(), DEFLATED_IMAGE_FRAME, 1)


def _deflated(data: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = deflate.compress(data) + deflate.flush()
    return packed + b"\0" * (len(packed) % 2)


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_deflated_frames_are_read_and_a_bomb_in_one_unpacks_to_no_more_than_a_frame(desk: Desk, kind: str) -> None:
    pixels = masks(segments=1)
    plain: list[bytes] = []

    def take_apart(dataset: Dataset) -> None:
        size = len(dataset.PixelData) // 3
        plain.extend(dataset.PixelData[k * size : (k + 1) * size] for k in range(3))
        _encoded([_deflated(frame) for frame in plain])(dataset)

    found = read(_relabelled(made(pixels, kind=kind, edit=take_apart)), desk)
    assert sum(region.area for regions in found.regions.values() for region in regions.values()) == pixels.sum()
    bomb = _relabelled(made(pixels, kind=kind, edit=_encoded([_deflated(bytes(2**25))] * 3)))
    tracemalloc.start()
    try:
        with pytest.raises(Refused):
            read(bomb, desk)
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()


def test_a_deflated_data_set_is_read_and_a_bomb_refused_unopened(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = pydicom.dcmread(io.BytesIO(made(masks())))
    dataset.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    sink = io.BytesIO()
    dataset.save_as(sink, enforce_file_format=True)
    assert len(read(sink.getvalue(), desk).regions) == 3
    monkeypatch.setattr("medillus_pipeline.annotation.formats.unpacking.MAXIMUM_DATA_SET", 1000)
    with pytest.raises(Refused) as refused:
        read(sink.getvalue(), desk)
    assert refused.value.reason is Reason.TOO_LARGE


@pytest.mark.parametrize("syntax", [uid.JPEG2000Lossless, uid.JPEGLSLossless])
def test_a_codestream_larger_than_its_frame_is_refused_unopened(desk: Desk, syntax: str) -> None:
    wide = pydicom.dcmread(io.BytesIO(made(masks(shape=(3, 40, 2000)), kind="LABELMAP", transfer_syntax_uid=syntax)))

    def edit(dataset: Dataset) -> None:
        dataset.PixelData = wide.PixelData

    with pytest.raises(Refused):
        read(made(masks(), kind="LABELMAP", transfer_syntax_uid=syntax, edit=edit), desk)


def test_a_drawing_of_more_pixels_than_the_limit_is_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segmentation, "MAXIMUM_DRAWN", 40 * 50 * 2)
    with pytest.raises(Refused) as refused:
        read(made(masks()), desk)
    assert refused.value.reason is Reason.TOO_LARGE


KINDS = [
    ("BINARY", uid.ExplicitVRLittleEndian), ("BINARY", uid.JPEG2000Lossless), ("LABELMAP", uid.RLELossless),
    ("FRACTIONAL", uid.JPEGLSLossless),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "syntax"), KINDS)
def test_an_object_that_ends_early_is_refused_wherever_it_is_cut(desk: Desk, kind: str, syntax: str) -> None:
    whole = made(masks(), kind=kind, transfer_syntax_uid=syntax)
    assert len(read(whole, desk).regions) == 3
    for length in [*range(0, len(whole), 61), *range(len(whole) - 40, len(whole))]:
        with pytest.raises(Refused):
            read(whole[:length], desk)


@pytest.mark.parametrize(("kind", "syntax"), KINDS)
def test_flipped_bytes_are_refused_or_read_and_nothing_else_escapes(desk: Desk, kind: str, syntax: str) -> None:
    whole = np.frombuffer(made(masks(), kind=kind, transfer_syntax_uid=syntax), np.uint8)
    rng = np.random.default_rng(5)
    refused = 0
    for _ in range(250):
        damaged = whole.copy()
        places = rng.integers(132, len(whole), rng.integers(1, 6))
        damaged[places] = rng.integers(0, 256, len(places))
        try:
            found = read(damaged.tobytes(), desk)
        except Refused:
            refused += 1
        else:
            sizes = {
                (r.window[0].stop <= 40, r.window[1].stop <= 50) for on in found.regions.values() for r in on.values()
            }
            assert sizes <= {(True, True)}
    assert 0 < refused < 250


def test_a_damaged_object_is_not_quoted_in_logs_or_warnings(
    desk: Desk, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    secret = "Holloway.1930"
    data = made(masks(), edit=_sets(PatientComments=secret, FrameOfReferenceUID="1.2.3.9"))
    damaged = data.replace(b"1.2.3.4.1\0", b"Holloway.1")
    caplog.clear()
    recwarn.clear()
    assert damaged != data
    found = read(damaged, desk)
    assert "Holloway" not in caplog.text and not [w for w in recwarn if "Holloway" in str(w.message)]
    assert not any("Holloway" in remark for remark in found.remarks)
