"""Tiny networks with random weights everywhere, zero-initialised layers included: no part of them is silent."""

import math
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from celebgen_cli.data.captions import vocabulary
from celebgen_cli.diffusion.schedule import Schedule
from celebgen_cli.models.coarse import Coarse
from celebgen_cli.models.cvae import CVAE
from celebgen_cli.models.folder import Components, save_model
from celebgen_cli.models.layers import TextFeatures
from celebgen_cli.models.presets import tiny
from celebgen_cli.models.text_encoder import CompactText, trained_ids
from celebgen_cli.models.unet import UNet


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Fill every parameter: matrices and kernels with variance 1 / fan-in, biases near 0, weights of norms near 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim >= 2:
                parameter.copy_(noise / math.sqrt(parameter[0].numel()))
            else:
                parameter.copy_(0.1 * noise + (1.0 if name.endswith("weight") else 0.0))
    return module


def tiny_text(seed: int = 0) -> CompactText:
    text = CompactText(tiny().clip, trained_ids(vocabulary()))
    randomise(text, seed)
    return text.eval().requires_grad_(False)


def tiny_cvae(seed: int = 1) -> CVAE:
    cvae = CVAE(tiny().cvae)
    randomise(cvae, seed)
    return cvae


def tiny_unet(seed: int = 2, init: str = "prior") -> UNet:
    unet = UNet(replace(tiny().unet, init=init))
    randomise(unet, seed)
    unet.channel_mean.copy_(torch.tensor([0.5, -0.5, 1.0, 0.0]))
    unet.channel_log_std.copy_(torch.tensor([0.0, 0.3, -0.3, 0.1]))
    if unet.coarse is not None:
        fit_at_random(unet.coarse, seed)
    return unet


def fit_at_random(coarse: Coarse, seed: int = 0, count: int = 200) -> float:
    """Fit codes to made-up latents of eight strong directions, which text says a part of; what they say of variance."""
    generator = torch.Generator().manual_seed(seed)
    shape, pooled = coarse.center.shape, torch.randn(count, len(coarse.weight), generator=generator)
    hidden = torch.randn(count, 8, generator=generator) * torch.arange(8, 0, -1) + pooled[:, :8]
    means = (hidden @ torch.randn(8, coarse.center.numel(), generator=generator) / 8).unflatten(1, shape)
    return coarse.fit(means, means + 0.5 * torch.randn(means.shape, generator=generator), pooled)


def features(batch: int, seed: int = 0, length: int = 7, width: int = 12, pooled: int = 16) -> TextFeatures:
    """Made-up text features; row i counts 2 + i tokens at most."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    mask = torch.arange(length)[None] < (2 + torch.arange(batch))[:, None]
    return TextFeatures(draw(batch, length, width), mask, draw(batch, pooled))


def write_tiny_model(folder: Path, *, init: str = "prior", storage: str = "fp32") -> Path:
    """Save a whole model with random weights."""
    info = {
        "name": "tiny-random", "crop": "face178", "image_size": 32, "schedule": Schedule.cosine(1000).to_dict(),
        "defaults": {"sampler": "ddim", "steps": 3, "guidance": 2.0},
    }  # fmt: skip
    save_model(Components(tiny_text(), tiny_cvae().eval(), tiny_unet(init=init).eval(), info), folder, storage)
    return folder
