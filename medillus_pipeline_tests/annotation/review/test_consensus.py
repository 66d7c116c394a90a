"""A consensus is what most readers drew, or what STAPLE finds likely; it never invents and never favours a tie."""

import numpy as np
import pytest

from medillus_pipeline.annotation.review.consensus import majority, staple, staple_label_maps
from medillus_pipeline.annotation.vocabulary import load
from medillus_pipeline_tests.annotation.review.readers import square

LIVER, SPLEEN = load().by_key("liver").id, load().by_key("spleen").id


def noisy_readers(seed: int = 1, shape: tuple[int, ...] = (6, 30, 32)) -> tuple[np.ndarray, list[np.ndarray]]:
    """A ball, and four readers of growing carelessness."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    truth = (grid**2).sum(axis=0) < 0.5
    rng = np.random.default_rng(seed)
    return truth, [truth ^ (rng.random(shape) < share) for share in (0.02, 0.05, 0.1, 0.3)]


def test_two_of_three_readers_decide_and_a_tie_is_background() -> None:
    one = np.array([[LIVER, LIVER, LIVER, 0]], np.uint8)
    two = np.array([[LIVER, SPLEEN, SPLEEN, 0]], np.uint8)
    three = np.array([[0, LIVER, 0, SPLEEN]], np.uint8)
    assert majority([one, two, three]).tolist() == [[LIVER, LIVER, 0, 0]]


def test_two_readers_keep_what_both_drew() -> None:
    a, b = square(10, 10), square(10, 14)
    assert np.array_equal(majority([a, b]), np.where((a == b) & (a > 0), a, 0))


@pytest.mark.parametrize("maps", [[square(1, 1)], [square(1, 1), square(1, 1, rows=41)]])
def test_a_single_reader_or_another_size_is_refused(maps: list[np.ndarray]) -> None:
    for function in (majority, staple):
        with pytest.raises(ValueError, match="reader"):
            function(maps)


def test_nothing_drawn_is_no_consensus() -> None:
    with pytest.raises(ValueError, match="none"):
        staple([np.zeros((3, 3), bool)] * 2)


@pytest.mark.parametrize("seed", range(4))
def test_staple_gives_the_figures_of_simpleitk(seed: int) -> None:
    sitk = pytest.importorskip("SimpleITK")
    _, readers = noisy_readers(seed)
    union = np.any(readers, axis=0)
    box = tuple(slice(at.min(), at.max() + 1) for at in np.nonzero(union))
    peer = sitk.STAPLEImageFilter()
    image = peer.Execute([sitk.GetImageFromArray(mask[box].astype(np.uint8)) for mask in readers])
    ours = staple(readers)
    assert np.allclose(ours.sensitivity, peer.GetSensitivity(), atol=1e-5)
    assert np.allclose(ours.specificity, peer.GetSpecificity(), atol=1e-5)
    assert np.abs(ours.probability[box] - sitk.GetArrayFromImage(image)).max() < 1e-4


def test_staple_trusts_the_careful_reader_more_and_finds_the_truth() -> None:
    truth, readers = noisy_readers()
    found = staple(readers)
    assert list(np.argsort(-found.sensitivity)) == [0, 1, 2, 3]
    assert (truth != (found.probability > 0.5)).mean() < min((truth != reader).mean() for reader in readers)


def test_outside_the_union_nothing_is_likely_and_the_frame_does_not_matter() -> None:
    _, readers = noisy_readers()
    small, large = staple(readers), staple([np.pad(reader, 9) for reader in readers])
    assert np.array_equal(np.pad(small.probability, 9), large.probability)
    assert not large.probability[np.pad(~np.any(readers, axis=0), 9, constant_values=True)].round(3).any()


def test_readers_who_agree_are_believed() -> None:
    mask = square(3, 4) > 0
    found = staple([mask, mask, mask])
    assert np.array_equal(found.probability > 0.5, mask) and found.sensitivity.min() > 0.999


def test_label_maps_follow_structure_by_structure() -> None:
    maps = [np.stack([square(10, 10 + shift), square(10, 10, 8, "spleen")]) for shift in (0, 0, 3)]
    found = staple_label_maps(maps, load())
    assert np.array_equal(found.values[0], square(10, 10)) and np.array_equal(found.values[1], maps[0][1])
    assert set(found.sensitivity) == {LIVER, SPLEEN} and found.values.dtype == np.uint8
    assert found.sensitivity[LIVER][2] < found.sensitivity[LIVER][0] and found.overlap_pixels == 0
