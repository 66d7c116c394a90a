"""NIfTI label maps on the grid of their series, in whatever axis order; anything else is refused."""

import gzip
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medillus_pipeline.annotation.vocabulary import load
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.annotation.published import SERIES, Desk, reasons, row

HEART, LIVER = (load().by_key(key).id for key in ("heart", "liver"))
TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
GRID = TO_RAS @ np.array([[1.0, 0, 0, -20], [0, 2, 0, -30], [0, 0, 5, 0], [0, 0, 0, 1]])
INDEX: dict[str, Any] = {
    "volumes": [{"file": "seg.nii.gz", "series_instance_uid": SERIES}],
    "labels": {"1": "liver", "2": "Heart"},
}


def volume() -> np.ndarray:
    values = np.zeros((50, 40, 3), np.uint8)
    values[10:20, 5:9, 1] = 1
    values[30:35, 20:30, 1:] = 2
    return values


def packed(values: np.ndarray, affine: np.ndarray = GRID, kind: type = nib.Nifti1Image) -> bytes:
    return gzip.compress(kind(values, affine).to_bytes(), 1, mtime=0)


def expected() -> dict[int, np.ndarray]:
    names = {1: LIVER, 2: HEART}
    return {z: np.vectorize(lambda v: names.get(v, 0))(volume()[:, :, z].T) for z in (1, 2)}


def check(desk: Desk) -> None:
    batch = desk.read()
    assert reasons(batch) == {("liver", "accepted", "", 1), ("heart", "accepted", "", 2)}
    drawn = {mask["slice_name"]: desk.values(mask) for mask in batch.masks}
    assert {desk.slices[z]["slice_name"] for z in (1, 2)} == set(drawn)
    for z, values in expected().items():
        assert np.array_equal(drawn[desk.slices[z]["slice_name"]], values)


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, 1), (1, -1, -1), (-1, -1, -1)])
def test_axis_order_and_direction_do_not_matter(desk: Desk, axes: tuple[int, ...], flips: tuple[int, ...]) -> None:
    image = nib.Nifti1Image(volume(), GRID)
    turned = image.as_reoriented(np.array(list(zip(axes, flips, strict=True))))  # type: ignore[arg-type]
    desk.drop("index.json", INDEX)
    desk.drop("seg.nii.gz", gzip.compress(turned.to_bytes(), 1, mtime=0))
    check(desk)


@pytest.mark.parametrize("kind", [np.int16, np.float32, np.uint16])
def test_whole_numbers_of_any_type_are_labels(desk: Desk, kind: type) -> None:
    desk.drop("index.json", INDEX)
    desk.drop("seg.nii.gz", packed(volume().astype(kind), kind=nib.Nifti2Image))
    check(desk)


def test_a_volume_that_is_not_packed_is_read_too(desk: Desk) -> None:
    desk.drop("deep/index.json", INDEX | {"volumes": [{"file": "a/x.nii", "series_instance_uid": SERIES}]})
    desk.drop("deep/a/x.nii", nib.Nifti1Image(volume(), GRID).to_bytes())
    check(desk)


def test_the_series_may_be_named_by_its_pseudonym(desk: Desk, pseudonymiser: Pseudonymiser) -> None:
    desk.drop("index.json", INDEX | {"volumes": [{"file": "seg.nii.gz", "series": pseudonymiser.uid(SERIES)}]})
    desk.drop("seg.nii.gz", packed(volume()))
    check(desk)


def test_a_part_of_the_series_may_be_labelled(desk: Desk) -> None:
    cut = GRID.copy()
    cut[2, 3] = 5.0
    desk.drop("index.json", INDEX)
    desk.drop("seg.nii.gz", packed(volume()[:, :, 1:], cut))
    check(desk)


def _moved(mm: float, axis: int) -> np.ndarray:
    moved = GRID.copy()
    moved[axis, 3] += mm
    return moved


