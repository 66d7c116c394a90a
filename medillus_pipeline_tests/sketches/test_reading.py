import numpy as np
import pytest

from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.errors import InputError, NotEnoughDataError
from medillus_pipeline.generation.dataset import Dataset
from medillus_pipeline.generation.prior import Prior
from medillus_pipeline.sketches.found import found_in
from medillus_pipeline.sketches.reading import SketchReading, read_sketch
from medillus_pipeline.sketches.segmenter import SketchSegmenter
from medillus_pipeline.sketches.strokes import enclosed
from medillus_pipeline.sketches.training import train_sketch_segmenter
from medillus_pipeline_tests.sketches.conftest import TINY

LIVER_ON_THE_RIGHT = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 320 320" fill="none" stroke="black" stroke-width="4">'
    '<ellipse cx="160" cy="160" rx="140" ry="110"/>'
    '<g data-structure="{}"><path d="M70 110 C110 80 160 100 150 150 C140 210 90 230 70 200 C50 170 50 130 70 110"/>'
    "</g>"
    "</svg>"
)


@pytest.fixture(scope="module")
def reading(segmenter: SketchSegmenter, prior: Prior, words: Vocabulary) -> SketchReading:
    data = LIVER_ON_THE_RIGHT.format("liver").encode()
    return read_sketch(data, segmenter=segmenter, prior=prior, vocabulary=words, fit=False)


def test_a_named_region_gets_its_structure_whatever_the_network_says(reading: SketchReading, words: Vocabulary):
    assert reading.named == ("liver",) and reading.confidences["liver"] == 1.0
    rows, columns = np.nonzero(reading.ids == words.by_key("liver").id)
    assert abs(columns.mean() + 0.5 - 32 * 103 / 320) < 1.5 and abs(rows.mean() + 0.5 - 32 * 155 / 320) < 1.5
    assert reading.label_map.shape == (32, 32) and "left" in reading.orientation


def test_flipping_lays_the_drawing_on_the_other_side(
    reading: SketchReading, segmenter: SketchSegmenter, prior: Prior, words: Vocabulary
):
    data = LIVER_ON_THE_RIGHT.format("liver").encode()
    turned = read_sketch(data, segmenter=segmenter, prior=prior, vocabulary=words, fit=False, flip=True)
    index = segmenter.classes.index(words.by_key("liver").id) + 1
    there, here = turned.label_map == index, (reading.label_map == index)[:, ::-1]
    assert 2 * (there & here).sum() / (there.sum() + here.sum()) > 0.9
    assert turned.flipped and any("mirrored" in remark for remark in turned.remarks)


def test_an_organ_far_from_its_place_is_refused_by_name(segmenter: SketchSegmenter, prior: Prior, words: Vocabulary):
    corner = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 320 320" fill="none" stroke="black" stroke-width="4">'
    )
    corner += '<circle id="spinal_cord" cx="50" cy="40" r="38"/></svg>'
    found = read_sketch(corner.encode(), segmenter=segmenter, prior=prior, vocabulary=words, fit=False)
    assert any("spinal cord" in reason.lower() for reason in found.refusals)
    with pytest.raises(InputError, match="no body has"):
        found.accepted()


def test_a_structure_that_was_never_learned_is_said_and_not_drawn(
    segmenter: SketchSegmenter, prior: Prior, words: Vocabulary
):
    data = LIVER_ON_THE_RIGHT.format("brain").encode()
    with pytest.raises(InputError, match="brain"):
        read_sketch(data, segmenter=segmenter, prior=prior, vocabulary=words)


def test_a_blank_sheet_is_refused(segmenter: SketchSegmenter, prior: Prior, words: Vocabulary):
    blank = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"/>'
    with pytest.raises(InputError, match="blank"):
        read_sketch(blank, segmenter=segmenter, prior=prior, vocabulary=words)


def test_what_no_stroke_bears_out_is_not_found():
    probability = np.zeros((3, 32, 32), np.float32)
    probability[0] = 0.5
    probability[1, 4:12, 4:12] = 0.9
    probability[2, 20:28, 20:28] = 0.9
    ink = np.zeros((64, 64), np.float32)
    ink[8:24, 8:24] = 1
    ink[11:21, 11:21] = 0
    assert [each.index for each in found_in(probability, ink)] == [1]


@pytest.mark.parametrize("gap", [0, 40, 90])
def test_a_gap_is_closed(gap: int):
    angle = np.deg2rad(np.arange(gap, 360, 0.2))
    lines = np.zeros((200, 200), bool)
    lines[(100 + 50 * np.sin(angle)).astype(int), (100 + 50 * np.cos(angle)).astype(int)] = True
    (region,) = enclosed(lines)
    rows, columns = np.mgrid[:200, :200]
    disc = (rows - 100) ** 2 + (columns - 100) ** 2 <= 2500
    assert 2 * (region & disc).sum() / (region.sum() + disc.sum()) > 0.88


def test_it_survives_storage_and_says_what_it_is(segmenter: SketchSegmenter, prior: Prior, words: Vocabulary):
    again = SketchSegmenter.from_bytes(segmenter.to_bytes())
    ink = np.random.default_rng(0).random((2, 64, 64)).astype(np.float32)
    np.testing.assert_array_equal(again.predict(ink, prior), segmenter.predict(ink, prior))
    assert again.sha256 == segmenter.sha256
    assert again.side == 32 and again.vocabulary_version == words.version
    assert again.dataset_fingerprint == prior.dataset_fingerprint and again.prior_version == prior.version
    with pytest.raises(InputError):
        SketchSegmenter.from_bytes(prior.to_bytes())


def test_the_same_seed_gives_the_same_weights(
    segmenter: SketchSegmenter, dataset: Dataset, prior: Prior, words: Vocabulary
):
    short = TINY.model_copy(update={"steps": 3})
    first, again = (train_sketch_segmenter(dataset, prior, short, vocabulary=words, seed=5) for _ in range(2))
    assert first.to_bytes() == again.to_bytes() != segmenter.to_bytes()


def test_without_training_patients_it_says_what_to_do(dataset: Dataset, prior: Prior, words: Vocabulary):
    from dataclasses import replace

    nobody = replace(dataset, values=dataset.values[:0], labels=dataset.labels[:0], rows=[])
    with pytest.raises(NotEnoughDataError, match="annotate"):
        train_sketch_segmenter(nobody, prior, TINY, vocabulary=words)
