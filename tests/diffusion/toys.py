"""Data whose perfect denoiser is known in closed form."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from celebgen_cli.diffusion.guidance import Denoiser
from celebgen_cli.diffusion.schedule import Schedule


def knows(x0: Tensor, schedule: Schedule) -> Denoiser:
    """The velocity towards one known x0, whatever x_t is."""

    def denoise(x_t: Tensor, t: int) -> Tensor:
        bar = schedule.alpha_bar(t)
        return (math.sqrt(bar) * x_t - x0) / math.sqrt(1 - bar)

    return denoise


def gaussian(mean: Tensor, std: Tensor, schedule: Schedule) -> Denoiser:
    """The velocity for data N(mean, std^2): E[x0 | x_t] by conditioning one Gaussian on another."""

    def denoise(x_t: Tensor, t: int) -> Tensor:
        bar = schedule.alpha_bar(t)
        alpha, sigma = math.sqrt(bar), math.sqrt(1 - bar)
        x0 = mean + alpha * std**2 / (bar * std**2 + 1 - bar) * (x_t - alpha * mean)
        return (alpha * x_t - x0) / sigma

    return denoise


def double(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)
