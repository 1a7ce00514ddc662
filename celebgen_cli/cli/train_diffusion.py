"""`celebgen train-diffusion`: the denoiser on the whitened latent."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from celebgen_cli.cli import common, config, train_common
from celebgen_cli.cli.groups import grouped
from celebgen_cli.errors import UsageError


@config.trains("diffusion")
@grouped
def train_diffusion(
    dataset: Annotated[Path, typer.Argument(help="Prepared dataset.")],
    output: train_common.RunFolder,
    vae: Annotated[
        Path | None, typer.Option(help="CVAE and text encoder: a train-vae run or a model. Needed without --distill.")
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            help="Where denoising starts. prior: from p(z|c). coarse: from p(z|w), a code w drawn from p(w|c) first. "
            "To compare with: mean, p(z) without text; noise+prior, plain noise with p(z|c) as an input; noise, "
            "without it. Default: as in --init-from, else prior."
        ),
    ] = None,
    distill: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL",
            help="Teach MODEL's own denoiser to draw in few steps, without guidance; a row of a batch is a whole path "
            "from noise.",
        ),
    ] = None,
    distill_steps: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Steps of that student; default 4.")
    ] = None,
    preset: train_common.Preset = None,
    widths: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Channels of the U-Net at the latent's size and after each halving, such as 96,128; all but the first "
            "have attention. Default: the preset's (base128: 192,256).",
        ),
    ] = None,
    blocks: Annotated[
        int | None,
        typer.Option(min=1, help="Residual blocks a resolution, each way; default: the preset's (base128: 2)."),
    ] = None,
    min_snr: Annotated[
        float | None,
        typer.Option(min=0, max=1e9, help="Gamma of the min-SNR weight; 1e9: no weight. Default 5.", metavar="GAMMA"),
    ] = None,
    input_perturbation: Annotated[
        float | None,
        typer.Option(
            min=0, metavar="X", help="Noise that the input has more than the target says, as a share; default 0."
        ),
    ] = None,
    sample_every: train_common.SampleEvery = None,
    fid_every: Annotated[
        int | None,
        typer.Option(min=1, help="Steps between FIDs against the held-out pictures, in metrics.jsonl; default: none."),
    ] = None,
    fid_num: Annotated[
        int | None,
        typer.Option(min=2, help="Faces that --fid-every draws, with 10 steps or a student's own; default: 2000."),
    ] = None,
    *,
    wording: train_common.Wording,
    loop: train_common.Loop,
    options: str = "",
) -> None:
    """Train the denoiser on the latents of a trained CVAE, whitened by its prior.

    Example: celebgen train-diffusion data/celeba -o runs/unet --vae runs/vae
    """
    from celebgen_cli.training import distilling, recipes

    order = loop.order(dataset, output, options, wording, sample_every=sample_every)
    before = order.before
    if distill is None and "distill" in before:
        distill = Path(before["vae"])
    elif vae is None and distill is None and before:
        vae = Path(before["vae"])
    own = {"vae": vae, "init": init, "preset": preset, "widths": widths, "blocks": blocks, "min_snr": min_snr,
           "input_perturbation": input_perturbation}  # fmt: skip
    if fid_every is None and fid_num is not None:
        raise UsageError("--fid-num says how many faces --fid-every draws; give that too")
    fid = None if fid_every is None else (fid_every, fid_num or 2000)
    if distill is not None:
        given = [f"--{name.replace('_', '-')}" for name, value in own.items() if value is not None]
        if given:
            raise UsageError(f"{given[0]} is the teacher's own with --distill; leave it out")
        run = distilling.prepare_distillation(order, model=distill, student_steps=distill_steps, fid=fid)
        _train(run, output, loop.quiet)
        return
    if vae is None:
        raise UsageError("say what the denoiser builds on: --vae RUN|MODEL, or --distill MODEL for a few-step student")
    if distill_steps is not None:
        raise UsageError("--distill-steps needs the teacher: add --distill MODEL")

    with common.progress("encode latents", quiet=loop.quiet) as encoded:
        run = recipes.prepare_diffusion(
            order, vae=vae, init=init, widths=widths, blocks=blocks, min_snr=min_snr,
            input_perturbation=input_perturbation, preset=preset, progress=encoded, fid=fid,
        )  # fmt: skip
    _train(run, output, loop.quiet)


def _train(run: Callable[..., dict[str, float]], output: Path, quiet: bool) -> None:
    with common.training_progress("train-diffusion", quiet) as report:
        figures = run(report)
    if not quiet and figures:
        common.say(train_common.summary(figures))
    print(output)
