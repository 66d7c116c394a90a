"""The text encoder: what it learns from, what its file holds, and what it says of texts and images."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from medillus_pipeline.errors import InputError, NotEnoughDataError
from medillus_pipeline.generation.compute import weights_to_bytes
from medillus_pipeline.language.encoder_config import PRESETS, TextEncoderConfig, preset
from medillus_pipeline.language.encoder_facts import FALSE, TRUE, UNKNOWN
from medillus_pipeline.language.encoder_losses import contrastive_loss, facts_loss
from medillus_pipeline.language.encoder_model import TextEncoder
from medillus_pipeline.language.encoder_networks import characters, normal_text
from medillus_pipeline.language.encoder_training import train_text_encoder
from medillus_pipeline_tests.language.encoder_scene import small_scene

TEXTS = ("axial CT, portal venous phase, enlarged liver", "平扫，可见肝脏，未见脾", "no heart")


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    dataset, prior = small_scene()
    return train_text_encoder(dataset, prior, preset("tiny"), seed=3)


def values(count: int = 5) -> np.ndarray:
    return np.asarray(small_scene()[0].values[:count])


def test_the_same_seed_gives_the_same_file_and_another_seed_another(encoder: TextEncoder) -> None:
    dataset, prior = small_scene()
    assert train_text_encoder(dataset, prior, preset("tiny"), seed=3).to_bytes() == encoder.to_bytes()
    assert train_text_encoder(dataset, prior, preset("tiny"), seed=4).to_bytes() != encoder.to_bytes()


def test_only_training_patients_are_learned_from(encoder: TextEncoder) -> None:
    dataset, prior = small_scene()
    kept = np.array([row["split"] == "train" for row in dataset.rows])
    changed = np.where(kept[:, None, None], dataset.values, 700)
    labels = np.where(kept[:, None, None], dataset.labels, 1)
    other = replace(dataset, values=changed, labels=labels)
    assert (~kept).any()
    assert train_text_encoder(other, prior, preset("tiny"), seed=3).to_bytes() == encoder.to_bytes()


def test_training_tells_of_its_progress_and_losses() -> None:
    dataset, prior = small_scene()
    steps: list[tuple[int, int]] = []
    losses: list[dict[str, float]] = []
    config = preset("tiny").model_copy(update={"steps": 4})
    train_text_encoder(
        dataset, prior, config, progress=lambda *at: steps.append(at), log=lambda _, given: losses.append(given)
    )
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert set(losses[-1]) == {"contrast", "attributes", "said"}


def test_training_without_training_patients_is_refused() -> None:
    dataset, prior = small_scene()
    rows = [row | {"split": "validation"} for row in dataset.rows]
    with pytest.raises(NotEnoughDataError, match="training patient"):
        train_text_encoder(replace(dataset, rows=rows), prior, preset("tiny"))


def test_a_stored_encoder_says_the_same(encoder: TextEncoder) -> None:
    again = TextEncoder.from_bytes(encoder.to_bytes())
    np.testing.assert_array_equal(again.embed_text(TEXTS), encoder.embed_text(TEXTS))
    np.testing.assert_array_equal(again.embed_images(values()), encoder.embed_images(values()))
    assert again.attributes_of(TEXTS[0]) == encoder.attributes_of(TEXTS[0])
    assert again.to_bytes() == encoder.to_bytes()


def test_another_file_is_refused() -> None:
    with pytest.raises(InputError, match="no text encoder"):
        TextEncoder.from_bytes(weights_to_bytes({"a": torch.zeros(2)}, {"format": 1}))
    with pytest.raises(InputError, match="no text encoder"):
        TextEncoder.from_bytes(b"\x80\x04not a model")
    with pytest.raises(InputError, match="materialize text_encoder"):
        TextEncoder.from_bytes(weights_to_bytes({"a": torch.zeros(2)}, {"format": 99, "kind": "text_encoder"}))


def test_embeddings_have_length_one_and_one_width(encoder: TextEncoder) -> None:
    texts, images = encoder.embed_text(TEXTS), encoder.embed_images(values())
    assert texts.shape == (3, encoder.config.embedding)
    assert images.shape == (5, encoder.config.embedding)
    np.testing.assert_allclose(np.linalg.norm(np.concatenate([texts, images]), axis=1), 1, rtol=1e-5)


def test_a_text_means_the_same_alone_and_beside_a_longer_one(encoder: TextEncoder) -> None:
    alone = np.concatenate([encoder.embed_text([text]) for text in TEXTS])
    np.testing.assert_allclose(encoder.embed_text(TEXTS), alone, atol=1e-5)


def test_case_width_and_blanks_do_not_matter(encoder: TextEncoder) -> None:
    assert normal_text("  Axial  ＣＴ；LIVER ") == "axial ct;liver"
    np.testing.assert_array_equal(encoder.embed_text(["Axial  CT, Liver"]), encoder.embed_text(["axial ct, liver"]))


def test_a_character_that_is_unknown_is_read_as_such_and_an_empty_or_endless_text_refused(encoder: TextEncoder) -> None:
    assert characters(["aΩ"], "a", 8).tolist() == [[2, 1]]
    with pytest.raises(InputError, match="empty"):
        encoder.embed_text(["liver", "  "])
    with pytest.raises(InputError, match="shorten"):
        encoder.embed_text(["liver " * 200])


def test_images_of_any_size_are_embedded_and_a_flat_array_is_refused(encoder: TextEncoder) -> None:
    large = values(2).repeat(2, 1).repeat(2, 2)
    np.testing.assert_allclose(encoder.embed_images(large), encoder.embed_images(values(2)), atol=1e-4)
    with pytest.raises(InputError, match="height, width"):
        encoder.embed_images(values(1)[0])


def test_ranking_puts_the_nearest_image_first(encoder: TextEncoder) -> None:
    order, scores = encoder.rank(TEXTS, values(8)), encoder.scores(TEXTS, values(8))
    assert (np.diff(np.take_along_axis(scores, order, 1), axis=1) <= 0).all()
    assert order.shape == (3, 8)
    assert encoder.rank([], values(2)).shape == (0, 2)
    assert encoder.rank(["liver"], values(0)).shape == (1, 0)


def test_attributes_of_a_text_are_those_that_the_training_set_has(encoder: TextEncoder) -> None:
    found = encoder.attributes_of(TEXTS[0])
    assert set(found) == set(small_scene()[0].known_attributes)
    assert all(0 <= share <= 1 for share in found.values())


def test_a_caption_that_is_true_of_two_images_is_drawn_to_both() -> None:
    truth = torch.tensor([[TRUE, TRUE, FALSE]])
    near_both, near_one = torch.tensor([[5.0, 5.0, 0.0]]), torch.tensor([[5.0, 0.0, 0.0]])
    assert contrastive_loss(near_both, truth) < contrastive_loss(near_one, truth)
    single = torch.tensor([[TRUE, FALSE, FALSE]])
    assert contrastive_loss(near_both, single) > contrastive_loss(near_one, single)


def test_what_nobody_knows_counts_on_neither_side() -> None:
    truth = torch.tensor([[TRUE, UNKNOWN, FALSE], [FALSE, TRUE, UNKNOWN]])
    similarity = torch.tensor([[1.0, 2.0, 3.0], [0.5, 1.5, 2.5]], requires_grad=True)
    contrastive_loss(similarity, truth).backward()
    assert similarity.grad is not None
    assert torch.isfinite(similarity.grad).all()
    assert similarity.grad[truth == UNKNOWN].tolist() == [0.0, 0.0]
    assert (similarity.grad[truth == TRUE] < 0).all()
    logits = torch.zeros(2, 3, requires_grad=True)
    facts_loss(logits, truth).backward()
    assert logits.grad is not None
    assert logits.grad[truth == UNKNOWN].tolist() == [0.0, 0.0]


def test_every_preset_is_a_network_that_can_be_built() -> None:
    for name, config in PRESETS.items():
        assert config.characters % config.heads == 0, name
    with pytest.raises(ValueError, match="demo"):
        preset("unheard-of")
    with pytest.raises(ValueError, match="heads"):
        TextEncoderConfig(characters=65, heads=4)


@pytest.mark.slow
def test_some_minutes_of_training_find_true_images_and_read_what_is_said() -> None:
    dataset, prior = small_scene()
    config = TextEncoderConfig(size=32, channels=(16, 32, 64), steps=900, batch_size=32)
    learned = train_text_encoder(dataset, prior, config, seed=1)
    train = dataset.split("train")
    images = np.asarray(train.values)
    liver = 1 + dataset.classes.index(5)
    has = np.array([(plane == liver).sum() > 3 for plane in np.asarray(train.labels)])
    order = learned.rank(["showing the liver", "未见肝脏", "可见肝脏", "without liver"], images)
    assert has[order[[0, 2], :5]].all()
    assert not has[order[[1, 3], :5]].any()
    for text in ("CT, portal venous phase", "门静脉期"):
        found = {name: share for name, share in learned.attributes_of(text).items() if "phase" in name}
        assert max(found, key=found.__getitem__) == "contrast_phase=portal_venous"
