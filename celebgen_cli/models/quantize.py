"""Weights in 8 bit: symmetric, rounded to nearest (Krishnamoorthi 2018, arXiv 1806.08342).

There is one scale for each entry of the first dimension, which in a layer's weights is an output channel. A tensor
`name` is stored as int8 `name` and fp32 `name::scale`; small tensors (biases, norms) stay in 32 bit.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

STORAGES = ("int8", "fp16", "fp32")
SCALE = "::scale"
_SMALL = 2048  # elements; below this 8 bit would save nothing worth having


def pack(tensors: Mapping[str, Tensor], storage: str) -> dict[str, Tensor]:
    """Tensors as they are stored. Tensors that are not floating point pass unchanged."""
    packed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        if not tensor.is_floating_point() or storage == "fp32":
            packed[name] = tensor
        elif storage == "fp16":
            packed[name] = tensor.half() if tensor.numel() >= _SMALL else tensor.float()
        elif tensor.ndim >= 2 and tensor.numel() >= _SMALL:
            scale = tensor.float().flatten(1).abs().amax(dim=1).clamp(min=1e-12) / 127
            packed[name] = (tensor.float() / _like(scale, tensor)).round().to(torch.int8)
            packed[name + SCALE] = scale
        else:
            packed[name] = tensor.float()
    return packed


def unpack(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """float32 tensors from what `pack` stored, whatever the storage."""
    full: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.endswith(SCALE):
            continue
        if tensor.dtype == torch.int8:
            full[name] = tensor.float() * _like(tensors[name + SCALE], tensor)
        else:
            full[name] = tensor.float() if tensor.is_floating_point() else tensor
    return full


def _like(scale: Tensor, tensor: Tensor) -> Tensor:
    """The scales [out], shaped to broadcast over a tensor [out, ...]."""
    return scale.reshape(-1, *[1] * (tensor.ndim - 1))
