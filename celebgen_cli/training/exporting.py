"""A finished run, or a model with other defaults, storage, decoder or judge, as a model folder."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from celebgen_cli import __version__
from celebgen_cli.diffusion.schedule import Schedule
from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.models.folder import Components, is_model, networks_of, save_model
from celebgen_cli.models.quantize import STORAGES
from celebgen_cli.models.registry import find
from celebgen_cli.settings import DEFAULTS, complete
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
    decoder_share: float | None = None,
    judge: Path | None = None,
    force: bool = False,
    announce: Callable[[str], None] = lambda sentence: None,
) -> None:
    """Write text encoder, CVAE (refitted prior) and denoiser (EMA weights) of a train-diffusion run to `output`.

    Args:
        run: the run, or a model folder, whose own defaults stand where none are given.
        decoder: a train-vae run or model whose decoder takes the place of the run's own; its encoder must be the same.
        decoder_share: in 0..2, 1 if None; below 1 the weights of both decoders are interpolated, and this is the
            other's share; above 1 they go on along the same line, which gives more of what the second training did
            (Wang et al. 2018, arXiv 1809.00219, section 3.4).
        judge: a train-judge run or a model whose attribute judge goes into the folder; None keeps a model's own.
        announce: gets a sentence where a model's calibration is left out, being of other settings or decoder.

    Raises:
        UsageError: the storage or sampler is unknown, the share is out of range or there is no decoder to share, or
            `output` is not empty and `force` is off.
        CelebgenError: the run has no checkpoint, is of another kind, or the disk is full.
    """
    if storage not in STORAGES:
        raise UsageError(f"there is no storage '{storage}'; choose one of {', '.join(STORAGES)}")
    if decoder is None and decoder_share is not None:
        raise UsageError("--decoder-share says how much of another decoder to take; name that with --decoder")
    own_judge = is_model(find(run, strict=False)) and "judge" in networks_of(run)
    parts = load_components(run, ("text", "cvae", "unet", *(("judge",) if own_judge and judge is None else ())))
    config = parts.info.pop("run", None)
    try:
        info = dict(parts.info) if config is None else _info(config)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise CelebgenError(
            f"{run / 'config.json'} does not say all that a run does ({error!r:.80}); put back the one that was there"
        ) from error
    for stale in ("measured", "storage"):  # figures are of the model that was measured
        info.pop(stale, None)
    own = {"name": name or output.name, "celebgen": __version__}
    parts.info = {**own, **info, **own, "defaults": {**DEFAULTS, **info.get("defaults", {}), **(defaults or {})}}
    if decoder is not None:
        _replace_decoder(parts, run, decoder, 1.0 if decoder_share is None else decoder_share)
    if judge is not None:
        _add_judge(parts, judge)
    other = " and ".join(
        name
        for name, changed in (
            ("settings", info.get("defaults") != parts.info["defaults"]), ("decoder", decoder is not None)
        )
        if changed
    )  # fmt: skip
    dropped = parts.calibration is not None and bool(other)
    if dropped:
        parts.calibration = None
        parts.info.pop("calibration", None)
    chosen, timesteps = parts.info["defaults"], Schedule.from_dict(parts.info.get("schedule")).timesteps
    complete(chosen, {}, timesteps)  # refuses what cannot work
    save_model(parts, output, storage, force)
    if dropped:
        announce(
            f"the calibration of {run} is left out, for it was measured with other {other}; `celebgen calibrate` makes "
            "one anew"
        )


def _info(config: Mapping[str, Any]) -> dict[str, Any]:
    """What model.json says of a run."""
    distilled = config.get("distill")
    return {
        "image_size": config["data"]["size"],
        "crop": config["data"]["crop"],
        "schedule": config["schedule"],
        "data": _data(config),
        "training": {
            "preset": config["preset"],
            "init": config["unet"]["init"],
            "captions": config.get("captions", {}).get("source", "grammar"),
            "denoiser": {**config["train"], "stopped_at": config["stopped_at"]},
            **({} if distilled is None else {"distilled": {"from": Path(config["vae"]).name, **distilled}}),
        },
        **({} if distilled is None else {"defaults": _student_defaults(distilled)}),
        "license": LICENCE,
    }


def _student_defaults(distilled: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of `sample` for a denoiser that has its teacher's guidance in its weights."""
    from celebgen_cli.training.distillation import Teaching

    return Teaching(**distilled).defaults


def _add_judge(parts: Components, source: Path) -> None:
    """Put a judge in, and say in `parts.info` how it was trained.

    Raises:
        CelebgenError: `source` has none.
    """
    other = load_components(source, ("judge",))
    parts.judge = other.judge
    run = other.info.get("run")
    record = (
        other.info.get("training", {}).get("judge")
        if run is None
        else {**run["train"], "stopped_at": run["stopped_at"], "data": _data(run)}
    )
    parts.info["training"] = {**parts.info.get("training", {}), "judge": record or {}}


def _data(config: Mapping[str, Any]) -> dict[str, Any]:
    """What model.json says of the pictures that a run learned from."""
    return {name: value for name, value in config["data"].items() if name in ("train_images", "fingerprint")}


def _replace_decoder(parts: Components, run: Path, decoder: Path, share: float) -> None:
    """Put another decoder in, or mix it in, and say in `parts.info` how it was trained.

    Raises:
        UsageError: the share is out of range, or the encoders differ, so the decoder does not know the latents that the
            denoiser makes.
    """
    if not 0 <= share <= 2:
        raise UsageError(f"--decoder-share must be from 0 to 2, not {share}")
    other = load_components(decoder, ("cvae",))
    assert parts.cvae is not None and other.cvae is not None
    mine, others = parts.cvae.encoder.state_dict(), other.cvae.encoder.state_dict()
    if mine.keys() != others.keys() or any(not torch.equal(mine[name], others[name]) for name in mine):
        raise UsageError(
            f"{decoder} has another encoder than {run} was trained with; train its decoder by "
            f"train-vae --freeze-encoder --init-from {run}"
        )
    own, new = parts.cvae.decoder.state_dict(), other.cvae.decoder.state_dict()
    parts.cvae.decoder.load_state_dict({name: torch.lerp(own[name], new[name], share) for name in own})
    trained = other.info.get("run") or {}
    record = {key: trained[key] for key in ("train", "loss", "drawn", "stopped_at") if key in trained}
    record = record or dict(other.info.get("training", {}).get("decoder", {}))
    parts.info["training"] = {**parts.info["training"], "decoder": {**record, "share": share}}
