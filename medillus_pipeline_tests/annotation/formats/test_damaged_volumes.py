"""Cut and altered files are refused, or read; nothing else escapes from a reader."""

import gzip

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medillus_pipeline.annotation.drawing import Drawing
from medillus_pipeline.annotation.outcomes import Reason, Refused
from medillus_pipeline.annotation.vocabulary import load
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.dicom.png import encode_png
from medillus_pipeline_tests.annotation.formats.placed import nifti_bytes, read_files
from medillus_pipeline_tests.annotation.formats.test_nrrd import header, raw, segmentation, tagged, volume
from medillus_pipeline_tests.annotation.formats.test_png_masks import LABEL_MAPS, NAMES, ONE_STRUCTURE
from medillus_pipeline_tests.annotation.published import SERIES, stack

GRID = np.array([[1.0, 0, 0, -20], [0, 2, 0, -30], [0, 0, 5, 0], [0, 0, 0, 1]])
PLAIN = nifti_bytes(volume(), GRID)
SEGMENTS = [
    {"Name": "liver", "Layer": "0", "LabelValue": "1", "Tags": tagged("SCT^10200004^Liver")},
    {"Name": "heart", "Layer": "0", "LabelValue": "2"},
]
INDEX = b'{"volumes": [{"file": "x.nii", "series": "1.2.3.4"}], "masks": [{"file": "x.png", "slice": "1.2.3.4.1"}]}'
TABLE = b"mask,structure,resolution,top,left,width,height\nx.png,Heart,50x40,0,3,50,40\n"
FILES: dict[str, bytes] = {
    f"{SERIES}.nii": PLAIN,
    f"{SERIES}.nii.gz": gzip.compress(PLAIN, mtime=0),
    f"{SERIES}.nrrd": header(encoding="gzip") + gzip.compress(raw(volume()), mtime=0),
    f"{SERIES}/text.nrrd": header(encoding="text") + " ".join(map(str, volume().ravel(order="F"))).encode(),
    f"{SERIES}.seg.nrrd": segmentation([volume()], SEGMENTS),
    f"{SERIES}.1.png": encode_png(volume()[:, :, 1].T.copy() * 3, load().palette()),
    f"{SERIES}.1_liver.png": ONE_STRUCTURE["colour, clear background"],
    f"liver/{SERIES}.1.png": ONE_STRUCTURE["palette, clear background"],
    f"{SERIES}.1_labels.png": LABEL_MAPS["16 bits"],
    "index.json": INDEX,
    f"{SERIES}.1/masks.csv": TABLE,
    "a.label": NAMES,
    "b/labels.json": b'{"1": "liver"}',
}


def check(pseudonymiser: Pseudonymiser, path: str, data: bytes) -> None:
    try:
        found = read_files({path: data, "names.label": NAMES}, stack(pseudonymiser), pseudonymiser)
    except Refused as refused:
        assert refused.reason in (Reason.BROKEN_FILE, Reason.TOO_LARGE)
        return
    assert all(isinstance(one, Drawing | Refused) for one in found.values())


@pytest.mark.parametrize("path", FILES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(cut=st.floats(0, 1))
def test_a_file_that_stops_short(pseudonymiser: Pseudonymiser, path: str, cut: float) -> None:
    data = FILES[path]
    check(pseudonymiser, path, data[: int(cut * len(data))])


@pytest.mark.parametrize("path", FILES)
@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    changes=st.lists(
        st.tuples(st.one_of(st.integers(0, 400), st.integers(0, 10**6)), st.integers(0, 255)), min_size=1, max_size=6
    )
)
def test_a_file_with_altered_bytes(pseudonymiser: Pseudonymiser, path: str, changes: list[tuple[int, int]]) -> None:
    data = bytearray(FILES[path])
    for place, value in changes:
        data[place % len(data)] = value
    check(pseudonymiser, path, bytes(data))


def test_the_whole_files_are_read(pseudonymiser: Pseudonymiser) -> None:
    for path, data in FILES.items():
        if path.endswith((".nii", ".nii.gz", ".nrrd", ".png")):
            found = read_files({path: data, "names.label": NAMES}, stack(pseudonymiser), pseudonymiser)
            assert all(isinstance(one, Drawing) for one in found.values()), path
