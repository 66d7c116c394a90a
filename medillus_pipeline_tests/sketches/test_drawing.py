import numpy as np

from medillus_pipeline.sketches.config import DrawingConfig
from medillus_pipeline.sketches.drawing import draw
from medillus_pipeline.sketches.ink import dark_on_light, ink_of, unshuffled
from medillus_pipeline.sketches.outlines import organ_outlines
from medillus_pipeline.sketches.sheet import photographed

PLAIN = DrawingConfig(stray=0, body=0)


def two_organs() -> np.ndarray:
    labels = np.zeros((64, 64), np.uint8)
    rows, columns = np.mgrid[:64, :64]
    labels[(rows - 30) ** 2 + (columns - 20) ** 2 < 144] = 1
    labels[(rows - 34) ** 2 + (columns - 46) ** 2 < 64] = 2
    return labels


def test_the_same_seed_gives_the_same_drawing_and_another_one_another():
    outlines = organ_outlines(two_organs())
    first, again, other = (draw(outlines, 64, np.random.default_rng(seed), PLAIN) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.ink, again.ink)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert not np.array_equal(first.ink, other.ink)


def test_an_unhurried_hand_follows_the_organ():
    still = PLAIN.model_copy(
        update=dict.fromkeys(
            ["wobble", "bend", "shift", "rotation_degrees", "scale", "organ_scale", "organ_shift", "gaps"], 0
        )
    )
    labels = two_organs()
    drawn = draw(organ_outlines(labels), 64, np.random.default_rng(0), still, everything=True).labels
    assert 2 * ((drawn == labels) & (labels > 0)).sum() / ((drawn > 0).sum() + (labels > 0).sum()) > 0.96


def test_an_organ_left_out_is_neither_in_the_ink_nor_in_the_target():
    few = PLAIN.model_copy(update={"whole": 0.0, "least_kept": 0.01})
    seen = [
        set(np.unique(draw(organ_outlines(two_organs()), 64, np.random.default_rng(s), few).labels)) for s in range(30)
    ]
    assert {0, 1} in seen and {0, 2} in seen and {0} not in seen


def test_gaps_take_ink_away_and_leave_the_region_whole():
    outlines = organ_outlines(two_organs())
    whole, broken = (draw(outlines, 64, np.random.default_rng(4), PLAIN, gaps=g, everything=True) for g in (0.0, 0.4))
    assert 0.5 < broken.ink.sum() / whole.ink.sum() < 0.75
    assert abs(int((broken.labels > 0).sum()) - int((whole.labels > 0).sum())) < 0.3 * (whole.labels > 0).sum()


def test_a_small_organ_is_drawn_large_enough_to_have_an_inside():
    labels = np.zeros((64, 64), np.uint8)
    labels[30, 30:32] = 1
    drawn = draw(organ_outlines(labels), 64, np.random.default_rng(0), PLAIN, gaps=0)
    assert (drawn.labels == 1).sum() > 5


def test_ink_is_read_off_a_badly_lit_sheet_whatever_its_polarity():
    drawing = draw(organ_outlines(two_organs()), 64, np.random.default_rng(5), PLAIN, gaps=0.1)
    photo = photographed(drawing.ink, np.random.default_rng(6), DrawingConfig(shade=0.6))
    for picture, dark in ((photo, True), (1 - photo, False)):
        assert dark_on_light(picture) is dark
        read = ink_of(picture) > 0.5
        stroke = drawing.ink > 0.5
        assert 2 * (read & stroke).sum() / (read.sum() + stroke.sum()) > 0.85


def test_a_blank_sheet_has_no_ink():
    assert not ink_of(np.full((64, 64), 0.8)).any()


def test_unshuffling_keeps_every_pixel_in_its_place():
    ink = np.arange(64, dtype=np.float32).reshape(8, 8)
    parts = unshuffled(ink)
    assert parts.shape == (4, 4, 4)
    np.testing.assert_array_equal(parts[:, 1, 2], [ink[2, 4], ink[2, 5], ink[3, 4], ink[3, 5]])
