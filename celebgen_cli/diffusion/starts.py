"""Where denoising can begin other than at T: late from the prior, from a noised picture, from an inverted one.

All three return x at some level t, from which any sampler goes on with timesteps that begin at t.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from celebgen_cli.diffusion.guidance import Denoiser
from celebgen_cli.diffusion.objective import add_noise, from_velocity
from celebgen_cli.diffusion.schedule import Schedule
from celebgen_cli.errors import UsageError

LEAST_SIGNAL = 1e-3  # alpha_bar: below it the picture is lost in rounding, and inversion would only make it up


def late_start(
    noise: Tensor, t: int, schedule: Schedule, mean: Tensor | float = 0.0, std: Tensor | float = 1.0
) -> Tensor:
    """A draw of the prior N(mean, std^2), noised to level t: alpha mean + sqrt(alpha^2 std^2 + sigma^2) noise.

    The sum of a draw of the prior and of noise, alpha (mean + std a) + sigma b, has exactly this distribution. In the
    coordinates of the prior itself its mean is 0 and its std 1, so N(0, I) is the prior's own marginal at *every*
    level: a late start there simply takes the noise for x_t and skips the levels above. In other coordinates (one
    Gaussian a channel) mean and std are the prior's as seen from there. Skipping is right where data is distributed
    like the prior, which holds the better, the nearer t is to T; at T it changes nothing.

    noise: [B, C, H, W]; mean, std: broadcast with it.
    """
    bar = schedule.alpha_bar(t)
    spread = (bar * torch.as_tensor(std).to(noise) ** 2 + 1 - bar).sqrt()
    return math.sqrt(bar) * torch.as_tensor(mean).to(noise) + spread * noise


def noised(x_0: Tensor, noise: Tensor, strength: float, schedule: Schedule) -> tuple[Tensor, int]:
    """(x_t, t) for a picture noised to t = round(strength * T) (SDEdit: Meng et al. 2022, arXiv 2108.01073).

    strength: 0 returns (x_0, 0), which is clean and needs no sampler; 1 is noise alone. Raises UsageError outside 0..1.
    """
    t = strength_level(strength, schedule)
    return (add_noise(x_0, noise, t, schedule) if t else x_0), t


def strength_level(strength: float, schedule: Schedule) -> int:
    """The level round(strength * T) that an edit of this strength begins from. Raises UsageError outside 0..1."""
    if not 0 <= strength <= 1:
        raise UsageError(f"--strength must be from 0 to 1, not {strength}")
    return round(strength * schedule.timesteps)


def deepest_inversion(schedule: Schedule) -> int:
    """The highest level with alpha_bar >= 1e-3, as far up as a picture can be inverted."""
    return int((schedule.alphas_cumprod >= LEAST_SIGNAL).sum()) - 1


def ddim_invert(
    denoiser: Denoiser,
    x_0: Tensor,
    timesteps: Sequence[int],
    schedule: Schedule,
    *,
    refine: int = 0,
    callback: Callable[[int, int, Tensor], object] | None = None,
) -> Tensor:
    """x at timesteps[0] from which `ddim` over the same timesteps comes back to about x_0 [B, C, H, W].

    DDIM run upwards (Song et al. 2021, arXiv 2010.02502, section 4.3): a step from s to t > s keeps the noise predicted
    at (x_s, s) for that at (x_t, t); at s = 0, which no denoiser knows, it is asked at level 1. The error of a round
    trip falls with the length of steps.

    timesteps: strictly descending within 1..T, the samplers' own list; alpha_bar at the first at least 1e-3.
    refine: so many times a step is repeated with the noise predicted where it just arrived, (x_t, t): a fixed point is
        the exact inverse of DDIM's step (Pan et al. 2023, arXiv 2309.04907). Each costs one more evaluation.
    callback: called with (step index, t, x_t) after each step.

    Raises ValueError for unusable timesteps, among them a first one above `deepest_inversion`.
    """
    levels = [0, *reversed(timesteps)]
    if len(levels) < 2 or any(s >= t for s, t in itertools.pairwise(levels)):
        raise ValueError("timesteps must be strictly descending and at least 1, and one at least")
    if levels[-1] > deepest_inversion(schedule):
        raise ValueError(f"timestep {levels[-1]} is above {deepest_inversion(schedule)}, where inversion must end")
    x = x_0
    for i, (s, t) in enumerate(itertools.pairwise(levels)):
        below, asked = x, max(s, 1)
        for _ in range(refine + 1):
            eps = from_velocity(x, denoiser(x, asked).to(x), asked, schedule)[1]
            x, asked = _up(below, eps, s, t, schedule), t
        if callback is not None:
            callback(i, t, x)
    return x


def _up(x_s: Tensor, eps: Tensor, s: int, t: int, schedule: Schedule) -> Tensor:
    """x_t on the line of x0 and noise through x_s, for this noise; alpha(s) is at least that of `LEAST_SIGNAL`."""
    bar_s, bar_t = schedule.alpha_bar(s), schedule.alpha_bar(t)
    ratio = math.sqrt(bar_t / bar_s)
    return ratio * x_s + (math.sqrt(1 - bar_t) - ratio * math.sqrt(1 - bar_s)) * eps
