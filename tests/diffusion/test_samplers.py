from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from celebgen_cli.diffusion.noise import image_noise
from celebgen_cli.diffusion.samplers import (
    SAMPLERS,
    angle_2s,
    ddim,
    ddpm,
    dpmpp_2m,
    trailing_timesteps,
)
from celebgen_cli.diffusion.schedule import Schedule
from celebgen_cli.errors import UsageError
from tests.diffusion.toys import double, gaussian, knows

SCHEDULE = Schedule.cosine(1000)
SEEDS = [11, 12, 13]
SHAPE = (2, 3, 3)


def step_noise(
    seeds: Sequence[int], shape: Sequence[int], dtype: torch.dtype = torch.float32
) -> Callable[[int], Tensor]:
    """What step i of a sampler adds, as drawing has it."""
    return lambda step: image_noise(seeds, shape, step + 1, dtype=dtype)


def wobbly(x_t: Tensor, t: int) -> Tensor:
    """No perfect denoiser: something nonlinear in x_t and t, so that every coefficient matters."""
    return torch.tanh(x_t * (1 + t / 1000)) - 0.3 * x_t + math.sin(t / 100)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 2, 3, 10, 50])
def test_a_perfect_denoiser_is_recovered(name: str, steps: int) -> None:
    x0 = image_noise(SEEDS, SHAPE, 99, dtype=torch.float64)
    x = image_noise(SEEDS, SHAPE, dtype=torch.float64)
    out = SAMPLERS[name](
        knows(x0, SCHEDULE), x, trailing_timesteps(1000, steps), SCHEDULE, noise=step_noise(SEEDS, SHAPE)
    )
    torch.testing.assert_close(out, x0, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 7, 1000])
def test_everything_is_finite_from_pure_noise(name: str, steps: int) -> None:
    seen: list[Tensor] = []
    out = SAMPLERS[name](
        wobbly,
        image_noise(SEEDS, SHAPE),
        trailing_timesteps(1000, steps),
        SCHEDULE,
        noise=step_noise(SEEDS, SHAPE),
        callback=lambda i, t, x0: seen.append(x0),
    )
    assert out.dtype == torch.float32
    assert torch.isfinite(out).all()
    assert torch.isfinite(torch.stack(seen)).all()
    assert out.abs().max() < 100


def first_step(timesteps: tuple[int, int], x0: Tensor, x_t: Tensor, noise: float) -> Tensor:
    """What DDPM makes of x_t in one step between the two levels, when x0 is known and every draw is `noise`."""
    seen: list[Tensor] = []
    towards_x0 = knows(x0, SCHEDULE)

    def denoise(x: Tensor, t: int) -> Tensor:
        seen.append(x)
        return towards_x0(x, t)

    ddpm(denoise, x_t, timesteps, SCHEDULE, noise=lambda i: torch.full_like(x_t, noise))
    return seen[1]


@pytest.mark.parametrize(("t", "s"), [(1000, 999), (1000, 900), (999, 500), (500, 499), (40, 20), (2, 1)])
def test_ddpm_posterior_by_bayes_rule(t: int, s: int) -> None:
    """p(x_s | x_t, x0) is p(x_s | x0) p(x_t | x_s) up to a constant: two Gaussians in x_s, whose precisions add."""
    x0, x_t = double(-1.5, 0.2, 2.0), double(0.4, -2.0, 1.0)
    bar_t, bar_s = SCHEDULE.alpha_bar(t), SCHEDULE.alpha_bar(s)
    step = bar_t / bar_s  # x_t = sqrt(step) x_s + N(0, 1 - step)
    precision = 1 / (1 - bar_s) + step / (1 - step)
    mean = (math.sqrt(bar_s) * x0 / (1 - bar_s) + math.sqrt(step) * x_t / (1 - step)) / precision
    torch.testing.assert_close(first_step((t, s), x0, x_t, 0.0), mean)
    spread = first_step((t, s), x0, x_t, 1.0) - first_step((t, s), x0, x_t, 0.0)
    torch.testing.assert_close(spread, torch.full_like(x0, precision**-0.5))


