"""LPIPS over AlexNet (Zhang et al. 2018, arXiv 1801.03924), version 0.1, as the CVAE's loss.

The backbone is torchvision's ImageNet AlexNet, or safetensors files given by `--perceptual-weights DIR`:
`alexnet-features.safetensors` (torchvision's `features.N.weight/bias`) and `alexnet-lpips-lin.safetensors`
(`linK.model.1.weight` [1, C, 1, 1]).
"""

import contextlib
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from celebgen_cli.errors import CelebgenError
from celebgen_cli.training.checkpoints import load_tensors

FEATURES, LINEAR = "alexnet-features.safetensors", "alexnet-lpips-lin.safetensors"
OFFER = (
    "give --perceptual-weights DIR with alexnet-features.safetensors and alexnet-lpips-lin.safetensors, "
    "or train without LPIPS by --perceptual none"
)


class LPIPS(nn.Module):
    """Distance of pictures [B, 3, H, W] in [-1, 1], [B]: 0 for equal ones."""

    channels = (64, 192, 384, 256, 256)  # of the layers that are compared
    mean: Tensor
    std: Tensor

    def __init__(self, features: dict[str, Tensor], linear: dict[str, Tensor]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([-0.030, -0.088, -0.188])[None, :, None, None])
        self.register_buffer("std", torch.tensor([0.458, 0.448, 0.450])[None, :, None, None])
        shapes = ((0, 3, 64, 11, 4, 2), (3, 64, 192, 5, 1, 2), (6, 192, 384, 3, 1, 1), (8, 384, 256, 3, 1, 1),
                  (10, 256, 256, 3, 1, 1))  # fmt: skip
        self.convolutions = nn.ModuleList()
        for layer, before, width, kernel, stride, padding in shapes:
            convolution = nn.Conv2d(before, width, kernel, stride, padding)
            convolution.load_state_dict(
                {name: features[f"features.{layer}.{name}"] for name in ("weight", "bias")}, strict=True
            )
            self.convolutions.append(convolution)
        for i in range(len(shapes)):
            self.register_buffer(f"linear{i}", linear[f"lin{i}.model.1.weight"].reshape(1, -1, 1, 1))
        self.requires_grad_(False).eval()

    def _features(self, images: Tensor) -> list[Tensor]:
        x, layers = (images - self.mean) / self.std, []
        for i, convolution in enumerate(self.convolutions):
            if i in (1, 2):
                x = F.max_pool2d(x, 3, 2)
            x = F.relu(convolution(x))
            layers.append(x)
        return layers

    def unit_features(self, images: Tensor) -> list[Tensor]:
        """Activations of the five layers, [B, C, h, w] each; a position's channels have a root mean square of 1."""
        return [_unit(x.float()) * x.shape[1] ** 0.5 for x in self._features(images)]

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        total = a.new_zeros(len(a))
        for i, (x, y) in enumerate(zip(self._features(a), self._features(b), strict=True)):
            difference = (_unit(x.float()) - _unit(y.float())) ** 2
            total = total + (difference * getattr(self, f"linear{i}")).sum(1).mean((1, 2))
        return total


def _unit(x: Tensor) -> Tensor:
    """Each position's channels as a unit vector."""
    return x / (x.pow(2).sum(1, keepdim=True) + 1e-10).sqrt()


def load_lpips(folder: Path | None) -> LPIPS:
    """LPIPS from a folder of safetensors, or from torchvision's weights and the linear layers beside this file.

    Raises:
        CelebgenError: a file is missing, or there is neither a folder nor a network; says what to do instead.
    """
    if folder is not None:
        for name in (FEATURES, LINEAR):
            if not (folder / name).is_file():
                raise CelebgenError(f"{folder} has no {name}; {OFFER}")
        try:
            return LPIPS(load_tensors(folder / FEATURES), load_tensors(folder / LINEAR))
        except (KeyError, RuntimeError) as error:
            raise CelebgenError(f"{folder} does not hold AlexNet's LPIPS weights ({error}); {OFFER}") from error
    from torchvision.models import AlexNet_Weights

    try:
        with contextlib.redirect_stdout(sys.stderr):  # torch says there what it downloads
            state = AlexNet_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        raise CelebgenError(f"AlexNet's weights cannot be fetched from torchvision's home; {OFFER}") from error
    return LPIPS(dict(state), load_tensors(Path(__file__).with_name(LINEAR)))
