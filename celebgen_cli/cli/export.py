"""`celebgen export`: a finished run as one model folder."""

from pathlib import Path
from typing import Annotated

import typer

from celebgen_cli.cli import common


def export(
    run: Annotated[Path, typer.Argument(help="A train-diffusion run, or a model to write again with other settings.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Model folder to write.")],
    name: Annotated[str | None, typer.Option(help="The model's name; default: the folder's.")] = None,
    storage: Annotated[str, typer.Option(help="int8 (a scale per channel), fp16 or fp32.")] = "int8",
    steps: Annotated[int | None, typer.Option(min=1, help="Default sampling steps to record.")] = None,
    guidance: Annotated[float | None, typer.Option(min=0.0, help="Default guidance to record.")] = None,
    sampler: Annotated[str | None, typer.Option(help="Default sampler to record.")] = None,
    spacing: Annotated[str | None, typer.Option(help="Default spacing of the steps to record.")] = None,
    guidance_interval: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="LOW HIGH", help="Default guidance interval to record."),
    ] = None,
    pag: Annotated[
        bool | None, typer.Option("--pag/--no-pag", help="Default of perturbed-attention guidance to record.")
    ] = None,
    decoder: Annotated[
        Path | None,
        typer.Option(help="Take the decoder of this train-vae --freeze-encoder run; default: RUN's own."),
    ] = None,
    decoder_share: Annotated[
        float | None,
        typer.Option(
            help="Below 1: interpolate the weights of both decoders; this is --decoder's share. Above 1, at most 2: "
            "go on along the same line. Default: 1."
        ),
    ] = None,
    judge: Annotated[
        Path | None,
        typer.Option(help="Add the attribute judge of this train-judge run or model; default: a model's own."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a model that is there.")] = False,
) -> None:
    """Write everything that a run was trained with, and its EMA weights, as one model folder; prints the folder.

    A calibration is of the settings and the decoder that it was measured with: where these change it is left out, and
    celebgen calibrate makes another.

    Example: celebgen export runs/unet -o models/faces

    Example: celebgen export models/faces -o models/sharper --decoder runs/decoder --guidance 4
    """
    from celebgen_cli.training.exporting import export_run

    defaults = {
        "steps": steps,
        "guidance": guidance,
        "sampler": sampler,
        "spacing": spacing,
        "guidance_interval": None if guidance_interval is None else list(guidance_interval),
        "pag": pag,
    }
    export_run(
        run,
        output,
        name=name,
        storage=storage,
        defaults={k: v for k, v in defaults.items() if v is not None},
        decoder=decoder,
        decoder_share=decoder_share,
        judge=judge,
        force=force,
        announce=common.say,
    )
    print(output)
