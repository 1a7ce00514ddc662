"""The building blocks that the CVAE and the U-Net share.

Feature maps are [B, C, H, W]; token sequences are [B, L, d]; masks are bool, True where a token counts.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class TextFeatures(NamedTuple):
    """What a text encoder returns for B prompts.

    tokens: [B, L, d], one vector a token. mask: bool [B, L], False behind the end-of-text token.
    pooled: [B, p], one vector a prompt.
    """

    tokens: Tensor
    mask: Tensor
    pooled: Tensor

    def to(self, device: torch.device | str) -> "TextFeatures":
        return TextFeatures(self.tokens.to(device), self.mask.to(device), self.pooled.to(device))

    def select(self, index: Tensor) -> "TextFeatures":
        """The rows named by `index` (int64 or bool [K])."""
        return TextFeatures(self.tokens[index], self.mask[index], self.pooled[index])

    def filled(self, multiple: int = 48) -> "TextFeatures":
        """The same, L brought to a multiple with zeros that the mask hides: compiled networks want few lengths."""
        missing = -self.tokens.shape[1] % multiple
        return TextFeatures(F.pad(self.tokens, (0, 0, 0, missing)), F.pad(self.mask, (0, missing)), self.pooled)


class Gaussian(NamedTuple):
    """A diagonal Gaussian: mean and log variance, both [B, C, H, W]."""

    mean: Tensor
    logvar: Tensor

    @property
    def log_std(self) -> Tensor:
        return 0.5 * self.logvar

    def sample(self, noise: Tensor) -> Tensor:
        """Reparameterised draw (Kingma & Welling 2013, arXiv 1312.6114): mean + std * noise."""
        return self.mean + torch.exp(0.5 * self.logvar) * noise


def timestep_embedding(t: Tensor, width: int, max_period: float = 10_000.0) -> Tensor:
    """Sinusoidal embedding of timesteps t [B] -> [B, width] (Vaswani et al. 2017, section 3.5)."""
    half = width // 2
    frequencies = torch.exp(-math.log(max_period) * torch.arange(half, device=t.device, dtype=torch.float32) / half)
    angles = t.float()[:, None] * frequencies[None]
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def group_norm(channels: int) -> nn.GroupNorm:
    """GroupNorm with at most 32 groups of at least 4 channels."""
    groups = math.gcd(channels, 32)
    while channels // groups < 4 and groups > 1:
        groups //= 2
    return nn.GroupNorm(groups, channels)


def zero_init(module: nn.Module) -> nn.Module:
    """Make a branch start as the identity: its last layer is zero."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


class Block(nn.Module):
    """A block that can forget its activations and compute them again on the way back.

    That takes a third more time and the memory of one block in place of all (Chen et al. 2016, arXiv 1604.06174).
    Weights, results and gradients are the same. Subclasses compute in `run`.
    """

    recompute = False

    def forward(self, *inputs: Tensor | None) -> Tensor:
        if self.recompute and torch.is_grad_enabled():
            # nothing is drawn at random in here, so no random state needs to be put back
            again: Tensor = checkpoint(self.run, *inputs, use_reentrant=False, preserve_rng_state=False)
            return again
        return self.run(*inputs)

    def run(self, *inputs: Tensor | None) -> Tensor:
        raise NotImplementedError


class ResBlock(Block):
    """Residual block whose second norm is scaled and shifted by a condition (Dhariwal & Nichol 2021, section 3.1).

    x [B, in, H, W], condition [B, condition_width] -> [B, out, H, W].
    """

    def __init__(self, in_channels: int, out_channels: int, condition_width: int) -> None:
        super().__init__()
        self.norm1 = group_norm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.condition = nn.Linear(condition_width, 2 * out_channels)
        self.norm2 = group_norm(out_channels)
        self.conv2 = zero_init(nn.Conv2d(out_channels, out_channels, 3, padding=1))
        self.skip = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()

    def run(self, x: Tensor, condition: Tensor) -> Tensor:  # type: ignore[override]
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.condition(F.silu(condition))[:, :, None, None].chunk(2, dim=1)
        h = torch.addcmul(shift, self.norm2(h), 1 + scale)
        return self.skip(x) + self.conv2(F.silu(h))


class Attention(nn.Module):
    """Multi-head attention of x [B, N, width] over context [B, L, context_width], or over x itself without one.

    perturbed, bool [B]: in these rows each position of x attends to itself alone, which makes the network worse on
    purpose (Ahn et al. 2024, arXiv 2403.17377). Only where there is no context.
    """

    def __init__(self, width: int, heads: int, context_width: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width, bias=False)
        self.kv = nn.Linear(context_width or width, 2 * width, bias=False)
        self.out = zero_init(nn.Linear(width, width))

    def forward(
        self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None, perturbed: Tensor | None = None
    ) -> Tensor:
        def split(y: Tensor) -> Tensor:
            return y.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        k, v = self.kv(x if context is None else context).chunk(2, dim=-1)
        attention_mask = None if mask is None else mask[:, None, None, :]
        q, k, v = split(self.q(x)), split(k), split(v)
        if x.device.type == "cpu" and torch.is_grad_enabled():  # its fused backward is several times slower there
            y = _plain_attention(q, k, v, attention_mask)
        else:
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=attention_mask)
        if perturbed is not None:
            y = torch.where(perturbed[:, None, None, None], v, y)
        return self.out(y.transpose(1, 2).flatten(2))


def _plain_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """softmax(q k^T / sqrt(d)) v over [B, heads, N, d] (Vaswani et al. 2017, equation 1)."""
    logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    if mask is not None:
        logits = logits.masked_fill(~mask, -1e4)  # finite in half precision, and its exponential is 0
    return logits.softmax(dim=-1).to(v.dtype) @ v


class TransformerBlock(Block):
    """Self-attention, cross-attention to the text tokens, MLP; all pre-norm and residual. x [B, N, width] -> same."""

    def __init__(self, width: int, heads: int, context_width: int, mlp_ratio: int = 4) -> None:
        super().__init__()
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.self_attention = Attention(width, heads)
        self.cross_attention = Attention(width, heads, context_width)
        self.mlp = nn.Sequential(
            nn.Linear(width, mlp_ratio * width), nn.GELU(), zero_init(nn.Linear(mlp_ratio * width, width))
        )

    def run(  # type: ignore[override]
        self, x: Tensor, tokens: Tensor, mask: Tensor, perturbed: Tensor | None = None
    ) -> Tensor:
        x = x + self.self_attention(self.norm1(x), perturbed=perturbed)
        x = x + self.cross_attention(self.norm2(x), tokens, mask)
        return x + self.mlp(self.norm3(x))


class SpatialTransformer(nn.Module):
    """A TransformerBlock over the H * W positions of a feature map [B, C, H, W] -> same."""

    def __init__(self, channels: int, context_width: int, head_width: int = 64, mlp_ratio: int = 4) -> None:
        super().__init__()
        most = max(1, channels // head_width)
        heads = next(heads for heads in range(most, 0, -1) if channels % heads == 0)
        self.block = TransformerBlock(channels, heads, context_width, mlp_ratio)

    def forward(self, x: Tensor, text: TextFeatures, perturbed: Tensor | None = None) -> Tensor:
        height, width = x.shape[-2:]
        y = self.block(x.flatten(2).transpose(1, 2), text.tokens, text.mask, perturbed)
        y = y.transpose(1, 2).unflatten(2, (height, width))
        return y if y.device.type == "cuda" else y.contiguous()  # as it is: channels_last, which is fast there alone
