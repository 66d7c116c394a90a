"""A label volume that is written for annotators comes back to the same masks."""

import json
from collections.abc import Callable
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medillus_pipeline.annotation.formats.nifti_writing import write_label_nifti
from medillus_pipeline.annotation.slice_index import SliceIndex, Target
from medillus_pipeline.annotation.vocabulary import load
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.errors import InputError
from medillus_pipeline_tests.annotation.formats.placed import masks, only, read_files
from medillus_pipeline_tests.annotation.published import SERIES, row, stack

IDS = [structure.id for structure in load()]


def targets(rows: list[dict[str, Any]]) -> list[Target]:
    return list(SliceIndex(rows).by_name.values())


def labels(rows: list[dict[str, Any]], seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    choice = np.array([0, *random.choice(IDS, 5, replace=False)], np.uint8)
    return {
        one["slice_name"]: choice[random.integers(0, 6, (one["rows"], one["columns"]))]
        for place, one in enumerate(rows)
        if place != 1
    }


def oblique(pseudonymiser: Pseudonymiser) -> list[dict[str, Any]]:
    """Four slices of a stack that is turned, listed from the top."""
    across = np.array([0.8, 0.6, 0.0])
    down = np.array([0.0, 0.0, -1.0])
    step = 1.7 * np.cross(across, down)
    return [
        row(
            pseudonymiser,
            f"{SERIES}.{k}",
            position=list(np.array([3.0, 4.0, 5.0]) + (3 - k) * step),
            orientation=[*across, *down],
            slice_spacing=1.7,
            ordinal=k,
        )
        for k in range(4)
    ]


@pytest.mark.parametrize("rows", [stack, oblique, lambda p: stack(p, 1)], ids=["axial", "oblique", "one slice"])
def test_reading_it_back_gives_the_same_masks(
    pseudonymiser: Pseudonymiser, rows: Callable[[Pseudonymiser], list[dict[str, Any]]]
) -> None:
    slices = rows(pseudonymiser)
    drawn = labels(slices, 3)
    data, entry = write_label_nifti(targets(slices), drawn, load(), file="a/labels.nii.gz")
    files = {"a/labels.nii.gz": data, "index.json": json.dumps({"volumes": [entry]}).encode()}
    drawing = only(read_files(files, slices, pseudonymiser))
    assert not drawing.notes and not drawing.remarks
    assert set(drawing.regions) == set(drawn)
    for identifier in drawing.structures:
        found = masks(drawing, slices, load().by_id(identifier).key)
        for place, one in enumerate(slices):
            wanted = drawn.get(one["slice_name"], np.zeros(found[0].shape, np.uint8))
            assert np.array_equal(found[place], wanted == identifier)
    assert drawing.structures == {int(v) for plane in drawn.values() for v in np.unique(plane)} - {0}


def test_the_same_labels_give_the_same_bytes(pseudonymiser: Pseudonymiser) -> None:
    slices = stack(pseudonymiser)
    written = [
        write_label_nifti(order, labels(slices, 4), load()) for order in (targets(slices), targets(slices)[::-1])
    ]
    assert written[0] == written[1]
    assert written[0][0][4:8] == bytes(4), "the time in the gzip header"


def test_other_programs_find_the_values_where_the_slices_are(pseudonymiser: Pseudonymiser) -> None:
    slices = stack(pseudonymiser)
    drawn = labels(slices, 5)
    data, _ = write_label_nifti(targets(slices), drawn, load())
    import gzip

    image: Any = nib.Nifti1Image.from_bytes(gzip.decompress(data))
    place = np.linalg.inv(image.affine) @ [20.0 - 7, 30.0 - 2 * 11, 10.0, 1.0]
    assert np.allclose(place, [7, 11, 2, 1])
    assert np.asanyarray(image.dataobj)[7, 11, 2] == drawn[slices[2]["slice_name"]][11, 7]


def test_what_is_no_even_stack_is_not_written(pseudonymiser: Pseudonymiser) -> None:
    even = stack(pseudonymiser, 4)
    shifted = [dict(one) for one in even]
    shifted[2]["position"] = [-20.0, -30.0, 11.0]
    lone = [dict(even[0], position=None)]
    larger = [*even, row(pseudonymiser, "9.9", rows=41, position=[-20.0, -30.0, 20.0])]
    twice = [even[0], dict(row(pseudonymiser, "9.9"))]
    for rows, words in (
        (shifted, "uneven"),
        (lone, "position"),
        (larger, "one stack"),
        (twice, "one place"),
        ([], "slices"),
    ):
        with pytest.raises(InputError, match=words):
            write_label_nifti(targets(rows), {}, load())


def test_a_label_map_of_another_size_or_vocabulary_is_not_written(pseudonymiser: Pseudonymiser) -> None:
    slices = stack(pseudonymiser)
    name = slices[0]["slice_name"]
    unknown = next(value for value in range(255, 0, -1) if value not in IDS)
    for plane in (np.zeros((50, 40), np.uint8), np.full((40, 50), unknown, np.uint8)):
        with pytest.raises(InputError):
            write_label_nifti(targets(slices), {name: plane}, load())
