"""What comes out of de-identification is as valid DICOM as what went in, in the judgement of dciodvfy.

dciodvfy (dicom3tools) checks a file against its IOD: modules, types, conditions, value representations. Not here: that
values are right (`answer_key.py`), and that nothing identifying is left (`test_canaries.py`).
"""

import io
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread

from medillus_pipeline.deidentification.deidentify import deidentify
from medillus_pipeline.deidentification.options import DEFAULT_OPTIONS, Option
from medillus_pipeline.deidentification.policy import Policy
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.dicom.outcomes import Quarantine
from medillus_pipeline.dicom.reading import parse, silenced
from medillus_pipeline_tests.deidentification.iod_frames import KINDS, iod_file
from medillus_pipeline_tests.deidentification.midi_b_report import can_clean_pixels

DCIODVFY = shutil.which("dciodvfy")
pytestmark = pytest.mark.skipif(DCIODVFY is None, reason="dciodvfy is not here: install Debian's dicom3tools")

FOLDERS = ("phi", "awkward", "mr_head_t1", "ct_abdomen_totalseg_dicom", "rtstruct_sts_002", "ct_thorax_rt/ct")
LIKE_EACH_OTHER = {"mr_head_t1": 6, "ct_abdomen_totalseg_dicom": 5, "rtstruct_sts_002": 9, "ct_thorax_rt": 20}
"""Series whose slices have the same attributes: every so-manieth file is judged."""

WITHOUT_PIXELS_DECODED = [
    option for option in Option if option not in (Option.CLEAN_PIXEL_DATA, Option.CLEAN_VISUAL_FEATURES)
]
PUBLISHED_AT_LEAST = {"phi": 35, "awkward": 80}
"""So that a folder of which nothing is published is no proof."""

_NOT_JUDGED = ("Information Object Not found", "Dicom dataset read failed", "Tags out of order")
"""What dciodvfy says of a file whose IOD or elements it cannot make out. It looks at no module then, so that every
fault of the input seems new in an output that it can read."""


def errors(data: bytes, folder: Path) -> Counter[str]:
    """dciodvfy's error lines and how often each comes, without the values and UIDs that a line repeats."""
    path = folder / "judged.dcm"
    path.write_bytes(data)
    assert DCIODVFY is not None
    done = subprocess.run([DCIODVFY, str(path)], capture_output=True, check=False, timeout=120)
    lines = done.stderr.decode("latin-1").splitlines()
    return Counter(_without_values(line) for line in lines if "Error" in line or line.startswith("Abort"))


def _without_values(line: str) -> str:
    line = re.sub(r"\[\d+\] = <.*?>", "= <>", line)
    line = re.sub(r"= <.*?>", "= <>", line)
    line = re.sub(r"values are .*", "values are", line)
    return re.sub(r"UID <?[0-9.]+>?", "UID <>", line).strip()


def new_errors(before: bytes, after: bytes, folder: Path) -> Counter[str]:
    """Errors of the output that its input had not, or had less often."""
    known = errors(before, folder)
    if any(words in line for line in known for words in _NOT_JUDGED):
        known = errors(written_plainly(before), folder)
    return errors(after, folder) - known


def written_plainly(data: bytes) -> bytes:
    """The same data set as pydicom writes it: in the order of its tags, its SOP Class UID where it belongs, no private
    elements. Nothing else is mended, so dciodvfy can name the faults that the file came with.
    """
    with silenced():
        dataset = parse(data)
        dataset.remove_private_tags()
        dataset.SOPClassUID = dataset.get("SOPClassUID") or dataset.file_meta.MediaStorageSOPClassUID
        stream = io.BytesIO()
        dataset.save_as(stream, implicit_vr=dataset.original_encoding[0], little_endian=dataset.original_encoding[1])
    return stream.getvalue()


def real_files(shared_data: Path, folder: str) -> list[Path]:
    files = sorted(path for path in (shared_data / folder).rglob("*") if path.is_file())
    return [path for path in files if path.suffix != ".gz"][:: LIKE_EACH_OTHER.get(folder.split("/")[0], 1)]


def judge(
    files: dict[str, bytes], key: Pseudonymiser, policy: Policy, folder: Path
) -> tuple[int, dict[str, Counter[str]]]:
    """How many files are published, and the new errors of those that have some."""
    published, found = 0, {}
    for name, data in files.items():
        try:
            result = deidentify(data, key, location="one", policy=policy)
        except Quarantine:
            continue
        published += 1
        if new := new_errors(data, result.data, folder):
            found[name] = new
    return published, found


