"""The denoiser: shapes, what its answer depends on, and the coordinates of the noise variant."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from celebgen_cli.models.layers import Gaussian, TextFeatures
from celebgen_cli.models.presets import tiny
from celebgen_cli.models.unet import INITS, UNet, UNetConfig
from tests.networks import features, randomise, tiny_unet

Inputs = tuple[torch.Tensor, torch.Tensor, TextFeatures, Gaussian]


def inputs(batch: int = 2) -> Inputs:
    generator = torch.Generator().manual_seed(3)
    u, mean, logvar = torch.randn(3, batch, 4, 8, 8, generator=generator)
    return u, torch.arange(batch) * 400 + 100, features(batch), Gaussian(mean, logvar)


def test_a_new_network_predicts_zero() -> None:
    assert not UNet(tiny().unet)(*inputs()).any()


@pytest.mark.parametrize(
    "config",
    [
        tiny().unet,
        UNetConfig(4, (8, 12, 16), 2, (1, 2), condition_width=16, text_width=12, pooled_width=16),
        UNetConfig(4, (8,), 1, (), condition_width=16, text_width=12, pooled_width=16),
    ],
)
def test_shapes_and_every_parameter_is_of_use(config: UNetConfig) -> None:
    unet = UNet(config)
    randomise(unet)
    out = unet(*inputs(3))
    assert out.shape == (3, 4, 8, 8)
    assert out.dtype == torch.float32
    out.square().mean().backward()
    idle = [name for name, p in unet.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert idle == []


CHANGES: dict[str, Callable[[Inputs], Inputs]] = {
    "u": lambda i: (i[0] + 0.5, *i[1:]),
    "t": lambda i: (i[0], i[1] + 300, *i[2:]),
    "tokens": lambda i: (*i[:2], TextFeatures(i[2].tokens + (torch.arange(7) == 1)[:, None], *i[2][1:]), i[3]),
    "pooled": lambda i: (*i[:2], TextFeatures(*i[2][:2], i[2].pooled + 1), i[3]),
    "mean": lambda i: (*i[:3], Gaussian(i[3].mean + 1, i[3].logvar)),
    "spread": lambda i: (*i[:3], Gaussian(i[3].mean, i[3].logvar + 1)),
}


@pytest.mark.parametrize("what", CHANGES)
def test_the_answer_depends_on_each_input(what: str) -> None:
    unet = tiny_unet()
    assert (unet(*CHANGES[what](inputs())) - unet(*inputs())).abs().max() > 1e-3


def test_padding_is_not_seen() -> None:
    unet, (u, t, text, coordinates) = tiny_unet(), inputs()
    hidden = TextFeatures(torch.where(text.mask[..., None], text.tokens, 9.0), text.mask, text.pooled)
    torch.testing.assert_close(unet(u, t, hidden, coordinates), unet(u, t, text, coordinates))


def test_rows_do_not_see_each_other() -> None:
    unet, (u, t, text, coordinates) = tiny_unet().eval(), inputs(3)
    row = torch.tensor([2])
    alone = unet(u[row], t[row], text.select(row), Gaussian(coordinates.mean[row], coordinates.logvar[row]))
    torch.testing.assert_close(unet(u, t, text, coordinates)[row], alone, rtol=1e-4, atol=1e-5)


def test_perturbation_is_for_the_rows_that_it_names() -> None:
    unet, asked = tiny_unet().eval(), inputs(3)
    plain, perturbed = unet(*asked), unet(*asked, torch.tensor([False, True, False]))
    torch.testing.assert_close(perturbed[[0, 2]], plain[[0, 2]], rtol=1e-4, atol=1e-5)
    assert (perturbed[1] - plain[1]).abs().max() > 1e-3


def test_noise_coordinates_are_one_gaussian_a_channel() -> None:
    unet, like = tiny_unet(init="noise"), inputs()[3]
    made = unet.noise_coordinates(like)
    for channel in range(4):
        assert torch.equal(made.mean[:, channel], unet.channel_mean[channel].expand(2, 8, 8))
        assert torch.equal(made.log_std[:, channel], unet.channel_log_std[channel].expand(2, 8, 8))


@pytest.mark.parametrize("init", INITS)
def test_where_diffusion_runs_and_what_is_shown(init: str) -> None:
    unet, prior = tiny_unet(init=init), inputs()[3]
    empty = Gaussian(torch.full((1, 4, 8, 8), 3.0), torch.full((1, 4, 8, 8), -1.0))
    channels, nobody = unet.noise_coordinates(prior), Gaussian(*(part.expand(2, -1, -1, -1) for part in empty))
    code = None if unet.coarse is None else torch.randn(2, 6, generator=torch.Generator().manual_seed(0))
    own = None if code is None or unet.coarse is None else unet.coarse.coordinates(code)
    expected = {
        "prior": (prior, prior), "coarse": (own, own), "mean": (nobody, nobody), "noise": (channels, channels),
        "noise+prior": (channels, prior),
    }[init]  # fmt: skip
    for made, wanted in zip(unet.coordinates(prior, empty, code), expected, strict=True):
        assert wanted is not None
        assert all(torch.equal(a, b) for a, b in zip(made, wanted, strict=True))


def test_a_start_from_a_code_needs_one() -> None:
    prior = inputs()[3]
    with pytest.raises(ValueError, match="needs one"):
        tiny_unet(init="coarse").coordinates(prior, prior)


def test_an_unknown_start_is_refused() -> None:
    with pytest.raises(ValueError, match="init is 'nowhere'"):
        UNet(replace(tiny().unet, init="nowhere"))


def test_channel_statistics_travel_with_the_weights() -> None:
    unet = UNet(replace(tiny().unet, init="noise"))
    unet.load_state_dict(tiny_unet().state_dict())
    assert unet.channel_mean.tolist() == [0.5, -0.5, 1.0, 0.0]
