from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Normal

from celebgen_cli.diffusion.guidance import guided, guided_denoiser, rescaled, unwhiten, whiten
from celebgen_cli.diffusion.objective import from_velocity
from celebgen_cli.diffusion.samplers import dpmpp_2m, trailing_timesteps
from celebgen_cli.diffusion.schedule import Schedule
from celebgen_cli.errors import UsageError
from tests.diffusion.toys import double, gaussian

SCHEDULE = Schedule.cosine(1000)


class Branch:
    """A denoiser that answers a constant and counts its calls."""

    def __init__(self, value: float) -> None:
        self.value, self.calls = value, 0

    def __call__(self, x_t: Tensor, t: int) -> Tensor:
        self.calls += 1
        return torch.full_like(x_t, self.value)


def test_whitening_and_its_inverse() -> None:
    generator = torch.Generator().manual_seed(0)
    z, mean, log_std = (torch.randn(2, 3, 4, 4, generator=generator, dtype=torch.float64) for _ in range(3))
    torch.testing.assert_close(unwhiten(whiten(z, mean, log_std), mean, log_std), z)
    torch.testing.assert_close(whiten(unwhiten(z, mean, log_std), mean, log_std), z)
    assert whiten(double(7.0), double(3.0), double(math.log(2))).item() == pytest.approx(2.0)


def test_whitening_by_the_right_prior_gives_a_standard_normal() -> None:
    generator = torch.Generator().manual_seed(1)
    mean, log_std = torch.tensor([[4.0], [-2.0]]), torch.tensor([[-1.0], [1.5]])
    z = mean + log_std.exp() * torch.randn(2, 50_000, generator=generator)
    u = whiten(z, mean, log_std)
    torch.testing.assert_close(u.mean(1), torch.zeros(2), atol=0.02, rtol=0)
    torch.testing.assert_close(u.std(1), torch.ones(2), atol=0.02, rtol=0)


@given(
    st.floats(-1e3, 1e3, width=32), st.floats(-1e3, 1e3, width=32), st.floats(-2, 12), st.sampled_from(["half", "full"])
)
def test_guidance_by_value_and_exact_at_both_ends(a: float, b: float, scale: float, precision: str) -> None:
    dtype = torch.bfloat16 if precision == "half" else torch.float32
    positive, other = torch.full((9,), a, dtype=dtype), torch.full((9,), b, dtype=dtype)
    assert torch.equal(guided(positive, other, 1.0), positive.float())
    assert torch.equal(guided(positive, other, 0.0), other.float())
    expected = other.double() + scale * (positive.double() - other.double())
    torch.testing.assert_close(guided(positive, other, scale).double(), expected, rtol=1e-5, atol=2e-3)


@pytest.mark.parametrize("t", [1, 50, 500, 950, 999, 1000])
@pytest.mark.parametrize("scale", [0.0, 1.0, 3.0])
def test_guided_score_under_whitening_is_the_gaussian_one(t: int, scale: float) -> None:
    """Latents z | c ~ N(m_c, s_c^2), seen by both branches in coordinates that are neither one's own exactly."""
    mean_p, log_std_p = double(1.0, -3.0, 0.5), double(0.4, -0.7, 0.1)
    classes = {
        "text": (double(1.2, -2.0, 0.0), double(1.4, 0.6, 1.0)),
        "none": (double(-1.0, 0.0, 2.0), double(2, 1, 3)),
    }
    u_t = double(0.3, -1.1, 2.0)

    # The score of the noised latent by autograd, in z: z_t = mean_p + std_p u_t, a change of coordinates of u_t.
    alpha, sigma = math.sqrt(SCHEDULE.alpha_bar(t)), math.sqrt(1 - SCHEDULE.alpha_bar(t))
    std_p = log_std_p.exp()
    z_t = unwhiten(u_t, mean_p, log_std_p).requires_grad_()
    log_density = {
        name: Normal(mean_p + alpha * (m - mean_p), (alpha**2 * s**2 + (sigma * std_p) ** 2).sqrt()).log_prob(z_t).sum()
        for name, (m, s) in classes.items()
    }
    (log_density["none"] + scale * (log_density["text"] - log_density["none"])).backward()
    assert z_t.grad is not None

    branches = [gaussian(whiten(m, mean_p, log_std_p), s / std_p, SCHEDULE) for m, s in classes.values()]
    v = guided_denoiser(branches[0], branches[1], scale)(u_t, t)
    score_in_u = -from_velocity(u_t, v, t, SCHEDULE)[1] / sigma
    torch.testing.assert_close(score_in_u / std_p, z_t.grad)


def test_branches_in_coordinates_of_their_own_miss_the_guided_score() -> None:
    """What the shared coordinates are for: whitened each by its own prior, both branches are N(0, 1) and agree."""
    mean, std = double(0.0), double(1.0)
    own = gaussian(mean, std, SCHEDULE)
    shared = gaussian(whiten(double(-1.0), double(1.0), double(0.0)), std, SCHEDULE)
    u_t = double(0.3)
    assert torch.equal(guided_denoiser(own, own, 3.0)(u_t, 500), own(u_t, 500))
    assert (guided_denoiser(own, shared, 3.0)(u_t, 500) - own(u_t, 500)).abs() > 0.5


def test_a_guided_chain_ends_at_the_guided_gaussian() -> None:
    """With equal spreads the guided density is Gaussian at every t, its mean extrapolated, and the flow is known."""
    m_text, m_none, s, scale = double(1.0, -2.0), double(0.5, 0.0), double(0.8, 0.8), 2.5
    mean_p, log_std_p = double(0.9, -1.5), double(-0.2, 0.3)
    text, none = (gaussian(whiten(m, mean_p, log_std_p), s / log_std_p.exp(), SCHEDULE) for m in (m_text, m_none))
    u_T = double(0.7, -1.3)
    u = dpmpp_2m(guided_denoiser(text, none, scale), u_T, trailing_timesteps(1000, 250), SCHEDULE)
    z = unwhiten(u, mean_p, log_std_p)
    torch.testing.assert_close(z, m_none + scale * (m_text - m_none) + s * u_T, atol=2e-3, rtol=0)


