"""Samplers: pure functions that walk a denoiser down a list of timesteps to clean data.

Each takes (denoiser, x_T, timesteps, schedule):

    denoiser   (x_t [B, C, H, W], int t) -> velocity [B, C, H, W]
    x_T        [B, C, H, W], x at level timesteps[0] (noise where that is T); its dtype and device are kept throughout
    timesteps  strictly descending within 1..T; after the last one the chain goes to level 0

and by keyword `noise`, step index -> standard normal noise like x_T, and `callback(step_index, t, x0_prediction)`. All
return x0 [B, C, H, W]. alpha_bar(T) is exactly 0, and every coefficient here is finite there: predictions become x0 and
noise by the rotation of `from_velocity`, and the solvers are written without log-SNR where it is infinite.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from torch import Tensor

from celebgen_cli.diffusion.guidance import Denoiser
from celebgen_cli.diffusion.objective import from_velocity
from celebgen_cli.diffusion.schedule import Schedule, trailing_timesteps
from celebgen_cli.errors import UsageError

__all__ = ["SAMPLERS", "Sampler", "angle_2s", "ddim", "ddpm", "dpmpp_2m", "trailing_timesteps"]

Noise = Callable[[int], Tensor]
Callback = Callable[[int, int, Tensor], object]


class Sampler(Protocol):
    """What the entries of SAMPLERS have in common. A sampler that draws nothing ignores `noise`."""

    def __call__(
        self,
        denoiser: Denoiser,
        x_T: Tensor,
        timesteps: Sequence[int],
        schedule: Schedule,
        *,
        noise: Noise | None = None,
        callback: Callback | None = None,
    ) -> Tensor: ...


def ddim(
    denoiser: Denoiser,
    x_T: Tensor,
    timesteps: Sequence[int],
    schedule: Schedule,
    *,
    eta: float = 0.0,
    noise: Noise | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """DDIM (Song et al. 2021, arXiv 2010.02502): equation 12, with the noise of equation 16 times eta.

    eta 0 is deterministic; eta 1 is DDPM's ancestral sampling on the same respaced chain. Raises UsageError for eta
    outside 0..1, and ValueError for eta above 0 without `noise` and for unusable timesteps.
    """
    if not 0 <= eta <= 1:
        raise UsageError(f"DDIM's eta must be from 0 to 1, not {eta}.")
    if eta > 0 and noise is None:
        raise ValueError("DDIM with eta above 0 draws noise at each step, so `noise` must be given")
    x = x_T
    for i, t, s in _steps(timesteps, schedule):
        x0, eps = _predict(denoiser, x, t, schedule, i, callback)
        bar_s = schedule.alpha_bar(s)
        variance = eta**2 * _posterior_variance(t, s, schedule)
        x = math.sqrt(bar_s) * x0 + math.sqrt(max(0.0, 1 - bar_s - variance)) * eps
        if variance > 0 and noise is not None:
            x = x + math.sqrt(variance) * noise(i).to(x)
    return x


def ddpm(
    denoiser: Denoiser,
    x_T: Tensor,
    timesteps: Sequence[int],
    schedule: Schedule,
    *,
    noise: Noise | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """DDPM ancestral sampling (Ho et al. 2020, arXiv 2006.11239): x_s ~ q(x_s | x_t, x0), equations 6 and 7.

    The chain is respaced to the given timesteps (Nichol & Dhariwal 2021, arXiv 2102.09672, equation 19), the variance
    is the posterior's, and the mean is left in terms of x0 and x_t, which is finite at T. Raises ValueError without
    `noise` (unless there is a single step, which draws none) and for unusable timesteps.
    """
    if noise is None and len(timesteps) > 1:
        raise ValueError("DDPM draws noise at each step, so `noise` must be given")
    x = x_T
    for i, t, s in _steps(timesteps, schedule):
        x0, _ = _predict(denoiser, x, t, schedule, i, callback)
        bar_t, bar_s = schedule.alpha_bar(t), schedule.alpha_bar(s)
        alpha = bar_t / bar_s  # of the respaced step from s to t
        on_x0 = math.sqrt(bar_s) * (1 - alpha) / (1 - bar_t)
        on_x_t = math.sqrt(alpha) * (1 - bar_s) / (1 - bar_t)
        x = on_x0 * x0 + on_x_t * x
        variance = _posterior_variance(t, s, schedule)
        if variance > 0 and noise is not None:
            x = x + math.sqrt(variance) * noise(i).to(x)
    return x


def dpmpp_2m(
    denoiser: Denoiser,
    x_T: Tensor,
    timesteps: Sequence[int],
    schedule: Schedule,
    *,
    noise: Noise | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095): algorithm 2, the second-order multistep solver in x0 form.

    A step from t to s is x_s = (sigma_s / sigma_t) x_t + (alpha_s - alpha_t sigma_s / sigma_t) D, which is their update
    without log-SNR; D is x0 extrapolated from the last two predictions in log-SNR. Where one of the three log-SNRs that
    this takes is infinite, D = x0, and the step is DDIM's: the first two steps of a chain from T, and the last one.
    Deterministic: `noise` is taken for uniformity and ignored. Raises ValueError for unusable timesteps.
    """
    x = x_T
    before: tuple[float, Tensor] | None = None  # log-SNR and x0 of the step before
    for i, t, s in _steps(timesteps, schedule):
        x0, _ = _predict(denoiser, x, t, schedule, i, callback)
        alpha_t, sigma_t, lambda_t = _half_log_snr(t, schedule)
        alpha_s, sigma_s, lambda_s = _half_log_snr(s, schedule)
        data = x0
        if before is not None and all(map(math.isfinite, (before[0], lambda_t, lambda_s))):
            ratio = (lambda_s - lambda_t) / (lambda_t - before[0])
            data = x0 + (0.5 * ratio) * (x0 - before[1])
        x = (sigma_s / sigma_t) * x + (alpha_s - alpha_t * sigma_s / sigma_t) * data
        before = (lambda_t, x0)
    return x


