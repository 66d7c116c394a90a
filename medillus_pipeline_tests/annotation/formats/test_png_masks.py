"""PNG masks of one structure or of several, in every form that is read; what is no mask or does not fit is refused."""

import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medillus_pipeline.annotation.drawing import Drawing
from medillus_pipeline.annotation.vocabulary import load
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.dicom.png import encode_png
from medillus_pipeline_tests.annotation.formats.placed import masks, only, read_files, reason
from medillus_pipeline_tests.annotation.published import SERIES, stack

LIVER, HEART = (load().by_key(key).id for key in ("liver", "heart"))
NAMES = b'1 255 0 0 1 1 1 "liver"\n2 0 255 0 1 1 1 "heart"\n'
SHAPE = np.zeros((40, 50), np.uint8)
SHAPE[5:20, 10:30] = 1
SHAPE[0, 0] = 1
BOTH = SHAPE.copy()
BOTH[30:38, 3:9] = 2


def encoded(array: np.ndarray, mode: str | None = None, **options: Any) -> bytes:
    sink = io.BytesIO()
    image = Image.fromarray(array)
    (image if mode is None else image.convert(mode)).save(sink, "PNG", **options)
    return sink.getvalue()


def indexed(array: np.ndarray, colours: list[int], **options: Any) -> bytes:
    image = Image.fromarray(array, "P")
    image.putpalette(colours)
    sink = io.BytesIO()
    image.save(sink, "PNG", **options)
    return sink.getvalue()


def colour(array: np.ndarray, colours: list[tuple[int, ...]]) -> np.ndarray:
    return np.array(colours, np.uint8)[array]