def of_kind(files: list[Path], root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_real_file_has_an_error_that_it_did_not_come_with(shared_data, pseudonymiser, tmp_path, folder) -> None:
    files = of_kind(real_files(shared_data, folder), shared_data)
    published, found = judge(files, pseudonymiser, Policy(), tmp_path)
    assert published >= PUBLISHED_AT_LEAST.get(folder, 3)
    assert found == {}


@pytest.mark.parametrize("option", WITHOUT_PIXELS_DECODED, ids=lambda option: option.name)
def test_no_option_makes_a_real_file_invalid(shared_data, pseudonymiser, tmp_path, option) -> None:
    files = of_kind([*real_files(shared_data, "phi")[::3], *real_files(shared_data, "awkward/single")], shared_data)
    published, found = judge(files, pseudonymiser, Policy(options=frozenset({option})), tmp_path)
    assert published >= 30
    assert found == {}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_image_stays_valid_under_every_option(pseudonymiser, tmp_path, kind) -> None:
    """The inputs have no error at all, so neither may the outputs."""
    source = iod_file(kind)
    assert errors(source, tmp_path) == Counter()
    for options in (DEFAULT_OPTIONS, frozenset(), *(frozenset({option}) for option in WITHOUT_PIXELS_DECODED)):
        result = deidentify(source, pseudonymiser, policy=Policy(options=options))
        assert errors(result.data, tmp_path) == Counter(), sorted(option.name for option in options)


def test_every_option_at_once_leaves_every_kind_valid(pseudonymiser, tmp_path) -> None:
    everything = Policy(options=frozenset(WITHOUT_PIXELS_DECODED) - {Option.RETAIN_FULL_DATES})
    published, found = judge({kind: iod_file(kind) for kind in KINDS}, pseudonymiser, everything, tmp_path)
    assert published == len(KINDS)
    assert found == {}


def test_a_cleaned_screenshot_is_still_a_valid_one(shared_data, pseudonymiser, tmp_path) -> None:
    if not can_clean_pixels():
        pytest.skip("text in pixels cannot be found here: install Tesseract")
    files = of_kind(
        [*real_files(shared_data, "phi/pseudo_phi"), *real_files(shared_data, "phi/burned_in_flag")], shared_data
    )
    policy = Policy(options=DEFAULT_OPTIONS | {Option.CLEAN_PIXEL_DATA})
    published, found = judge(files, pseudonymiser, policy, tmp_path)
    assert published >= 4
    assert found == {}


def test_the_phantoms_stay_valid(pseudonymiser, tmp_path) -> None:
    from medillus_pipeline.phantom.cohort import write_cohort

    write_cohort(tmp_path / "cohort", pseudonymiser, patients=4, shape=(8, 32, 32), workers=1)
    files = sorted(path for path in (tmp_path / "cohort" / "images").rglob("*") if path.is_file())
    published, found = judge(of_kind(files[::3], tmp_path), pseudonymiser, Policy(), tmp_path)
    assert published >= 8
    assert found == {}


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda made: made.pop("PatientID"), "Missing attribute Type 2 Required Element=<PatientID>"),
        (lambda made: setattr(made, "SOPInstanceUID", ""), "SOPInstanceUID"),
        (lambda made: setattr(made, "KVP", None) or made.pop("KVP"), "Element=<KVP>"),
        (lambda made: made.__setitem__("StudyDate", _element("StudyDate", "hidden")), "Study Date"),
    ],
    ids=["Type 2 removed", "Type 1 emptied", "a technical value removed", "no date"],
)
def test_a_worse_file_would_be_noticed(pseudonymiser, tmp_path, spoil, complaint) -> None:
    source = iod_file("ct")
    made = dcmread(io.BytesIO(deidentify(source, pseudonymiser, policy=Policy()).data))
    spoil(made)
    stream = io.BytesIO()
    made.save_as(stream)
    assert any(complaint in line for line in new_errors(source, stream.getvalue(), tmp_path))


def test_a_fault_that_the_file_came_with_is_not_counted_although_it_was_hidden(shared_data, tmp_path) -> None:
    """Its tags are out of order: dciodvfy gives up, and names the wrong aspect ratio only once they are in order."""
    source = (shared_data / "phi/private_tags_ct.dcm").read_bytes()
    assert any(words in line for line in errors(source, tmp_path) for words in _NOT_JUDGED)
    assert any("PixelAspectRatio" in line for line in errors(written_plainly(source), tmp_path))


def _element(keyword: str, value: str) -> object:
    from pydicom import config

    with config.disable_value_validation():
        made = Dataset()
        setattr(made, keyword, value)
    return made[keyword]
