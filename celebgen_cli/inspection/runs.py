"""A training run: how far it is, how it was made, its curves, and the command that goes on with it."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from celebgen_cli.errors import CelebgenError
from celebgen_cli.files import read_json
from celebgen_cli.inspection.curves import BLOCKS, by_channel, read_curves, shown, sparkline
from celebgen_cli.inspection.report import Report, Section, bytes_below, command, mapping, number, settings, size, whole
from celebgen_cli.inspection.tensors import parameters
from celebgen_cli.training.refit import checkpoint_steps, refit_is_due

KINDS = {
    "clip": ("compact CLIP, the text encoder", "train-clip"),
    "vae": ("conditional VAE", "train-vae"),
    "prior": ("refit of a CVAE's prior", "train-vae"),
    "diffusion": ("denoiser", "train-diffusion"),
    "judge": ("judge of attributes", "train-judge"),
}
HEALTHY = 0.8, 1.25
"""Variance of the whitened latent that a denoiser can start from without noticing; 1 is what it is trained for."""


def inspect(run: Path, blocks: str = BLOCKS) -> Report:
    """Everything that the run's folder says.

    Raises:
        CelebgenError: config.json is not that of a run.
    """
    config = read_json(run / "config.json")
    if not isinstance(config, dict) or config.get("format") != "celebgen-run":
        raise CelebgenError(f"{run / 'config.json'} is not of a celebgen run; check the path")
    kind, train = str(config.get("kind")), mapping(config.get("train"))
    what = KINDS.get(kind, (kind, ""))[0]
    report = Report(f"{run}: training run of a {what}")
    curves = read_curves(run / "metrics.jsonl")
    done, saved = max((c[-1][0] for c in curves.values()), default=0), checkpoint_steps(run)
    steps = whole(train.get("steps"))

    about = report.section("State")
    reached = saved[-1] if saved else 0
    about.add("steps", f"{done:,} of {steps:,} done" + (f" ({100 * done / steps:.0f} %)" if steps else ""))
    kept = ", ".join(f"{step:,}" for step in saved) or "none yet"
    about.add("checkpoints", f"{kept}; {size(bytes_below(run / 'checkpoints'))} on disk")
    if score := curves.get("score"):
        best = min(score, key=lambda point: point[1])
        about.add("best held-out score", f"{number(best[1])} at step {best[0]:,}, the newest {number(score[-1][1])}")
    if rate := curves.get("images_per_second"):
        speeds = sorted(value for _, value in rate)
        about.add("rate", f"{number(speeds[len(speeds) // 2])} images/s")
    if memory := curves.get("memory"):
        about.add("memory", f"{max(value for _, value in memory):.2f} GiB at most")
    if saved:
        count = parameters(run / "checkpoints" / f"step-{saved[-1]:07d}" / "ema.safetensors")
        about.add("parameters", None if count is None else f"{count:,}")
    if (run / "stopped.json").is_file():
        stopped = mapping(read_json(run / "stopped.json"))
        about.add("stopped", f"at step {stopped.get('step')}: {stopped.get('reason')}; see {run / 'stopped.json'}")
    if (run / "metrics.jsonl").is_file():
        about.add("newest figure", _when((run / "metrics.jsonl").stat().st_mtime))

    _made(report.section("How it was made"), run, config, train)
    _curves(report.section(f"Curves over {done:,} steps"), curves, blocks)
    _health(report.section("Latent on held-out pictures"), curves)
    if (run / "prior" / "config.json").is_file():
        refit = read_curves(run / "prior" / "metrics.jsonl")
        _curves(report.section("Refit of the prior"), refit, blocks)
        _health(report.section("Latent after the refit, on held-out pictures"), refit)
    due = refit_is_due(run, config)
    if due and 0 < steps <= reached:
        about.add("refit of the prior", "not done yet")
    _next(report, run, kind, config, finished=steps > 0 and reached >= steps and not due)
    return report


def _made(section: Section, run: Path, config: Mapping[str, Any], train: Mapping[str, Any]) -> None:
    data, captions = mapping(config.get("data")), mapping(config.get("captions"))
    section.add("preset", config.get("preset"))
    if data:
        crop = f"{data.get('size')} px, crop {data.get('crop')}"
        section.add("data", f"{data.get('dataset')}: {whole(data.get('train_images')):,} training images, {crop}")
        section.add("held out", data.get("valid"))
    section.add("captions", captions.get("source"))
    for name, label in (("text", "text encoder"), ("vae", "CVAE"), ("perceptual", "perceptual loss")):
        section.add(label, config.get(name))
    section.add("denoising starts at", mapping(config.get("unet")).get("init"))
    for network in ("clip", "cvae", "unet", "judge"):
        section.add(network, settings(mapping(config.get(network)), ("init",)))
    section.add("loss", settings(mapping(config.get("loss"))))
    section.add("training", settings(train))
    if (run / "config.toml").is_file():
        section.add("all options", run / "config.toml")


def _curves(section: Section, curves: dict[str, Any], blocks: str) -> None:
    for name, curve in shown(curves).items():
        first, last = number(curve[0][1]), number(curve[-1][1])
        section.add(name, f"{first:>9} to {last:<9} {sparkline(curve, 40, blocks)}")


def _health(section: Section, curves: dict[str, Any]) -> None:
    kl, variance = by_channel(curves, "valid_kl"), by_channel(curves, "whitened_variance")
    if not kl or not variance:
        return
    section.add("KL by channel", " ".join(f"{value:.3f}" for value in kl) + "  nats a dimension")
    if active := curves.get("valid_active"):
        share = active[-1][1]
        section.add("in use", f"{100 * share:.1f} % of the dimensions" + ("" if share > 0.99 else "; others collapsed"))
    off = [i for i, value in enumerate(variance) if not HEALTHY[0] <= value <= HEALTHY[1]]
    verdict = f"; not near 1: channel {', '.join(map(str, off))}" if off else "; near 1, as it must be"
    section.add("whitened variance", " ".join(f"{value:.3f}" for value in variance) + verdict)
    section.add("whitened mean", " ".join(f"{value:+.3f}" for value in by_channel(curves, "whitened_mean")))
    if explained := curves.get("valid_text_r2"):
        section.add("explained by text", f"{100 * explained[-1][1]:.1f} % of the variance about the mean face")


def _next(report: Report, run: Path, kind: str, config: Mapping[str, Any], finished: bool) -> None:
    if kind == "prior":
        above = "it is part of the train-vae run above it: " + command("celebgen", "info", run.parent)
        report.section("To go on").add("", above)
        return
    on = going_on(run, kind, config)
    if not finished:
        report.section("To go on").add("", on)
        return
    dataset = mapping(config.get("data")).get("dataset", "DATASET")
    following = {
        "clip": command("celebgen", "train-vae", dataset, "-o", "runs/vae", "--text", run),
        "vae": command("celebgen", "train-diffusion", dataset, "-o", "runs/unet", "--vae", run),
        "diffusion": command("celebgen", "export", run, "-o", f"models/{run.resolve().name}"),
    }
    section = report.section("It is finished")
    section.add("", following.get(kind))
    section.add("", f"{on} --steps {2 * whole(mapping(config.get('train')).get('steps'))} # to train it longer")


def going_on(run: Path, kind: str, config: Mapping[str, Any]) -> str:
    """The command that goes on with a run, for a POSIX shell."""
    name = KINDS.get(kind, ("", f"train-{kind}"))[1]
    if (run / "config.toml").is_file():
        return command("celebgen", name, "--config", run / "config.toml", "-o", run, "--resume")
    words: list[object] = ["celebgen", name, mapping(config.get("data")).get("dataset", "DATASET"), "-o", run]
    if kind == "vae":  # the text encoder is kept in the run
        source = str(config.get("text"))
        words += ["--text", run / "frozen" if source == "compact" else source]
    if kind == "diffusion":
        words += ["--distill" if "distill" in config else "--vae", config.get("vae", "VAE")]
    return command(*words, "--resume")


def _when(seconds: float) -> str:
    ago = max(0.0, time.time() - seconds)
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        if ago >= length:
            count = int(ago // length)
            return f"{count} {unit}{'s' * (count > 1)} ago"
    return "just now"