@pytest.mark.parametrize(
    ("values", "affine"),
    [
        (volume(), _moved(2.0, 2)),
        (volume(), _moved(1000.0, 2)),
        (volume()[5:], GRID),
        (volume(), GRID @ np.diag([1.02, 1, 1, 1])),
        (np.kron(volume(), np.ones((2, 2, 1), np.uint8)), GRID @ np.diag([0.5, 0.5, 1, 1])),
    ],
    ids=["between slices", "elsewhere", "cropped", "stretched", "finer"],
)
def test_a_volume_on_another_grid_is_refused(desk: Desk, values: np.ndarray, affine: np.ndarray) -> None:
    desk.drop("index.json", INDEX)
    desk.drop("seg.nii.gz", packed(values, affine))
    batch = desk.read()
    assert not batch.masks
    assert {(s, outcome, reason) for s, outcome, reason, _ in reasons(batch)} == {("*", "refused", "other_geometry")}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x1f\x8bnot gzip", "broken_file"),
        (b"plain text", "broken_file"),
        (packed(volume())[:60], "broken_file"),
        (gzip.compress(nib.Nifti1Image(volume(), GRID).to_bytes()[:2000], mtime=0), "broken_file"),
        (packed(volume() * np.float32(0.5)), "not_a_label_map"),
        (packed(volume().astype(np.int16) - 1), "not_a_label_map"),
        (packed(np.full((50, 40, 3), np.nan, np.float32)), "not_a_label_map"),
        (packed(np.zeros((50, 40, 3, 2), np.uint8)), "not_a_label_map"),
        (packed(np.zeros((50, 40, 3), np.uint8)), "empty"),
    ],
    ids=["no gzip", "no header", "cut gzip", "too few values", "fractions", "negative", "NaN", "4D", "no label"],
)
def test_what_is_no_label_map_is_refused(desk: Desk, data: bytes, reason: str) -> None:
    desk.drop("index.json", INDEX)
    desk.drop("seg.nii.gz", data)
    assert reasons(desk.read()) == {("*", "refused", reason, 0)}


def test_a_header_that_claims_an_immense_volume_is_refused_before_it_is_unpacked(desk: Desk) -> None:
    header = nib.Nifti1Image(volume(), GRID).header
    header.set_data_shape((30000, 30000, 30000))
    desk.drop("index.json", INDEX)
    desk.drop("seg.nii.gz", gzip.compress(header.binaryblock + bytes(4000)))
    assert reasons(desk.read()) == {("*", "refused", "too_large", 0)}


def test_a_value_without_a_name_and_a_name_without_a_structure_are_left_out(desk: Desk) -> None:
    desk.drop("index.json", INDEX | {"labels": {"2": "hart of Ms Holloway"}})
    desk.drop("seg.nii.gz", packed(volume()))
    batch = desk.read()
    assert reasons(batch) == {("*", "refused", "unknown_label", 2)}
    assert "Holloway" not in json.dumps([batch.items, batch.masks, batch.counts, batch.unknown_labels])


def test_a_volume_that_no_index_names_is_refused_and_an_unknown_series_pending(desk: Desk) -> None:
    desk.drop("index.json", {"volumes": [{"file": "b.nii.gz", "series_instance_uid": "7.7"}], "labels": {"1": "liver"}})
    desk.drop("a.nii.gz", packed(volume()))
    desk.drop("b.nii.gz", packed(volume()))
    assert reasons(desk.read()) == {("*", "refused", "not_in_index", 0), ("*", "pending", "unknown_slice", 0)}


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"volumes": 3}', b'{"volumes": [{"file": "x"}]}', b'{"labels": {}}'])
def test_a_broken_index_has_a_line_of_its_own(desk: Desk, text: bytes) -> None:
    desk.drop("index.json", text)
    desk.drop("seg.nii.gz", packed(volume()))
    assert reasons(desk.read()) == {("*", "refused", "broken_file", 0), ("*", "refused", "not_in_index", 0)}


def test_a_research_label_map_survives_voxel_for_voxel(
    shared_data: Path, landing: Zone, clean: Zone, pseudonymiser: Pseudonymiser
) -> None:
    folder = shared_data / "ct_headneck_openkbp"
    file = sorted(folder.glob("pt_*"))[0] / "seg.nii.gz"
    image: Any = nib.load(file)
    truth = np.asanyarray(image.dataobj)
    lps = TO_RAS @ image.affine
    steps = [lps[:3, axis] / np.linalg.norm(lps[:3, axis]) for axis in range(3)]
    sizes = [float(np.linalg.norm(lps[:3, axis])) for axis in range(3)]
    slices = [
        row(
            pseudonymiser,
            f"1.2.3.{k}",
            rows=truth.shape[1],
            columns=truth.shape[0],
            pixel_spacing=[sizes[1], sizes[0]],
            position=list(lps[:3, 3] + k * lps[:3, 2]),
            orientation=[*steps[0], *steps[1]],
            slice_spacing=sizes[2],
        )
        for k in range(truth.shape[2])
    ]
    desk = Desk(landing, clean, pseudonymiser, slices)
    names = json.loads((folder / "labels.json").read_text())
    desk.drop("index.json", INDEX | {"labels": names})
    desk.drop("seg.nii.gz", file.read_bytes())
    batch = desk.read()
    assert {outcome for _, outcome, _, _ in reasons(batch)} == {"accepted"}
    drawn = {mask["slice_name"]: desk.values(mask) for mask in batch.masks}
    words = load()
    for k, one in enumerate(slices):
        wanted = truth[:, :, k].T
        ours = drawn.get(one["slice_name"], np.zeros(wanted.shape, np.uint8))
        assert np.array_equal(ours > 0, wanted > 0)
        for value in np.unique(wanted[wanted > 0]):
            found = words.resolve(names[str(value)])
            assert found is not None and (ours[wanted == value] == found.id).all()
