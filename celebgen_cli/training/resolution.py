"""What a training command would train with: the options given over those of the resumed run over the preset's."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from celebgen_cli.models.presets import preset as find_preset
from celebgen_cli.models.text_encoder import open_clip_source
from celebgen_cli.training import defaults, distilling, judging
from celebgen_cli.training.order import Order
from celebgen_cli.training.sizes import cvae_sizes, origin, unet_sizes

_PATHS = ("dataset", "output", "valid", "init_from", "vae", "distill", "denoiser", "perceptual_weights")
"""Options that are paths; `text` may be one."""

_NAMES = ("init_from", "vae", "distill", "denoiser")
"""Those of them that may also be a model's name."""


def resolved(kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """All options of `train-clip`, `train-vae`, `train-diffusion` or `train-judge` by name, with the values of a run.

    Args:
        kind: "clip", "vae", "diffusion" or "judge".
        given: options by name, None where nothing was said.

    Returns:
        The same names in the same order; what depends on the data (where captions come from) stays None. Paths are
        absolute, so that they mean the same in every folder.

    Raises:
        UsageError: there is no such preset.
        CelebgenError: the run or model that the preset is taken from cannot be read.
    """
    values = dict(given)
    output, resume = Path(given["output"]), bool(given["resume"])
    source = given.get("text") if kind == "vae" else given.get("distill") or given.get("vae")
    order = Order(Path(given["dataset"]), output, resume=resume)
    before = order.before
    preset = defaults.preset_name(given["preset"], output, resume, source)
    sizes = find_preset(preset)

    def begun(network: str) -> Any:
        source = given.get("init_from")
        return origin(None if source is None else Path(source), network, output)[0]

    table = {
        "clip": defaults.CLIP, "vae": defaults.VAE, "diffusion": defaults.DIFFUSION, "judge": judging.SETTINGS,
    }[kind]  # fmt: skip
    distilled = kind == "diffusion" and (given.get("distill") is not None or "distill" in before)
    if distilled:
        table = distilling.SETTINGS
    train = asdict(order.config(table, preset))
    other: dict[str, Any] = {"preset": preset, "valid": before.get("data", {}).get("valid"), **train}
    other |= before.get("captions", {})
    other["captions"] = other.pop("source", None)
    if other["captions"] != "both":
        other.pop("files_share", None)  # it is refused beside other sources
    if "init_from" in values:
        other["init_from"] = before.get("init_from")
    if kind == "clip":
        from celebgen_cli.training.clip import CLIPLossConfig

        other |= {**asdict(CLIPLossConfig()), **before.get("loss", {})}
    elif kind == "vae":
        from celebgen_cli.training.vae import CVAELossConfig

        other |= {**asdict(CVAELossConfig()), **before.get("loss", {})}
        other |= {
            "perceptual": before.get("perceptual", "lpips"),
            "prior_steps": before.get("prior_steps", defaults.PRIOR[preset].steps),
            "denoiser": before.get("denoiser"),
        }  # fmt: skip
        other["latent_channels"] = cvae_sizes(sizes.cvae, before.get("cvae", {}), begun("cvae"), None).latent_channels
        if values.get("denoiser") or other["denoiser"]:
            other["drawn"] = before.get("drawn") or defaults.DRAWN[preset]
    elif distilled:
        del other["preset"]  # it is the teacher's
        other["distill"] = before.get("vae")
        other["distill_steps"] = before.get("distill", {}).get("steps", distilling.STEPS)
    elif kind == "diffusion":
        from celebgen_cli.training.diffusion import DiffusionLossConfig

        other["vae"] = before.get("vae")
        loss = {**asdict(DiffusionLossConfig()), **before.get("loss", {})}
        other |= {"min_snr": loss["gamma"], "input_perturbation": loss["input_perturbation"]}
        unet = unet_sizes(sizes.unet, before.get("unet", {}), begun("unet"), None, None, sizes.cvae.latent_size)
        other |= {"init": unet.init, "blocks": unet.blocks}
        other["widths"] = ",".join(map(str, unet.widths))
    for name, value in values.items():
        if value is None:
            values[name] = other.get(name)
        if name in _PATHS and values[name] is not None:
            path = Path(values[name])
            values[name] = str(path) if name in _NAMES and not path.exists() else path.absolute()
    if values.get("accumulate") == 1:
        values["accumulate"] = None  # the default, which would stand in the way of --batch-size auto
    if values.get("batch_size") == "auto":
        values["accumulate"] = None  # is to be found
    if str(values.get("batch_size")).isdigit():  # the command line has it as text, for it may be "auto"
        values["batch_size"] = int(values["batch_size"])
    text = values.get("text")
    if text is not None and open_clip_source(str(text)) is None and Path(text).exists():
        values["text"] = str(Path(text).absolute())
    return values
