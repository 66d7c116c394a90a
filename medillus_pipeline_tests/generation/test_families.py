"""What both model families have in common: built from a description, told the same things, drawing the same shapes."""

from typing import cast

import pytest
import torch
from torch import Tensor

from medillus_pipeline.generation.conditions import condition_channels
from medillus_pipeline.generation.config import PRESETS, GanConfig, GeneratorConfig, preset
from medillus_pipeline.generation.families import Family, build_network, draw_images
from medillus_pipeline.generation.gan_networks import LATENT_SIDE, AnatomicalGenerator
from medillus_pipeline.generation.networks import FlowUNet
from medillus_pipeline_tests.generation.variants import TINY, shaken

CLASSES, ATTRIBUTES, SIDE = 3, 4, 32
FAMILIES = ("flow", "gan")


def inputs(images: int) -> list[Tensor]:
    random = torch.Generator().manual_seed(2)
    return [
        torch.rand(2, condition_channels(CLASSES), SIDE, SIDE, generator=random),
        torch.randn(2, images, SIDE, SIDE, generator=random),
        torch.tensor([[1.0, 0, 1, 0], [0, 1, 0, 0]]),
        torch.tensor([[True, True, False], [True, False, True]]),
    ]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("images", [1, 3])
def test_images_follow_condition_noise_attributes_and_what_is_drawn(family: Family, images: int) -> None:
    torch.manual_seed(0)
    network = shaken(build_network(family, CLASSES, ATTRIBUTES, images, TINY[family].model_dump()))
    given = inputs(images)
    drawn = draw_images(network, *given, steps=2)
    assert drawn.shape == (2, images, SIDE, SIDE)
    for place in range(4):
        other = [part.flip(0) if number == place else part for number, part in enumerate(given)]
        assert not torch.allclose(drawn, draw_images(network, *other, steps=2), atol=1e-4), place


def test_a_gan_needs_one_pass_and_a_flow_one_for_each_step_and_each_half_of_guidance() -> None:
    torch.manual_seed(0)
    given = inputs(1)
    cases: tuple[tuple[Family, float, int], ...] = (("flow", 1.0, 3), ("flow", 2.0, 6), ("gan", 2.0, 1))
    for family, guidance, expected in cases:
        network = build_network(family, CLASSES, ATTRIBUTES, 1, TINY[family].model_dump())
        calls: list[int] = []
        network.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        draw_images(network, *given, steps=3, guidance=guidance)
        assert len(calls) == expected, (family, guidance)


def test_guidance_takes_attributes_further() -> None:
    torch.manual_seed(0)
    network = shaken(build_network("flow", CLASSES, ATTRIBUTES, 1, TINY["flow"].model_dump()))
    condition, noise, said, drawn = inputs(1)
    once, twice, never = (draw_images(network, condition, noise, said, drawn, steps=1, guidance=g) for g in (1, 2, 0))
    torch.testing.assert_close(twice, 2 * once - never, rtol=1e-3, atol=1e-4)
    silent = draw_images(network, condition, noise, torch.zeros_like(said), drawn, steps=1)
    torch.testing.assert_close(never, silent)


def test_a_family_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="flow and gan, not 'vae'"):
        build_network(cast("Family", "vae"), 1, 1, 1, TINY["flow"].model_dump())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_builds_a_network_that_draws_its_size(name: str, family: Family) -> None:
    chosen = preset(name)
    config: GeneratorConfig | GanConfig = chosen.generator if family == "flow" else chosen.gan
    side = chosen.dataset.size
    with torch.device("meta"):
        network = build_network(family, 40, 30, 3, config.model_dump())
        condition, noise = torch.empty(1, condition_channels(40), side, side), torch.empty(1, 3, side, side)
        said, drawn = torch.empty(1, 30), torch.empty(1, 40)
        if isinstance(network, FlowUNet):
            image = network(noise, condition, torch.empty(1), said, drawn)
        else:
            assert isinstance(network, AnatomicalGenerator) and side % LATENT_SIDE == 0
            image = network(condition, noise, said, drawn)
    assert image.shape == (1, 3, side, side)
    assert side % (config.patch * 2 ** (len(config.channels) - 1)) == 0
