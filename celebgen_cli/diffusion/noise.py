"""Noise that belongs to an image: the same seed gives the same face at any batch size, in any order, on any device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from celebgen_cli.errors import UsageError

CODE = 2**31 - 1  # the draw of an image that its coarse code is made of (see `celebgen_cli.models.coarse`)


def image_noise(
    seeds: Sequence[int],
    shape: Sequence[int],
    index: int = 0,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Standard normal noise [B, *shape], row i drawn from a generator of its own that knows only (seeds[i], index).

    seeds: one a row, each in 0 .. 2**64 - 1. Seeds below 2**32 never share a generator at the same index.
    shape: of one image's latent, (C, H, W).
    index: which draw of the image this is: 0 is where the chain starts, step i of a sampler takes i + 1.
    The values are drawn on the CPU in float32 whatever the device and dtype of the result.
    Raises UsageError for a seed out of range and ValueError for a negative index.
    """
    if index < 0:
        raise ValueError(f"the index of a draw must be at least 0, not {index}")
    rows = []
    for seed in seeds:
        check_seed(seed)
        generator = torch.Generator(device="cpu").manual_seed(_generator_seed(int(seed), index))
        rows.append(torch.randn(tuple(shape), generator=generator, device="cpu", dtype=torch.float32))
    noise = torch.stack(rows) if rows else torch.empty((0, *shape), device="cpu")
    return noise.to(device=device or "cpu", dtype=dtype)


def check_seed(seed: int) -> None:
    """Raise UsageError for a seed that is no whole number, or outside 0 .. 2**64 - 1."""
    if not 0 <= seed < 2**64 or seed != int(seed):
        raise UsageError(f"A seed must be a whole number from 0 to {2**64 - 1}, not {seed}.")


def _generator_seed(seed: int, index: int) -> int:
    # PyTorch's CPU generator uses 32 bits of its seed. The mix below is one-to-one in the low 32 bits of `seed`.
    return _mix32((seed & 0xFFFFFFFF) ^ _mix32(_mix32(index & 0xFFFFFFFF) ^ (seed >> 32)))


def _mix32(value: int) -> int:
    """A one-to-one scrambling of 32-bit integers (the finaliser of MurmurHash3; Appleby, public domain)."""
    value ^= value >> 16
    value = value * 0x85EBCA6B & 0xFFFFFFFF
    value ^= value >> 13
    value = value * 0xC2B2AE35 & 0xFFFFFFFF
    return value ^ value >> 16
