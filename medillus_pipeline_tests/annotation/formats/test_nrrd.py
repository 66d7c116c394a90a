"""NRRD label maps and segmentations of 3D Slicer, in every encoding and space that is read; the others are refused."""

import bz2
import gzip
from typing import Any

import numpy as np
import pytest

from medillus_pipeline.annotation.vocabulary import load
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline_tests.annotation.formats.placed import masks, only, read_files, reason
from medillus_pipeline_tests.annotation.published import stack

INDEX = (
    b'{"volumes": [{"file": "a.nrrd", "series_instance_uid": "1.2.3.4"}, '
    b'{"file": "a.nhdr", "series_instance_uid": "1.2.3.4"}], "labels": {"1": "liver", "2": "heart"}}'
)
LEFT = "SCT^7771000^Left"


def volume() -> np.ndarray:
    """(x, y, z) on the grid of `stack`: 50 columns, 40 rows, 3 slices."""
    values = np.zeros((50, 40, 3), np.uint8)
    values[10:20, 5:9, 1] = 1
    values[30:35, 20:30, 1:] = 2
    return values


def header(**changes: str | None) -> bytes:
    fields: dict[str, str | None] = {
        "type": "unsigned char",
        "dimension": "3",
        "space": "left-posterior-superior",
        "sizes": "50 40 3",
        "space directions": "(1,0,0) (0,2,0) (0,0,5)",
        "kinds": "domain domain domain",
        "endian": "little",
        "encoding": "raw",
        "space origin": "(-20,-30,0)",
    }
    fields |= {name.replace("_", " "): value for name, value in changes.items()}
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return ("NRRD0004\n# a comment: with a colon\n" + "\n".join(lines) + "\n\n").encode()


def raw(values: np.ndarray, kind: str = "u1") -> bytes:
    return values.astype(kind).tobytes(order="F")


def read(pseudonymiser: Pseudonymiser, data: bytes, **others: bytes) -> Any:
    return read_files({"a.nrrd": data, "index.json": INDEX} | others, stack(pseudonymiser), pseudonymiser)


def check(pseudonymiser: Pseudonymiser, found: Any) -> None:
    drawing = only(found)
    slices = stack(pseudonymiser)
    assert np.array_equal(masks(drawing, slices, "liver"), (volume() == 1).transpose(2, 1, 0))
    assert np.array_equal(masks(drawing, slices, "heart"), (volume() == 2).transpose(2, 1, 0))
    assert not drawing.notes


ENCODED = {
    "raw": raw(volume()),
    "gzip": gzip.compress(raw(volume()), mtime=0),
    "gz": gzip.compress(raw(volume())[:100], mtime=0) + gzip.compress(raw(volume())[100:], mtime=0),
    "bzip2": bz2.compress(raw(volume())),
    "bz2": bz2.compress(raw(volume())[:100]) + bz2.compress(raw(volume())[100:]),
    "hex": raw(volume()).hex("\n", 40).encode(),
    "text": " ".join(map(str, volume().ravel(order="F"))).encode(),
    "ascii": "\n".join(map(str, volume().ravel(order="F"))).encode(),
}


@pytest.mark.parametrize("encoding", ENCODED)
def test_every_encoding_gives_the_same_masks(pseudonymiser: Pseudonymiser, encoding: str) -> None:
    check(pseudonymiser, read(pseudonymiser, header(encoding=encoding) + ENCODED[encoding]))


@pytest.mark.parametrize(
    ("name", "kind", "endian"),
    [("short", "<i2", "little"), ("uint16", ">u2", "big"), ("int", ">i4", "big"), ("double", "<f8", "little")],
)
def test_types_and_byte_orders(pseudonymiser: Pseudonymiser, name: str, kind: str, endian: str) -> None:
    check(pseudonymiser, read(pseudonymiser, header(type=name, endian=endian) + raw(volume(), kind)))


@pytest.mark.parametrize(
    ("space", "directions", "origin"),
    [
        ("RAS", "(-1,0,0) (0,-2,0) (0,0,5)", "(20,30,0)"),
        ("right-anterior-superior", "(-1,0,0) (0,-2,0) (0,0,5)", "(20,30,0)"),
        ("left-anterior-superior", "(1,0,0) (0,-2,0) (0,0,5)", "(-20,30,0)"),
        ("LPS", "(1.0,0.0,0.0) (0,2,0) (0,0,5)", "( -20 , -30 , 0 )"),
    ],
)
def test_every_space_of_a_patient(pseudonymiser: Pseudonymiser, space: str, directions: str, origin: str) -> None:
    data = header(space=space, space_directions=directions, space_origin=origin) + raw(volume())
    check(pseudonymiser, read(pseudonymiser, data))