def low_grey(array: np.ndarray, bits: int) -> bytes:
    """A grey PNG of 1, 2 or 4 bits, which Pillow does not write: an indexed one without its palette."""
    import struct
    import zlib

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    planes = np.unpackbits(array[..., None], axis=2)[..., 8 - bits :].reshape(len(array), -1)
    rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in planes)
    head = struct.pack(">IIBBBBB", array.shape[1], array.shape[0], bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


ONE_STRUCTURE = {
    "grey 0 and 255": encoded(SHAPE * 255),
    "grey 0 and 1": encoded(SHAPE),
    "grey 0 and 7": encoded(SHAPE * 7),
    "black and white": encoded((SHAPE * 255), "1"),
    "1 bit": low_grey(SHAPE, 1),
    "2 bits": low_grey(SHAPE * 3, 2),
    "4 bits": low_grey(SHAPE * 9, 4),
    "16 bits": encoded(SHAPE.astype(np.uint16) * 65535),
    "palette": indexed(SHAPE, [0, 0, 0, 200, 10, 10]),
    "palette of 1 bit": indexed(SHAPE, [0, 0, 0, 200, 10, 10], bits=1),
    "palette, clear background": indexed(SHAPE, [255, 255, 255, 200, 10, 10], transparency=b"\0\xff"),
    "colour": encoded(colour(SHAPE, [(0, 0, 0), (10, 200, 10)])),
    "colour, clear background": encoded(colour(SHAPE, [(255, 255, 255, 0), (10, 200, 10, 255)])),
    "colour, opaque background": encoded(colour(SHAPE, [(0, 0, 0, 255), (10, 200, 10, 255)])),
    "grey and alpha": encoded(colour(SHAPE, [(255, 0), (255, 255)]), "LA"),
}


def read(pseudonymiser: Pseudonymiser, name: str, data: bytes, **others: bytes) -> Any:
    slices = stack(pseudonymiser)
    path = name.format(slice=slices[1]["slice_name"])
    return read_files({path: data, **others}, slices, pseudonymiser)


def check(pseudonymiser: Pseudonymiser, drawing: Drawing, **expected: np.ndarray) -> None:
    slices = stack(pseudonymiser)
    assert {load().by_id(identifier).key for identifier in drawing.structures} == set(expected)
    assert set(drawing.regions) == {slices[1]["slice_name"]}
    for key, mask in expected.items():
        assert np.array_equal(masks(drawing, slices, key)[1], mask)


@pytest.mark.parametrize("form", ONE_STRUCTURE)
def test_a_mask_of_one_structure_in_any_form(pseudonymiser: Pseudonymiser, form: str) -> None:
    drawing = only(read(pseudonymiser, "{slice}_liver.png", ONE_STRUCTURE[form]))
    check(pseudonymiser, drawing, liver=SHAPE == 1)


@pytest.mark.parametrize(
    "name",
    [
        "{slice}/liver.png",
        "{slice}/liver_000.png",
        "{slice}__Liver.png",
        "deep/{slice}-liver.png",
        "{slice}_liver_003.png",
        "liver/{slice}.png",
        f"{SERIES}.1_liver.png",
        f"{SERIES}.1/liver.png",
        f"liver/{SERIES}.1.png",
    ],
)
def test_names_that_say_the_slice_and_the_structure(pseudonymiser: Pseudonymiser, name: str) -> None:
    check(pseudonymiser, only(read(pseudonymiser, name, encoded(SHAPE))), liver=SHAPE == 1)


LABEL_MAPS = {
    "grey": encoded(BOTH),
    "2 bits": low_grey(BOTH, 2),
    "16 bits": encoded(BOTH.astype(np.uint16)),
    "palette": indexed(BOTH, [0, 0, 0, 9, 9, 9, 8, 8, 8]),
    "colours of the description": encoded(colour(BOTH, [(0, 0, 0), (255, 0, 0), (0, 255, 0)])),
    "its colours on a clear background": encoded(colour(BOTH, [(3, 3, 3, 0), (255, 0, 0, 255), (0, 255, 0, 255)])),
}


@pytest.mark.parametrize("form", LABEL_MAPS)
@pytest.mark.parametrize("name", ["{slice}.png", "masks/{slice}_labels.png", "{slice}/seg.png"])
def test_a_label_map_with_a_description(pseudonymiser: Pseudonymiser, form: str, name: str) -> None:
    drawing = only(read(pseudonymiser, name, LABEL_MAPS[form], **{"names.txt": NAMES}))
    check(pseudonymiser, drawing, liver=BOTH == 1, heart=BOTH == 2)


@pytest.mark.parametrize("others", [{}, {"names.txt": f'{LIVER} 1 1 1 1 1 1 "spleen"'.encode()}])
def test_our_own_label_map_needs_no_description(pseudonymiser: Pseudonymiser, others: dict[str, bytes]) -> None:
    values = np.array([0, LIVER, HEART], np.uint8)[BOTH]
    drawing = only(read(pseudonymiser, "{slice}.png", encode_png(values, load().palette()), **others))
    check(pseudonymiser, drawing, liver=BOTH == 1, heart=BOTH == 2)


def test_values_of_another_palette_are_not_taken_for_ours(pseudonymiser: Pseudonymiser) -> None:
    values = np.array([0, LIVER, HEART], np.uint8)[BOTH]
    colours = bytearray(load().palette())
    colours[3 * HEART] ^= 1
    found = read(pseudonymiser, "{slice}.png", encode_png(values, bytes(colours)))
    assert reason(found) == "refused/no_label_names"


def test_a_value_or_colour_without_a_name_is_reported(pseudonymiser: Pseudonymiser) -> None:
    for data in (LABEL_MAPS["grey"], LABEL_MAPS["colours of the description"]):
        drawing = only(read(pseudonymiser, "{slice}.png", data, **{"names.txt": NAMES.split(b"\n")[0]}))
        check(pseudonymiser, drawing, liver=BOTH == 1)
        assert {str(why) for _, _, why in drawing.notes} == {"unknown_label"}


def smooth() -> np.ndarray:
    edge = SHAPE * 255
    edge[5, 10:30] = 128
    return edge


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("{slice}_liver.png", encoded(smooth()), "refused/not_a_label_map"),
        ("{slice}_liver.png", encoded(BOTH), "refused/not_a_label_map"),
        ("{slice}_liver.png", encoded(colour(SHAPE, [(9, 9, 9, 0), (9, 9, 9, 128)])), "refused/not_a_label_map"),
        ("{slice}_liver.png", indexed(SHAPE, [9, 9, 9, 0, 0, 0]), "refused/not_a_label_map"),
        ("{slice}_liver.png", encoded(SHAPE[:-1]), "refused/mask_size_differs"),
        ("{slice}_liver.png", encoded(SHAPE.T), "refused/mask_size_differs"),
        ("{slice}_liver.png", encoded(SHAPE * 0), "refused/empty"),
        ("{slice}_liver.png", encoded(SHAPE)[:60], "refused/broken_file"),
        ("{slice}_liver.png", b"\xff\xd8\xff no PNG", "refused/broken_file"),
        ("{slice}.png", encoded(BOTH), "refused/no_label_names"),
        ("liver.png", encoded(SHAPE), "refused/not_in_index"),
        ("s-0123456789abcdef-0001_liver.png", encoded(SHAPE), "pending/unknown_slice"),
    ],
)
def test_what_is_no_mask_or_does_not_fit_is_refused(
    pseudonymiser: Pseudonymiser, name: str, data: bytes, expected: str
) -> None:
    assert reason(read(pseudonymiser, name, data)) == expected