@pytest.mark.parametrize(
    "timesteps", [trailing_timesteps(1000, 8), trailing_timesteps(1000, 13, 0.8), [1000, 999, 3, 1]]
)
def test_ddim_with_eta_one_is_ddpm_on_the_same_chain(timesteps: list[int]) -> None:
    x = image_noise(SEEDS, SHAPE, dtype=torch.float64)
    noise = step_noise(SEEDS, SHAPE)
    a = ddim(wobbly, x, timesteps, SCHEDULE, eta=1.0, noise=noise)
    b = ddpm(wobbly, x, timesteps, SCHEDULE, noise=noise)
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    assert not torch.allclose(a, ddim(wobbly, x, timesteps, SCHEDULE), atol=1e-2)


def theirs(name: str, **options: object) -> Any:
    """A scheduler of diffusers on our own alpha_bar; its timestep t is our t + 1."""
    diffusers = pytest.importorskip("diffusers")
    if "Singlestep" not in name:
        options["timestep_spacing"] = "trailing"
    scheduler = getattr(diffusers, name)(num_train_timesteps=1000, prediction_type="v_prediction", **options)
    scheduler.alphas_cumprod = SCHEDULE.alphas_cumprod[1:].clone()
    return scheduler


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_is_that_of_diffusers(eta: float) -> None:
    scheduler = theirs("DDIMScheduler", clip_sample=False)
    scheduler.set_timesteps(20)
    noise = step_noise(SEEDS, SHAPE, dtype=torch.float64)
    start = x = image_noise(SEEDS, SHAPE, dtype=torch.float64)
    for i, t in enumerate(scheduler.timesteps.tolist()):
        drawn = noise(i) if eta else None
        x = scheduler.step(wobbly(x, t + 1), t, x, eta=eta, variance_noise=drawn).prev_sample
    ours = ddim(wobbly, start, trailing_timesteps(1000, 20), SCHEDULE, eta=eta, noise=noise)
    torch.testing.assert_close(ours, x, rtol=1e-6, atol=1e-6)


def test_ddpm_is_that_of_diffusers() -> None:
    scheduler = theirs("DDPMScheduler", clip_sample=False, variance_type="fixed_small")
    scheduler.set_timesteps(25)
    start = x = image_noise(SEEDS, SHAPE, dtype=torch.float64)
    generator = torch.Generator().manual_seed(1)
    for t in scheduler.timesteps.tolist():
        x = scheduler.step(wobbly(x, t + 1), t, x, generator=generator).prev_sample
    generator = torch.Generator().manual_seed(1)
    ours = ddpm(
        wobbly,
        start,
        trailing_timesteps(1000, 25),
        SCHEDULE,
        noise=lambda i: torch.randn(start.shape, generator=generator, dtype=start.dtype),
    )
    torch.testing.assert_close(ours, x, rtol=1e-6, atol=1e-6)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # theirs
@pytest.mark.parametrize("steps", [4, 20])
def test_dpmpp_2m_is_that_of_diffusers_where_log_snr_is_finite(steps: int) -> None:
    scheduler = theirs("DPMSolverMultistepScheduler", algorithm_type="dpmsolver++", solver_order=2)
    timesteps = trailing_timesteps(1000, steps, 0.9)
    scheduler.set_timesteps(timesteps=[t - 1 for t in timesteps])
    start = x = image_noise(SEEDS, SHAPE, dtype=torch.float64)
    for t in scheduler.timesteps.tolist():
        x = scheduler.step(wobbly(x, t + 1), t, x).prev_sample
    torch.testing.assert_close(dpmpp_2m(wobbly, start, timesteps, SCHEDULE), x, rtol=1e-4, atol=1e-4)


FINE = Schedule.cosine(64_000)  # fine enough that rounding timesteps to whole numbers does not show


def gaussian_error(name: str, timesteps: list[int], until: int = 0) -> float:
    """Largest error at level `until` (0 or the last timestep) of the probability flow for data N(m, s^2).

    The flow keeps how many standard deviations x_t is from its mean: x_t = alpha m + sqrt(alpha^2 s^2 + sigma^2) k.
    """
    mean, std, k = double(1.0, -2.0, 0.5), double(0.3, 2.0, 0.7), double(0.8, -0.5, 1.5)

    def exact(t: int) -> Tensor:
        bar = FINE.alpha_bar(t)
        return math.sqrt(bar) * mean + (bar * std**2 + 1 - bar).sqrt() * k

    seen: dict[int, Tensor] = {}
    perfect = gaussian(mean, std, FINE)

    def denoise(x_t: Tensor, t: int) -> Tensor:
        seen[t] = x_t
        return perfect(x_t, t)

    seen[0] = SAMPLERS[name](denoise, exact(timesteps[0]), timesteps, FINE)
    return float((seen[until] - exact(until)).abs().max())


