"""What suits each preset, and which preset a command means."""

from __future__ import annotations

from pathlib import Path

from celebgen_cli.models.folder import is_model, read_info
from celebgen_cli.models.registry import find
from celebgen_cli.models.text_encoder import open_clip_source
from celebgen_cli.training import runs
from celebgen_cli.training.engine import TrainConfig

# what suits each preset on a CPU of two cores; a GPU wants more steps and larger batches
CLIP = {
    "tiny": TrainConfig(20, 16, 1e-3, warmup=5, ema_half_life=5, checkpoint_every=10, sample_every=10, log_every=1),
    "small64": TrainConfig(600, 128, 1e-3, warmup=100, ema_half_life=100, checkpoint_every=200),
    "base128": TrainConfig(600, 128, 1e-3, warmup=100, ema_half_life=100, checkpoint_every=200),
}
VAE = {
    "tiny": TrainConfig(20, 8, 1e-3, warmup=5, ema_half_life=5, checkpoint_every=10, sample_every=10, log_every=1),
    "small64": TrainConfig(2800, 16, 6e-4, ema_half_life=200, checkpoint_every=400, sample_every=400),
    "base128": TrainConfig(2800, 16, 6e-4, ema_half_life=200, checkpoint_every=400, sample_every=400),
}
PRIOR = {
    "tiny": TrainConfig(10, 16, 1e-3, warmup=2, ema_half_life=5, checkpoint_every=5, log_every=1),
    "small64": TrainConfig(600, 64, 6e-4, warmup=50, ema_half_life=100, checkpoint_every=100),
    "base128": TrainConfig(600, 64, 6e-4, warmup=50, ema_half_life=100, checkpoint_every=100),
}
DRAWN = {"tiny": 16, "small64": 2000, "base128": 2000}  # latents in the pool of a decoder's training
DIFFUSION = {
    "tiny": TrainConfig(20, 16, 1e-3, warmup=5, ema_half_life=5, checkpoint_every=10, sample_every=10, log_every=1),
    "small64": TrainConfig(6400, 32, 5e-4, ema_half_life=500, checkpoint_every=800, sample_every=800),
    "base128": TrainConfig(6400, 32, 5e-4, ema_half_life=500, checkpoint_every=800, sample_every=800),
}


def preset_name(given: str | None, output: Path, resume: bool, source: str | Path | None = None) -> str:
    """The preset that is asked for, else the resumed run's, else that of the run or model which this one builds on."""
    if given is not None:
        return given
    places = [output] if resume else []
    if source is not None and open_clip_source(str(source)) is None:
        places.append(find(source, strict=False))
    for place in places:
        if (place / "config.json").is_file():
            return str(runs.read_config(place)["preset"])
        if is_model(place):
            return str(read_info(place).get("training", {}).get("preset", "base128"))
    return "base128"
