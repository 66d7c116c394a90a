"""Cut and altered files of every kind that lands: refused, quarantined or read; nothing else escapes from a reader.

Label volumes, pictures and their side files: `annotation/formats/test_damaged_volumes.py`. Segmentations: `annotation/
formats/test_segmentation_damage.py`. Tables of labels: `annotation/study/test_labels_csv.py`.
"""

import io
import json
import warnings
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medillus_pipeline.annotation.drawing import Drawing
from medillus_pipeline.annotation.formats import labelme, rtstruct
from medillus_pipeline.annotation.outcomes import Refused
from medillus_pipeline.annotation.references import References
from medillus_pipeline.annotation.slice_index import SliceIndex
from medillus_pipeline.annotation.vocabulary import load
from medillus_pipeline.deidentification.ingest import ingest_delivery
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.errors import InputError
from medillus_pipeline.review.refusals import Refusal
from medillus_pipeline.review.verdict import Verdict, read_verdict
from medillus_pipeline.sketches.svg_file import svg_drawing
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.annotation.published import SERIES, shape, square_mm, stack, structure_set
from medillus_pipeline_tests.annotation.published import labelme as labelme_file
from medillus_pipeline_tests.review.sheets import NOW, key_of, roster, sheet, verdict_file
from medillus_pipeline_tests.site import ct

PSEUDONYMISER = Pseudonymiser(key=b"k" * 32, split_salt=b"s" * 32)
PLACES = st.one_of(st.integers(0, 600), st.integers(0, 10**6))
CHANGES = st.lists(st.tuples(PLACES, st.integers(0, 255)), min_size=1, max_size=6)
EXAMPLES = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def damaged(data: bytes, changes: list[tuple[int, int]], cut: float) -> bytes:
    altered = bytearray(data)
    for place, value in changes:
        altered[place % len(altered)] = value
    return bytes(altered[: max(1, int(cut * len(altered)))])


def zipped(*files: tuple[str, bytes]) -> bytes:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return whole.getvalue()


ROWS = stack(PSEUDONYMISER)
INDEX = SliceIndex(ROWS)
NAME = f"{ROWS[0]['slice_name']}.json"
SQUARE = shape("liver", [[1, 1], [9, 1], [9, 9], [1, 9]])
DRAWN = labelme_file(SQUARE)
CONTOURS = structure_set({"Liver": [("CLOSED_PLANAR", f"{SERIES}.1", square_mm(5.0))]})
SVG = b"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 200 200"><title>liver</title>
<path id="liver" d="M 10 10 L 90 10 C 90 90 40 90 10 90 Z" fill="none" stroke="#000000" stroke-width="3"/>
<g transform="translate(5 5) rotate(10)"><circle cx="60" cy="90" r="30" style="stroke:#ff0000"/></g></svg>"""
SHEET = sheet()
ROSTER, KEYS = roster(), key_of(SHEET)


def read_labelme(data: bytes) -> None:
    with suppress(Refused):
        assert isinstance(labelme.read(data, NAME, INDEX, load()), Drawing)


def read_contours(data: bytes) -> None:
    with suppress(Refused):
        assert isinstance(rtstruct.read(data, References(INDEX, PSEUDONYMISER), INDEX, load()), Drawing)


def read_svg(data: bytes) -> None:
    with suppress(InputError):
        svg_drawing(data, load())


def read_signed(data: bytes) -> None:
    assert isinstance(read_verdict(data, ROSTER, KEYS, now=NOW), Verdict | Refusal)


READERS: dict[str, tuple[bytes, Callable[[bytes], None]]] = {
    "LabelMe": (DRAWN, read_labelme),
    "RTSTRUCT": (CONTOURS, read_contours),
    "SVG": (SVG, read_svg),
    "verdict": (verdict_file(SHEET), read_signed),
}


@pytest.mark.parametrize("kind", READERS)
@EXAMPLES
@given(changes=CHANGES, cut=st.one_of(st.just(1.0), st.floats(0, 1)))
def test_a_damaged_file_is_refused_or_read(kind: str, changes: list[tuple[int, int]], cut: float) -> None:
    data, read = READERS[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read(damaged(data, changes, cut))


@pytest.mark.parametrize("kind", READERS)
@EXAMPLES
@given(value=VALUES)
def test_json_of_any_shape_is_refused_or_read(kind: str, value: object) -> None:
    READERS[kind][1](json.dumps(value).encode())


@EXAMPLES
@given(field=st.sampled_from([*json.loads(DRAWN), *SQUARE]), value=VALUES)
def test_a_drawing_with_any_value_in_one_field_is_refused_or_read(field: str, value: object) -> None:
    document = json.loads(DRAWN)
    place = document["shapes"][0] if field in SQUARE else document
    place[field] = value
    read_labelme(json.dumps(document).encode())


@pytest.mark.parametrize("kind", ["LabelMe", "verdict"])
@pytest.mark.parametrize(
    "text", [b"[" * 100_000, b'{"a":' * 100_000, b"1" * 100_000, b'{"shapes": ' + b"9" * 5000 + b"}"]
)
def test_json_that_is_deep_or_holds_endless_numbers_is_refused(kind: str, text: bytes) -> None:
    READERS[kind][1](text)


INSTANCE = ct(1000)
ARCHIVE = zipped(("a/IM1", ct(1001)), ("a/IM2", ct(1002)), ("../../escaped", ct(1003)))


@pytest.mark.parametrize("kind", ["DICOM", "zip"])
@settings(EXAMPLES, max_examples=40)
@given(damage=st.lists(st.tuples(CHANGES, st.one_of(st.just(1.0), st.floats(0, 1))), min_size=4, max_size=4))
def test_damaged_files_of_a_delivery_are_each_accounted_for_and_the_sound_one_is_published(
    tmp_path_factory: pytest.TempPathFactory, kind: str, damage: list[tuple[list[tuple[int, int]], float]]
) -> None:
    """Names of archive members that climb out are no places to write to."""
    home = tmp_path_factory.mktemp("fuzzed")
    landing, clean = Zone((home / "landing").as_uri()), Zone((home / "clean").as_uri())
    whole, name = (INSTANCE, "IM{}") if kind == "DICOM" else (ARCHIVE, "{}.zip")
    for number, (changes, cut) in enumerate(damage):
        landing.write(f"images/fuzzed/{name.format(number)}", damaged(whole, changes, cut))
    landing.write("images/fuzzed/sound", ct(2000))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = ingest_delivery(landing, "fuzzed", clean, PSEUDONYMISER)
    accounted = {Path(row["source"]).name for row in done.ledger}
    assert accounted == {name.format(number) for number in range(4)} | {"sound"}
    assert [row["outcome"] for row in done.ledger if row["source"].endswith("sound")] == ["published"]
    assert {path.name for path in home.iterdir()} == {"landing", "clean"}
    assert not list(home.rglob("escaped"))