@pytest.mark.parametrize(
    "changes",
    [
        {"space": None, "space dimension": "3"},
        {"space": "scanner-xyz"},
        {"space directions": None, "spacings": "1 2 5"},
        {"space origin": None},
        {"space units": '"um" "um" "um"'},
        {"space directions": "(1,0,0) (1,0,0) (0,0,5)"},
        {"space directions": "(1e200,0,0) (0,1e200,0) (0,0,5)"},
    ],
)
def test_a_file_that_does_not_say_where_it_lies_is_refused(
    pseudonymiser: Pseudonymiser, changes: dict[str, str | None]
) -> None:
    assert reason(read(pseudonymiser, header(**changes) + raw(volume()))) == "refused/other_geometry"


def test_skipped_lines_and_bytes(pseudonymiser: Pseudonymiser) -> None:
    check(pseudonymiser, read(pseudonymiser, header(line_skip="2", byte_skip="3") + b"a\nb\nxyz" + raw(volume())))
    check(pseudonymiser, read(pseudonymiser, header(byte_skip="-1") + b"anything" + raw(volume())))


@pytest.mark.parametrize("name", ["data file", "datafile"])
def test_data_beside_a_header(pseudonymiser: Pseudonymiser, name: str) -> None:
    files = {
        "a.nhdr": header(encoding="gzip", **{name: "a.raw.gz"}),
        "a.raw.gz": ENCODED["gzip"],
        "index.json": INDEX,
    }
    check(pseudonymiser, read_files(files, stack(pseudonymiser), pseudonymiser))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("other.raw", "refused/part_missing"),
        ("../../a.raw", "refused/unsupported_format"),
        ("/etc/passwd", "refused/unsupported_format"),
        ("LIST", "refused/unsupported_format"),
        ("a%03d.raw 1 3 1", "refused/unsupported_format"),
    ],
)
def test_data_are_looked_for_nowhere_else(pseudonymiser: Pseudonymiser, name: str, expected: str) -> None:
    files = {"a.nhdr": header(data_file=name), "index.json": INDEX}
    assert reason(read_files(files, stack(pseudonymiser), pseudonymiser)) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"NRRD0009\n\n", "broken_file"),
        (header()[:-1], "broken_file"),
        (header() + raw(volume())[:-1], "broken_file"),
        (header(encoding="gzip") + ENCODED["gzip"][:-3], "broken_file"),
        (header(encoding="bzip2") + ENCODED["bz2"][:-3], "broken_file"),
        (header(encoding="text") + b"1 2 x " * 9000, "broken_file"),
        (header(encoding="hex") + b"0g" * 6000, "broken_file"),
        (header(sizes="50 40") + raw(volume()), "broken_file"),
        (header(sizes="50 40 -3") + raw(volume()), "broken_file"),
        (header(type="block") + raw(volume()), "broken_file"),
        (header(endian=None, type="short") + raw(volume(), "<i2"), "broken_file"),
        (header(encoding="zrl") + raw(volume()), "unsupported_format"),
        (header(type="int8") + b"\xff" * 6000, "not_a_label_map"),
        (header(dimension="2", sizes="50 40"), "not_a_label_map"),
        (header() + bytes(6000), "empty"),
        (header(sizes="50000 40000 30000"), "too_large"),
        (
            header(sizes="50 40 3 2", dimension="4", space_directions="(1,0,0) (0,2,0) (0,0,5) none") + bytes(12000),
            "not_a_label_map",
        ),
    ],
)
def test_what_is_no_label_map_is_refused(pseudonymiser: Pseudonymiser, data: bytes, expected: str) -> None:
    assert reason(read(pseudonymiser, data)) == f"refused/{expected}"


def segmentation(layers: list[np.ndarray], segments: list[dict[str, str]], **changes: str | None) -> bytes:
    """A `.seg.nrrd` whose layers are the first axis."""
    text = header(
        dimension="4",
        sizes=" ".join(map(str, (len(layers), *layers[0].shape))),
        kinds="list domain domain domain",
        space_directions="none (1,0,0) (0,2,0) (0,0,5)",
        **changes,
    )[:-1].decode()
    text += "".join(f"Segment{n}_{key}:={value}\n" for n, one in enumerate(segments) for key, value in one.items())
    return text.encode() + b"\n" + np.stack(layers).astype("u1").tobytes(order="F")


def tagged(kind: str, modifier: str = "^^", region: str = "^^") -> str:
    category = "SCT^123037004^Anatomical Structure"
    return (
        "Segmentation.Status:inprogress|TerminologyEntry:Segmentation category and type~"
        f"{category}~{kind}~{modifier}~Anatomic codes~{region}~^^|"
    )