def test_a_part_of_a_slice_is_placed_by_an_index(pseudonymiser: Pseudonymiser) -> None:
    entry = {"file": "m.png", "sop_instance_uid": f"{SERIES}.1", "structure": "liver", "left": 10, "top": 5}
    index = json.dumps({"masks": [entry]}).encode()
    drawing = only(read(pseudonymiser, "m.png", encoded(SHAPE[5:20, 10:30]), **{"index.json": index}))
    expected = SHAPE == 1
    expected[0, 0] = False
    check(pseudonymiser, drawing, liver=expected)


def test_a_part_that_leaves_its_slice_is_refused(pseudonymiser: Pseudonymiser) -> None:
    entry = {"file": "m.png", "sop_instance_uid": f"{SERIES}.1", "structure": "liver", "left": 31, "top": 5}
    index = json.dumps({"masks": [entry]}).encode()
    assert reason(read(pseudonymiser, "m.png", encoded(SHAPE[:, :20]), **{"index.json": index})) == (
        "refused/mask_size_differs"
    )


@pytest.mark.parametrize(
    "change", [{"left": -1}, {"left": "3"}, {"top": 1.5}, {"frame": 0}, {"file": None, "slice": None}]
)
def test_an_index_of_masks_with_nonsense_is_broken(pseudonymiser: Pseudonymiser, change: dict[str, Any]) -> None:
    from medillus_pipeline.annotation.outcomes import Refused

    entry = {"file": "m.png", "structure": "liver", "slice": "s-0123456789abcdef-0001"} | change
    if entry["slice"] is None:
        del entry["slice"]
    with pytest.raises(Refused, match="cannot be read"):
        read(pseudonymiser, "m.png", encoded(SHAPE), **{"index.json": json.dumps({"masks": [entry]}).encode()})


def test_the_picture_of_a_slice_beside_a_description_is_no_label_map(pseudonymiser: Pseudonymiser) -> None:
    greys = np.random.default_rng(1).integers(0, 256, (40, 50)).astype(np.uint8)
    names = "".join(f'{s.id} 9 9 {s.id} 1 1 1 "{s.key}"\n' for s in load()).encode()
    for description in (NAMES, names):
        found = read(pseudonymiser, "{slice}.png", encoded(greys), **{"names.txt": description})
        assert reason(found) == "refused/not_a_label_map"
