"""Which timesteps a sampler visits: evenly spaced, denser towards noise or clean data, or even in log-SNR.

Every spacing begins exactly at the level where denoising starts (T, unless it starts late), so the network is first
asked about what x really is there, and leaves the last jump, to level 0, to the sampler.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence

from celebgen_cli.diffusion.schedule import Schedule, trailing_timesteps
from celebgen_cli.errors import UsageError

SPACINGS = ("trailing", "early", "quadratic", "logsnr")


def spaced_timesteps(schedule: Schedule, steps: int, spacing: str = "trailing", start: float = 1.0) -> list[int]:
    """`steps` strictly descending timesteps in 1..T, the first exactly round(start * T).

    spacing:
        trailing: even (Lin et al. 2023, arXiv 2305.08891, section 3.3); for the cosine schedule nearly even in angle.
        early: level i of n is L (1 - (i / n)^2)^(3/4) for the first level L, so steps lengthen as noise goes. What
            a picture is of is decided at first, and few even steps get it wrong; the last jump is long (from 0.31 T
            of 9 steps), over levels where a network that learned little adds more error than detail.
        quadratic: level i of n is L ((n - i) / n)^2, so steps shorten towards clean data
            (Song et al. 2021, arXiv 2010.02502, appendix D.2).
        logsnr: even in log-SNR (the spacing of DPM-Solver, Lu et al. 2022, arXiv 2206.00927). It is infinite at 0 and
            T, for which the levels 1 and T - 1 stand.
    Where two would round to one level, the nearest free ones are taken.
    start: the fraction of T where denoising begins, in (0, 1].

    Raises UsageError for an unknown spacing, a start out of range, and steps outside 1..round(start * T).
    """
    even = trailing_timesteps(schedule.timesteps, steps, start)
    if spacing == "trailing":
        return even
    first = even[0]
    if spacing == "early":
        return _distinct([round(first * (1 - (i / steps) ** 2) ** 0.75) for i in range(steps)])
    if spacing == "quadratic":
        return _distinct([round(first * ((steps - i) / steps) ** 2) for i in range(steps)])
    if spacing == "logsnr":
        high, low = _log_snr(schedule, 1), _log_snr(schedule, min(first, schedule.timesteps - 1))
        wanted = (low + (high - low) * i / steps for i in range(1, steps))
        return _distinct([first, *(_nearest(schedule, value) for value in wanted)])
    raise UsageError(f"there is no spacing '{spacing}'; choose one of {', '.join(SPACINGS)}")


def _log_snr(schedule: Schedule, t: int) -> float:
    bar = schedule.alpha_bar(t)
    return math.log(bar) - math.log1p(-bar)


def _nearest(schedule: Schedule, value: float) -> int:
    """The level in 1..T-1 whose log-SNR is nearest to `value`."""
    levels = range(1, schedule.timesteps)
    place = bisect.bisect_left(levels, -value, key=lambda t: -_log_snr(schedule, t))
    around = levels[max(0, place - 1) : place + 1]
    return min(around, key=lambda t: abs(_log_snr(schedule, t) - value))


def _distinct(levels: Sequence[int]) -> list[int]:
    """Descending levels made strictly descending and at least 1; the first stays, if there is room below it."""
    made = list(levels)
    for i in range(1, len(made)):
        made[i] = min(made[i], made[i - 1] - 1)
    for i in range(len(made) - 1, -1, -1):
        made[i] = max(made[i], 1 if i + 1 == len(made) else made[i + 1] + 1)
    return made
