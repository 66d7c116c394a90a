"""Students of generated images are compared with students of real ones, on real images of other patients."""

import numpy as np
import pytest

from medillus_pipeline.generation.config import SegmenterConfig
from medillus_pipeline.validation.synthetic_training import HeldOut, SyntheticTrainingConfig, compared, students
from medillus_pipeline_tests.validation import anatomy

CONFIG = SyntheticTrainingConfig(
    student=SegmenterConfig(channels=(8, 16), steps=40, batch_size=6), seeds=(1,), draws=100
)
CLASSES = (1, 2, 3, 4, 5)
TAUGHT = anatomy.cohort(patients=5, seed=4)
TESTED = anatomy.cohort(patients=4, slices=6, seed=5)
HELD_OUT = HeldOut(TESTED.values, TESTED.class_maps, TESTED.patients)


@pytest.fixture(scope="module")
def from_real():
    return students(TAUGHT.values, TAUGHT.class_maps, CLASSES, config=CONFIG)


def against_real(images: np.ndarray, from_real) -> dict[str, float]:
    learned = students(images, TAUGHT.class_maps, CLASSES, config=CONFIG)
    return compared(learned, from_real, HELD_OUT, seed=1, config=CONFIG)


def test_images_as_good_as_real_ones_teach_as_much(from_real):
    made = anatomy.good(TAUGHT.class_maps, np.array(TAUGHT.levels), 9)
    figures = against_real(made, from_real)
    assert figures["trtr_dice"] > 0.3
    assert 0.8 < figures["tstr_ratio"] < 1.25
    assert figures["tstr_ratio_low"] <= figures["tstr_ratio"] <= figures["tstr_ratio_high"]


def test_images_that_show_nothing_teach_little(from_real):
    assert against_real(np.full_like(TAUGHT.values, -1000), from_real)["tstr_ratio"] < 0.6


def test_the_same_students_have_a_ratio_of_one_for_any_draw_of_patients(from_real):
    figures = compared(from_real, from_real, HELD_OUT, seed=1, config=CONFIG)
    assert figures["tstr_ratio"] == figures["tstr_ratio_low"] == figures["tstr_ratio_high"] == 1


def test_students_of_other_classes_are_refused(from_real):
    short = CONFIG.model_copy(update={"student": CONFIG.student.model_copy(update={"steps": 2})})
    others = students(TAUGHT.values[:8], TAUGHT.class_maps[:8], (1, 2, 3, 4, 9), config=short)
    with pytest.raises(ValueError, match="same classes"):
        compared(others, from_real, HELD_OUT, seed=1)
