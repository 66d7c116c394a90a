"""A mirrored model is named by the share of its images that fit better when they are mirrored back."""

import numpy as np

from medillus_pipeline.validation import metrics, planted
from medillus_pipeline.validation.laterality import mirrored
from medillus_pipeline_tests.validation import anatomy

REAL = anatomy.cohort(patients=4)


def share(sample: planted.Sample) -> float:
    images = sample(REAL.class_maps, np.array(REAL.levels), 1)
    found, turned = (
        anatomy.OracleJudge().predict(one).argmax(1).astype(np.uint8) for one in (images, images[:, :, ::-1])
    )
    return float(metrics.nan_mean(mirrored(REAL.class_maps, found, turned, len(anatomy.ORGANS))))


def test_no_image_of_a_good_model_fits_better_when_mirrored():
    assert share(anatomy.good) == 0


def test_every_image_of_a_mirrored_model_does():
    assert share(planted.mirror(anatomy.good)) == 1


def test_a_mask_that_asks_for_nothing_tells_nothing():
    empty = np.zeros((2, 16, 16), np.uint8)
    assert np.isnan(mirrored(empty, empty, empty, 5)).all()
