"""Networks out of run folders and model folders alike: what `--text`, `--vae`, `--init-from` and `export` read."""

from pathlib import Path
from typing import Any

from torch import Tensor

from celebgen_cli.errors import CelebgenError, UsageError, first_line
from celebgen_cli.files import read_json
from celebgen_cli.models import folder as model_folder
from celebgen_cli.models.cvae import CVAE, CVAEConfig
from celebgen_cli.models.folder import Components
from celebgen_cli.models.judge import Judge, JudgeConfig
from celebgen_cli.models.presets import CLIPConfig
from celebgen_cli.models.registry import find
from celebgen_cli.models.sizes import sizes_from
from celebgen_cli.models.text_encoder import CompactText, OpenClipText, TextEncoder, open_clip_source
from celebgen_cli.models.unet import UNet, UNetConfig
from celebgen_cli.training.adversarial import cvae_weights
from celebgen_cli.training.checkpoints import load_tensors, newest_checkpoint
from celebgen_cli.training.engine import FORMAT, FORMAT_VERSION


def read_config(run: Path) -> dict[str, Any]:
    """config.json of a run.

    Raises:
        CelebgenError: there is no run here, or one of another format version.
    """
    if not (run / "config.json").is_file():
        raise CelebgenError(f"{run} is neither a run (config.json) nor a model (model.json); check the path")
    config = read_json(run / "config.json")
    if not isinstance(config, dict) or config.get("format") != FORMAT or config.get("format_version") != FORMAT_VERSION:
        raise CelebgenError(f"{run / 'config.json'} is not of a celebgen run of format version {FORMAT_VERSION}")
    if not isinstance(config.get("kind"), str):
        raise CelebgenError(f"{run / 'config.json'} does not say what was trained; choose another folder")
    return dict(config)


def averaged_weights(run: Path) -> tuple[int, dict[str, Tensor]]:
    """Step and EMA weights of a run's newest whole checkpoint.

    Raises:
        CelebgenError: the run has none yet.
    """
    checkpoint, _ = newest_checkpoint(run / "checkpoints", only=("ema",))
    if checkpoint is None:
        raise CelebgenError(f"{run} has no whole checkpoint yet; let it train to its first one")
    return checkpoint.step, checkpoint.ema


def has_checkpoint(run: Path) -> bool:
    """Whether the run in this folder has a whole checkpoint to go on from."""
    return newest_checkpoint(run / "checkpoints", only=("ema",))[0] is not None


def load_components(path: Path, want: tuple[str, ...]) -> Components:
    """The networks `want` ("text", "cvae", "unet", "judge") of a model (folder or name) or a run.

    EMA weights, evaluation mode. Of a run, `info["run"]` is its settings, with `stopped_at`: the step of the checkpoint
    that the weights are from.

    Raises:
        CelebgenError: the folder does not have them.
    """
    path = find(path, strict=False)
    if model_folder.is_model(path):
        return model_folder.load_model(path, want)
    config = read_config(path)
    kind = config["kind"]
    has = {
        "clip": ("text",), "vae": ("text", "cvae"), "diffusion": ("text", "cvae", "unet"), "judge": ("judge",),
    }.get(kind, ())  # fmt: skip
    missing = [name for name in want if name not in has]
    if missing:
        raise CelebgenError(f"{path} is a run of kind '{kind}' and has no {missing[0]} network; choose another folder")
    try:
        parts, config = _of_run(path, kind, config, want)
    except (RuntimeError, TypeError, KeyError, ValueError, IndexError, ArithmeticError, AttributeError) as error:
        raise CelebgenError(
            f"{path / 'config.json'} does not fit the checkpoints beside it ({first_line(error)}); put back the "
            "one that they were trained with"
        ) from error
    parts.info = {**parts.info, "run": config}
    for module in (parts.text, parts.cvae, parts.unet, parts.judge):
        if module is not None:
            module.eval().requires_grad_(False)
    return parts


def _of_run(
    path: Path, kind: str, config: dict[str, Any], want: tuple[str, ...]
) -> tuple[Components, dict[str, Any]]:
    """The networks `want` of a run, and its config.json with the step whose weights they have."""
    if kind == "clip":
        parts = Components(text=_clip_text(path, config))
    elif kind == "judge":
        judge = Judge(sizes_from(JudgeConfig, config["judge"]))
        step, weights = averaged_weights(path)
        config = {**config, "stopped_at": step}
        judge.load_state_dict(weights)
        parts = Components(judge=judge)
    else:
        frozen = ("text",) if kind == "vae" else ("text", "cvae")
        parts = model_folder.load_model(path / "frozen", tuple(n for n in frozen if n in want))
        if kind == "vae" and "cvae" in want:
            parts.cvae = CVAE(sizes_from(CVAEConfig, config["cvae"]))
            step, weights = averaged_weights(path)
            config = {**config, "stopped_at": step}
            parts.cvae.load_state_dict(cvae_weights(weights))
            if _refitted(path / "prior", step):
                parts.cvae.prior.load_state_dict(load_tensors(path / "prior" / "best.safetensors"))
        elif kind == "diffusion" and "unet" in want:
            parts.unet = UNet(sizes_from(UNetConfig, config["unet"]))
            step, weights = averaged_weights(path)
            config = {**config, "stopped_at": step}
            parts.unet.load_state_dict(weights)
    return parts, config


def critic_weights(path: Path) -> dict[str, Tensor]:
    """EMA weights of the critic that a train-vae run has trained beside its CVAE; none where `path` has no critic."""
    path = find(path, strict=False)
    if model_folder.is_model(path) or read_config(path)["kind"] != "vae":
        return {}
    weights = averaged_weights(path)[1]
    return {name.removeprefix("critic."): value for name, value in weights.items() if name.startswith("critic.")}


def _refitted(prior: Path, cvae_step: int) -> bool:
    """Whether there is a refitted prior, and it was fitted to the latents of the CVAE as it is now."""
    return (prior / "best.safetensors").is_file() and read_config(prior).get("cvae_step") == cvae_step


def _clip_text(run: Path, config: dict[str, Any]) -> CompactText:
    prefix = "clip.text."
    state = {k.removeprefix(prefix): v for k, v in averaged_weights(run)[1].items() if k.startswith(prefix)}
    return CompactText.from_open_clip(state, sizes_from(CLIPConfig, config["clip"]), config["token_ids"])


def load_text(source: str) -> TextEncoder:
    """The text encoder that `--text` names: a run, a model (by path or name), `open_clip:NAME/TAG` or `local-dir:PATH`.

    Raises:
        UsageError: it is none of these.
    """
    named = open_clip_source(source)
    encoder: TextEncoder | None
    if named is not None:
        encoder = OpenClipText(named)
    elif not (place := find(source, strict=False)).exists():
        raise UsageError(f"--text {source} does not exist; give a run, a model, open_clip:NAME/TAG or local-dir:PATH")
    else:
        encoder = load_components(place, ("text",)).text
    assert encoder is not None
    return encoder.eval().requires_grad_(False)
