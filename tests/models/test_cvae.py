"""The CVAE: its divergences against torch.distributions, shapes, and what depends on what."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.distributions import Normal
from torch.distributions import kl_divergence as torch_kl

from celebgen_cli.models.cvae import (
    CVAE,
    cross_entropy,
    kl_divergence,
    kl_to_standard,
    to_float,
    to_uint8,
)
from celebgen_cli.models.layers import Gaussian, TextFeatures
from celebgen_cli.models.presets import PRESETS, tiny
from tests.networks import features, tiny_cvae


def gaussian(seed: int) -> tuple[Gaussian, Normal]:
    generator = torch.Generator().manual_seed(seed)
    mean, logvar = torch.randn(2, 2, 3, 4, 4, generator=generator, dtype=torch.float64)
    return Gaussian(mean, logvar), Normal(mean, torch.exp(0.5 * logvar))


def test_kl_equals_torch_distributions() -> None:
    (q, torch_q), (p, torch_p) = gaussian(0), gaussian(1)
    torch.testing.assert_close(kl_divergence(q, p), torch_kl(torch_q, torch_p))
    torch.testing.assert_close(kl_divergence(p, q), torch_kl(torch_p, torch_q))
    torch.testing.assert_close(kl_divergence(q, q), torch.zeros_like(q.mean))


def test_kl_to_standard_equals_torch_distributions() -> None:
    q, torch_q = gaussian(2)
    standard = Normal(torch.zeros_like(q.mean), torch.ones_like(q.mean))
    torch.testing.assert_close(kl_to_standard(q), torch_kl(torch_q, standard))


def test_cross_entropy_is_divergence_plus_entropy() -> None:
    (q, torch_q), (p, torch_p) = gaussian(3), gaussian(4)
    torch.testing.assert_close(cross_entropy(q, p), torch_kl(torch_q, torch_p) + torch_q.entropy())


def test_cross_entropy_is_the_mean_of_minus_log_density() -> None:
    q, p = Gaussian(torch.tensor(0.7), torch.tensor(-0.4)), Gaussian(torch.tensor(-0.3), torch.tensor(0.9))
    draws = q.sample(torch.randn(400_000, generator=torch.Generator().manual_seed(5)))
    density = Normal(p.mean, torch.exp(0.5 * p.logvar)).log_prob(draws)
    assert float(cross_entropy(q, p)) == pytest.approx(-float(density.mean()), abs=5e-3)


def test_pixels_survive_the_way_to_floats_and_back() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).repeat(3).reshape(1, 16, 16, 3)
    images = to_float(pixels)
    assert images.shape == (1, 3, 16, 16)
    assert (float(images.min()), float(images.max())) == (-1.0, 1.0)
    assert np.array_equal(to_uint8(images), pixels.numpy())
    assert np.array_equal(to_uint8(3 * torch.ones(1, 3, 1, 2)), np.full((1, 1, 2, 3), 255, np.uint8))
    assert to_float(torch.tensor([[[[255, 0, 0]]]], dtype=torch.uint8))[0, :, 0, 0].tolist() == [1, -1, -1]


@pytest.mark.parametrize(("name", "latent"), [("tiny", (4, 8)), ("small64", (4, 16)), ("base128", (8, 16))])
def test_latent_sizes_of_the_presets(name: str, latent: tuple[int, int]) -> None:
    config = PRESETS[name]().cvae
    assert (config.latent_channels, config.latent_size) == latent


def test_shapes() -> None:
    cvae, text = tiny_cvae(), features(2)
    q, p = cvae.encode(torch.rand(2, 3, 32, 32), text), cvae.prior(text)
    for part in (*q, *p):
        assert part.shape == (2, 4, 8, 8)
        assert part.isfinite().all()
    assert cvae.decode(q.mean, text).shape == (2, 3, 32, 32)


def test_latents_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"8 px latents, decoder expects 16 px"):
        CVAE(replace(tiny().cvae, decoder_widths=(24,)))


def test_all_three_parts_hear_the_text() -> None:
    cvae, text = tiny_cvae(), features(2)
    images, z = torch.rand(2, 3, 32, 32), torch.randn(2, 4, 8, 8)
    other = text.select(torch.tensor([1, 0]))
    for part in (lambda c: cvae.encode(images, c).mean, lambda c: cvae.prior(c).mean, lambda c: cvae.decode(z, c)):
        assert (part(text) - part(other)).abs().max() > 1e-2


def test_prior_and_decoder_attend_to_tokens_and_not_to_padding() -> None:
    cvae, text, z = tiny_cvae(), features(2), torch.randn(2, 4, 8, 8)
    hidden = TextFeatures(torch.where(text.mask[..., None], text.tokens, 9.0), text.mask, text.pooled)
    seen = TextFeatures(text.tokens + 1.0 * (torch.arange(7) == 1)[None, :, None], text.mask, text.pooled)
    for part in (lambda c: cvae.prior(c).mean, lambda c: cvae.prior(c).logvar, lambda c: cvae.decode(z, c)):
        torch.testing.assert_close(part(hidden), part(text))
        assert (part(seen) - part(text)).abs().max() > 1e-3


def test_the_priors_spread_is_bounded_below() -> None:
    cvae = tiny_cvae()
    with torch.no_grad():
        cvae.prior.head.bias.fill_(-100.0)
    assert float(cvae.prior(features(2)).log_std.min()) >= cvae.config.prior_log_std_min
    assert float(cvae.prior(features(2)).log_std.max()) == pytest.approx(-3.0, abs=1e-3)


def test_a_new_prior_is_close_to_standard() -> None:
    p = CVAE(tiny().cvae).prior(features(2))
    assert p.mean.abs().max() == 0
    assert p.log_std.abs().max() < 0.1


def test_rows_do_not_see_each_other() -> None:
    cvae, text, images = tiny_cvae().eval(), features(3), torch.rand(3, 3, 32, 32)
    alone = cvae.reconstruct(images[1:2], text.select(torch.tensor([1])))
    torch.testing.assert_close(cvae.reconstruct(images, text)[1:2], alone, rtol=1e-4, atol=1e-4)


def test_reconstruct_takes_one_text_for_all() -> None:
    cvae, text, images = tiny_cvae(), features(1), torch.rand(3, 3, 32, 32)
    repeated = text.select(torch.tensor([0, 0, 0]))
    torch.testing.assert_close(cvae.reconstruct(images, text), cvae.reconstruct(images, repeated))


def test_every_parameter_is_of_use() -> None:
    cvae, text = tiny_cvae(), features(4)
    q, p = cvae.encode(torch.rand(4, 3, 32, 32), text), cvae.prior(text)
    (cvae.decode(q.mean, text).square().mean() + kl_divergence(q, p).mean()).backward()
    idle = [name for name, p in cvae.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert idle == []
