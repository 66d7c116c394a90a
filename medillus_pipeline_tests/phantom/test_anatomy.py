"""The torso: reproducible, laid out as a radiologist expects, with tissue values of CT."""

import numpy as np
import pytest

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.phantom.anatomy import LABELLED, Phantom, torso

SHAPE, SPACING = (20, 128, 128), (12.0, 3.2, 3.2)
SEEDS = (1, 2, 3)


@pytest.fixture(scope="module")
def phantoms() -> list[Phantom]:
    return [torso(np.random.default_rng(seed), shape=SHAPE, spacing=SPACING) for seed in SEEDS]


def _mask(phantom: Phantom, key: str) -> np.ndarray:
    return phantom.labels == vocabulary.load().by_key(key).id


def _centre(phantom: Phantom, key: str) -> np.ndarray:
    return np.argwhere(_mask(phantom, key)).mean(axis=0)


def test_the_same_seed_draws_the_same_voxels(phantoms: list[Phantom]) -> None:
    again = torso(np.random.default_rng(SEEDS[0]), shape=SHAPE, spacing=SPACING)
    assert again.hu.tobytes() == phantoms[0].hu.tobytes()
    assert again.labels.tobytes() == phantoms[0].labels.tobytes()


def test_two_patients_differ_in_outline_and_organs(phantoms: list[Phantom]) -> None:
    first, second = phantoms[:2]
    assert ((first.hu > -300) != (second.hu > -300)).mean() > 0.01
    assert (first.labels != second.labels).mean() > 0.02


def test_every_patient_has_every_labelled_structure(phantoms: list[Phantom]) -> None:
    wanted = {vocabulary.load().by_key(key).id for key in LABELLED}
    for phantom in phantoms:
        assert set(np.unique(phantom.labels)) == wanted | {0}


def test_organs_stand_where_the_display_convention_puts_them(phantoms: list[Phantom]) -> None:
    middle = (SHAPE[2] - 1) / 2
    for phantom in phantoms:
        for right in ("liver", "gallbladder", "kidney_right", "lung_right"):
            assert _centre(phantom, right)[2] < middle, f"{right} belongs on the image's left"
        for left in ("spleen", "stomach", "kidney_left", "lung_left"):
            assert _centre(phantom, left)[2] > middle, f"{left} belongs on the image's right"
        assert _centre(phantom, "spine")[1] > _centre(phantom, "aorta")[1], "the aorta lies before the spine"
        assert _centre(phantom, "spinal_cord")[1] > _centre(phantom, "liver")[1]
        heights = [_centre(phantom, key)[0] for key in ("kidney_right", "liver", "heart")]
        assert heights == sorted(heights), "index 0 is the feet end"


@pytest.mark.parametrize(
    ("key", "low", "high"),
    [
        ("lung_left", -880, -650),
        ("lung_right", -880, -650),
        ("liver", 80, 140),
        ("spleen", 85, 160),
        ("aorta", 110, 220),
        ("gallbladder", -10, 45),
        ("kidney_left", 110, 230),
        ("spine", 120, 350),
    ],
)
def test_tissue_has_the_values_of_ct(phantoms: list[Phantom], key: str, low: float, high: float) -> None:
    for phantom in phantoms:
        assert low < np.median(phantom.hu[_mask(phantom, key)]) < high


def test_a_table_lies_below_the_patient_apart_from_the_body(phantoms: list[Phantom]) -> None:
    for phantom in phantoms:
        column = phantom.hu[SHAPE[0] // 2, :, SHAPE[2] // 2]
        solid = np.flatnonzero(column > -700)
        gaps = np.flatnonzero(np.diff(solid) > 1)
        table = solid[gaps[-1] + 1 :]
        assert not phantom.labels[:, table.min() :].any()
        assert (column[table.min() - 3 : table.min()] < -700).any(), "a pad or foam parts it from the body"
