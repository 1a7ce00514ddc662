"""LPIPS with made-up weights, as files and as torchmetrics has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from celebgen_cli.training.perceptual import ALEXNET, Backbone

Weights = tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]


def made_up(backbone: Backbone = ALEXNET) -> Weights:
    """Features and linear layers of the backbone's shapes, drawn so that activations stay of one size."""
    generator = torch.Generator().manual_seed(0)
    features = {}
    for layer, before, width, kernel, _, _ in backbone.convolutions:
        scale = (2 / (before * kernel**2)) ** 0.5
        features[f"features.{layer}.weight"] = torch.randn(width, before, kernel, kernel, generator=generator) * scale
        features[f"features.{layer}.bias"] = 0.1 * torch.randn(width, generator=generator)
    linear = {
        f"lin{i}.model.1.weight": torch.rand(1, c, 1, 1, generator=generator) for i, c in enumerate(backbone.channels)
    }
    return features, linear


def write_lpips(folder: Path, backbone: Backbone = ALEXNET) -> Path:
    """A folder as `--perceptual-weights` takes it."""
    folder.mkdir(parents=True, exist_ok=True)
    for weights, name in zip(made_up(backbone), backbone.files, strict=True):
        save_file(weights, folder / name)
    return folder


def torchmetrics_lpips(folder: Path, backbone: Backbone = ALEXNET) -> Any:
    """torchmetrics' network with these weights: pictures [N, 3, H, W] in [-1, 1] twice to [N, 1, 1, 1]."""
    from torchmetrics.functional.image.lpips import _LPIPS

    features, linear = (load_file(folder / name) for name in backbone.files)
    net = {"alexnet": "alex", "vgg16": "vgg"}[backbone.name]
    network = _LPIPS(pretrained=False, net=net, pnet_rand=True, eval_mode=True)  # type: ignore[arg-type]
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
