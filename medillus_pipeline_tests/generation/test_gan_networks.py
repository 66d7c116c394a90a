"""What each part of the gan's networks sees, and where gradients flow."""

import pytest
import torch
from torch.nn import functional

from medillus_pipeline.generation.conditions import condition_channels
from medillus_pipeline.generation.gan_losses import anatomical_loss, segmentation_loss
from medillus_pipeline.generation.gan_networks import (
    LATENT_SIDE,
    AnatomicalGenerator,
    MultiTaskDiscriminator,
    latent,
)
from medillus_pipeline_tests.generation.variants import shaken

CLASSES, ATTRIBUTES, SIZE = 3, 4, 32
CONDITIONS = condition_channels(CLASSES)

Given = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


@pytest.fixture
def generator() -> AnatomicalGenerator:
    torch.manual_seed(0)
    return AnatomicalGenerator(CLASSES, ATTRIBUTES, (8, 16), patch=2, detail=8, embedding=16)


def a_discriminator(*, spectral: bool = True) -> MultiTaskDiscriminator:
    torch.manual_seed(1)
    return MultiTaskDiscriminator(CLASSES, ATTRIBUTES, (8, 16, 24), patch=2, spectral=spectral)


def inputs() -> Given:
    """Condition, noise, what is said of the images, what their masks are complete for."""
    random = torch.Generator().manual_seed(2)
    return (
        torch.rand(2, CONDITIONS, SIZE, SIZE, generator=random),
        torch.randn(2, 1, SIZE, SIZE, generator=random),
        torch.tensor([[1.0, 0, 1, 0], [0, 1, 0, 0]]),
        torch.tensor([[1.0, 1, 0], [1, 0, 1]]),
    )


def test_an_image_depends_on_mask_noise_attributes_and_what_is_drawn(generator: AnatomicalGenerator):
    generator = shaken(generator)  # fresh embeddings scale nothing yet
    given = inputs()
    image = generator(*given)
    assert image.shape == (2, 1, SIZE, SIZE) and image.abs().max() <= 1
    for place in range(4):
        other = [part.flip(0) if number == place else part for number, part in enumerate(given)]
        assert not torch.allclose(image, generator(*other)), place
    assert not torch.allclose(image, generator(*given[:2], torch.zeros_like(given[2]), given[3]))
    torch.testing.assert_close(generator(*(part[:1] for part in given)), image[:1])


def test_of_noise_of_several_channels_the_first_is_taken():
    torch.manual_seed(0)
    three = AnatomicalGenerator(CLASSES, ATTRIBUTES, (8, 16), images=3, patch=2, detail=8, embedding=16)
    condition, noise, said, drawn = inputs()
    image = three(condition, noise.repeat(1, 3, 1, 1), said, drawn)
    assert image.shape == (2, 3, SIZE, SIZE)
    torch.testing.assert_close(image, three(condition, noise, said, drawn))


def test_the_noise_of_every_resolution_reaches_the_image(generator: AnatomicalGenerator):
    generator(*inputs()).square().sum().backward()
    learned = [weight.grad for name, weight in generator.named_parameters() if name.endswith("noise.weight")]
    assert len(learned) == 4
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in learned)


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("channels", [(8, 16), (8, 12, 16), (4, 8, 8, 16)])
def test_any_number_of_resolutions_keeps_the_size(channels: tuple[int, ...], images: int):
    condition, noise, told, drawn = inputs()
    sizes = {"images": images, "patch": 2}
    made = AnatomicalGenerator(CLASSES, ATTRIBUTES, channels, detail=8, embedding=16, **sizes)(
        condition, noise, told, drawn
    )
    said = MultiTaskDiscriminator(CLASSES, ATTRIBUTES, channels, spectral=True, **sizes)(made, condition, told, drawn)
    assert made.shape == (2, images, SIZE, SIZE)
    assert said.segmentation.shape == (2, CLASSES + 1, SIZE, SIZE)
    assert said.score.shape[:2] == (2, 1)


def test_pooled_noise_is_standard_normal_again():
    noise = torch.randn(400, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(3))
    for side in (LATENT_SIDE, 8, SIZE):
        pooled = latent(noise, side)
        assert pooled.shape == (400, 1, side, side)
        assert pooled.std().item() == pytest.approx(1, abs=0.03) and abs(pooled.mean().item()) < 0.05


@pytest.mark.parametrize("spectral", [True, False])
def test_the_segmentation_head_never_sees_the_mask(spectral: bool):
    network = a_discriminator(spectral=spectral).eval()
    condition, image, told, drawn = inputs()
    condition.requires_grad_()
    said = network(image, condition, told, drawn)
    other = network(image, condition.flip(0), told.flip(0), drawn.flip(0))
    torch.testing.assert_close(said.segmentation, other.segmentation)
    torch.testing.assert_close(said.segmentation, network.segment(image))
    seen = torch.autograd.grad(said.segmentation.square().sum(), condition, allow_unused=True, retain_graph=True)
    assert seen == (None,)
    (scored,) = torch.autograd.grad(said.score.sum(), condition)
    assert scored.abs().sum() > 0  # the adversarial head does see it


@pytest.mark.parametrize("place", [2, 3])
def test_the_adversarial_head_knows_what_is_said_and_what_is_drawn(place: int):
    network, (condition, image, *told) = a_discriminator().eval(), inputs()
    other = [part.flip(0) if number == place - 2 else part for number, part in enumerate(told)]
    assert not torch.allclose(network(image, condition, *told).score, network(image, condition, *other).score)


@pytest.mark.parametrize("loss", [segmentation_loss, anatomical_loss])
def test_a_wrong_anatomy_pulls_at_the_generator_through_its_image(generator: AnatomicalGenerator, loss):
    network = a_discriminator().requires_grad_(False)
    target = torch.ones(2, SIZE, SIZE, dtype=torch.long)
    logits = network.segment(generator(*inputs()))
    expected = functional.one_hot(target, logits.shape[1]).permute(0, 3, 1, 2)[:, 1:].float()
    loss(logits, expected if loss is anatomical_loss else target).backward()
    assert all(weight.grad is not None for name, weight in generator.named_parameters() if "film" not in name)
    assert generator.image.weight.grad is not None and generator.image.weight.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in network.parameters())


def test_with_spectral_normalisation_a_layer_has_norm_one():
    network = a_discriminator().train()
    condition, image, told, drawn = inputs()
    for _ in range(60):
        network(image, condition, told, drawn)
    score = network.eval().score
    assert isinstance(score, torch.nn.Conv2d)
    assert torch.linalg.matrix_norm(score.weight.detach().flatten(1), ord=2).item() == pytest.approx(1, abs=0.02)
