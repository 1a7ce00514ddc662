"""`celebgen evaluate reconstruction`: both halves of the CVAE, apart from what denoises between them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from celebgen_cli.cli.evaluate_common import (
    Calibrate,
    Computing,
    Json,
    Number,
    Seed,
    Weights,
    listening,
    remark,
    tools,
    versions,
    with_interval,
)
from celebgen_cli.cli.groups import grouped
from celebgen_cli.cli.results import print_json

if TYPE_CHECKING:
    from celebgen_cli.evaluation.prior import PriorResult

LpipsWeights = Annotated[
    Path | None,
    typer.Option(
        "--perceptual-weights",
        metavar="DIR",
        help="AlexNet's weights for LPIPS, as train-vae takes them. Default: $CELEBGEN_PERCEPTUAL_WEIGHTS, else "
        "torchvision's where they were fetched before.",
    ),
]


@grouped
def reconstruction(
    model: Annotated[
        str | None,
        typer.Argument(metavar="[MODEL]", help="Model. Default: the model in the box.", show_default=False),
    ] = None,
    real: Annotated[
        str | None,
        typer.Argument(
            metavar="[REAL]",
            help="Folder or zip of images, or DATASET[:SPLIT]. Default: the valid split of $CELEBGEN_DATASET.",
            show_default=False,
        ),
    ] = None,
    num: Number = None,
    rfid: Annotated[
        bool,
        typer.Option("--rfid/--no-rfid", help="Also FIDs, where Inception weights are here."),
    ] = True,
    prior: Annotated[
        bool, typer.Option("--prior/--no-prior", help="Also the prior p(z|c), where captions can be made.")
    ] = True,
    calibrate: Calibrate = None,
    worst: Annotated[
        Path | None,
        typer.Option("--worst", metavar="DIR", help="Write the eight worst cases here, original | reconstruction."),
    ] = None,
    seed: Seed = 0,
    perceptual_weights: LpipsWeights = None,
    inception_weights: Weights = None,
    as_json: Json = False,
    *,
    computing: Computing,
) -> None:
    """What the CVAE loses of real images, and what its prior knows of them from their captions.

    PSNR, SSIM, LPIPS and rFID of images that went through encoder and decoder without text, and through the filter of
    the model's calibration, as an edited photograph does (--no-calibrate leaves it out). Of the prior: likelihood of
    the latents, the share of their variance that text explains, and FID of its decoded draws, which is what the CVAE
    alone would draw. Plus or minus is a 95 % interval over images.
    """
    from celebgen_cli.evaluation.options import Options
    from celebgen_cli.evaluation.pictures import TERMS
    from celebgen_cli.evaluation.reconstruction import evaluate_reconstruction

    options = Options(num=num, seed=seed, inception_weights=inception_weights, **computing.options())
    with listening(computing.quiet) as listener:
        result = evaluate_reconstruction(
            model, real, options, rfid=rfid, prior=prior, calibrate=calibrate is not False, worst=worst,
            lpips_weights=perceptual_weights, listener=listener,
        )  # fmt: skip
    if worst is not None:
        remark(f"{worst} {TERMS}", computing.quiet)
    if as_json:
        print_json({"metric": "reconstruction", **result.to_dict(), "versions": versions()})
        return
    typer.echo(f"PSNR       {with_interval(result.psnr, result.psnr_interval, '.3f')} dB (95 %), mean over images")
    typer.echo(f"           {result.psnr_pooled:.3f} dB over all pixels")
    typer.echo(f"SSIM       {with_interval(result.ssim, result.ssim_interval, '.5f')}")
    if result.lpips is not None:
        typer.echo(f"LPIPS      {with_interval(result.lpips, result.lpips_interval, '.5f')} (AlexNet)")
    if result.rfid is not None:
        typer.echo(f"rFID       {with_interval(result.rfid, result.rfid_interval)}")
    if result.prior is not None:
        _print_prior(result.prior)
    typer.echo(f"model      {result.model}{'' if result.calibrate else ', not calibrated'}")
    typer.echo(f"images     {result.source}, N {result.n}, size {result.size}, crop {result.crop or 'unknown'}")
    for path in result.pictures:
        typer.echo(f"worst      {path}")
    typer.echo(f"tools      {tools()}")


def _print_prior(prior: PriorResult) -> None:
    low, high = prior.whitened_variance
    typer.echo(f"prior NLL  {with_interval(prior.nll, prior.nll_interval)} nats a dimension, caption of each image")
    typer.echo(f"           {with_interval(prior.nll_without_text, prior.nll_without_text_interval)} without text")
    typer.echo(f"           {with_interval(prior.text_gain, prior.text_gain_interval)} gained by text")
    typer.echo(f"prior KL   {prior.kl:.4f} nats a dimension, posterior to prior")
    explained = with_interval(prior.variance_explained, prior.variance_explained_interval, ".2%")
    typer.echo(
        f"explained  {explained} of the latents' variance by text, {prior.variance_explained_without_text:.2%} without"
    )
    typer.echo(f"whitened   variance {low:.3f} to {high:.3f} over channels")
    if prior.fid is not None:
        typer.echo(f"prior FID  {with_interval(prior.fid, prior.fid_interval)} of its decoded draws, seed {prior.seed}")
