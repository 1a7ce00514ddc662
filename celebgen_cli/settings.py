"""The settings that decide a face, beside prompt, seed and model: names, defaults and what is refused."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from celebgen_cli.diffusion.samplers import SAMPLERS
from celebgen_cli.diffusion.spacing import SPACINGS
from celebgen_cli.errors import UsageError

# What a model's own defaults may replace, and say in full.
DEFAULTS: dict[str, Any] = {
    "sampler": "ddim", "steps": 20, "guidance": 1.5, "guidance_interval": [0.0, 1.0], "pag": False,
}  # fmt: skip
# What is neutral unless somebody asks for it; a model's defaults may name these too.
NEUTRAL: dict[str, Any] = {
    "eta": 0.0,  # noise of DDIM's steps: 0 none, 1 as much as DDPM's
    "spacing": "trailing",  # of the timesteps
    "rescale": 0.0,  # how far guided predictions are led back to the spread of unguided ones
    "start": 1.0,  # fraction of T where denoising begins
}


def complete(own: Mapping[str, Any], given: Mapping[str, Any], timesteps: int) -> dict[str, Any]:
    """All settings as JSON values: those `given` (None is not given), else a model's `own`, else the defaults.

    Raises:
        UsageError: one is unknown or out of range.
    """
    settings = {**DEFAULTS, **NEUTRAL}
    settings |= {name: value for name, value in own.items() if name in settings}
    for name, value in given.items():
        if name not in settings:
            raise UsageError(f"there is no setting '{name}'; choose from {', '.join(settings)}")
        if value is not None:
            settings[name] = value
    check_settings(
        settings["steps"], settings["sampler"], settings["guidance"], timesteps, settings["guidance_interval"],
        pag=settings["pag"], **{name: settings[name] for name in NEUTRAL},
    )  # fmt: skip
    return {**settings, "guidance_interval": list(settings["guidance_interval"])}


def check_settings(
    steps: int,
    sampler: str,
    guidance: float,
    timesteps: int,
    interval: Sequence[float] = (0.0, 1.0),
    *,
    pag: bool = False,
    eta: float = 0.0,
    spacing: str = "trailing",
    rescale: float = 0.0,
    start: float = 1.0,
) -> None:
    """Refuse settings that cannot work, of whatever type.

    Raises:
        UsageError: with the range that is allowed.
    """
    if not (_is_number(start) and 0 < start <= 1) or round(start * timesteps) < 1:
        raise UsageError(f"--start must be above 0 and at most 1, not {start}")
    most = round(start * timesteps)
    if type(steps) is not int or not 1 <= steps <= most:
        raise UsageError(f"--steps must be from 1 to {most}, not {steps}")
    if sampler not in tuple(SAMPLERS):
        raise UsageError(f"there is no sampler '{str(sampler)[:60]}'; choose one of {', '.join(SAMPLERS)}")
    if not (_is_number(guidance) and 0 <= guidance <= 100):
        raise UsageError(f"--guidance must be from 0 to 100, not {guidance}")
    pair: list[Any] = list(interval) if isinstance(interval, list | tuple) else [interval]
    if len(pair) != 2 or not all(map(_is_number, pair)) or not 0 <= pair[0] <= pair[1] <= 1:
        raise UsageError(
            f"--guidance-interval must be two numbers, 0 <= LOW <= HIGH <= 1, not {' '.join(map(str, pair))}"
        )
    if not (_is_number(eta) and 0 <= eta <= 1):
        raise UsageError(f"--eta must be from 0 to 1, not {eta}")
    if not isinstance(pag, bool):
        raise UsageError(f"--pag is on or off, not {pag}")
    if eta > 0 and sampler != "ddim":
        raise UsageError(f"--eta is the noise of ddim's steps and means nothing to {sampler}; add --sampler ddim")
    if spacing not in SPACINGS:
        raise UsageError(f"there is no spacing '{str(spacing)[:60]}'; choose one of {', '.join(SPACINGS)}")
    if not (_is_number(rescale) and 0 <= rescale <= 1):
        raise UsageError(f"--rescale must be from 0 to 1, not {rescale}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