def test_scale_one_is_the_conditional_model_and_calls_nothing_else() -> None:
    positive, other, stacked = Branch(2.0), Branch(-1.0), Branch(5.0)
    v = guided_denoiser(positive, other, 1.0, stacked=stacked)(torch.zeros(2, 3), 500)
    assert torch.equal(v, torch.full((2, 3), 2.0))
    assert (positive.calls, other.calls, stacked.calls) == (1, 0, 0)


def test_scale_zero_is_the_other_branch_and_calls_nothing_else() -> None:
    positive, other = Branch(2.0), Branch(-1.0)
    v = guided_denoiser(positive, other, 0.0)(torch.zeros(2, 3), 500)
    assert torch.equal(v, torch.full((2, 3), -1.0))
    assert (positive.calls, other.calls) == (0, 1)


def test_scale_zero_is_the_other_branch_outside_the_interval_too() -> None:
    positive, other = Branch(2.0), Branch(-1.0)
    denoise = guided_denoiser(positive, other, 0.0, (0.3, 0.7), timesteps=1000)
    assert [denoise(torch.zeros(1), t).item() for t in (1, 500, 1000)] == [-1, -1, -1]
    both = guided_denoiser(
        positive, None, 0.0, (0.3, 0.7), timesteps=1000, stacked=lambda x, t: x + torch.tensor([[2.0], [-1.0]])
    )
    assert [both(torch.zeros(1, 1), t).item() for t in (1, 500, 1000)] == [-1, -1, -1]


def test_both_branches_in_one_call() -> None:
    seen = []

    def stacked(x_t: Tensor, t: int) -> Tensor:
        seen.append((x_t.shape, t))
        return x_t * torch.tensor([[2.0], [2.0], [-1.0], [-1.0]])

    x_t = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    positive = Branch(0.0)
    v = guided_denoiser(positive, None, 3.0, stacked=stacked)(x_t, 123)
    assert seen == [((4, 3), 123)]
    assert positive.calls == 0
    torch.testing.assert_close(v, x_t * (-1 + 3 * 3))


def test_interval_limits_guidance_to_a_part_of_the_chain() -> None:
    positive, other = Branch(2.0), Branch(-1.0)
    denoise = guided_denoiser(positive, other, 2.0, (0.3, 0.7), timesteps=1000)
    values = {t: denoise(torch.zeros(1), t).item() for t in (1, 299, 300, 500, 700, 701, 1000)}
    assert values == {1: 2.0, 299: 2.0, 300: 5.0, 500: 5.0, 700: 5.0, 701: 2.0, 1000: 2.0}
    assert other.calls == 3


def test_unusable_guidance_is_refused() -> None:
    with pytest.raises(ValueError, match="second branch"):
        guided_denoiser(Branch(0.0), None, 2.0)
    with pytest.raises(ValueError, match="timesteps"):
        guided_denoiser(Branch(0.0), Branch(0.0), 2.0, (0.1, 0.9))
    for interval in ((-0.1, 0.5), (0.5, 1.2), (0.8, 0.2), (math.nan, 1.0)):
        with pytest.raises(UsageError, match="guidance interval"):
            guided_denoiser(Branch(0.0), Branch(0.0), 2.0, interval, timesteps=1000)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 1.0])
def test_rescale_is_that_of_the_paper(share: float) -> None:
    """Equations 14 to 16 of Lin et al., row by row, as they are written there."""
    generator = torch.Generator().manual_seed(0)
    v, positive = (s * torch.randn(3, 4, 5, 5, generator=generator, dtype=torch.float64) + 1 for s in (3.0, 0.7))
    for made, x_cfg, x_pos in zip(rescaled(v, positive, share), v, positive, strict=True):
        x_rescaled = x_cfg * (x_pos.std() / x_cfg.std())
        torch.testing.assert_close(made, share * x_rescaled + (1 - share) * x_cfg)


def test_rescale_by_value_row_by_row() -> None:
    """Spreads 3 and 1 led halfway back to 1 and 5: (1 + 1/3) / 2 and (1 + 5) / 2 of what they were."""
    line = torch.linspace(-1, 1, 9, dtype=torch.float64)
    v, positive = torch.stack([3 * line, line]), torch.stack([line, 5 * line])
    torch.testing.assert_close(rescaled(v, positive, 0.5), torch.stack([2 * line, 3 * line]))
    torch.testing.assert_close(rescaled(v, positive, 1.0).std(1), positive.std(1))
    assert torch.equal(rescaled(v, positive, 0.0), v)
    assert torch.isfinite(rescaled(torch.zeros(1, 9), torch.zeros(1, 9), 1.0)).all()


def test_rescale_acts_where_guidance_does() -> None:
    line = torch.linspace(-1, 1, 9)[None]
    denoise = guided_denoiser(
        lambda x, t: line, lambda x, t: torch.zeros_like(line), 4.0, (0.5, 1.0), timesteps=1000, rescale=1.0
    )
    torch.testing.assert_close(denoise(line, 800), line)  # 4 lines, as wide as one again
    assert torch.equal(denoise(line, 100), line)
    for share in (-0.1, 1.1, math.nan):
        with pytest.raises(UsageError, match="rescale of guidance must be from 0 to 1"):
            guided_denoiser(lambda x, t: x, lambda x, t: x, 2.0, rescale=share)
