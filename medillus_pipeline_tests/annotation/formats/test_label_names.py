"""Label descriptions of ITK-SNAP, 3D Slicer and nnU-Net say what values mean; anything else is refused."""

import pytest

from medillus_pipeline.annotation.formats.label_names import may_be_description, read, write_itk_snap
from medillus_pipeline.annotation.outcomes import Refused
from medillus_pipeline.annotation.vocabulary import load

ITK_SNAP = b"""################################################
# ITK-SnAP Label Description File
# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL
################################################
    0     0    0    0        0  0  0    "Clear Label"
    1   255    0    0        1  1  1    "Left lung"
    2     0  255    0      0.5  0  1    "heart"\r
   30     0  255    0        1  1  1    "liver"
"""
SLICER = b"""# Color table file C:/Users/someone/x.ctbl
# 3 values
0 Background 0 0 0 0
1 left_lung 255 0 0 255
2 "upper abdomen" 0 0 255 255
"""


def test_an_itk_snap_description() -> None:
    found = read("x/seg.txt", ITK_SNAP)
    assert found.names == {1: "Left lung", 2: "heart", 30: "liver"}
    assert found.colours == {(255, 0, 0): 1}


def test_a_slicer_colour_table() -> None:
    found = read("x.ctbl", SLICER)
    assert found.names == {1: "left_lung", 2: "upper abdomen"}
    assert found.colours == {(255, 0, 0): 1, (0, 0, 255): 2}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.json", b'{"1": "liver", "4": "heart"}'),
        ("labels.json", b'{"0": "background", "1": "liver", "4": "heart"}'),
        ("dataset.json", b'{"labels": {"background": 0, "liver": 1, "heart": 4}, "numTraining": 3}'),
        ("dataset.json", b'{"labels": {"background": 0, "liver": 1, "all": [1, 4], "heart": 4}}'),
    ],
)
def test_json_in_either_direction(name: str, text: bytes) -> None:
    assert read(name, text).names == {1: "liver", 4: "heart"}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("notes.txt", b"Dear colleague, slice 4 is hard to read."),
        ("a.txt", b""),
        ("a.txt", b"\xff\xfe1"),
        ("a.label", SLICER),
        ("a.label", ITK_SNAP.replace(b"255    0    0 ", b"256    0    0 ")),
        ("a.label", ITK_SNAP.replace(b"   30 ", b"70000 ")),
        ("a.label", ITK_SNAP.replace(b"   30 ", b"    2 ")),
        ("labels.json", b'{"1": 2, "x": "y"}'),
        ("labels.json", b"[1, 2]"),
        ("labels.json", b'{"70000": "liver"}'),
    ],
)
def test_what_is_no_description_is_refused(name: str, data: bytes) -> None:
    assert may_be_description(name)
    with pytest.raises(Refused):
        read(name, data)


def test_what_we_write_for_itk_snap_reads_back_as_the_same_structures() -> None:
    words = load()
    found = read("labels.label", write_itk_snap(words))
    assert set(found.names) == {structure.id for structure in words}
    for value, name in found.names.items():
        structure = words.resolve(name)
        assert structure is not None and structure.id == value
    assert found.colours and all(words.by_id(value).rgb == colour for colour, value in found.colours.items())