def test_overlapping_layers_keep_every_segment_in_full(pseudonymiser: Pseudonymiser) -> None:
    one, other = np.zeros((50, 40, 3), np.uint8), np.zeros((50, 40, 3), np.uint8)
    one[5:20, 5:20, 1] = 1
    one[30:40, 5:20, 1] = 4
    other[10:35, 10:15, 1] = 1
    segments = [
        {"Name": "Liver", "Layer": "0", "LabelValue": "1"},
        {"Name": "Segment_2", "Layer": "0", "LabelValue": "4", "Tags": tagged("SCT^64033007^Kidney", LEFT)},
        {"Name": "heart", "Layer": "1", "LabelValue": "1"},
    ]
    drawing = only(read(pseudonymiser, segmentation([one, other], segments)))
    slices = stack(pseudonymiser)
    assert np.array_equal(masks(drawing, slices, "liver"), (one == 1).transpose(2, 1, 0))
    assert np.array_equal(masks(drawing, slices, "kidney_left"), (one == 4).transpose(2, 1, 0))
    assert np.array_equal(masks(drawing, slices, "heart"), (other == 1).transpose(2, 1, 0))


def test_segments_of_older_releases_are_layers_in_order(pseudonymiser: Pseudonymiser) -> None:
    layers = [(volume() == 2).astype(np.uint8), (volume() == 1).astype(np.uint8)]
    drawing = only(read(pseudonymiser, segmentation(layers, [{"Name": "heart"}, {"Name": "liver"}])))
    slices = stack(pseudonymiser)
    assert np.array_equal(masks(drawing, slices, "liver"), (volume() == 1).transpose(2, 1, 0))
    assert np.array_equal(masks(drawing, slices, "heart"), (volume() == 2).transpose(2, 1, 0))


def test_a_cropped_segmentation_is_put_in_its_place(pseudonymiser: Pseudonymiser) -> None:
    whole = (volume() == 1).astype(np.uint8)
    segments = [{"Name": "liver", "Layer": "0", "LabelValue": "1"}]
    cut = segmentation([whole[8:22, 4:10, 1:2]], segments, space_origin="(-12,-22,5)")
    drawing = only(read(pseudonymiser, cut))
    assert np.array_equal(masks(drawing, stack(pseudonymiser), "liver"), whole.transpose(2, 1, 0) == 1)


def test_a_segment_whose_name_and_code_differ_is_left_out_and_the_others_stay(pseudonymiser: Pseudonymiser) -> None:
    segments = [
        {"Name": "spleen", "Layer": "0", "LabelValue": "1", "Tags": tagged("SCT^10200004^Liver")},
        {"Name": "Segment_2", "Layer": "0", "LabelValue": "2", "Tags": tagged("SCT^80891009^Heart")},
    ]
    drawing = only(read(pseudonymiser, segmentation([volume()], segments)))
    assert {(key, str(reason)) for key, _, reason in drawing.notes} == {("*", "code_and_label_differ")}
    assert {load().by_id(identifier).key for identifier in drawing.structures} == {"heart"}


def test_a_segment_without_a_known_name_or_code_is_reported_by_its_name(pseudonymiser: Pseudonymiser) -> None:
    segments = [
        {"Name": "blob\\two", "Layer": "0", "LabelValue": "1", "Tags": tagged("SCT^85756007^Tissue")},
        {"Name": "heart", "Layer": "0", "LabelValue": "2", "Tags": tagged("SCT^85756007^Tissue")},
    ]
    index = INDEX.replace(b"liver", b"other").replace(b"heart", b"other")
    drawing = only(read(pseudonymiser, segmentation([volume()], segments), **{"index.json": index}))
    assert drawing.unknown_labels == {"blob\\two"}
    assert {load().by_id(identifier).key for identifier in drawing.structures} == {"heart"}


def test_an_index_names_a_segment_that_has_no_known_name(pseudonymiser: Pseudonymiser) -> None:
    segments = [
        {"Name": "Segment_1", "Layer": "0", "LabelValue": "1"},
        {"Name": "heart", "Layer": "0", "LabelValue": "2"},
    ]
    check(pseudonymiser, read(pseudonymiser, segmentation([volume()], segments)))


@pytest.mark.parametrize(
    "segments",
    [
        [{"Name": "a", "Layer": "3", "LabelValue": "1"}],
        [{"Name": "a", "Layer": "x", "LabelValue": "1"}],
        [{"Name": "a", "Layer": "0", "LabelValue": "0"}],
        [{"Name": "a", "Layer": "0", "LabelValue": "1"}, {"Name": "b", "Layer": "0", "LabelValue": "1"}],
    ],
)
def test_a_segment_without_a_place_of_its_own_breaks_the_file(
    pseudonymiser: Pseudonymiser, segments: list[dict[str, str]]
) -> None:
    assert reason(read(pseudonymiser, segmentation([volume()], segments))) == "refused/broken_file"
