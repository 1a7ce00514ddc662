"""What the training commands do: data, networks and settings put together, then handed to the engine."""

from __future__ import annotations

import contextlib
import math
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from celebgen_cli.diffusion.schedule import Schedule
from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.files import atomic_write_json, read_json
from celebgen_cli.models.devices import autocast, choose_device, memory_format
from celebgen_cli.models.folder import Components, is_model
from celebgen_cli.models.presets import preset as find_preset
from celebgen_cli.models.registry import find
from celebgen_cli.models.text_encoder import CompactText, open_clip_source
from celebgen_cli.models.unet import INITS
from celebgen_cli.processes import barrier, world
from celebgen_cli.training import checkpoints, defaults, preparing, runs
from celebgen_cli.training.batches import Examples, preload, training_and_held_out
from celebgen_cli.training.engine import Reporter, Trainer, quiet, with_overrides
from celebgen_cli.training.gradients import check_parts
from celebgen_cli.training.latents import encode
from celebgen_cli.training.order import Order, Warn
from celebgen_cli.training.periodic import PeriodicFID, inception
from celebgen_cli.training.refit import refit_is_due
from celebgen_cli.training.sizes import begin_with, cvae_sizes, origin, parse_widths, unet_sizes

if TYPE_CHECKING:
    import torch

    from celebgen_cli.training.adversarial import Critic
    from celebgen_cli.training.drawn import Drawn
    from celebgen_cli.training.engine import TrainConfig

Progress = Callable[[int, int], None]


def train_clip(
    order: Order, *, preset: str | None = None, contrast: str | None = None, report: Reporter = quiet
) -> dict[str, float]:
    """Train the compact CLIP; returns its held-out figures.

    Raises:
        UsageError, CelebgenError: see `Trainer`; also for a dataset or a setting that does not fit.
    """
    import torch

    from celebgen_cli.training.clip import CLIPLossConfig, CLIPTask

    output, init_from = order.output, order.origin
    contrast = contrast or order.before.get("loss", {}).get("contrast", "sigmoid")
    if contrast not in ("sigmoid", "softmax"):
        raise UsageError(f"--contrast is sigmoid or softmax, not '{contrast}'")
    preset = defaults.preset_name(preset, output, order.resume)
    sizes, (data, held), where = find_preset(preset), order.datasets(), choose_device(order.device)
    config, wording = order.config(defaults.CLIP, preset), order.wording(data)
    train, held_out = training_and_held_out(data, held, wording)
    loss = CLIPLossConfig(contrast=contrast)
    settings = {**order.record(preset, data, wording), "clip": asdict(sizes.clip), "loss": asdict(loss)}
    resume = order.goes_on("clip", settings, config)
    preload(where, train, held_out)
    task = CLIPTask(sizes.clip, train, held_out, config.batch_size, config.seed, loss)
    if init_from is not None and not runs.has_checkpoint(output):
        init_from = find(init_from, strict=False)
        if is_model(init_from):  # a model has the text tower alone
            other = runs.load_components(init_from, ("text",)).text
            if not isinstance(other, CompactText):
                raise UsageError(f"{init_from} has no compact text encoder to start from; give a train-clip run")
            preparing.warm_start(task.model.clip.text, other.to_open_clip(), init_from)
        else:
            if (kind := runs.read_config(init_from)["kind"]) != "clip":
                raise UsageError(f"{init_from} is a run of kind '{kind}'; give a train-clip run, or a model")
            preparing.warm_start(task.model, runs.averaged_weights(init_from)[1], init_from)
    settings["token_ids"] = task.token_ids  # the words may change later, the rows that were trained do not
    trainer = Trainer(
        task, output, config, device=where, settings=settings, resume=resume, warn=order.warn,
        observers=order.observers,
    )  # fmt: skip
    measured = trainer.finished and (output / "report.json").is_file()
    if world().main and not measured and (output / "report.json").is_file():
        with contextlib.suppress(OSError):  # a run that cannot be written is said to be so below
            (output / "report.json").unlink()  # of the steps before
    trainer.train(report)
    if not world().main:
        return {}
    if measured:
        return dict(read_json(output / "report.json"))
    with torch.no_grad(), trainer.autocast():
        figures = task.measure(trainer.ema.module)

    atomic_write_json(output / "report.json", figures)
    return figures


