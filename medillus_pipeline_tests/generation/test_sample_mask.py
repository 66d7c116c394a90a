"""Masks of any size in the model's frame: where each pixel comes from, and what is said about it."""

import numpy as np
import pytest

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.dicom.png import encode_png
from medillus_pipeline.errors import InputError
from medillus_pipeline.generation.sample_mask import SampleMask, read_mask

WORDS = vocabulary.load()
LIVER, SPLEEN = WORDS.by_key("liver").id, WORDS.by_key("spleen").id


def fitted(values: np.ndarray, *, size: int = 16, pixel_size: float | None = None) -> SampleMask:
    data = encode_png(np.ascontiguousarray(values, np.uint8), WORDS.palette())
    return read_mask(data, (LIVER, SPLEEN), WORDS, size=size, field_of_view=320.0, pixel_size=pixel_size)


def test_a_mask_of_the_models_size_is_taken_as_it_is() -> None:
    values = np.random.default_rng(1).choice([0, LIVER, SPLEEN], (16, 16))
    np.testing.assert_array_equal(fitted(values).ids, values)


@pytest.mark.parametrize("factor", [2, 3, 5, 32])
def test_a_finer_mask_of_blocks_gives_the_blocks(factor: int) -> None:
    values = np.random.default_rng(2).choice([0, LIVER, SPLEEN], (16, 16))
    np.testing.assert_array_equal(fitted(np.kron(values, np.ones((factor, factor), int))).ids, values)


def test_a_coarser_mask_grows() -> None:
    values = np.random.default_rng(3).choice([0, LIVER, SPLEEN], (8, 8))
    np.testing.assert_array_equal(fitted(values).ids, np.kron(values, np.ones((2, 2), int)))


def test_an_oblong_mask_keeps_its_proportions_and_lies_in_the_middle() -> None:
    ids = fitted(np.full((8, 16), LIVER)).ids
    expected = np.zeros((16, 16), np.uint8)
    expected[4:12] = LIVER
    np.testing.assert_array_equal(ids, expected)


def test_a_given_pixel_size_decides_what_the_frame_covers() -> None:
    values = np.zeros((32, 32), np.uint8)
    values[12:20, 12:20] = LIVER  # 80 mm of 10 mm pixels: 4 of the frame's 16 pixels, each 20 mm
    found = fitted(values, pixel_size=10.0)
    assert (found.ids == LIVER).sum() == 16 and found.ids[6:10, 6:10].all()
    small = fitted(values, pixel_size=5.0)
    assert (small.ids == LIVER).sum() == 4
    assert "pixels of 10 mm (as given)" in found.placement


def test_structures_too_small_for_the_frame_are_named() -> None:
    values = np.zeros((320, 320), np.uint8)
    values[100:200, 100:200] = LIVER
    values[20:23, 20:23] = SPLEEN
    assert fitted(values).lost == (SPLEEN,)


def test_the_sentence_says_what_pixel_size_was_assumed() -> None:
    values = np.full((64, 80), LIVER)
    assert (
        "mask of 80 × 64 pixels of 4 mm (assumed, so that the longer side spans the frame)" in fitted(values).placement
    )


def test_many_unknown_values_are_counted_and_not_all_listed() -> None:
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    with pytest.raises(InputError, match=r"and 24\d more; it knows") as caught:
        fitted(values)
    assert len(str(caught.value)) < 600
