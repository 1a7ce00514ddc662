"""The denoiser: a U-Net over the whitened latent, conditioned on time, text and the coordinates it works in.

Input u_t [B, C, h, h] with (mean, log std) of the coordinates, so the same network serves the text's own prior, another
caption's and the one without text. Output: v [B, C, h, h] (Salimans & Ho 2022, arXiv 2202.00512).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from celebgen_cli.models.coarse import Coarse
from celebgen_cli.models.layers import (
    Gaussian,
    ResBlock,
    SpatialTransformer,
    TextFeatures,
    group_norm,
    timestep_embedding,
    zero_init,
)

INITS = {
    "prior": "p(z|c), the distribution that the text has",
    "coarse": "p(z|w), w drawn from p(w|c): the first principal components of latents",
    "mean": "p(z) without text: the mean face, whatever the text says",
    "noise+prior": "one mean and std a channel; p(z|c) is an input of the network",
    "noise": "one mean and std a channel; nothing of p(z|c) is used",
}
"""Where denoising can start: the arms that show what the text's own start is worth, on the same network."""


@dataclass(frozen=True)
class UNetConfig:
    """Sizes of the U-Net. The first width works at the latent's size, each further one at half of it."""

    latent_channels: int = 8
    widths: tuple[int, ...] = (192, 256)
    blocks: int = 2  # residual blocks a resolution, on the way down and on the way up
    attention_levels: tuple[int, ...] = (1,)  # attention at 16x16 costs a fifth of a step on a CPU; at 8x8 little
    condition_width: int = 320
    text_width: int = 256
    pooled_width: int = 256
    init: str = "prior"  # one of INITS: where denoising starts
    latent_size: int = 16  # of `coarse`, as are the next two: the others do not depend on them
    components: int = 32
    mixture: int = 16


class NoAttention(nn.Module):
    """Stands where a resolution has no attention."""

    def forward(self, x: Tensor, text: TextFeatures, perturbed: Tensor | None = None) -> Tensor:
        return x


class UNet(nn.Module):
    """Predicts v from u_t, t in 1..T, the text and the coordinates' Gaussian.

    `perturbed`, bool [B], names rows without self-attention (see `layers.Attention`): a worse network, which guidance
    can lead away from.

    Buffers `channel_mean` and `channel_log_std` [C] are the coordinates of the two `noise` variants; those of `coarse`
    are in the module of that name.

    Raises ValueError for an `init` that is none of INITS.
    """

    channel_mean: Tensor
    channel_log_std: Tensor

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        if config.init not in INITS:
            raise ValueError(f"init is '{config.init}', which this celebgen does not know")
        self.config = config
        widths, condition, channels = config.widths, config.condition_width, config.latent_channels
        self.register_buffer("channel_mean", torch.zeros(channels))
        self.register_buffer("channel_log_std", torch.zeros(channels))
        self.coarse: Coarse | None = None
        if config.init == "coarse":
            self.coarse = Coarse(config.components, channels, config.latent_size, config.pooled_width, config.mixture)
        self.time = nn.Sequential(nn.Linear(widths[0], condition), nn.SiLU(), nn.Linear(condition, condition))
        self.text = nn.Linear(config.pooled_width, condition)
        self.stem = nn.Conv2d(3 * channels, widths[0], 3, padding=1)

        def attention(level: int) -> nn.Module:
            here = level in config.attention_levels
            return SpatialTransformer(widths[level], config.text_width) if here else NoAttention()

        self.down, self.down_attention, self.downsample = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        before, skips = widths[0], [widths[0]]
        for level, width in enumerate(widths):
            self.downsample.append(nn.Conv2d(before, before, 3, stride=2, padding=1) if level else nn.Identity())
            for i in range(config.blocks):
                self.down.append(ResBlock(before, width, condition))
                self.down_attention.append(attention(level) if i == config.blocks - 1 else NoAttention())
                before = width
                skips.append(width)
        self.mid = nn.ModuleList([ResBlock(before, before, condition), ResBlock(before, before, condition)])
        self.mid_attention = SpatialTransformer(before, config.text_width)
        self.up, self.up_attention = nn.ModuleList(), nn.ModuleList()
        for level in reversed(range(len(widths))):
            for _ in range(config.blocks):
                self.up.append(ResBlock(before + skips.pop(), widths[level], condition))
                self.up_attention.append(attention(level))
                before = widths[level]
        self.norm = group_norm(before + skips[-1])
        self.head = zero_init(nn.Conv2d(before + skips[-1], channels, 3, padding=1))

    def coordinates(
        self, prior: Gaussian, empty: Gaussian, code: Tensor | None = None
    ) -> tuple[Gaussian, Gaussian]:
        """Where diffusion runs for rows whose text has this `prior`, and what the network is shown, both [B, C, h, h].

        The two are one but in `noise+prior`, which starts like `noise` and is shown what `prior` is.
        empty: the prior without text, which broadcasts with `prior`; only `mean` looks at it. code: [B, K], which
        `coarse` needs, and no other.
        """
        if self.coarse is not None:
            if code is None:
                raise ValueError("a denoiser that starts from a code needs one")
            own = self.coarse.coordinates(code)
            return own, own
        if self.config.init == "prior":
            return prior, prior
        if self.config.init == "mean":
            whole = Gaussian(*(part.expand_as(prior.mean) for part in empty))
            return whole, whole
        noise = self.noise_coordinates(prior)
        return noise, prior if self.config.init == "noise+prior" else noise

    @property
    def starts_from_own_prior(self) -> bool:
        """Whether N(0, I) is where denoising starts *and* what the text's prior looks like, at every level."""
        return self.config.init in ("prior", "coarse")

    def noise_coordinates(self, like: Gaussian) -> Gaussian:
        """The `noise` variants' coordinates: one mean and log variance a channel, shaped like `like`."""
        mean = self.channel_mean[None, :, None, None].expand_as(like.mean)
        return Gaussian(mean, 2 * self.channel_log_std[None, :, None, None].expand_as(like.mean))

    def forward(
        self, u: Tensor, t: Tensor, text: TextFeatures, coordinates: Gaussian, perturbed: Tensor | None = None
    ) -> Tensor:
        condition = self.time(timestep_embedding(t, self.config.widths[0])) + self.text(text.pooled)
        h = stem = self.stem(torch.cat([u, coordinates.mean, coordinates.log_std], dim=1))
        skips: list[Tensor] = []
        for i, (block, attention) in enumerate(zip(self.down, self.down_attention, strict=True)):
            if i % self.config.blocks == 0:
                h = self.downsample[i // self.config.blocks](h)
            h = block(h, condition)
            h = attention(h, text, perturbed)
            skips.append(h)
        h = self.mid[0](h, condition)
        h = self.mid_attention(h, text, perturbed)
        h = self.mid[1](h, condition)
        for i, (block, attention) in enumerate(zip(self.up, self.up_attention, strict=True)):
            if i and i % self.config.blocks == 0:
                h = F.interpolate(h, scale_factor=2, mode="nearest")
            h = attention(block(torch.cat([h, skips.pop()], dim=1), condition), text, perturbed)
        return self.head(F.silu(self.norm(torch.cat([h, stem], dim=1)))).float()