def train_vae(
    order: Order,
    *,
    text: str,
    preset: str | None = None,
    perceptual: str | None = None,
    perceptual_weights: Path | None = None,
    beta: float | None = None,
    scale: float | None = None,
    adversarial: float | None = None,
    transport: float | None = None,
    freeze_encoder: bool | None = None,
    denoiser: Path | None = None,
    drawn: int | None = None,
    prior_steps: int | None = None,
    latent_channels: int | None = None,
    progress: Progress = lambda done, total: None,
    looking: Progress = lambda done, total: None,
    report: Reporter = quiet,
) -> dict[str, float]:
    """Train the CVAE, the text encoder frozen and kept beside it; see `train_clip`.

    With a `denoiser` (a model or a train-diffusion run of the same latents), `drawn` latents are drawn by it first,
    with `progress`, and the decoder learns to make faces of them; with `transport`, these and photographs are then
    looked at for what these faces should be like, with `looking`. `prior_steps` is only recorded, for `prepare_prior`.
    """
    from celebgen_cli.training.perceptual import NETWORKS, load_lpips
    from celebgen_cli.training.transport import Transport, find_targets
    from celebgen_cli.training.vae import CVAELossConfig, CVAETask

    before, output, resume, init_from, warn = order.before, order.output, order.resume, order.origin, order.warn
    perceptual = perceptual or before.get("perceptual", "lpips")
    if perceptual not in (*NETWORKS, "none"):
        raise UsageError(f"--perceptual is lpips, lpips-vgg or none, not '{perceptual}'")
    preset = defaults.preset_name(preset, output, resume, text)
    sizes, (data, held), where = find_preset(preset), order.datasets(), choose_device(order.device)
    if data.size != sizes.cvae.image_size:
        raise UsageError(
            f"{order.dataset} has {data.size} px pictures and preset {preset} takes {sizes.cvae.image_size} px"
        )
    if open_clip_source(text) is None:
        text = str(preparing.at_hand(Path(text), output, resume, warn))
    encoder = runs.load_text(text).to(where)
    begun, weights = origin(init_from, "cvae", output)
    cvae = cvae_sizes(sizes.cvae, before.get("cvae", {}), begun, latent_channels)
    cvae = replace(cvae, text_width=encoder.width, pooled_width=encoder.pooled_width)
    lpips = None if perceptual == "none" else load_lpips(perceptual_weights, NETWORKS[perceptual])
    if lpips is not None:
        lpips.to(where, memory_format=memory_format(where))  # type: ignore[call-overload]
    config, wording = order.config(defaults.VAE, preset), order.wording(data)
    train, held_out = training_and_held_out(data, held, wording)
    given = {"beta": beta, "scale": scale, "adversarial": adversarial, "transport": transport,
             "freeze_encoder": freeze_encoder}  # fmt: skip
    loss = CVAELossConfig(**{**before.get("loss", {}), **{k: v for k, v in given.items() if v is not None}})
    if loss.freeze_encoder and init_from is None and not before:
        raise UsageError("--freeze-encoder needs a trained encoder: give --init-from RUN or MODEL")
    if loss.freeze_encoder and begun is not None and cvae.latent_channels != begun.latent_channels:
        raise UsageError(
            f"the encoder of {init_from} makes {begun.latent_channels} channels, and --freeze-encoder keeps it so; "
            "leave out --latent-channels or --freeze-encoder"
        )
    if loss.adversarial > 0 and not before:
        config = replace(config, beta1=0.5)  # as is usual against a critic: the past of a moving target misleads
    pool = None
    source = denoiser or before.get("denoiser")
    if source is not None and not (loss.freeze_encoder and (loss.adversarial > 0 or loss.transport > 0)):
        raise UsageError(
            "--denoiser is for a decoder alone: give --freeze-encoder, and --adversarial or --transport, too"
        )
    if drawn is not None and source is None:
        raise UsageError("--drawn says how many latents --denoiser draws; give that too")
    drawn = drawn or before.get("drawn") or defaults.DRAWN[preset]
    if loss.transport > 0 and source is None:
        raise UsageError("--transport is for latents that a denoiser draws: give --denoiser MODEL and --freeze-encoder")
    if loss.transport > 0 and loss.adversarial > 0:
        raise UsageError("--transport is in place of a critic: leave out --adversarial or --transport")
    settings = {
        **order.record(preset, data, wording), "cvae": asdict(cvae), "loss": asdict(loss),
        "perceptual": perceptual, "text": encoder.source,
        "denoiser": None if source is None else str(source), "drawn": drawn,
        "prior_steps": before.get("prior_steps", defaults.PRIOR[preset].steps) if prior_steps is None else prior_steps,
    }  # fmt: skip
    resume = order.goes_on("vae", settings, config)
    frozen = preparing.as_begun(Components(text=encoder), output, resume, warn)
    assert frozen.text is not None
    encoder = frozen.text.to(where)
    preload(where, train, held_out)
    networks = []  # missing weights are told before minutes of drawing
    if loss.transport > 0:
        networks = [lpips if lpips is not None and name == perceptual else load_lpips(perceptual_weights, backbone)
                    for name, backbone in NETWORKS.items()]  # fmt: skip
    for network in networks:
        network.to(where, memory_format=memory_format(where))  # type: ignore[call-overload]
    check_parts(loss.adversarial > 0 or loss.transport > 0, config.batch_size, config.accumulate)
    if source is not None:
        drawing = runs.load_components(Path(source), ("text", "cvae", "unet"))
        pool = _draw(drawing, drawn, output, train, where, config, progress)
    task = CVAETask(cvae, train, held_out, encoder, lpips, config.batch_size, config.seed, loss, pool)
    if init_from is not None and begun is not None and weights:
        begin_with(task.model, begun, weights, init_from, warn)
        if task.critic is not None:
            _begin_critic(task.critic, init_from, warn)
    trainer = Trainer(
        task, output, config, device=where, settings=settings, resume=resume, warn=order.warn,
        observers=order.observers,
    )  # fmt: skip
    if pool is not None and loss.transport > 0 and not trainer.finished:
        task.transport = Transport(networks, find_targets(
            output, pool, task.model, encoder, train, networks, drawing.calibration, config.seed,
            begun=trainer.step > 0, mixed=trainer.autocast, progress=looking,
        ), drawing.calibration)  # fmt: skip
    preparing.freeze(Components(text=encoder), output, resume)
    return trainer.train(report)


