"""Cut and altered files of every kind that lands: refused, quarantined or read; nothing else escapes from a reader.

Label volumes, pictures and their side files: `annotation/formats/test_damaged_volumes.py`. Segmentations: `annotation/
formats/test_segmentation_damage.py`. Tables of labels: `annotation/study/test_labels_csv.py`.
"""

import hashlib
import io
import json
import re
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
from medillus_pipeline.annotation.submission import Submission
from medillus_pipeline.annotation.vocabulary import load
from medillus_pipeline.deidentification.ingest import ingest_delivery
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.errors import InputError
from medillus_pipeline.illustration.illustration_request import IllustrationRequest
from medillus_pipeline.illustration.landed_requests import Known, LandedRequests, read_landed_requests
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

ODD_TEXT = st.text(st.characters(codec=None), max_size=40)
"""With lone surrogates, which JSON can spell and UTF-8 cannot."""
HUGE = st.sampled_from([10**400, -(10**30), 2**31, 2**63, 2**64, float("nan"), float("inf"), -0.0, 5e-324])


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


class Landed(Zone):
    """A landing folder that holds one file, in memory."""

    def __init__(self, path: str, data: bytes) -> None:
        super().__init__("file:///.")
        self.path, self.data = path, data

    @property
    def fs(self) -> "Landed":
        """Itself, for it is asked for sizes only."""
        return self

    def size(self, path: str) -> int:
        """Bytes of the file."""
        return len(self.data)

    def files(self, path: str = "") -> list[str]:
        """The file."""
        return [self.path]

    def read(self, path: str) -> bytes:
        """Its bytes."""
        return self.data


def read_declaration(data: bytes) -> None:
    """The annotator is pseudonymised and the revision counted, or the file becomes a refused item of the batch."""
    path = "annotations/one/batch.json"
    submission = Submission(Landed(path, data), "annotations/one", ROWS, PSEUDONYMISER, load(), PSEUDONYMISER)
    submission.read_side_files([path])
    assert len(submission.broken) + len(submission.side_rows) == 1
    drawn = submission.item("annotations/one/drawing.json")
    assert re.fullmatch("a-[0-9a-f]{8}", drawn.annotator)
    assert drawn.revision is None or 1 <= drawn.revision < 2**31


def read_requests(data: bytes) -> LandedRequests:
    """Every request of the document is admitted or has a reason, and a line in the ledger."""
    landed = read_landed_requests(
        Landed("requests/one/a.json", data),
        "requests/one",
        marker="_READY",
        vocabulary=load(),
        known=Known({ROWS[0]["slice_name"]}, {"CT"}, {"ABDOMEN"}),
        name_of=lambda asked: hashlib.sha256(asked).hexdigest()[:12],
        read_sketch=None,
    )
    assert len(landed.ledger) == sum(landed.counts.values()) >= 1
    for one in landed.admitted:
        assert one.request == IllustrationRequest.parsed(json.loads(one.request.model_dump_json()))
    return landed


DECLARED = b'{"annotator": "Ms Holloway", "revision": 2}'
REQUEST = {"text": "CT, liver", "structures": ["liver"], "style": "textbook", "guidance": 2.0, "seed": 7}
REQUESTS = json.dumps([REQUEST, {"scan": ROWS[0]["slice_name"], "style": "patient"}]).encode()

READERS: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
    "LabelMe": (DRAWN, read_labelme),
    "RTSTRUCT": (CONTOURS, read_contours),
    "SVG": (SVG, read_svg),
    "verdict": (verdict_file(SHEET), read_signed),
    "batch.json": (DECLARED, read_declaration),
    "requests": (REQUESTS, read_requests),
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


@pytest.mark.parametrize("kind", READERS)
@EXAMPLES
@given(data=st.binary(max_size=200))
def test_any_bytes_are_refused_or_read(kind: str, data: bytes) -> None:
    READERS[kind][1](data)


@EXAMPLES
@given(annotator=VALUES | ODD_TEXT, revision=VALUES | HUGE)
def test_a_declaration_of_any_values_is_refused_or_read(annotator: object, revision: object) -> None:
    read_declaration(json.dumps({"annotator": annotator, "revision": revision}).encode())


def test_the_sound_requests_that_are_altered_here_are_accepted() -> None:
    assert read_requests(REQUESTS).counts == {"accepted": 2}


@settings(EXAMPLES, max_examples=150)
@given(
    field=st.sampled_from(sorted({*IllustrationRequest.model_fields, "name", "request"})),
    value=VALUES | ODD_TEXT | HUGE,
)
def test_a_request_with_any_value_in_one_field_is_refused_or_read(field: str, value: object) -> None:
    read_requests(json.dumps(REQUEST | {field: value}).encode())
    read_requests(json.dumps({"scan": ROWS[0]["slice_name"], field: value}).encode())


@pytest.mark.parametrize("kind", ["batch.json", "requests", "LabelMe", "verdict"])
@pytest.mark.parametrize(
    "text",
    [
        rb'{"annotator": "\ud800", "text": "\udfff liver", "stage": "\ud800", "name": "\ud800"}',
        rb'{"annotator": "a\u0000b", "revision": 1, "text": "liver\u0000"}',
        b'{"annotator": "one", "annotator": 7, "text": "liver", "text": [], "revision": 1, "revision": "x"}',
        b'{"revision": NaN, "seed": NaN, "guidance": -Infinity, "text": "liver"}',
        b'{"revision": 1e999, "seed": 1e999, "guidance": 1e999, "text": "liver"}',
        b'{"revision": ' + b"9" * 4000 + b', "seed": ' + b"9" * 4000 + b', "text": "liver"}',
        b'{"request": ' * 200 + b"1" + b"}" * 200,
        b"[" + b"{}," * 80_000 + b"{}]",
        b'{"text": "' + b"liver " * 30_000 + b'"}',
        b'{"structures": [' + b'"liver",' * 20_000 + b'"liver"]}',
    ],
    ids=["surrogates", "zeros", "twice", "nan", "infinite", "digits", "nested", "many", "long", "list"],
)
def test_json_that_is_odd_is_refused_or_read(kind: str, text: bytes) -> None:
    READERS[kind][1](text)


@pytest.mark.parametrize("kind", ["LabelMe", "verdict", "batch.json", "requests"])
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
