"""Two rates as functions of the step: the learning rate, and how fast the average of the weights follows them."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def warm_cosine(step: int, steps: int, peak: float, warmup: int, floor: float) -> float:
    """Linear warm-up to `peak`, then half a cosine to `floor` of it (arXiv 1608.03983, equation 5)."""
    warm = min(1.0, (step + 1) / max(1, warmup))
    rest = min(1.0, max(0, step - warmup) / max(1, steps - warmup))
    return peak * warm * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * rest)))


def ema_update(
    half_life: int, updates: Callable[[], int] | None = None
) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]:
    """Average with decay 0.5^(1/half_life), less at first so that the start is forgotten.

    `updates` says how many there were, in place of the tensor that comes along, which may lie on a GPU: to read it
    there would wait for everything before.
    """
    limit = 0.5 ** (1 / half_life)

    @torch.no_grad()
    def update(averaged: Sequence[Tensor], current: Sequence[Tensor], count: Tensor | int) -> None:
        done = int(count) if updates is None else updates()
        decay = min(limit, (1 + done) / (10 + done))
        torch._foreach_lerp_(list(averaged), list(current), 1 - decay)

    return update