def _begin_critic(critic: Critic, source: Path, warn: Warn) -> None:
    """Give `critic` the weights of that of the run `source`, if it has one: a new one would first learn as much."""
    learned, own = runs.critic_weights(source), critic.state_dict()
    if {name: value.shape for name, value in learned.items()} == {name: value.shape for name, value in own.items()}:
        critic.load_state_dict(learned)
    elif learned:
        warn(f"the critic of {source} has another form (see --perceptual): this run's begins anew")


def _draw(
    parts: Components, count: int, output: Path, train: Examples, where: torch.device, config: TrainConfig,
    progress: Progress,
) -> Drawn:
    from celebgen_cli.settings import DEFAULTS, NEUTRAL
    from celebgen_cli.training.distillation import Teaching
    from celebgen_cli.training.drawn import draw_pool

    assert parts.text is not None and parts.cvae is not None and parts.unet is not None
    schedule = Schedule.from_dict(parts.info.get("schedule") or parts.info.get("run", {}).get("schedule"))
    settings = {**DEFAULTS, **NEUTRAL}
    own = parts.info.get("defaults", {})
    if distilled := parts.info.get("run", {}).get("distill"):
        own = Teaching(**distilled).defaults  # a run has no defaults yet, and a student draws in its own few steps
    settings |= {name: value for name, value in own.items() if name in settings}
    return draw_pool(
        output, count, parts.text.to(where), parts.cvae.to(where), parts.unet.to(where), schedule, train, settings,
        config.seed, progress, None if parts.calibration is None else parts.calibration.to(where), config.precision,
    )  # fmt: skip


