"""The latent's figures on Gaussians whose answers are known in closed form."""

import math

import pytest
import torch
from torch import Tensor

from celebgen_cli.models.layers import Gaussian
from celebgen_cli.training.health import LatentHealth, is_per_channel
from tests.single import single

N, C, SIDE = 6000, 3, 4


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def constant(mean: float | Tensor, std: float | Tensor, count: int = N) -> Gaussian:
    shape = (count, C, SIDE, SIDE)
    mean, std = torch.as_tensor(mean).expand(shape), torch.as_tensor(std).expand(shape)
    return Gaussian(mean, 2 * std.log())


def measured(q: Gaussian, p: Gaussian, nothing: Gaussian, pieces: int = 1) -> dict[str, float]:
    health = LatentHealth()
    for rows in torch.arange(len(q.mean)).tensor_split(pieces):
        health.add(*(Gaussian(g.mean[rows], g.logvar[rows]) for g in (q, p)), nothing)
    return dict(health.figures())


def test_a_text_that_explains_part_of_the_latent() -> None:
    # z = gain * c + rest, q sharp: the share explained is gain^2 / (gain^2 + rest^2)
    gain, rest, noise = 0.6, torch.tensor([0.5, 1.0, 2.0])[:, None, None], 0.3
    said, other = normal(N, C, SIDE, SIDE, seed=0), normal(N, C, SIDE, SIDE, seed=1)
    q = constant(2.0 + gain * said + rest * other, noise)
    p = constant(2.0 + gain * said, (rest**2 + noise**2).sqrt())
    figures = measured(q, p, constant(2.0, 1.0, 1), pieces=7)
    explained = 3 * gain**2 / (3 * gain**2 + float((rest**2).sum()))
    assert figures["valid_text_r2"] == pytest.approx(explained, abs=0.01)
    for channel, width in enumerate(rest.flatten().tolist()):
        # E[(rest x)^2] = rest^2, so the quadratic term is 1 and KL is log of the ratio of widths
        expected = math.log(math.sqrt(width**2 + noise**2) / noise)
        assert figures[f"valid_kl_c{channel}"] == pytest.approx(expected, abs=0.02)
        assert figures[f"whitened_variance_c{channel}"] == pytest.approx(1.0, abs=0.02)
        assert figures[f"whitened_mean_c{channel}"] == pytest.approx(0.0, abs=0.02)
    assert figures["valid_active"] == 1.0


def test_a_prior_that_does_not_fit_is_seen_by_mean_and_variance() -> None:
    z = normal(N, C, SIDE, SIDE, seed=2)
    shift = torch.tensor([0.0, 1.0, -2.0])[:, None, None]
    width = torch.tensor([1.0, 2.0, 0.5])[:, None, None]
    figures = measured(constant(z, 0.1), constant(shift, width), constant(0.0, 1.0, 1))
    for channel in range(C):
        w, s = float(width[channel]), float(shift[channel])
        assert figures[f"whitened_variance_c{channel}"] == pytest.approx(1.01 / w**2, rel=0.02)
        assert figures[f"whitened_mean_c{channel}"] == pytest.approx(-s / w, abs=0.03)
    assert figures["whitened_variance_min"] == figures["whitened_variance_c1"]
    assert figures["whitened_variance_max"] == figures["whitened_variance_c2"]
    # |z - shift|^2 = 1 + shift^2 a dimension against |z|^2 = 1: such a text is worse than none
    assert figures["valid_text_r2"] == pytest.approx(1 - (3 + 0 + 1 + 4) / 3, abs=0.03)


def test_collapse_is_seen_dimension_by_dimension() -> None:
    std = torch.ones(C, SIDE, SIDE)
    std[0], std[1, 0] = 0.1, 0.1  # a channel and a row of another say something, the rest has collapsed
    figures = measured(constant(0.0, std), constant(0.0, 1.0), constant(0.0, 1.0, 1))
    alive = 0.5 * (0.1**2 - 1 - math.log(0.1**2))
    assert figures["valid_active"] == pytest.approx((16 + 4) / 48)
    assert figures["valid_kl_c0"] == pytest.approx(alive, rel=1e-5)
    assert figures["valid_kl_c1"] == pytest.approx(alive / 4, rel=1e-5)
    assert figures["valid_kl_c2"] == pytest.approx(0.0, abs=1e-9)
    assert figures["valid_kl"] == pytest.approx(alive * 20 / 48, rel=1e-5)
    assert figures["valid_text_r2"] == 0.0  # the means never leave the mean face: nothing to explain


def test_batches_do_not_matter() -> None:
    q, p = constant(normal(50, C, SIDE, SIDE, seed=3), 0.5, 50), constant(normal(50, C, 1, 1, seed=4), 0.7, 50)
    one, many = (measured(q, p, constant(0.1, 1.0, 1), pieces) for pieces in (1, 9))
    assert one == pytest.approx(many, rel=1e-9)


def test_figures_of_single_channels_are_told_apart() -> None:
    assert is_per_channel("valid_kl_c12")
    assert not any(map(is_per_channel, ("valid_kl", "_c1", "valid_nll_without_text", "kl_c")))


def test_a_device_without_float64() -> None:
    q, p = (Gaussian(normal(9, C, SIDE, SIDE, seed=i), normal(9, C, SIDE, SIDE, seed=i + 1)) for i in (3, 5))
    there = [Gaussian(single(g.mean), single(g.logvar)) for g in (q, p)]
    assert measured(*there, there[1]) == pytest.approx(measured(q, p, p))
