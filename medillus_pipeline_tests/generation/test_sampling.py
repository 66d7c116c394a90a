"""What a trained generator draws, and what of its request decides it."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from medillus_pipeline.generation.compute import weights_from_bytes, weights_to_bytes
from medillus_pipeline.generation.dataset import Dataset
from medillus_pipeline.generation.families import Family
from medillus_pipeline.generation.prior import Prior
from medillus_pipeline.generation.sampling import Generator
from medillus_pipeline.generation.training import train_generator
from medillus_pipeline_tests.generation.variants import TINY, shaken, told


@pytest.fixture(scope="module", params=["flow", "gan"])
def family(request: pytest.FixtureRequest) -> Family:
    return request.param


@pytest.fixture(scope="module")
def generator(dataset: Dataset, prior: Prior, family: Family) -> Generator:
    """Trained for two steps on a dataset with pathologies and stages, then all its weights moved: nothing is silent."""
    made = train_generator(told(dataset), prior, TINY[family].model_copy(update={"steps": 2}), seed=3)
    return replace(made, network=shaken(made.network))


@pytest.fixture(scope="module")
def labels(dataset: Dataset) -> np.ndarray:
    return np.asarray(dataset.split("validation").labels)[:4]


@pytest.fixture(scope="module")
def levels(dataset: Dataset) -> np.ndarray:
    return dataset.split("validation").levels[:4]


def test_samples_depend_on_their_own_mask_and_seed_only(generator: Generator, labels: np.ndarray, levels: np.ndarray):
    images = generator.sample(labels, levels, seed=1)
    assert images.shape == (4, 32, 32) and images.dtype == np.int16
    assert images.min() >= -1024 and images.max() <= 3071
    np.testing.assert_array_equal(images, generator.sample(labels, levels, seed=1))
    assert np.abs(images[:2].astype(int) - generator.sample(labels[:2], levels[:2], seed=1)).max() <= 1
    assert not np.array_equal(images, generator.sample(labels, levels, seed=2))
    assert not np.array_equal(images[0], generator.sample(labels[1:2], levels[:1], seed=1)[0])
    assert not np.array_equal(images[0], generator.sample(labels[:1], levels[:1] + 0.4, seed=1)[0])
    assert generator.sample(labels[:0], levels[:0], seed=1).shape == (0, 32, 32)
    assert generator.sample(labels[:0], seed=1, said=[]).shape == (0, 32, 32)


def test_more_masks_than_fit_a_batch_are_drawn_as_if_they_did(
    generator: Generator, labels: np.ndarray, levels: np.ndarray
):
    forty = generator.sample(np.resize(labels, (40, 32, 32)), np.resize(levels, 40), seed=1, steps=1).astype(int)
    assert len(forty) == 40
    assert np.abs(forty[:4] - generator.sample(labels, levels, seed=1, steps=1)).max() <= 1


def test_without_levels_the_prior_proposes_the_likeliest(generator: Generator, labels: np.ndarray):
    likely = generator.prior.likely_levels(labels)
    np.testing.assert_array_equal(generator.sample(labels, seed=1), generator.sample(labels, likely, seed=1))


@pytest.mark.parametrize("said", [["stage=late"], ["pathology=liver_lesion"], ["modality=CT"]])
def test_what_is_said_of_an_image_changes_it(
    generator: Generator, labels: np.ndarray, levels: np.ndarray, said: list[str]
):
    silent, changed = (generator.sample(labels[:1], levels[:1], seed=1, said=[names]) for names in ([], said))
    assert not np.array_equal(silent, changed)


def test_each_image_is_told_its_own_and_several_pathologies_add_up(
    generator: Generator, labels: np.ndarray, levels: np.ndarray
):
    one, both = ["pathology=liver_lesion"], ["pathology=liver_lesion", "pathology=pleural_effusion"]
    same = np.repeat(labels[:1], 2, 0), np.repeat(levels[:1], 2)
    mixed = generator.sample(*same, seed=1, said=[one, both]).astype(int)
    assert np.abs(mixed[0] - generator.sample(*same, seed=1, said=[one, one])[0]).max() <= 1
    assert np.abs(mixed[1] - generator.sample(*same, seed=1, said=[both, both])[1]).max() <= 1
    assert np.abs(mixed[1] - generator.sample(*same, seed=1, said=[one, one])[1]).max() > 1


def test_the_only_modality_is_said_of_itself(generator: Generator, labels: np.ndarray, levels: np.ndarray):
    plain = generator.sample(labels, levels, seed=1)
    np.testing.assert_array_equal(plain, generator.sample(labels, levels, seed=1, said=[["modality=CT"]] * 4))


@pytest.mark.parametrize("said", [[["stage=IV"]] * 4, [["modality=CT"]] * 3])
def test_what_the_model_does_not_know_or_who_is_left_out_is_refused(
    generator: Generator, labels: np.ndarray, said: list[list[str]]
):
    with pytest.raises(ValueError, match=r"each of 4 masks.*the model knows modality=CT, body_part"):
        generator.sample(labels, seed=1, said=said)


def test_guidance_changes_a_flow_where_something_is_said_and_a_gan_never(
    generator: Generator, labels: np.ndarray, levels: np.ndarray, family: Family
):
    said = [["stage=late"]] * 4
    once, thrice = (generator.sample(labels, levels, seed=1, said=said, steps=2, guidance=g) for g in (1.0, 3.0))
    assert np.array_equal(once, thrice) is (family == "gan")
    nothing = [generator.sample(labels, levels, seed=1, said=[[]] * 4, steps=2, guidance=g) for g in (1.0, 3.0)]
    assert np.abs(nothing[0].astype(int) - nothing[1]).max() <= 1


def test_a_partial_mask_leaves_to_the_prior_what_it_does_not_hold(
    generator: Generator, labels: np.ndarray, levels: np.ndarray
):
    complete = np.ones((4, len(generator.classes)), bool)
    plain = generator.sample(labels, levels, seed=1)
    np.testing.assert_array_equal(plain, generator.sample(labels, levels, seed=1, drawn=complete))
    for place in range(len(generator.classes)):
        partial = complete.copy()
        partial[:, place] = False
        assert not np.array_equal(plain, generator.sample(labels, levels, seed=1, drawn=partial)), place


def test_the_context_is_proposed_left_out_or_given(generator: Generator, labels: np.ndarray, levels: np.ndarray):
    def sample(context) -> np.ndarray:
        return generator.sample(labels, levels, seed=1, context=context)

    nothing = sample("none")
    np.testing.assert_array_equal(nothing, sample(np.zeros((4, 4, 32, 32), np.float32)))
    np.testing.assert_array_equal(sample("proposed"), generator.sample(labels, levels, seed=1))
    assert not np.array_equal(nothing, sample("proposed"))
    for one, other in itertools.combinations(range(4), 2):
        contexts = [np.zeros((4, 4, 32, 32), np.float32) for _ in range(2)]
        contexts[0][:, one], contexts[1][:, other] = 1, 1
        assert not np.array_equal(sample(contexts[0]), sample(contexts[1])), (one, other)


def test_samples_of_one_mask_get_contexts_of_their_own(generator: Generator, labels: np.ndarray, levels: np.ndarray):
    """The noise of the pixels is kept, that of the context is not: it is the context that differs."""
    same = np.repeat(labels[1:2], 3, 0), np.repeat(levels[1:2], 3)
    given = [generator.sample(*same, seed=1, context=context)[2] for context in ("proposed", "none")]
    model = generator.prior.shape_model
    proposals = [model.propose_context(*_tensors(generator, same, seed)).numpy() for seed in (1, 2)]
    assert not np.array_equal(proposals[0], proposals[1])
    assert not np.array_equal(proposals[0][0], proposals[0][1])
    assert not np.array_equal(given[0], given[1])


def _tensors(generator: Generator, same: tuple[np.ndarray, np.ndarray], seed: int):
    import torch

    from medillus_pipeline.generation.conditions import noise_for

    labels, levels = torch.from_numpy(same[0].astype(np.int64)), torch.from_numpy(same[1])
    drawn = torch.ones(len(labels), len(generator.classes), dtype=torch.bool)
    return labels, drawn, levels, noise_for(len(labels), (generator.prior.shape_model.latents,), seed)


def test_any_subset_of_the_organs_makes_an_image_of_its_own(generator: Generator, dataset: Dataset):
    held_out = dataset.split("validation")
    row = int(np.argmax([len(np.unique(label)) for label in held_out.labels]))
    label, level = np.asarray(held_out.labels[row]), held_out.levels[row]
    present = [k for k in np.unique(label).tolist() if k]
    masks = np.stack([label, *(np.where(label == k, 0, label) for k in present), np.zeros_like(label)])
    images = [generator.sample(mask[None], np.array([level]), seed=1, steps=1)[0] for mask in masks]
    assert len({image.tobytes() for image in images}) == len(masks)
    assert min(image.min() for image in images) >= -1024 and max(image.max() for image in images) <= 3071


def test_masks_that_do_not_fit_the_model_are_refused(generator: Generator):
    with pytest.raises(ValueError, match=r"\(n, 32, 32\)"):
        generator.sample(np.zeros((1, 16, 16), np.uint8), seed=0)
    with pytest.raises(ValueError, match="classes"):
        generator.sample(np.full((1, 32, 32), 99, np.uint8), seed=0)


def test_the_generator_survives_storage(generator: Generator, prior: Prior, labels: np.ndarray):
    again = Generator.from_bytes(generator.to_bytes(), prior)
    asked = {"seed": 4, "steps": 2, "said": [["stage=late"]] * 4}
    np.testing.assert_array_equal(again.sample(labels, **asked), generator.sample(labels, **asked))
    assert again.to_bytes() == generator.to_bytes()
    assert again.describe() == generator.describe()


def test_weights_of_another_format_or_prior_are_refused_in_a_line(generator: Generator, prior: Prior):
    weights, described = weights_from_bytes(generator.to_bytes())
    former = weights_to_bytes(weights, {**described, "format": 1})
    with pytest.raises(ValueError, match=r"have format 1 and this package reads 2: train the generator again") as told:
        Generator.from_bytes(former, prior)
    assert "\n" not in str(told.value)
    with pytest.raises(ValueError, match="other classes"):
        Generator.from_bytes(generator.to_bytes(), replace(prior, classes=prior.classes[1:]))


def test_a_gan_is_released_by_one_step_and_a_flow_by_its_own(generator: Generator, family: Family, labels: np.ndarray):
    assert generator.release_steps == (1 if family == "gan" else 4)
    plain = generator.sample(labels, seed=1)
    np.testing.assert_array_equal(plain, generator.sample(labels, seed=1, steps=generator.release_steps))
    assert np.array_equal(plain, generator.sample(labels, seed=1, steps=9)) is (family == "gan")