@pytest.mark.parametrize(("name", "order"), [("ddim", 1), ("dpmpp_2m", 2), ("angle_2s", 2)])
def test_order_of_convergence_where_log_snr_is_smooth(name: str, order: int) -> None:
    first, last = 57_600, 6_400
    # Even numbers of steps, so that `last` ends a pair of the single-step solver.
    chains = [[round(first + (last - first) * i / n) for i in range(n + 1)] for n in (40, 80, 160)]
    errors = [gaussian_error(name, chain, until=last) for chain in chains]
    for coarse, fine in itertools.pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.15), errors


@pytest.mark.parametrize(("name", "order"), [("ddim", 0.95), ("dpmpp_2m", 1.6), ("angle_2s", 1.35)])
def test_convergence_over_the_whole_chain(name: str, order: float) -> None:
    """Both ends of log-SNR are infinite, which costs the second-order solver some of its order but not all."""
    errors = [gaussian_error(name, trailing_timesteps(64_000, steps)) for steps in (40, 80, 160)]
    for coarse, fine in itertools.pairwise(errors):
        assert math.log2(coarse / fine) > order, errors


@pytest.mark.parametrize("name", ["dpmpp_2m", "angle_2s"])
def test_second_order_needs_fewer_steps_than_ddim(name: str) -> None:
    few = gaussian_error(name, trailing_timesteps(64_000, 20))
    assert few < gaussian_error("ddim", trailing_timesteps(64_000, 50))


def test_dpmpp_2m_falls_back_to_ddim_where_log_snr_is_infinite() -> None:
    x = image_noise(SEEDS, SHAPE, dtype=torch.float64)

    def same(timesteps: list[int]) -> bool:
        return torch.allclose(
            ddim(wobbly, x, timesteps, SCHEDULE), dpmpp_2m(wobbly, x, timesteps, SCHEDULE), rtol=0, atol=1e-12
        )

    assert same(trailing_timesteps(1000, 3))  # the first two and the last step: all of them
    assert not same(trailing_timesteps(1000, 4))
    assert not same([900, 600, 300])  # a late start has a finite log-SNR, so only the first and last are DDIM's


def test_angle_2s_is_of_second_order_from_pure_noise_on() -> None:
    """No fallback at T, where log-SNR is infinite: the first pair counts like any other."""
    last = 6_400
    chains = [[round(64_000 + (last - 64_000) * i / n) for i in range(n + 1)] for n in (40, 80, 160)]
    errors = [gaussian_error("angle_2s", chain, until=last) for chain in chains]
    for coarse, fine in itertools.pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(2, abs=0.15), errors


@pytest.mark.parametrize(("t", "m", "s"), [(1000, 800, 600), (900, 870, 200), (300, 20, 10), (3, 2, 1)])
def test_angle_2s_is_exact_where_the_prediction_is_a_line_in_the_angle(t: int, m: int, s: int) -> None:
    """x0 = a + b p: x_s = (sin s / sin t) x_t + sin s times the integral of (a + b p) / sin^2 p, by quadrature."""
    integrate = pytest.importorskip("scipy.integrate")
    a, b, x_t = 0.7, -1.3, 0.4
    angle = {level: math.acos(math.sqrt(SCHEDULE.alpha_bar(level))) for level in (t, m, s)}
    seen: dict[int, float] = {}

    def denoise(x: Tensor, level: int) -> Tensor:
        seen[level] = x.item()
        p = math.acos(math.sqrt(SCHEDULE.alpha_bar(level)))
        return (math.cos(p) * x - (a + b * p)) / math.sin(p)

    angle_2s(denoise, double(x_t), [t, m, s], SCHEDULE)
    area, _ = integrate.quad(lambda p: (a + b * p) / math.sin(p) ** 2, angle[s], angle[t], epsabs=1e-12, epsrel=1e-12)
    expected = math.sin(angle[s]) / math.sin(angle[t]) * x_t + math.sin(angle[s]) * area
    assert seen[s] == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("timesteps", [[1000], [1000, 500], [400, 90]])
def test_angle_2s_is_ddim_where_a_step_ends_at_clean_data(timesteps: list[int]) -> None:
    x = image_noise(SEEDS, SHAPE, dtype=torch.float64)
    torch.testing.assert_close(angle_2s(wobbly, x, timesteps, SCHEDULE), ddim(wobbly, x, timesteps, SCHEDULE))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # theirs
