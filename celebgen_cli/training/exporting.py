"""A finished run as a model folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from celebgen_cli import __version__
from celebgen_cli.diffusion.schedule import Schedule
from celebgen_cli.errors import UsageError
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
    force: bool = False,
) -> None:
    """Write text encoder, CVAE (refitted prior) and denoiser (EMA weights) of a train-diffusion run to `output`.

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
