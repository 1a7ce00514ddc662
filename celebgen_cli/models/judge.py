"""The attribute judge: a small residual network that says which of the 40 attributes a face shows.

It works on 64-px faces whatever the size of the picture, and is meant for measuring: it sees pixels, never a prompt.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from celebgen_cli.data.attributes import ATTRIBUTES
from celebgen_cli.models.layers import group_norm, zero_init


@dataclass(frozen=True)
class JudgeConfig:
    """Sizes of a judge. The defaults are 1.7 M weights: at most 2 MiB in 8 bit."""

    image_size: int = 64  # pixels of the side that the network works on; pictures are brought to it
    widths: tuple[int, ...] = (32, 64, 128, 192)  # channels, each level at half the side of the one before
    blocks: tuple[int, ...] = (0, 0, 2, 1)  # residual blocks a level

    @property
    def grid(self) -> int:
        """Positions a side in the last level. Faces are aligned, so the last layer weighs each position on its own."""
        return self.image_size // 2 ** len(self.widths)


class Block(nn.Module):
    """Pre-activation residual block (He et al. 2016, arXiv 1603.05027): [B, C, H, W] to the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = group_norm(channels), group_norm(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = zero_init(nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.relu(self.norm1(x)))
        return x + self.conv2(F.relu(self.norm2(h)))


class Judge(nn.Module):
    """Faces [B, 3, S, S] in [-1, 1], of any side S, to logits [B, 40] in the official order of the attributes.

    Norms are by groups, not by batch, so that an answer depends on its picture alone.
    """

    def __init__(self, config: JudgeConfig) -> None:
        """Make the network, untrained.

        Raises:
            ValueError: the side cannot be halved once a level.
        """
        super().__init__()
        if config.image_size % 2 ** len(config.widths) or len(config.widths) != len(config.blocks):
            raise ValueError(f"a judge of {config.image_size} px cannot have {len(config.widths)} levels")
        self.config = config
        layers: list[nn.Module] = [nn.Conv2d(3, config.widths[0], 4, stride=2, padding=1)]
        for level, (width, blocks) in enumerate(zip(config.widths, config.blocks, strict=True)):
            if level:
                before = config.widths[level - 1]
                layers += [group_norm(before), nn.ReLU(), nn.Conv2d(before, width, 3, stride=2, padding=1)]
            layers += [Block(width) for _ in range(blocks)]
        layers += [group_norm(config.widths[-1]), nn.ReLU()]
        self.trunk = nn.Sequential(*layers)
        self.head = nn.Linear(config.widths[-1] * config.grid**2, len(ATTRIBUTES))

    def forward(self, images: Tensor, keep: Tensor | None = None) -> Tensor:
        """Logits [B, 40]; `keep` [B, C] multiplies the channels of the last level, for dropout drawn outside."""
        features = self.trunk(shrink(images, self.config.image_size))
        if keep is not None:
            features = features * keep[:, :, None, None]
        return self.head(features.flatten(1))


def shrink(images: Tensor, size: int) -> Tensor:
    """Faces [B, 3, S, S] at the side `size`: pixels are averaged where that is smaller, interpolated where larger."""
    side = images.shape[-1]
    if side == size:
        return images
    if side % size == 0:
        return F.avg_pool2d(images, side // size)
    return F.interpolate(images, size=(size, size), mode="bilinear", antialias=True, align_corners=False)


@torch.inference_mode()
def probabilities(
    judge: Judge, images: np.ndarray, batch_size: int = 64, done: Callable[[int], None] = lambda count: None
) -> np.ndarray:
    """How sure the judge is that each face has each attribute.

    The answer is that to the face and its mirror image together (the mean of the logits), which errs less.

    Args:
        images: uint8 [N, S, S, 3], RGB.
        done: told the number of faces judged so far after each batch.

    Returns:
        float32 [N, 40] in 0 to 1, the official order.
    """
    from celebgen_cli.models.cvae import to_float

    device = judge.head.weight.device
    answers = np.empty((len(images), len(ATTRIBUTES)), dtype=np.float32)
    for start in range(0, len(images), batch_size):
        pixels = np.array(images[start : start + batch_size], order="C")  # a copy: memory-mapped ones are read-only
        batch = shrink(to_float(torch.from_numpy(pixels).to(device)), judge.config.image_size)
        logits = 0.5 * (judge(batch) + judge(batch.flip(3)))
        answers[start : start + len(batch)] = torch.sigmoid(logits.float()).cpu().numpy()
        done(start + len(batch))
    return answers
