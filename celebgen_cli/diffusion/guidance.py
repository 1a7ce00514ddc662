"""Whitened coordinates, and classifier-free guidance inside them.

A text's prior N(mean, std^2) gives coordinates u = (z - mean) / std, and diffusion runs on u. Two predictions may only
be subtracted from one another in the same coordinates: at sampling every branch (the text, the negative text, no text)
sees the *positive* prompt's coordinates, and a negative prompt merely replaces the branch without text.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from celebgen_cli.errors import UsageError

# (x_t [B, C, H, W], t in 1..T) -> the predicted velocity [B, C, H, W]
Denoiser = Callable[[Tensor, int], Tensor]


def whiten(z: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """u = (z - mean) / std: a latent in the coordinates of a prior. The arguments broadcast; log_std is natural."""
    return (z - mean) * torch.exp(-log_std)


def unwhiten(u: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """z = mean + std u, the inverse of `whiten`."""
    return mean + torch.exp(log_std) * u


def guided(v_positive: Tensor, v_other: Tensor, scale: float) -> Tensor:
    """v_other + scale (v_positive - v_other): classifier-free guidance (Ho & Salimans 2022, arXiv 2207.12598).

    scale 1 is exactly the conditional prediction and 0 exactly the other branch (their w is scale - 1). Guiding v is
    guiding the score, the noise and x0 alike: at a given x_t each is an affine function of the others. Predictions in
    half precision are combined, and returned, in float32.
    """
    if v_positive.dtype in (torch.float16, torch.bfloat16):
        v_positive, v_other = v_positive.float(), v_other.float()
    return torch.lerp(v_other, v_positive, scale)  # exact at both ends, unlike the written-out sum


def rescaled(v: Tensor, v_positive: Tensor, share: float) -> Tensor:
    """Guided velocities [B, ...] led back to the spread of the unguided ones (Lin et al. 2023, arXiv 2305.08891, 3.4).

    share phi in 0..1: 0 leaves v as it is, and 1 gives each row the standard deviation of its row of v_positive.
    Equations 15 and 16, on the network's own output as there.
    """
    v_positive, dims = v_positive.to(v), tuple(range(1, v.ndim))
    ratio = v_positive.std(dims, keepdim=True) / v.std(dims, keepdim=True).clamp(min=torch.finfo(v.dtype).tiny)
    return v * (1 + share * (ratio - 1))


def guided_denoiser(
    positive: Denoiser,
    other: Denoiser | None = None,
    scale: float = 1.0,
    interval: tuple[float, float] | None = None,
    *,
    timesteps: int | None = None,
    stacked: Denoiser | None = None,
    rescale: float = 0.0,
) -> Denoiser:
    """A denoiser that guides `positive` away from `other`.

    positive, other: the branches, each given x_t [B, ...]. `other` is the one without text, or of the negative prompt.
    scale: 1 is `positive` alone and 0 is `other` alone, inside the interval and outside; neither then costs a second
        evaluation, where `other` is given.
    interval: (low, high) as fractions of T, in 0..1 and both ends included: guidance acts where low <= t / T <= high,
        and elsewhere `positive` is used as it is (Kynkäänniemi et al. 2024, arXiv 2404.07724). It needs `timesteps`, T.
    stacked: both branches in one network call, where given: an ordinary denoiser over a doubled batch, which gets
        cat([x_t, x_t]) and returns [2B, ...], the positive rows first. It takes the place of calling `positive` and
        `other` in turn where both are needed.
    rescale: the share phi of `rescaled`, in 0..1, where guidance acts.

    Raises UsageError for an interval or a rescale outside 0..1, and ValueError where guidance has no other branch to
    work with or an interval comes without `timesteps`.
    """
    if scale != 1 and other is None and stacked is None:
        raise ValueError("guidance with a scale other than 1 needs a second branch")
    if interval is not None:
        low, high = interval
        if not 0 <= low <= high <= 1:
            raise UsageError(f"The guidance interval must satisfy 0 <= low <= high <= 1, not {low} to {high}.")
        if timesteps is None:
            raise ValueError("a guidance interval is given in fractions of T, so `timesteps` must be given too")

    if not 0 <= rescale <= 1:
        raise UsageError(f"The rescale of guidance must be from 0 to 1, not {rescale}.")

    def acts(t: int) -> bool:
        if interval is None or timesteps is None:
            return True
        # Compared on the scale of t, with slack for fractions such as 0.7 that have no exact product with T.
        return interval[0] * timesteps - 1e-6 <= t <= interval[1] * timesteps + 1e-6

    def denoise(x_t: Tensor, t: int) -> Tensor:
        if scale == 0 and other is not None:
            return other(x_t, t)
        if scale == 1 or not (acts(t) or scale == 0):
            return positive(x_t, t)
        if stacked is not None:
            v_positive, v_other = stacked(torch.cat([x_t, x_t]), t).chunk(2)
        else:
            assert other is not None
            v_positive, v_other = positive(x_t, t), other(x_t, t)
        v = guided(v_positive, v_other, scale)
        return rescaled(v, v_positive, rescale) if rescale else v

    return denoise
