"""What each part of the gan's networks sees, and where gradients flow."""

import pytest
import torch

from medillus_pipeline.generation.gan_losses import anatomical_loss, segmentation_loss
from medillus_pipeline.generation.gan_networks import (
    LATENT_SIDE,
    AnatomicalGenerator,
    MultiTaskDiscriminator,
    latent,
)

CONDITIONS, CLASSES, SIZE = 5, 3, 32


@pytest.fixture
def generator() -> AnatomicalGenerator:
    torch.manual_seed(0)
    return AnatomicalGenerator(CONDITIONS, (8, 16), groups=2, patch=2, detail=8, embedding=16)


def a_discriminator(*, spectral: bool = True) -> MultiTaskDiscriminator:
    torch.manual_seed(1)
    return MultiTaskDiscriminator(CONDITIONS, CLASSES, (8, 16, 24), groups=2, patch=2, spectral=spectral)


def inputs(count: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Condition, noise, group."""
    random = torch.Generator().manual_seed(2)
    condition = torch.rand(count, CONDITIONS, SIZE, SIZE, generator=random)
    return condition, torch.randn(count, 1, SIZE, SIZE, generator=random), torch.tensor([1, 2])[:count]


def test_an_image_depends_on_mask_noise_and_group(generator: AnatomicalGenerator):
    with torch.no_grad():
        for name, weight in generator.named_parameters():
            if "film" in name:  # fresh embeddings scale nothing yet
                weight.normal_(generator=torch.Generator().manual_seed(4))
    condition, noise, group = inputs()
    image = generator(condition, noise, group)
    assert image.shape == (2, 1, SIZE, SIZE) and image.abs().max() <= 1
    for other in (
        generator(condition.flip(0), noise, group),
        generator(condition, noise.flip(0), group),
        generator(condition, noise, group.flip(0)),
        generator(condition, noise, torch.zeros_like(group)),
    ):
        assert not torch.allclose(image, other)
    torch.testing.assert_close(generator(condition[:1], noise[:1], group[:1]), image[:1])


def test_the_noise_of_every_resolution_reaches_the_image(generator: AnatomicalGenerator):
    condition, noise, group = inputs()
    generator(condition, noise, group).square().sum().backward()
    learned = [weight.grad for name, weight in generator.named_parameters() if name.endswith("noise.weight")]
    assert len(learned) == 4
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in learned)


@pytest.mark.parametrize("channels", [(8, 16), (8, 12, 16), (4, 8, 8, 16)])
def test_any_number_of_resolutions_keeps_the_size(channels: tuple[int, ...]):
    condition, noise, group = inputs()
    made = AnatomicalGenerator(CONDITIONS, channels, groups=2, patch=2, detail=8, embedding=16)(condition, noise, group)
    said = MultiTaskDiscriminator(CONDITIONS, CLASSES, channels, groups=2, patch=2, spectral=True)(
        made, condition, group
    )
    assert made.shape == (2, 1, SIZE, SIZE)
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
    condition, image, group = inputs()
    condition.requires_grad_()
    said = network(image, condition, group)
    torch.testing.assert_close(said.segmentation, network(image, condition.flip(0), group.flip(0)).segmentation)
    torch.testing.assert_close(said.segmentation, network.segment(image))
    seen = torch.autograd.grad(said.segmentation.square().sum(), condition, allow_unused=True, retain_graph=True)
    assert seen == (None,)
    (scored,) = torch.autograd.grad(said.score.sum(), condition)
    assert scored.abs().sum() > 0  # the adversarial head does see it


@pytest.mark.parametrize("loss", [segmentation_loss, anatomical_loss])
def test_a_wrong_anatomy_pulls_at_the_generator_through_its_image(generator: AnatomicalGenerator, loss):
    network = a_discriminator().requires_grad_(False)
    condition, noise, group = inputs()
    target = torch.ones(2, SIZE, SIZE, dtype=torch.long)
    loss(network.segment(generator(condition, noise, group)), target).backward()
    assert all(weight.grad is not None for name, weight in generator.named_parameters() if "film" not in name)
    assert generator.image.weight.grad is not None and generator.image.weight.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in network.parameters())


def test_with_spectral_normalisation_a_layer_has_norm_one():
    network = a_discriminator().train()
    condition, image, group = inputs()
    for _ in range(60):
        network(image, condition, group)
    score = network.eval().score
    assert isinstance(score, torch.nn.Conv2d)
    assert torch.linalg.matrix_norm(score.weight.detach().flatten(1), ord=2).item() == pytest.approx(1, abs=0.02)
