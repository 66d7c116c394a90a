"""Augmentation changes image and label alike, folds nothing over, and leaves what it must not touch."""

import numpy as np
import pytest
from pydantic import ValidationError

from medillus_pipeline.errors import ConfigurationError
from medillus_pipeline.generation.augmentation import Augmentation, cubic_b_spline, shifted
from medillus_pipeline.generation.augmentation_config import AugmentationConfig
from medillus_pipeline.validation.metrics import sharpness

SIZE = 64
REACH = range(-2, 3)
"""Pixels that a cubic looks at beyond a border."""
STILL = AugmentationConfig(shift_pixels=0, resampled=0, mirrored=0)


@pytest.fixture
def sample() -> tuple[np.ndarray, np.ndarray]:
    """A picture (1, 64, 64) that shows its label (64, 64): each of three shapes has a value of its own."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    label = np.zeros((SIZE, SIZE), np.uint8)
    label[(rows - 24) ** 2 + (columns - 20) ** 2 < 100] = 1
    label[30:50, 34:52] = 2
    label[12:18, 40:44] = 3
    return np.array([-1.0, -0.4, 0.2, 0.9], np.float32)[label][None], label


def augmented(
    sample: tuple[np.ndarray, np.ndarray], config: AugmentationConfig, seed: int = 0, **more: object
) -> tuple[np.ndarray, np.ndarray]:
    """The sample after the augmentation of that configuration."""
    given = {"calibrated": True, **more}
    return Augmentation(config, SIZE)(*sample, np.random.default_rng(seed), **given)  # pyright: ignore


def test_nothing_is_changed_where_everything_is_off(sample: tuple[np.ndarray, np.ndarray]) -> None:
    image, label = augmented(sample, STILL, exchanged=np.arange(4, dtype=np.uint8))
    assert np.array_equal(image, sample[0])
    assert np.array_equal(label, sample[1])


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("seed", range(5))
def test_the_label_follows_the_image(sample: tuple[np.ndarray, np.ndarray], interpolation: str, seed: int) -> None:
    config = AugmentationConfig(
        resampled=1,
        rotation_degrees=30,
        scale=0.2,
        elastic_pixels=2,
        interpolation=interpolation,  # pyright: ignore
    )
    image, label = augmented(sample, config, seed)
    assert not np.array_equal(label, sample[1])
    nearest = np.abs(image[0][..., None] - np.array([-1.0, -0.4, 0.2, 0.9])).argmin(-1)
    inside = np.ones(label.shape, bool)
    for axis in (0, 1):
        for step in (-2, -1, 1, 2):
            inside &= np.roll(label, step, axis) == label
    assert (nearest == label)[inside].mean() > 0.995
    assert label.dtype == sample[1].dtype
    assert np.abs(image).max() <= 1


def test_a_shift_moves_whole_pixels(sample: tuple[np.ndarray, np.ndarray]) -> None:
    random = np.random.default_rng(4).integers(0, 9, (2, 6, 6))
    for down, right in ((0, 0), (3, -2), (-5, 1), (1, 5)):
        padded = np.pad(random, ((0, 0), (6, 6), (6, 6)), mode="symmetric")
        expected = padded[:, 6 - down : 12 - down, 6 - right : 12 - right]
        assert np.array_equal(shifted(random, np.array([down, right])), expected)
    image, label = augmented(sample, STILL.model_copy(update={"shift_pixels": 5}))
    assert not np.array_equal(label, sample[1])
    assert np.array_equal(image[0], np.array([-1.0, -0.4, 0.2, 0.9], np.float32)[label])


def test_no_emptiness_enters_where_the_frame_cuts_the_body() -> None:
    """A wedge of air along the frame would be learned as anatomy."""
    config = AugmentationConfig(resampled=1, rotation_degrees=45, scale=0.3, shift_pixels=9)
    image, label = augmented((np.full((1, SIZE, SIZE), 0.5, np.float32), np.full((SIZE, SIZE), 2, np.uint8)), config)
    assert image == pytest.approx(0.5, abs=1e-5)
    assert (label == 2).all()


def test_a_mirrored_sample_has_its_classes_exchanged(sample: tuple[np.ndarray, np.ndarray]) -> None:
    config = STILL.model_copy(update={"mirrored": 1.0})
    exchanged = np.array([0, 2, 1, 3], np.uint8)
    image, label = augmented(sample, config, exchanged=exchanged)
    assert np.array_equal(image, sample[0][..., ::-1])
    assert np.array_equal(label, exchanged[sample[1][:, ::-1]])
    forbidden, _ = augmented(sample, config, exchanged=None)
    assert np.array_equal(forbidden, sample[0])


def test_a_turn_goes_the_way_of_its_angle_and_its_size(sample: tuple[np.ndarray, np.ndarray]) -> None:
    """Without bends the looked-up places are a rotation by at most the angle and a stretch by at most the scale."""
    config = AugmentationConfig(elastic_pixels=0, rotation_degrees=10, scale=0.1)
    random = np.random.default_rng(1)
    for _ in range(20):
        grid = Augmentation(config, SIZE).coordinates(random)
        step = (grid[0, -1] - grid[0, 0]) / (SIZE - 1) * SIZE / 2
        assert abs(np.degrees(np.arctan2(step[1], step[0]))) <= 10
        assert 1 / 1.1 <= np.hypot(*step) <= 1 / 0.9
        assert grid.mean() == pytest.approx(0, abs=1e-5)


def test_no_picture_folds_over_at_the_greatest_bend() -> None:
    config = AugmentationConfig(elastic_cells=4, elastic_pixels=2, scale=0.5, rotation_degrees=45)
    random = np.random.default_rng(2)
    for _ in range(50):
        x, y = np.moveaxis(Augmentation(config, SIZE).coordinates(random), -1, 0)
        area = (
            np.diff(x, axis=1)[:-1] * np.diff(y, axis=0)[:, :-1] - np.diff(x, axis=0)[:, :-1] * np.diff(y, axis=1)[:-1]
        )
        assert (area > 0).all()


def test_bends_that_could_fold_a_picture_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="at most 2 without folding"):
        Augmentation(AugmentationConfig(elastic_cells=4, elastic_pixels=2.1), SIZE)
    with pytest.raises(ConfigurationError, match="only 64 pixels"):
        Augmentation(AugmentationConfig(shift_pixels=64), SIZE)


def test_splines_are_shares_and_reproduce_a_plane() -> None:
    weights = cubic_b_spline(SIZE, 5)
    assert (weights >= 0).all()
    assert weights.sum(1) == pytest.approx(1, abs=1e-6)
    positions = weights @ (np.arange(8) - 1)
    assert np.diff(positions) == pytest.approx(5 / SIZE, abs=1e-5)


def test_bicubic_resampling_keeps_more_sharpness_than_bilinear() -> None:
    random = np.random.default_rng(3)
    image = random.uniform(-0.5, 0.5, (1, SIZE, SIZE)).astype(np.float32)
    label = np.ones((SIZE, SIZE), np.uint8)

    def sharp(picture: np.ndarray) -> float:
        return float(sharpness((picture * 1000).astype(np.int16), np.ones((1, SIZE, SIZE), bool))[0])

    kept = {
        name: sharp(augmented((image, label), AugmentationConfig(resampled=1, interpolation=name))[0]) / sharp(image)  # pyright: ignore
        for name in ("bilinear", "bicubic")
    }
    assert kept["bilinear"] < kept["bicubic"] < 1.1


@pytest.mark.parametrize("resampled", [0, 1])
@pytest.mark.parametrize("empty", [-1.0, -0.9876])
def test_what_is_empty_stays_empty_when_intensities_change(
    sample: tuple[np.ndarray, np.ndarray], resampled: int, empty: float
) -> None:
    config = STILL.model_copy(update={"gain": 0.3, "offset": 0.2, "grain": 0.02, "resampled": resampled})
    given = np.where(sample[1] == 0, np.float32(empty), sample[0])
    image, label = augmented((given, sample[1]), config, calibrated=False, empty=empty)
    outside = ~np.array([np.roll(label > 0, (down, right), (0, 1)) for down in REACH for right in REACH]).any(0)
    assert outside.mean() > 0.4
    assert (image[0][outside] == np.float32(empty)).all()
    assert not (image[0][label > 0] == np.float32(empty)).any()
    assert not np.array_equal(image, given)
    assert image.dtype == np.float32
    assert np.abs(image).max() <= 1


def test_all_channels_move_alike(sample: tuple[np.ndarray, np.ndarray]) -> None:
    three = np.concatenate([sample[0]] * 3)
    image, _ = augmented((three, sample[1]), AugmentationConfig(resampled=1, mirrored=1), exchanged=np.arange(4))
    assert np.array_equal(image[0], image[1])
    assert np.array_equal(image[1], image[2])


def test_a_misspelt_or_impossible_setting_is_refused() -> None:
    with pytest.raises(ValidationError):
        AugmentationConfig(rotation=3)  # pyright: ignore
    with pytest.raises(ValidationError):
        AugmentationConfig(resampled=1.5)