def test_angle_2s_goes_where_the_single_step_solver_of_diffusers_goes() -> None:
    """They draw the line in log-SNR and we in the angle: the same limit, and nearer to each other than to DDIM."""
    scheduler = theirs("DPMSolverSinglestepScheduler", algorithm_type="dpmsolver++", solver_order=2)
    timesteps = trailing_timesteps(1000, 90, 0.9)
    scheduler.set_timesteps(timesteps=[t - 1 for t in timesteps])
    start = x = image_noise(SEEDS, SHAPE, dtype=torch.float64)
    for t in scheduler.timesteps.tolist():
        x = scheduler.step(wobbly(x, t + 1), t, x).prev_sample
    ours = angle_2s(wobbly, start, timesteps, SCHEDULE)
    apart = (ours - x).abs().max()
    assert apart < 0.02
    assert apart < (ours - ddim(wobbly, start, timesteps, SCHEDULE)).abs().max() / 3


def test_ddpm_samples_have_the_mean_and_spread_of_the_data() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20_000, generator=generator, dtype=torch.float64)
    out = ddpm(
        gaussian(double(1.5), double(0.4), SCHEDULE),
        x,
        trailing_timesteps(1000, 250),
        SCHEDULE,
        noise=lambda i: torch.randn(x.shape, generator=generator, dtype=x.dtype),
    )
    assert out.mean().item() == pytest.approx(1.5, abs=0.015)
    assert out.std().item() == pytest.approx(0.4, abs=0.015)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_seed_gives_the_same_image_at_any_batch_size(name: str) -> None:
    def sample(seeds: list[int]) -> Tensor:
        x, noise = image_noise(seeds, SHAPE), step_noise(seeds, SHAPE)
        return SAMPLERS[name](wobbly, x, trailing_timesteps(1000, 12), SCHEDULE, noise=noise)

    together = sample([5, 6, 7])
    assert torch.equal(together, torch.cat([sample([5]), sample([6]), sample([7])]))
    assert torch.equal(together, sample([7, 6, 5]).flip(0))


@pytest.mark.parametrize("name", SAMPLERS)
def test_callback_and_denoiser_see_each_step_once(name: str) -> None:
    calls: list[tuple[int, int]] = []
    last: list[Tensor] = []
    asked: list[int] = []

    def callback(step: int, t: int, x0: Tensor) -> None:
        calls.append((step, t))
        last[:] = [x0]

    def denoise(x_t: Tensor, t: int) -> Tensor:
        asked.append(t)
        return wobbly(x_t, t)

    x = image_noise(SEEDS, SHAPE)
    out = SAMPLERS[name](denoise, x, [1000, 600, 200], SCHEDULE, noise=step_noise(SEEDS, SHAPE), callback=callback)
    assert calls == [(0, 1000), (1, 600), (2, 200)]
    assert asked == [1000, 600, 200]
    torch.testing.assert_close(out, last[0])  # the last step lands on its own prediction


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_the_chain_keeps_its_precision_whatever_the_network_answers_in(name: str, dtype: torch.dtype) -> None:
    x = image_noise(SEEDS, SHAPE)
    before = x.clone()
    out = SAMPLERS[name](
        lambda x_t, t: wobbly(x_t, t).to(dtype), x, [1000, 500], SCHEDULE, noise=step_noise(SEEDS, SHAPE)
    )
    assert out.dtype == torch.float32
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("timesteps", [[], [0], [1000, 1000], [500, 600], [1001, 5], [10, -1]])
def test_unusable_timesteps_are_refused(name: str, timesteps: list[int]) -> None:
    with pytest.raises(ValueError, match="timestep"):
        SAMPLERS[name](wobbly, torch.zeros(1, 1), timesteps, SCHEDULE, noise=lambda i: torch.zeros(1, 1))


def test_missing_noise_and_bad_eta_are_refused() -> None:
    x = torch.zeros(1, 1)
    with pytest.raises(ValueError, match="noise"):
        ddpm(wobbly, x, [1000, 500], SCHEDULE)
    with pytest.raises(ValueError, match="noise"):
        ddim(wobbly, x, [1000, 500], SCHEDULE, eta=0.5)
    for eta in (-0.1, 1.5, math.nan):
        with pytest.raises(UsageError, match="eta"):
            ddim(wobbly, x, [1000, 500], SCHEDULE, eta=eta)
    ddpm(wobbly, x, [1000], SCHEDULE)  # one step draws nothing
