"""How a volume finds its series and its names: an index, its own name, a description beside it; never its grid."""

import gzip
import json

import numpy as np
import pytest

from medillus_pipeline.annotation.drawing import Drawing
from medillus_pipeline.annotation.vocabulary import load
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline_tests.annotation.formats.placed import masks, nifti_bytes, only, read_files, reason
from medillus_pipeline_tests.annotation.published import SERIES, stack

GRID = np.array([[1.0, 0, 0, -20], [0, 2, 0, -30], [0, 0, 5, 0], [0, 0, 0, 1]])
NAMES = b'1 255 0 0 1 1 1 "liver"\n2 0 255 0 1 1 1 "heart"\n'
OTHER = b'1 255 0 0 1 1 1 "spleen"\n2 0 255 0 1 1 1 "aorta"\n'


def volume() -> np.ndarray:
    values = np.zeros((50, 40, 3), np.uint8)
    values[10:20, 5:9, 1] = 1
    values[30:35, 20:30, 1:] = 2
    return values


DATA = gzip.compress(nifti_bytes(volume(), GRID), 1, mtime=0)
ONE = gzip.compress(nifti_bytes((volume() == 1).astype(np.uint8), GRID), 1, mtime=0)


def keys(drawing: Drawing) -> set[str]:
    return {load().by_id(identifier).key for identifier in drawing.structures}


def read(pseudonymiser: Pseudonymiser, files: dict[str, bytes]) -> dict[str, object]:
    return dict(read_files(files, stack(pseudonymiser), pseudonymiser))


@pytest.mark.parametrize(
    "path",
    [
        f"b/{SERIES}.nii.gz",
        f"b/{SERIES}/seg.nii.gz",
        f"{SERIES}/deep/er/seg.nii.gz",
        "b/{ours}.nii.gz",
        "{slice}.nii.gz",
    ],
)
def test_a_volume_is_matched_by_its_name_or_that_of_a_folder(pseudonymiser: Pseudonymiser, path: str) -> None:
    slices = stack(pseudonymiser)
    name = path.format(ours=pseudonymiser.uid(SERIES), slice=slices[1]["slice_name"])
    drawing = only(read_files({name: DATA, "names.label": NAMES}, slices, pseudonymiser))
    assert np.array_equal(masks(drawing, slices, "liver"), (volume() == 1).transpose(2, 1, 0))
    assert np.array_equal(masks(drawing, slices, "heart"), (volume() == 2).transpose(2, 1, 0))


def test_lying_on_the_grid_of_the_only_series_is_not_enough(pseudonymiser: Pseudonymiser) -> None:
    files = {"b/seg.nii.gz": DATA, "b/names.label": NAMES}
    assert reason(read_files(files, stack(pseudonymiser), pseudonymiser)) == "refused/not_in_index"


def test_a_volume_named_after_a_series_still_to_come_waits_for_it(pseudonymiser: Pseudonymiser) -> None:
    files = {"1.2.840.99.1/seg.nii.gz": DATA, "names.label": NAMES}
    assert reason(read_files(files, stack(pseudonymiser), pseudonymiser)) == "pending/unknown_slice"


def test_one_file_per_organ_is_named_by_the_file(pseudonymiser: Pseudonymiser) -> None:
    files = {f"{SERIES}/liver.nii.gz": ONE, f"{SERIES}/kidney_left.nii.gz": ONE, f"{SERIES}/seg.nii.gz": DATA}
    found = read_files(files, stack(pseudonymiser), pseudonymiser)
    by_name = {path.split("/")[1]: one for path, one in found.items()}
    for key in ("liver", "kidney_left"):
        one = by_name[f"{key}.nii.gz"]
        assert isinstance(one, Drawing) and keys(one) == {key}
    assert reason({"x": by_name["seg.nii.gz"]}) == "refused/no_label_names"


def test_a_folder_of_one_file_per_organ_may_stand_in_the_index(pseudonymiser: Pseudonymiser) -> None:
    index = {"volumes": [{"file": "s1", "series_instance_uid": SERIES}]}
    files = {"s1/liver.nii.gz": ONE, "index.json": json.dumps(index).encode()}
    assert keys(only(read_files(files, stack(pseudonymiser), pseudonymiser))) == {"liver"}


def test_an_index_may_name_the_one_structure(pseudonymiser: Pseudonymiser) -> None:
    entries = [{"file": name, "series_instance_uid": SERIES, "structure": "Heart"} for name in ("x.nii.gz", "y.nii.gz")]
    index = json.dumps({"volumes": entries, "labels": {"1": "liver"}}).encode()
    found = read_files({"x.nii.gz": ONE, "y.nii.gz": DATA, "index.json": index}, stack(pseudonymiser), pseudonymiser)
    assert keys(only({"x": found["x.nii.gz"]})) == {"heart"}
    assert reason({"y": found["y.nii.gz"]}) == "refused/not_a_label_map"


def test_the_description_of_the_same_name_goes_before_others(pseudonymiser: Pseudonymiser) -> None:
    files = {
        f"{SERIES}/seg.nii.gz": DATA,
        f"{SERIES}/seg.label": NAMES,
        f"{SERIES}/old.label": OTHER,
        "a.ctbl": b"1 x 0 0 0 0",
    }
    assert keys(only(read_files(files, stack(pseudonymiser), pseudonymiser))) == {"liver", "heart"}


def test_two_descriptions_of_other_names_decide_nothing(pseudonymiser: Pseudonymiser) -> None:
    files = {f"{SERIES}/seg.nii.gz": DATA, f"{SERIES}/new.label": NAMES, f"{SERIES}/old.label": OTHER}
    assert reason(read_files(files, stack(pseudonymiser), pseudonymiser)) == "refused/no_label_names"


def test_names_of_the_index_go_before_a_description(pseudonymiser: Pseudonymiser) -> None:
    entry = {"file": "seg.nii.gz", "series_instance_uid": SERIES, "labels": {"1": "liver", "2": "heart"}}
    files = {"seg.nii.gz": DATA, "seg.label": OTHER, "index.json": json.dumps({"volumes": [entry]}).encode()}
    assert keys(only(read_files(files, stack(pseudonymiser), pseudonymiser))) == {"liver", "heart"}


def test_a_text_that_is_no_description_stays_an_item(pseudonymiser: Pseudonymiser) -> None:
    found = read(pseudonymiser, {"readme.txt": b"hello"})
    assert set(found) == {"readme.txt"}


def test_a_table_of_labels_inside_a_nifti_names_its_values(pseudonymiser: Pseudonymiser) -> None:
    import nibabel as nib
    from nibabel.nifti1 import Nifti1Extension

    image = nib.Nifti1Image(volume(), np.diag([-1.0, -1.0, 1.0, 1.0]) @ GRID)
    rows = '<Label Key="1" Red="0" Alpha="1"><![CDATA[liver]]></Label><Label Key="2">heart</Label>'
    image.header.extensions.append(Nifti1Extension(0, f"<CaretExtension><LabelTable>{rows}</LabelTable>".encode()))
    drawing = only(read_files({f"{SERIES}.nii": image.to_bytes()}, stack(pseudonymiser), pseudonymiser))
    assert keys(drawing) == {"liver", "heart"}
