"""Sizes of the networks that a run trains: those asked for, over those of what it goes on from, over the preset's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor, nn

from celebgen_cli.errors import UsageError
from celebgen_cli.models.cvae import CVAEConfig
from celebgen_cli.models.unet import UNetConfig
from celebgen_cli.training import runs

Config = TypeVar("Config", CVAEConfig, UNetConfig)

BESIDE_LATENT = ("encoder.head.", "prior.head.", "decoder.stem.")
"""Layers of a CVAE whose shapes follow from the number of latent channels."""

WIDTH_STEP = 8
"""Widths are multiples of it, so that group norms have whole groups."""


def cvae_sizes(
    preset: CVAEConfig, before: Mapping[str, Any], begun: CVAEConfig | None, latent_channels: int | None
) -> CVAEConfig:
    """The CVAE's sizes.

    before: "cvae" of the resumed run's config.json, empty where none is resumed. begun: of the network that training
        starts from, with `--init-from`.
    """
    config = _merged(preset if begun is None else begun, before)
    return config if latent_channels is None else replace(config, latent_channels=latent_channels)


def unet_sizes(
    preset: UNetConfig, before: Mapping[str, Any], begun: UNetConfig | None, widths: tuple[int, ...] | None,
    blocks: int | None, latent_size: int,
) -> UNetConfig:  # fmt: skip
    """The U-Net's sizes, for latents of `latent_size` x `latent_size`; see `cvae_sizes`.

    Raises:
        UsageError: it cannot be built.
    """
    config = _merged(preset if begun is None else begun, before)
    if blocks is not None:
        config = replace(config, blocks=blocks)
    if widths is None:
        return config
    halved = 2 ** (len(widths) - 1)
    if latent_size % halved or latent_size == halved:
        raise UsageError(
            f"--widths names {len(widths)} resolutions, and a latent of {latent_size}x{latent_size} cannot be halved "
            f"{len(widths) - 1} times; give fewer widths"
        )
    return replace(config, widths=widths, attention_levels=tuple(range(1, len(widths))))


def parse_widths(text: str | None) -> tuple[int, ...] | None:
    """The widths that a list such as "96,128" names; None is none asked for.

    Raises:
        UsageError: it is no such list.
    """
    if text is None:
        return None
    try:
        widths = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--widths is a list of numbers such as 96,128, not '{text}'") from None
    if any(width < WIDTH_STEP or width % WIDTH_STEP for width in widths):
        raise UsageError(f"--widths are multiples of {WIDTH_STEP}, such as 96,128, not '{text}'")
    return widths


def origin(source: Path | None, network: str, output: Path) -> tuple[Any, Mapping[str, Any]]:
    """What `--init-from` names: sizes and weights of its "cvae" or "unet"; (None, {}) where it names nothing.

    A run in `output` that has a checkpoint needs no weights and may have outlived what it began with: its own sizes.
    """
    if source is None:
        return None, {}
    if runs.has_checkpoint(output):
        kind = {"cvae": CVAEConfig, "unet": UNetConfig}[network]
        return _merged(kind(), runs.read_config(output).get(network, {})), {}
    begun = getattr(runs.load_components(source, (network,)), network)
    return begun.config, begun.state_dict()


def with_new_latent(weights: Mapping[str, Tensor], cvae: nn.Module) -> dict[str, Tensor]:
    """A CVAE's weights for `cvae` of other latent channels: the layers beside the latent keep what `cvae` has."""
    own = cvae.state_dict()
    return {name: own[name] if name.startswith(BESIDE_LATENT) else value for name, value in weights.items()}


def _merged(config: Config, before: Mapping[str, Any]) -> Config:
    known = {field.name for field in fields(config)}
    stored: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in before.items()}
    return replace(config, **{name: stored[name] for name in stored.keys() & known})