def prepare_prior(
    order: Order, *, steps: int | None = None, progress: Progress = lambda done, total: None
) -> Callable[[Reporter], dict[str, float]]:
    """Encode the dataset with the finished CVAE in `order.output`; the function that refits its prior on the latents.

    The refit is a run of its own in RUN/prior and goes on from its newest checkpoint.
    """
    from celebgen_cli.training.prior import PriorTask

    run = order.output
    info = runs.read_config(run)
    steps = info.get("prior_steps") if steps is None else steps
    config = with_overrides(defaults.PRIOR[info["preset"]], steps=steps, seed=info["train"]["seed"])
    shared = world().size * math.ceil(config.batch_size / world().size)  # no option of the run: it must fit by itself
    config = replace(config, precision=info["train"]["precision"], batch_size=shared)
    if config.steps == 0 or info["loss"].get("freeze_encoder"):  # a frozen encoder came with its prior
        return lambda report: {}
    order = replace(order, captions=None, files_share=None, resume=True)  # whose pictures and captions are the run's
    (data, held), where = order.datasets(), choose_device(order.device)
    wording, trained = order.wording(data), runs.averaged_weights(run)[0]
    stale = (run / "prior").is_dir() and not _goes_on_with(run / "prior", trained, order.warn)
    barrier()  # before it is gone, all processes have seen it
    if stale and world().main:
        aside = run / ".prior.tmp"  # its name goes first: a kill leaves no half of it
        shutil.rmtree(aside, ignore_errors=True)
        (run / "prior").rename(aside)  # fitted to the latents of an earlier CVAE
        shutil.rmtree(aside, ignore_errors=True)
    barrier()
    if config.steps != info.get("prior_steps") and world().main:  # what the run is asked for from now on
        atomic_write_json(run / "config.json", {**info, "prior_steps": config.steps})
    parts = runs.load_components(run, ("text", "cvae"))
    assert parts.text is not None and parts.cvae is not None
    text, cvae = parts.text.to(where), parts.cvae.to(where)
    cvae.prior.requires_grad_(True)
    mixed = autocast(where, config.precision)
    pairs = [
        (examples, encode(cvae, text, examples, order.dataset / "latents", mixed, progress, run / "latents"))
        for examples in training_and_held_out(data, held, wording)
    ]

    def fit(report: Reporter) -> dict[str, float]:
        task = PriorTask(cvae.prior, pairs[0], pairs[1], text, config.batch_size, config.seed)
        trainer = Trainer(
            task, run / "prior", config, device=where, settings={"cvae_step": trained}, resume=True,
            warn=order.warn, observers=order.observers,
        )  # fmt: skip
        return {} if trainer.finished else trainer.train(report)

    return fit


def _goes_on_with(refit: Path, cvae_step: int, warn: Warn) -> bool:
    """Whether the refit there is of the CVAE as it is now and whole; `warn` says so where something is damaged."""
    # killed between its first best weights and its first checkpoint it would begin with the former
    if not checkpoints.list_checkpoints(refit / "checkpoints"):
        return False
    try:
        if runs.read_config(refit).get("cvae_step") != cvae_step:
            return False  # fitted to the latents of an earlier one
        checkpoints.load_tensors(refit / "best.safetensors")
        runs.averaged_weights(refit)
    except CelebgenError as error:
        warn(f"the refit of the prior in {refit} begins anew, because it is damaged ({error})")
        return False
    return True


