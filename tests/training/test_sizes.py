"""Sizes of networks that the command line asks for."""

from dataclasses import asdict

import pytest
import torch

from celebgen_cli.errors import UsageError
from celebgen_cli.models.cvae import CVAEConfig
from celebgen_cli.models.layers import Gaussian, SpatialTransformer
from celebgen_cli.models.presets import tiny
from celebgen_cli.models.unet import UNet, UNetConfig
from celebgen_cli.training.sizes import cvae_sizes, parse_widths, unet_sizes
from tests.networks import tiny_text


def test_what_is_asked_for_wins_over_the_run_over_the_origin_over_the_preset() -> None:
    preset, begun = UNetConfig(), UNetConfig(widths=(64, 128))
    before = asdict(UNetConfig(widths=(96, 128), blocks=3)) | {"of_a_later_version": 1}
    before["widths"] = list(before["widths"])  # as JSON has it
    assert unet_sizes(preset, {}, None, None, None, 16) == preset
    assert unet_sizes(preset, {}, begun, None, None, 16) == begun
    found = unet_sizes(preset, before, begun, None, None, 16)
    assert (found.widths, found.blocks) == ((96, 128), 3)
    asked = unet_sizes(preset, before, begun, (32, 64, 64), 1, 16)
    assert (asked.widths, asked.blocks, asked.attention_levels) == ((32, 64, 64), 1, (1, 2))
    assert cvae_sizes(CVAEConfig(), {"latent_channels": 4}, None, None).latent_channels == 4
    assert cvae_sizes(CVAEConfig(), {"latent_channels": 4}, None, 16).latent_channels == 16


@pytest.mark.parametrize(
    ("text", "widths"), [(None, None), ("96,128", (96, 128)), (" 64 , 96,128", (64, 96, 128)), ("64", (64,))]
)
def test_lists_of_widths(text: str | None, widths: tuple[int, ...] | None) -> None:
    assert parse_widths(text) == widths


@pytest.mark.parametrize("text", ["", "96;128", "96,", "0,128", "-8", "100,128", "1e2"])
def test_other_lists_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--widths"):
        parse_widths(text)


@pytest.mark.parametrize(("widths", "size"), [((32,) * 5, 16), ((32,) * 6, 16), ((32, 32, 32), 6)])
def test_a_latent_that_cannot_be_halved_so_often(widths: tuple[int, ...], size: int) -> None:
    with pytest.raises(UsageError, match=f"{len(widths)} resolutions, .* {size}x{size} cannot be halved"):
        unet_sizes(UNetConfig(), {}, None, widths, None, size)


@pytest.mark.parametrize("widths", [(8,), (24, 40), (56, 72, 104), (16, 224)])
def test_every_list_that_passes_makes_a_network(widths: tuple[int, ...]) -> None:
    """Groups and heads divide all multiples of eight."""
    config = unet_sizes(tiny().unet, {}, None, widths, 1, 8)
    unet, text = UNet(config), tiny_text()
    u = torch.randn(2, config.latent_channels, 8, 8)
    with torch.no_grad():
        v = unet(u, torch.tensor([3, 900]), text(["bald man", ""]), Gaussian(u, u))
    assert v.shape == u.shape


@pytest.mark.parametrize(("channels", "heads"), [(32, 1), (128, 2), (160, 2), (192, 3), (224, 2), (256, 4)])
def test_heads_divide_the_channels(channels: int, heads: int) -> None:
    assert SpatialTransformer(channels, 16).block.self_attention.heads == heads