def angle_2s(
    denoiser: Denoiser,
    x_T: Tensor,
    timesteps: Sequence[int],
    schedule: Schedule,
    *,
    noise: Noise | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """A single-step solver of second order in the angle p, where alpha = cos p and sigma = sin p.

    The probability flow in x0 form is d(x / sin p) / dp = -D / sin^2 p, D the predicted x0 (Lu et al. 2022, arXiv
    2211.01095, proposition 4.1, with log(cot p) for their lambda). Timesteps are taken in pairs (t, m), so their number
    is that of evaluations: DDIM goes from t to m, and from t again to the next pair's s, with D a line in p through the
    two predictions, integrated exactly:

        x_s = (sin s / sin t) x_t + (cos s - cos t sin s / sin t) D_t + c (D_m - D_t) / (t - m),
        c   = (t - s) cos s - sin s log(sin t / sin s),      all levels meaning their angles.

    D is smooth in p up to T, where log-SNR is not finite, so that the first pair is of second order too. The steps that
    end at level 0 are DDIM's: a line through predictions would be extrapolated there. It remembers nothing from one
    pair to the next, which guidance that sets in halfway upsets less than it does a multistep solver.
    Deterministic: `noise` is taken for uniformity and ignored. Raises ValueError for unusable timesteps.
    """
    x = x_T
    pair: tuple[int, Tensor, Tensor] | None = None  # level, x and x0 where a pair began
    for i, m, s in _steps(timesteps, schedule):
        x0, eps = _predict(denoiser, x, m, schedule, i, callback)
        if pair is None or s == 0:
            pair = (m, x, x0)
            x = math.sqrt(schedule.alpha_bar(s)) * x0 + math.sqrt(1 - schedule.alpha_bar(s)) * eps
            continue
        (t, x_t, x0_t), pair = pair, None
        angle_t, angle_m, angle_s = (_angle(level, schedule) for level in (t, m, s))
        shrink = math.sin(angle_s) / math.sin(angle_t)
        bend = (angle_t - angle_s) * math.cos(angle_s) + math.sin(angle_s) * math.log(shrink)
        x = shrink * x_t + (math.cos(angle_s) - math.cos(angle_t) * shrink) * x0_t
        x = x + (bend / (angle_t - angle_m)) * (x0 - x0_t)
    return x


SAMPLERS: dict[str, Sampler] = {"ddim": ddim, "ddpm": ddpm, "dpmpp_2m": dpmpp_2m, "angle_2s": angle_2s}


def _steps(timesteps: Sequence[int], schedule: Schedule) -> Iterator[tuple[int, int, int]]:
    """(step index, from t, to s) for a checked list of timesteps; the last step goes to 0."""
    levels = [*timesteps, 0]
    if len(levels) < 2:
        raise ValueError("a sampler needs at least one timestep")
    if levels[0] > schedule.timesteps:
        raise ValueError(f"timestep {levels[0]} is above the schedule's T = {schedule.timesteps}")
    if any(s >= t for t, s in itertools.pairwise(levels)):
        raise ValueError("timesteps must be strictly descending and at least 1")
    return ((i, t, s) for i, (t, s) in enumerate(itertools.pairwise(levels)))


def _predict(
    denoiser: Denoiser, x: Tensor, t: int, schedule: Schedule, index: int, callback: Callback | None
) -> tuple[Tensor, Tensor]:
    """The denoiser's (x0, noise) in x's dtype; a network in half precision does not lower the chain's own."""
    x0, eps = from_velocity(x, denoiser(x, t).to(x), t, schedule)
    if callback is not None:
        callback(index, t, x0)
    return x0, eps


def _posterior_variance(t: int, s: int, schedule: Schedule) -> float:
    """Variance of q(x_s | x_t, x0) for a step from t to s (DDPM's equation 7 on the respaced chain); 0 for s = 0."""
    bar_t, bar_s = schedule.alpha_bar(t), schedule.alpha_bar(s)
    return (1 - bar_s) / (1 - bar_t) * (1 - bar_t / bar_s)


def _half_log_snr(t: int, schedule: Schedule) -> tuple[float, float, float]:
    """(alpha, sigma, log(alpha / sigma)) at t; the logarithm is -inf at T and +inf at 0."""
    bar = schedule.alpha_bar(t)
    alpha, sigma = math.sqrt(bar), math.sqrt(1 - bar)
    if alpha == 0 or sigma == 0:
        return alpha, sigma, math.inf if sigma == 0 else -math.inf
    return alpha, sigma, math.log(alpha / sigma)


def _angle(t: int, schedule: Schedule) -> float:
    """p in 0..pi/2 with alpha = cos p and sigma = sin p: pi/2 at T, 0 at 0."""
    bar = schedule.alpha_bar(t)
    return math.atan2(math.sqrt(1 - bar), math.sqrt(bar))
