"""A finished run as a model folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from celebgen_cli import __version__
from celebgen_cli.diffusion.schedule import Schedule
from celebgen_cli.errors import UsageError
from celebgen_cli.models.cvae import CVAE
from celebgen_cli.models.folder import save_model
from celebgen_cli.models.quantize import STORAGES
from celebgen_cli.pipeline import DEFAULTS, check_settings
from celebgen_cli.training.runs import load_components

LICENCE = "Trained on CelebA: non-commercial research and education only."


def export_run(
    run: Path,
    output: Path,
    *,
    name: str | None = None,
    storage: str = "int8",
    defaults: Mapping[str, Any] | None = None,
    decoder: Path | None = None,
    force: bool = False,
) -> None:
    """Write text encoder, CVAE (refitted prior) and denoiser (EMA weights) of a train-diffusion run to `output`.

    Args:
        decoder: a train-vae run or model whose decoder takes the place of the run's own; its encoder must be the same.

    Raises:
        UsageError: the storage or sampler is unknown, or `output` is not empty and `force` is off.
        CelebgenError: the run has no checkpoint, is of another kind, or the disk is full.
    """
    if storage not in STORAGES:
        raise UsageError(f"there is no storage '{storage}'; choose one of {', '.join(STORAGES)}")
    defaults = {**DEFAULTS, **(defaults or {})}
    parts = load_components(run, ("text", "cvae", "unet"))
    config = parts.info["run"]
    assert parts.cvae is not None
    if decoder is not None:
        other = load_components(decoder, ("cvae",)).cvae
        assert other is not None
        _same_encoder(parts.cvae, other, run, decoder)
        parts.cvae.decoder = other.decoder
    timesteps = Schedule.from_dict(config["schedule"]).timesteps
    check_settings(defaults["steps"], defaults["sampler"], defaults["guidance"], timesteps)
    parts.info = {
        "name": name or output.name,
        "celebgen": __version__,
        "image_size": parts.cvae.config.image_size,
        "crop": config["data"]["crop"],
        "schedule": config["schedule"],
        "defaults": defaults,
        "data": {k: v for k, v in config["data"].items() if k in ("train_images", "fingerprint")},
        "training": {"preset": config["preset"], "init": config["unet"]["init"], "denoiser": config["train"]},
        "license": LICENCE,
    }
    save_model(parts, output, storage, force)


def _same_encoder(a: CVAE, b: CVAE, run: Path, decoder: Path) -> None:
    """
    Raises:
        UsageError: the encoders differ, so the decoder does not know the latents that the denoiser makes.
    """
    mine, others = a.encoder.state_dict(), b.encoder.state_dict()
    if mine.keys() != others.keys() or any(not torch.equal(mine[name], others[name]) for name in mine):
        raise UsageError(
            f"{decoder} has another encoder than {run} was trained with; train its decoder by "
            f"train-vae --freeze-encoder --init-from {run}"
        )
