"""LPIPS with random weights, as files and as torchmetrics has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from celebgen_cli.training.perceptual import FEATURES, LINEAR

WIDTHS = (64, 192, 384, 256, 256)
SHAPES = {0: (64, 3, 11, 11), 3: (192, 64, 5, 5), 6: (384, 192, 3, 3), 8: (256, 384, 3, 3), 10: (256, 256, 3, 3)}


def write_lpips(folder: Path) -> Path:
    """A folder as `--perceptual-weights` takes it."""
    generator = torch.Generator().manual_seed(0)
    features = {}
    for layer, shape in SHAPES.items():
        scale = (2 / (shape[1] * shape[2] * shape[3])) ** 0.5
        features[f"features.{layer}.weight"] = torch.randn(shape, generator=generator) * scale
        features[f"features.{layer}.bias"] = 0.1 * torch.randn(shape[0], generator=generator)
    linear = {f"lin{i}.model.1.weight": torch.rand(1, c, 1, 1, generator=generator) for i, c in enumerate(WIDTHS)}
    folder.mkdir(parents=True)
    save_file(features, folder / FEATURES)
    save_file(linear, folder / LINEAR)
    return folder


def torchmetrics_lpips(folder: Path) -> Any:
    """torchmetrics' network with these weights: pictures [N, 3, H, W] in [-1, 1] twice to [N, 1, 1, 1]."""
    from safetensors.torch import load_file
    from torchmetrics.functional.image.lpips import _LPIPS

    features, linear = load_file(folder / FEATURES), load_file(folder / LINEAR)
    network = _LPIPS(pretrained=False, net="alex", pnet_rand=True, eval_mode=True)
    state = network.state_dict()
    for name in state:
        if name.startswith("net.slice"):
            state[name] = features[f"features.{name.split('.')[2]}.{name.rsplit('.', 1)[1]}"]
        elif name in linear:
            state[name] = linear[name]
        elif name.startswith("lins."):
            state[name] = linear[f"lin{name.split('.')[1]}.{name.split('.', 2)[2]}"]
    network.load_state_dict(state)
    return network
