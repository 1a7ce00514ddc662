"""Spatial frequencies of pictures: how strong they are, ring by ring, and a filter that makes them as strong as others.

A decoder trained with a critic draws detail that is too weak in brightness and too strong in colour, with a trace of
its pixel-shuffle at the highest frequencies. All of that is seen in the power spectrum, and a fixed linear filter mends
it. What is not seen there is whether detail is the picture's own: fine colour that has nothing to do with what was
encoded is noise, however strong it should be, and is left out.

Frequencies are those of the two-dimensional DCT-II, whose mirrored borders need no padding. Ring r of R = `RINGS` holds
coefficients (k, l) near sqrt(k^2 + l^2) = r / (R - 1) * sqrt(2) (S - 1): the first is the mean level, the last is the
finest checkerboard.
"""

import math

import torch
from torch import Tensor

RINGS = 64
HALF_WIDTH = 1.25 / (RINGS - 1)  # of a ring, in units of the highest frequency: neighbours overlap, so rings are smooth
MAX_GAIN = 1.6  # amplified further, what the decoder made up becomes visible
COHERENT = 0.05  # coherence of colour below which it fades: of rebuilt pictures with their photographs

_YCBCR = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))  # ITU-R BT.601, as in JPEG


def ring_power(images: Tensor) -> Tensor:
    """Sum over pictures [B, 3, S, S] of the mean power of each ring: float64 [3, RINGS] on the CPU, rows Y, Cb, Cr."""
    return _ring_sums(_to_frequencies(images.float().clamp(-1, 1)).square())


def ring_products(rebuilt: Tensor, images: Tensor) -> Tensor:
    """What `color_response` asks for, of pictures [B, 3, S, S] and themselves rebuilt: float64 [3, 3, RINGS].

    First their mean product in each ring, summed over pictures, then the power of each; rows Y, Cb, Cr; on the CPU.
    """
    a, b = (_to_frequencies(x.float().clamp(-1, 1)) for x in (rebuilt, images))
    return torch.stack([_ring_sums(a * b), _ring_sums(a.square()), _ring_sums(b.square())])


def color_response(products: Tensor) -> Tensor:
    """Gain of each ring [3, RINGS] that fades colour where a decoder does not know it; brightness has 1 throughout.

    `products`, [3, 3, RINGS], are sums of `ring_products`. Their coherence, <a b> / sqrt(<a a> <b b>), is 1 where
    pictures are rebuilt exactly and 0 where detail is made up. The gain is (coherence / `COHERENT`)^2, at most 1, and
    never rises from a ring to the next finer one, so that chance does not bring noise back.
    """
    together, rebuilt, images = products
    coherence = together / (rebuilt * images).sqrt().clamp(min=1e-12)
    gain = (coherence.clamp(min=0) / COHERENT).square().clamp(max=1)
    gain[0], gain[:, 0] = 1, 1
    return gain.cummin(dim=1).values.float()


def frequency_response(have: Tensor, want: Tensor) -> Tensor:
    """Gain of each ring [3, RINGS] that takes mean power `have` to `want`, at most `MAX_GAIN`; the mean level stays."""
    gain = (want / have.clamp(min=1e-12)).sqrt().clamp(max=MAX_GAIN)
    gain[:, 0] = 1
    return gain.float()


def apply_response(images: Tensor, response: Tensor) -> Tensor:
    """Pictures [B, 3, S, S] in about [-1, 1], clamped to it and filtered ring by ring with gains [3, RINGS].

    Gains between rings are interpolated; computed in single precision under any autocast.
    """
    with torch.autocast(images.device.type, enabled=False):
        place = _radius(images.shape[-1], images.device) * (RINGS - 1)
        below = place.floor().long().clamp(max=RINGS - 2)
        share = place - below
        response = response.float().to(images.device)
        gain = response[:, below] * (1 - share) + response[:, below + 1] * share
        return _from_frequencies(_to_frequencies(images.float().clamp(-1, 1)) * gain)


def _to_frequencies(images: Tensor) -> Tensor:
    """RGB pictures -> DCT-II coefficients of Y, Cb, Cr, orthonormal."""
    dct, colors = _dct(images.shape[-1], images.device), torch.tensor(_YCBCR, device=images.device)
    return dct @ torch.einsum("dc,bchw->bdhw", colors, images) @ dct.T


def _from_frequencies(coefficients: Tensor) -> Tensor:
    dct, device = _dct(coefficients.shape[-1], coefficients.device), coefficients.device
    colors = torch.linalg.inv(torch.tensor(_YCBCR, dtype=torch.float64)).float().to(device)
    return torch.einsum("dc,bchw->bdhw", colors, dct.T @ coefficients @ dct)


def _dct(size: int, device: torch.device) -> Tensor:
    """Orthonormal DCT-II matrix [size, size], a row a frequency."""
    k, n = torch.arange(size, dtype=torch.float64)[:, None], torch.arange(size, dtype=torch.float64)
    matrix = math.sqrt(2 / size) * torch.cos(math.pi * k * (n + 0.5) / size)
    matrix[0] /= math.sqrt(2)
    return matrix.float().to(device)


def _radius(size: int, device: torch.device) -> Tensor:
    """Distance of each coefficient from the mean level, [size, size] in [0, 1]."""
    k = torch.arange(size, dtype=torch.float64)
    return (torch.hypot(k[:, None], k) / (math.sqrt(2) * (size - 1))).float().clamp(max=1).to(device)


def _ring_sums(values: Tensor) -> Tensor:
    """Sum over pictures of each ring's mean of [B, 3, S, S]: float64 [3, RINGS], on the CPU."""
    members = _members(values.shape[-1], torch.device("cpu")).double()  # not every device has float64
    return torch.einsum("ckl,rkl->cr", values.sum(0).cpu().double(), members) / members.sum((1, 2))


def _members(size: int, device: torch.device) -> Tensor:
    """Which coefficients each ring holds, bool [RINGS, size, size]; the mean level is in ring 0 alone."""
    radius = _radius(size, device)
    members = (radius - torch.linspace(0, 1, RINGS, device=device)[:, None, None]).abs() <= HALF_WIDTH
    members[:, 0, 0] = False
    members[0] = radius == 0
    return members