def prepare_diffusion(
    order: Order,
    *,
    vae: Path,
    init: str | None = None,
    widths: str | None = None,
    blocks: int | None = None,
    min_snr: float | None = None,
    input_perturbation: float | None = None,
    preset: str | None = None,
    progress: Progress = lambda done, total: None,
    fid: tuple[int, int] | None = None,
) -> Callable[[Reporter], dict[str, float]]:
    """Encode the dataset with the CVAE of `vae`; returns the function that trains the denoiser; see `train_clip`.

    `widths` such as "96,128" and `blocks` replace the preset's sizes of the U-Net (see `celebgen_cli.training.sizes`).
    `fid`: every how many steps FID is measured on the way, and of how many faces; None is never.
    """
    from celebgen_cli.training.diffusion import DiffusionLossConfig, DiffusionTask

    before, output, resume, init_from, warn = order.before, order.output, order.resume, order.origin, order.warn
    if init is not None and init not in INITS:
        raise UsageError(f"--init is one of {', '.join(INITS)}, not '{init}'")
    preset = defaults.preset_name(preset, output, resume, vae)
    sizes, (data, held), where = find_preset(preset), order.datasets(), choose_device(order.device)
    parts = runs.load_components(preparing.at_hand(vae, output, resume, warn), ("text", "cvae"))
    assert parts.text is not None and parts.cvae is not None
    text, cvae = parts.text.to(where), parts.cvae.to(where)
    extractor = None if fid is None else inception(where)
    if cvae.config.image_size != data.size:
        raise UsageError(f"{order.dataset} has {data.size} px pictures and {vae} takes {cvae.config.image_size} px")
    begun, weights = origin(init_from, "unet", output)
    unet = unet_sizes(
        sizes.unet, before.get("unet", {}), begun, parse_widths(widths), blocks, cvae.config.latent_size
    )  # fmt: skip
    unet = replace(
        unet, latent_channels=cvae.config.latent_channels, text_width=text.width, pooled_width=text.pooled_width,
        init=init or unet.init, latent_size=cvae.config.latent_size,
    )  # fmt: skip
    config, wording = order.config(defaults.DIFFUSION, preset), order.wording(data)
    asked = {"gamma": min_snr, "input_perturbation": input_perturbation}
    loss = DiffusionLossConfig(**{**before.get("loss", {}), **{k: v for k, v in asked.items() if v is not None}})
    schedule = Schedule.cosine(1000)
    settings = {
        **order.record(preset, data, wording), "unet": asdict(unet), "loss": asdict(loss),
        "schedule": schedule.to_dict(), "vae": str(vae),
    }  # fmt: skip
    resume = order.goes_on("diffusion", settings, config)
    place = find(vae, strict=False)
    if not resume and not is_model(place) and refit_is_due(place, runs.read_config(place)):
        warn(f"the prior of {vae} is not refitted to the end, and denoising starts there; celebgen info {vae} says how")
    frozen = preparing.as_begun(Components(text=text, cvae=cvae), output, resume, warn)
    assert frozen.text is not None and frozen.cvae is not None
    text, cvae = frozen.text.to(where), frozen.cvae.to(where)
    mixed = autocast(where, config.precision)
    pairs = [
        (examples, encode(cvae, text, examples, order.dataset / "latents", mixed, progress, output / "latents"))
        for examples in training_and_held_out(data, held, wording)
    ]

    def run(report: Reporter) -> dict[str, float]:
        loaded = runs.has_checkpoint(output)
        task = DiffusionTask(
            unet, schedule, cvae, text, pairs[0], pairs[1], config.batch_size, config.seed, loss, loaded
        )
        if init_from is not None and begun is not None and weights:
            begin_with(task.model, begun, weights, init_from, warn)
        watching = list(order.observers)
        if fid is not None and extractor is not None:
            watching.append(PeriodicFID(*fid, extractor, text, cvae, schedule, pairs[1][0], mixed, config.seed))
        trainer = Trainer(
            task, output, config, device=where, settings=settings, resume=resume, warn=warn, observers=watching
        )
        preparing.freeze(Components(text=text, cvae=cvae, info={"schedule": schedule.to_dict()}), output, resume)
        return trainer.train(report)

    return run
