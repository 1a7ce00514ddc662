"""The conditional variational autoencoder: pixels <-> latent, and the distribution of latents that a text implies.

q(z|x,c)  Encoder   text-conditioned posterior
p(z|c)    Prior     learned spatial queries that attend to the text tokens: the conditioned latent distribution
p(x|z,c)  Decoder   text-conditioned likelihood (its mean)

Images are [B, 3, S, S] in [-1, 1]; latents are [B, C, h, h].
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from celebgen_cli.models.layers import (
    Gaussian,
    ResBlock,
    SpatialTransformer,
    TextFeatures,
    TransformerBlock,
    group_norm,
    zero_init,
)


@dataclass(frozen=True)
class CVAEConfig:
    """Sizes of the CVAE. Widths are listed from pixels to latent (encoder) and from latent to pixels (decoder)."""

    image_size: int = 128
    latent_channels: int = 8
    encoder_patch: int = 4  # pixel-unshuffle at the input: full-resolution convolutions are the dear ones
    encoder_widths: tuple[int, ...] = (96, 192)
    decoder_widths: tuple[int, ...] = (256, 128, 64)
    decoder_patch: int = 2  # pixel-shuffle at the output
    blocks: int = 2  # residual blocks a resolution
    condition_width: int = 256
    prior_width: int = 192
    prior_layers: int = 3
    prior_log_std_min: float = -3.0  # keeps the whitened latent finite where the prior is sure of itself
    text_width: int = 256  # of the text encoder's tokens
    pooled_width: int = 256  # of the text encoder's pooled vector

    @property
    def latent_size(self) -> int:
        """Height and width of the latent."""
        return self.image_size // self.encoder_patch // 2 ** (len(self.encoder_widths) - 1)


class Encoder(nn.Module):
    """q(z|x,c): images [B, 3, S, S] in [-1, 1], text -> Gaussian over [B, C, h, h]."""

    def __init__(self, config: CVAEConfig) -> None:
        super().__init__()
        widths, patch = config.encoder_widths, config.encoder_patch
        self.patch = patch
        self.condition = nn.Sequential(nn.Linear(config.pooled_width, config.condition_width), nn.SiLU())
        self.stem = nn.Conv2d(3 * patch**2, widths[0], 3, padding=1)
        self.blocks, self.downs = nn.ModuleList(), nn.ModuleList()
        for level, width in enumerate(widths):
            before = widths[max(0, level - 1)]
            stride2 = nn.Conv2d(before, width, 3, stride=2, padding=1)
            self.downs.append(nn.Identity() if level == 0 else stride2)
            self.blocks.append(
                nn.ModuleList(ResBlock(width, width, config.condition_width) for _ in range(config.blocks))
            )
        self.norm = group_norm(widths[-1])
        self.head = nn.Conv2d(widths[-1], 2 * config.latent_channels, 3, padding=1)

    def forward(self, images: Tensor, text: TextFeatures) -> Gaussian:
        condition = self.condition(text.pooled)
        h = self.stem(F.pixel_unshuffle(images, self.patch))
        for down, blocks in zip(self.downs, self.blocks, strict=True):
            h = down(h)
            for block in blocks.children():
                h = block(h, condition)
        mean, logvar = self.head(F.silu(self.norm(h))).float().chunk(2, dim=1)
        return Gaussian(mean, logvar.clamp(-14.0, 4.0))


class Prior(nn.Module):
    """p(z|c): learned spatial queries attend to the text tokens and are decoded to mean and log std.

    log std is bounded below by `prior_log_std_min`. text -> Gaussian over [B, C, h, h].
    """

    def __init__(self, config: CVAEConfig) -> None:
        super().__init__()
        width, self.queries_size = config.prior_width, config.latent_size // 2
        self.log_std_min = config.prior_log_std_min
        self.queries = nn.Parameter(0.02 * torch.randn(1, self.queries_size**2, width))
        self.pooled = nn.Linear(config.pooled_width, width)
        self.layers = nn.ModuleList(
            TransformerBlock(width, max(1, width // 64), config.text_width) for _ in range(config.prior_layers)
        )
        self.norm = nn.LayerNorm(width)
        self.up = nn.Conv2d(width, width // 2, 3, padding=1)
        self.position = nn.Parameter(torch.zeros(1, width // 2, config.latent_size, config.latent_size))
        self.head = zero_init(nn.Conv2d(width // 2, 2 * config.latent_channels, 3, padding=1))

    def forward(self, text: TextFeatures) -> Gaussian:
        h = self.queries + self.pooled(text.pooled)[:, None]
        for layer in self.layers:
            h = layer(h, text.tokens, text.mask)
        h = self.norm(h).transpose(1, 2).unflatten(2, (self.queries_size, self.queries_size))
        h = self.up(F.interpolate(h, scale_factor=2, mode="nearest"))
        mean, raw = self.head(F.silu(h + self.position)).float().chunk(2, dim=1)
        log_std = self.log_std_min + F.softplus(raw - self.log_std_min)
        return Gaussian(mean, 2 * log_std)


class Decoder(nn.Module):
    """p(x|z,c): latents [B, C, h, h], text -> images [B, 3, S, S], about [-1, 1] (not clamped)."""

    def __init__(self, config: CVAEConfig) -> None:
        super().__init__()
        widths = config.decoder_widths
        self.patch = config.decoder_patch
        self.condition = nn.Sequential(nn.Linear(config.pooled_width, config.condition_width), nn.SiLU())
        self.stem = nn.Conv2d(config.latent_channels, widths[0], 3, padding=1)
        self.attention = SpatialTransformer(widths[0], config.text_width, mlp_ratio=2)
        self.blocks = nn.ModuleList()
        for level, width in enumerate(widths):
            before = widths[max(0, level - 1)]
            self.blocks.append(
                nn.ModuleList(
                    ResBlock(before if i == 0 else width, width, config.condition_width) for i in range(config.blocks)
                )
            )
        self.norm = group_norm(widths[-1])
        self.head = nn.Conv2d(widths[-1], 3 * self.patch**2, 3, padding=1)

    def forward(self, z: Tensor, text: TextFeatures) -> Tensor:
        condition = self.condition(text.pooled)
        h = self.stem(z)
        for level, blocks in enumerate(self.blocks):
            if level > 0:
                h = F.interpolate(h, scale_factor=2, mode="nearest")
            for i, block in enumerate(blocks.children()):
                h = block(h, condition)
                if level == 0 and i == 0:
                    h = self.attention(h, text)
        return F.pixel_shuffle(self.head(F.silu(self.norm(h))), self.patch).float()


class CVAE(nn.Module):
    """Encoder, prior and decoder together (Sohn et al. 2015, with a learned prior and text as the condition)."""

    def __init__(self, config: CVAEConfig) -> None:
        super().__init__()
        expected = config.image_size // config.decoder_patch // 2 ** (len(config.decoder_widths) - 1)
        if expected != config.latent_size:
            raise ValueError(f"encoder makes {config.latent_size} px latents, decoder expects {expected} px")
        self.config = config
        self.encoder, self.prior, self.decoder = Encoder(config), Prior(config), Decoder(config)

    def encode(self, images: Tensor, text: TextFeatures) -> Gaussian:
        """q(z|x,c) of images [B, 3, S, S] in [-1, 1]."""
        return self.encoder(images, text)

    def decode(self, z: Tensor, text: TextFeatures) -> Tensor:
        """Mean of p(x|z,c): [B, 3, S, S], not clamped."""
        return self.decoder(z, text)

    def reconstruct(self, images: Tensor, text: TextFeatures) -> Tensor:
        """Decode the posterior's mean: images [B, 3, S, S] in [-1, 1] -> same shape, not clamped.

        `text` has one row for all pictures (the empty prompt's, as a rule) or one for each.
        """
        if len(text.pooled) != len(images):
            text = text.select(torch.zeros(len(images), dtype=torch.long, device=images.device))
        return self.decode(self.encode(images, text).mean, text)


def to_float(pixels: Tensor) -> Tensor:
    """uint8 [B, H, W, 3] -> float [B, 3, H, W] in [-1, 1]."""
    return pixels.permute(0, 3, 1, 2).contiguous().float() / 127.5 - 1


def to_uint8(images: Tensor) -> np.ndarray:
    """float [B, 3, H, W] in about [-1, 1] -> uint8 [B, H, W, 3], rounded to nearest."""
    pixels = ((images.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def kl_divergence(q: Gaussian, p: Gaussian) -> Tensor:
    """KL(q || p) between diagonal Gaussians, elementwise [B, C, H, W], in nats."""
    return 0.5 * (p.logvar - q.logvar + ((q.mean - p.mean) ** 2 + q.logvar.exp()) / p.logvar.exp() - 1)


def kl_to_standard(q: Gaussian) -> Tensor:
    """KL(q || N(0, I)), elementwise, in nats."""
    return 0.5 * (q.mean**2 + q.logvar.exp() - 1 - q.logvar)


def cross_entropy(q: Gaussian, p: Gaussian) -> Tensor:
    """E_q[-log p(z)] in closed form, elementwise, in nats: what the prior is fitted by."""
    log_2pi = 1.8378770664093453
    return 0.5 * (log_2pi + p.logvar + ((q.mean - p.mean) ** 2 + q.logvar.exp()) / p.logvar.exp())
