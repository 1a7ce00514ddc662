"""LPIPS (Zhang et al. 2018, arXiv 1801.03924), version 0.1, as the CVAE's loss: over AlexNet or over VGG16.

A backbone is torchvision's ImageNet network, or safetensors files given by `--perceptual-weights DIR`:
`alexnet-features.safetensors` or `vgg16-features.safetensors` (torchvision's `features.N.weight/bias`), and
`alexnet-lpips-lin.safetensors` or `vgg16-lpips-lin.safetensors` (`linK.model.1.weight` [1, C, 1, 1]).
"""

import contextlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from celebgen_cli.errors import CelebgenError
from celebgen_cli.training.checkpoints import load_tensors


@dataclass(frozen=True)
class Backbone:
    """A stack of convolutions, each with a ReLU behind it, some with a maximum over windows before it."""

    name: str  # of files
    label: str  # in sentences
    # (torchvision's number, input channels, output channels, kernel, stride, padding)
    convolutions: tuple[tuple[int, int, int, int, int, int], ...]
    pool: tuple[int, int]  # kernel and stride of the maxima
    pooled: tuple[int, ...]  # convolutions, counted from 0, that have one before them
    compared: tuple[int, ...]  # convolutions whose activations are compared

    @property
    def channels(self) -> tuple[int, ...]:
        """Of the layers that are compared."""
        return tuple(self.convolutions[i][2] for i in self.compared)

    @property
    def files(self) -> tuple[str, str]:
        """Names of the features' and the linear layers' files."""
        return f"{self.name}-features.safetensors", f"{self.name}-lpips-lin.safetensors"


def _vgg16() -> Backbone:
    widths, numbers = (64, 128, 256, 512, 512), (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    after = [width for width, count in zip(widths, (2, 2, 3, 3, 3), strict=True) for _ in range(count)]
    before = [3, *after[:-1]]
    sizes = tuple((n, i, o, 3, 1, 1) for n, i, o in zip(numbers, before, after, strict=True))
    return Backbone("vgg16", "VGG16", sizes, (2, 2), (2, 4, 7, 10), (1, 3, 6, 9, 12))


ALEXNET = Backbone(
    "alexnet", "AlexNet",
    ((0, 3, 64, 11, 4, 2), (3, 64, 192, 5, 1, 2), (6, 192, 384, 3, 1, 1), (8, 384, 256, 3, 1, 1),
     (10, 256, 256, 3, 1, 1)),
    (3, 2), (1, 2), (0, 1, 2, 3, 4),
)  # fmt: skip
VGG16 = _vgg16()
# what --perceptual may name: a step of the decoder over VGG16 takes 2.7 times as long on a CPU (docs/decisions.md)
NETWORKS = {"lpips": ALEXNET, "lpips-vgg": VGG16}


def _offer(backbone: Backbone) -> str:
    files = " and ".join(backbone.files)
    return f"give --perceptual-weights DIR with {files}, or train without LPIPS by --perceptual none"


class LPIPS(nn.Module):
    """Distance of pictures [B, 3, H, W] in [-1, 1], [B]: 0 for equal ones."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, features: Mapping[str, Tensor], linear: Mapping[str, Tensor], backbone: Backbone = ALEXNET
    ) -> None:
        super().__init__()
        self.backbone, self.channels = backbone, backbone.channels
        self.register_buffer("mean", torch.tensor([-0.030, -0.088, -0.188])[None, :, None, None])
        self.register_buffer("std", torch.tensor([0.458, 0.448, 0.450])[None, :, None, None])
        self.convolutions = nn.ModuleList()
        for layer, before, width, kernel, stride, padding in backbone.convolutions:
            convolution = nn.Conv2d(before, width, kernel, stride, padding)
            convolution.load_state_dict(
                {name: features[f"features.{layer}.{name}"] for name in ("weight", "bias")}, strict=True
            )
            self.convolutions.append(convolution)
        for i in range(len(backbone.compared)):
            self.register_buffer(f"linear{i}", linear[f"lin{i}.model.1.weight"].reshape(1, -1, 1, 1).float())
        self.requires_grad_(False).eval()

    def layers(self, images: Tensor) -> list[Tensor]:
        """Activations of the layers that are compared, [B, C, h, w] each, of pictures [B, 3, H, W] in [-1, 1]."""
        x, layers = (images - self.mean) / self.std, []
        for i, convolution in enumerate(self.convolutions):
            if i in self.backbone.pooled:
                x = F.max_pool2d(x, *self.backbone.pool)
            x = F.relu(convolution(x))
            if i in self.backbone.compared:
                layers.append(x)
        return layers

    def unit_features(self, images: Tensor) -> list[Tensor]:
        """Activations of the layers, [B, C, h, w] each; a position's channels have a root mean square of 1."""
        return [_unit(x.float()) * x.shape[1] ** 0.5 for x in self.layers(images)]

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        total = a.new_zeros(len(a))
        for i, (x, y) in enumerate(zip(self.layers(a), self.layers(b), strict=True)):
            difference = (_unit(x.float()) - _unit(y.float())) ** 2
            total = total + (difference * getattr(self, f"linear{i}")).sum(1).mean((1, 2))
        return total


def _unit(x: Tensor) -> Tensor:
    """Each position's channels as a unit vector."""
    return x / (x.pow(2).sum(1, keepdim=True) + 1e-10).sqrt()


def load_lpips(folder: Path | None, backbone: Backbone = ALEXNET) -> LPIPS:
    """LPIPS from a folder of safetensors, or from torchvision's weights and the linear layers beside this file.

    Raises:
        CelebgenError: a file is missing, or there is neither a folder nor a network; says what to do instead.
    """
    features, linear = backbone.files
    if folder is not None:
        for name in backbone.files:
            if not (folder / name).is_file():
                raise CelebgenError(f"{folder} has no {name}; {_offer(backbone)}")
        try:
            return LPIPS(load_tensors(folder / features), load_tensors(folder / linear), backbone)
        except (KeyError, RuntimeError) as error:
            raise CelebgenError(
                f"{folder} does not hold {backbone.label}'s LPIPS weights ({error}); {_offer(backbone)}"
            ) from error
    from torchvision.models import AlexNet_Weights, VGG16_Weights

    published = {"alexnet": AlexNet_Weights, "vgg16": VGG16_Weights}[backbone.name].IMAGENET1K_V1
    try:
        with contextlib.redirect_stdout(sys.stderr):  # torch says there what it downloads
            state = published.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        raise CelebgenError(
            f"{backbone.label}'s weights cannot be fetched from torchvision's home; {_offer(backbone)}"
        ) from error
    return LPIPS(dict(state), load_tensors(Path(__file__).with_name(linear)), backbone)
