"""Size presets as small functions of a name: `tiny` for tests, `small64` and `base128` for faces."""

from dataclasses import dataclass

from celebgen_cli.errors import UsageError
from celebgen_cli.models.cvae import CVAEConfig
from celebgen_cli.models.unet import UNetConfig


@dataclass(frozen=True)
class CLIPConfig:
    """Sizes of the compact CLIP. The text tower ships with a model; the image tower only helps to train it."""

    width: int = 256  # text tower
    layers: int = 4
    heads: int = 4
    context_length: int = 48  # tokens, start and end of text included
    embed_dim: int = 256  # joint embedding of texts and images
    image_size: int = 64
    image_layers: tuple[int, int, int, int] = (1, 2, 2, 1)  # bottlenecks of the ResNet image tower
    image_width: int = 32


@dataclass(frozen=True)
class Preset:
    """The three networks of one size, and the training settings that suit it."""

    clip: CLIPConfig
    cvae: CVAEConfig
    unet: UNetConfig


def tiny() -> Preset:
    """32 px, under 1 M parameters in all with the whole token table: for tests."""
    return Preset(
        CLIPConfig(12, 2, 2, 48, 16, 32, (1, 1, 1, 1), 4),
        CVAEConfig(32, 4, 2, (16, 24), (24, 16), 2, 1, 32, 32, 1, text_width=12, pooled_width=16),
        UNetConfig(4, (24, 32), 1, (1,), 48, text_width=12, pooled_width=16, latent_size=8, components=6),
    )


def small64() -> Preset:
    """64 px, 16x16x4 latent (f4)."""
    return Preset(
        CLIPConfig(layers=3, width=192, heads=3, embed_dim=192),
        CVAEConfig(64, 4, 2, (64, 160), (192, 96), 2, text_width=192, pooled_width=192),
        UNetConfig(4, (96, 192), 2, (1,), 256, text_width=192, pooled_width=192),
    )


def base128() -> Preset:
    """128 px, 16x16x8 latent (f8)."""
    return Preset(CLIPConfig(), CVAEConfig(), UNetConfig())


PRESETS = {"tiny": tiny, "small64": small64, "base128": base128}


def preset(name: str) -> Preset:
    """The preset of that name.

    Raises:
        UsageError: no preset has that name.
    """
    if name not in PRESETS:
        raise UsageError(f"there is no preset '{name}'; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]()
