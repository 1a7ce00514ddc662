"""Correction of what is drawn: of latents, whose mean and broad tones guidance and few steps move, and of pictures.

Drawn latents get the mean of encoded ones and broad tones that are spread like theirs; decoded faces get the spatial
frequencies of photographs (`celebgen_cli.models.spectrum`).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from celebgen_cli.models.spectrum import RINGS, apply_response


class Calibration(NamedTuple):
    """What drawn latents u (whitened) lack against encoded ones, and decoded faces against photographs.

    shift: [C, h, h], mean of drawn u minus mean of encoded u.
    center: [C, 3], mean of drawn u's broad tones (see `broad_tones`).
    gain: [C, 3], how much wider encoded u's broad tones are spread over pictures than those of drawn u.
    response: [3, RINGS], gain of each spatial frequency of decoded faces in Y, Cb, Cr.
    """

    shift: Tensor
    center: Tensor
    gain: Tensor
    response: Tensor

    def to(self, device: torch.device | str) -> "Calibration":
        return Calibration(*(part.to(device) for part in self))

    def __call__(self, u: Tensor) -> Tensor:
        """u [B, C, h, h] -> u with the mean of encoded latents, and broad tones that are spread like theirs."""
        basis = broad_tones(u.shape[-1]).to(u)
        tones = torch.einsum("bchw,khw->bck", u, basis)
        return u - self.shift + torch.einsum("bck,khw->bchw", (self.gain - 1) * (tones - self.center), basis)

    def develop(self, faces: Tensor) -> Tensor:
        """Decoded faces [B, 3, S, S] in about [-1, 1] -> the same with the frequencies of photographs, not clamped."""
        return apply_response(faces, self.response)


def broad_tones(size: int) -> Tensor:
    """The lowest waves of the cosine transform, orthonormal [3, size, size]: level, top to bottom, left to right."""
    wave = torch.cos(math.pi * (torch.arange(size) + 0.5) / size) * math.sqrt(2) / size
    return torch.stack([torch.full((size, size), 1 / size), wave[:, None].expand(size, size), wave.expand(size, size)])


def measure(drawn: Tensor, encoded: Tensor) -> Calibration:
    """The calibration that gives `drawn` [N, C, h, h] the mean of `encoded` [M, C, h, h] and the spread of its tones.

    The two slopes share a gain; the response is flat until one is measured.

    Raises:
        ValueError: fewer than two of either.
    """
    if min(len(drawn), len(encoded)) < 2:
        raise ValueError("a spread needs at least two latents on each side")
    basis = broad_tones(drawn.shape[-1]).to(drawn)
    have, want = (torch.einsum("bchw,khw->bck", u, basis) for u in (drawn, encoded))

    def variance(tones: Tensor) -> Tensor:
        each = tones.var(0, correction=0)
        return torch.cat([each[:, :1], each[:, 1:].mean(1, keepdim=True).expand(-1, 2)], dim=1)

    gain = (variance(want) / variance(have).clamp(min=1e-12)).sqrt()
    return Calibration(drawn.mean(0) - encoded.mean(0), have.mean(0), gain, torch.ones(3, RINGS))
