"""Sizes of the networks that a run trains: those asked for, over those of what it goes on from, over the preset's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from celebgen_cli.errors import UsageError
from celebgen_cli.models.cvae import CVAE, CVAEConfig
from celebgen_cli.models.unet import UNet, UNetConfig
from celebgen_cli.training import runs
from celebgen_cli.training.order import Warn
from celebgen_cli.training.preparing import warm_start

Config = TypeVar("Config", CVAEConfig, UNetConfig)

BESIDE_LATENT = {CVAE: ("encoder.head.", "prior.head.", "decoder.stem."), UNet: ("stem.", "head.")}
"""Layers of each network whose shapes follow from the number of latent channels."""

OF_LATENTS = ("channel_mean", "channel_log_std")
"""Buffers of the U-Net that tell of the latents it learns on, not of what it has learned."""

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


def begin_with(
    network: CVAE | UNet, begun: CVAEConfig | UNetConfig, weights: Mapping[str, Tensor], source: Path, warn: Warn
) -> None:
    """Give `network` the weights of `source`, whose sizes are `begun`; see `origin`.

    Where its latent has another number of channels, the layers beside it stay as they are, and `warn` says so.

    Raises:
        CelebgenError: another size differs.
    """
    fresh: tuple[str, ...] = () if isinstance(network, CVAE) else (*OF_LATENTS, "coarse.")
    channels = network.config.latent_channels
    if channels != begun.latent_channels:
        fresh += BESIDE_LATENT[type(network)]
        warn(
            f"the latent of {source} has {begun.latent_channels} channels, not {channels}: the layers beside it begin "
            "anew, all others with its weights"
        )
    own = network.state_dict()
    taken = {name: value for name, value in weights.items() if not name.startswith(fresh)}
    kept = {name: value for name, value in own.items() if name.startswith(fresh)}
    warm_start(network, taken | kept, source)


def _merged(config: Config, before: Mapping[str, Any]) -> Config:
    known = {field.name for field in fields(config)}
    stored: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in before.items()}
    return replace(config, **{name: stored[name] for name in stored.keys() & known})
