"""What the denoiser is trained on: noised samples, the velocity that it predicts, and the weighted loss.

Shapes: x0, noise, x_t and v are [B, ...]; t is int64 [B] with values in 0..T, or one int for the whole batch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from celebgen_cli.diffusion.schedule import Schedule


def add_noise(x0: Tensor, noise: Tensor, t: Tensor | int, schedule: Schedule) -> Tensor:
    """x_t = alpha x0 + sigma noise (Ho et al. 2020, arXiv 2006.11239, equation 4). At T it is exactly the noise."""
    return schedule.alpha(t, x0) * x0 + schedule.sigma(t, x0) * noise


def velocity(x0: Tensor, noise: Tensor, t: Tensor | int, schedule: Schedule) -> Tensor:
    """v = alpha noise - sigma x0, the training target (Salimans & Ho 2022, arXiv 2202.00512, appendix D)."""
    return schedule.alpha(t, x0) * noise - schedule.sigma(t, x0) * x0


def from_velocity(x_t: Tensor, v: Tensor, t: Tensor | int, schedule: Schedule) -> tuple[Tensor, Tensor]:
    """(x0, noise) that x_t and v stand for: x0 = alpha x_t - sigma v and noise = sigma x_t + alpha v.

    A rotation, so finite at every t; at T it reads x0 = -v and noise = x_t.
    """
    alpha, sigma = schedule.alpha(t, x_t), schedule.sigma(t, x_t)
    return alpha * x_t - sigma * v, sigma * x_t + alpha * v


def min_snr_weight(t: Tensor | int, schedule: Schedule, gamma: float = 5.0) -> Tensor:
    """The loss weight of each timestep for v-prediction, float32 in t's shape: min(SNR + 1, gamma + 1) / (SNR + 1).

    Min-SNR weighting (Hang et al. 2023, arXiv 2303.09556, section 3.4) with one added to both sides of the minimum: the
    published v-form min(SNR, gamma) / (SNR + 1) is 0 at T, and with alpha_bar(T) = 0 would leave the first sampling
    step untrained. Here the weight is 1 wherever SNR <= gamma, at T too, and falls to 0 towards clean data.
    gamma: at least 0; infinity gives weight 1 everywhere (plain mean squared error in v). Raises ValueError otherwise.
    """
    if math.isnan(gamma) or gamma < 0:
        raise ValueError(f"gamma must be at least 0, not {gamma}")
    if math.isinf(gamma):
        return torch.ones_like(schedule.variance(t))
    # 1 / (SNR + 1) is the variance, which makes the formula finite at t = 0 as well.
    return ((gamma + 1) * schedule.variance(t)).clamp(max=1.0)


def diffusion_loss(v_pred: Tensor, v_target: Tensor, t: Tensor | int, schedule: Schedule, gamma: float = 5.0) -> Tensor:
    """Mean over the batch of min_snr_weight times each sample's mean squared error; a scalar, computed in float32."""
    error = (v_pred.float() - v_target.float()).square().flatten(1).mean(dim=1)
    return (min_snr_weight(t, schedule, gamma).to(error.device) * error).mean()
