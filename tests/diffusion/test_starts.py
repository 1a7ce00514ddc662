from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from celebgen_cli.diffusion.noise import image_noise
from celebgen_cli.diffusion.objective import add_noise
from celebgen_cli.diffusion.samplers import ddim
from celebgen_cli.diffusion.schedule import Schedule, trailing_timesteps
from celebgen_cli.diffusion.starts import ddim_invert, deepest_inversion, late_start, noised, strength_level
from celebgen_cli.errors import UsageError
from tests.diffusion.toys import double, gaussian, knows

SCHEDULE = Schedule.cosine(1000)
FINE = Schedule.cosine(64_000)  # so fine that rounding of timesteps does not show
MEAN, STD = double(1.0, -2.0, 0.5), double(0.3, 2.0, 0.7)


def draw(index: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return image_noise([1, 2, 3], (2, 4, 4), index, dtype=dtype)


@pytest.mark.parametrize("t", [1000, 900, 500, 1])
def test_in_the_priors_own_coordinates_a_late_start_is_plain_noise(t: int) -> None:
    torch.testing.assert_close(late_start(draw(0), t, SCHEDULE), draw(0))


@pytest.mark.parametrize("t", [1000, 700, 200])
def test_a_late_start_is_distributed_like_noised_draws_of_the_prior(t: int) -> None:
    """Mean and variance of alpha (mean + std a) + sigma b, from their definition."""
    mean, std = double(3.0, -1.0), double(0.2, 4.0)
    bar = SCHEDULE.alpha_bar(t)
    at_zero = late_start(torch.zeros(2, dtype=torch.float64), t, SCHEDULE, mean, std)
    spread = late_start(torch.ones(2, dtype=torch.float64), t, SCHEDULE, mean, std) - at_zero
    torch.testing.assert_close(at_zero, math.sqrt(bar) * mean)
    torch.testing.assert_close(spread**2, bar * std**2 + (1 - bar))


def test_a_late_start_of_a_gaussian_ends_in_that_gaussian() -> None:
    """Where the data is the prior, nothing is lost by beginning late: the flow keeps each draw's place in it."""
    k = double(-1.0, 0.5, 2.0)
    for start in (1.0, 0.8):
        levels = trailing_timesteps(FINE.timesteps, 4000, start)
        x = late_start(k, levels[0], FINE, MEAN, STD)
        torch.testing.assert_close(ddim(gaussian(MEAN, STD, FINE), x, levels, FINE), MEAN + STD * k, rtol=0, atol=5e-3)


def test_noised_by_strength() -> None:
    x0, noise = draw(0), draw(1)
    assert noised(x0, noise, 0.0, SCHEDULE)[1] == 0
    assert torch.equal(noised(x0, noise, 0.0, SCHEDULE)[0], x0)
    assert torch.equal(noised(x0, noise, 1.0, SCHEDULE)[0], noise)
    x, t = noised(x0, noise, 0.6, SCHEDULE)
    assert t == strength_level(0.6, SCHEDULE) == 600
    torch.testing.assert_close(x, add_noise(x0, noise, 600, SCHEDULE))
    for strength in (-0.1, 1.1, math.nan):
        with pytest.raises(UsageError, match="--strength must be from 0 to 1"):
            strength_level(strength, SCHEDULE)


def test_the_deepest_level_that_can_be_inverted() -> None:
    t = deepest_inversion(SCHEDULE)
    assert SCHEDULE.alpha_bar(t) >= 1e-3 > SCHEDULE.alpha_bar(t + 1)
    assert 0.95 * 1000 < t < 1000


def inversion_error(steps: int, refine: int = 0) -> float:
    """Distance from the exact end of the probability flow of N(MEAN, STD^2), which keeps standard deviations."""
    level = deepest_inversion(FINE)
    k, bar = double(0.8, -0.5, 1.5), FINE.alpha_bar(level)
    timesteps = trailing_timesteps(FINE.timesteps, steps, level / FINE.timesteps)
    assert timesteps[0] == level
    made = ddim_invert(gaussian(MEAN, STD, FINE), MEAN + STD * k, timesteps, FINE, refine=refine)
    return float((made - math.sqrt(bar) * MEAN - (bar * STD**2 + 1 - bar).sqrt() * k).abs().max())


def test_inversion_is_exact_in_the_limit_of_many_steps() -> None:
    errors = [inversion_error(steps) for steps in (50, 200, 800)]
    assert errors[-1] < 5e-3
    for coarse, fine in zip(errors, errors[1:], strict=False):
        assert math.log(coarse / fine, 4) > 0.8, errors  # of first order


def round_trip(steps: int, refine: int) -> float:
    timesteps = trailing_timesteps(1000, steps, 0.9)
    denoiser, x0 = gaussian(MEAN[:, None, None], STD[:, None, None], SCHEDULE), draw(0)[:, [0, 1, 0]]
    up = ddim_invert(denoiser, x0, timesteps, SCHEDULE, refine=refine)
    return float((ddim(denoiser, up, timesteps, SCHEDULE) - x0).abs().max())


def test_a_round_trip_comes_back() -> None:
    plain = [round_trip(steps, 0) for steps in (25, 100, 400)]
    assert plain[2] < plain[1] / 2.5 < plain[0] / 6  # falls with the length of steps
    assert plain[2] < 0.05
    assert round_trip(25, 3) < plain[0] / 5


def test_refined_inversion_undoes_ddim_whatever_the_number_of_steps() -> None:
    assert round_trip(25, 60) < 1e-6


def test_one_step_of_inversion_by_hand() -> None:
    """Of a denoiser that answers a constant v: the noise at (x_0, 1) kept at x_0's own side."""
    x0, v, t = draw(0), draw(2), 400
    made = ddim_invert(lambda x, level: v, x0, [t], SCHEDULE)
    eps = SCHEDULE.sigma(1, x0) * x0 + SCHEDULE.alpha(1, x0) * v
    torch.testing.assert_close(made, add_noise(x0, eps, t, SCHEDULE))


def test_inversion_asks_at_each_level_and_reports_it() -> None:
    asked: list[int] = []
    reached: list[tuple[int, int]] = []
    towards = knows(draw(5), SCHEDULE)

    def denoise(x: Tensor, t: int) -> Tensor:
        asked.append(t)
        return towards(x, t)

    made = ddim_invert(
        denoise, draw(0), [900, 500, 100], SCHEDULE, refine=1, callback=lambda i, t, x: reached.append((i, t))
    )
    assert asked == [1, 100, 100, 500, 500, 900]
    assert reached == [(0, 100), (1, 500), (2, 900)]
    assert made.dtype == torch.float64


@pytest.mark.parametrize("timesteps", [[], [0], [500, 500], [100, 200], [1000, 500], [*trailing_timesteps(1000, 5)]])
def test_levels_that_cannot_be_inverted(timesteps: list[int]) -> None:
    with pytest.raises(ValueError, match="timestep"):
        ddim_invert(knows(draw(1), SCHEDULE), draw(0), timesteps, SCHEDULE)
