"""Small changes of aligned faces that leave their attributes as they are."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """How much each face is changed; every amount is drawn evenly up to the one given, both ways."""

    shift: float = 0.06  # of the side
    zoom: float = 0.08
    turn: float = 6.0  # degrees
    brightness: float = 0.12  # of the range from black to gray, added
    contrast: float = 0.15


DRAWS = 7
"""Random numbers that `augment` needs for each face."""


def augment(images: Tensor, draws: Tensor, amount: Augmentation) -> Tensor:
    """Mirror, move, zoom, turn and tone faces; border pixels are repeated outwards.

    Args:
        images: [B, 3, S, S] in [-1, 1].
        draws: [B, DRAWS] in [0, 1), which decide what happens to each face.

    Returns:
        float32 [B, 3, S, S], not clamped.
    """
    draws = draws.to(images.device)
    mirror = torch.where(draws[:, 0] < 0.5, -1.0, 1.0)
    angle, zoom, right, down, light, contrast = (2 * draws[:, 1:] - 1).unbind(1)
    angle, zoom = angle * math.radians(amount.turn), 1 + zoom * amount.zoom
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    rows = [mirror * cos, -sin, 2 * amount.shift * right, mirror * sin, cos, 2 * amount.shift * down]
    grid = F.affine_grid(torch.stack(rows, dim=1).reshape(-1, 2, 3), list(images.shape), align_corners=False)
    moved = F.grid_sample(images.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
    scale, shift = 1 + amount.contrast * contrast, amount.brightness * light
    return moved * scale[:, None, None, None] + shift[:, None, None, None]
