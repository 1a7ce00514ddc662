"""`celebgen evaluate`: figures on stdout, everything else on stderr."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from celebgen_cli.cli.common import Device, Quiet
from celebgen_cli.cli.evaluate_common import (
    Batch,
    Cache,
    Calibrate,
    Generated,
    GeneratedNumber,
    Guidance,
    GuidanceInterval,
    Json,
    Negative,
    Number,
    Pag,
    Real,
    Sampler,
    Seed,
    Steps,
    Weights,
    listening,
    print_json,
    remark,
    side,
    tools,
    versions,
)

app = typer.Typer(help="Measure a model, or any set of faces, against real ones.", no_args_is_help=True)


@app.command("fid")
def fid(
    generated: Generated = None,
    real: Real = None,
    num: GeneratedNumber = None,
    steps: Steps = None,
    sampler: Sampler = None,
    guidance: Guidance = None,
    guidance_interval: GuidanceInterval = None,
    pag: Pag = None,
    calibrate: Calibrate = None,
    negative: Negative = None,
    seed: Seed = 0,
    kid: Annotated[bool, typer.Option("--kid/--no-kid", help="Also the Kernel Inception Distance.")] = True,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="DIR", help="Keep what the model draws, as PNG, with its prompts.")
    ] = None,
    inception_weights: Weights = None,
    batch_size: Batch = None,
    device: Device = None,
    cache: Cache = True,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Frechet and Kernel Inception Distance, equal to torch-fidelity's.

    A model draws one face for a caption of each real image's attributes. KID needs the features of both sides, which
    a statistics file has only where it was made with --features.
    """
    from celebgen_cli.evaluation.compare import Options, compare

    sampling = {
        "steps": steps, "sampler": sampler, "guidance": guidance, "guidance_interval": guidance_interval, "pag": pag,
        "calibrate": calibrate, "negative": negative,
    }  # fmt: skip
    options = Options(num, sampling, seed, batch_size, device, inception_weights, kid, cache, save)
    with listening(quiet) as listener:
        result = compare(generated, real, options, listener)
    for warning in result.warnings:
        remark(f"warning: {warning}", quiet)
    if as_json:
        print_json({"metric": "fid", **result.to_dict()})
        return
    typer.echo(f"FID        {result.fid:.4f}")
    if result.kid is not None:
        typer.echo(
            f"KID        {result.kid:.6f} +/- {result.kid_deviation:.6f}  "
            f"({result.kid_subsets} subsets of {result.kid_subset_size})"
        )
    elif kid:
        remark("KID is left out: a side is statistics without features", quiet)
    typer.echo(f"generated  {side(result.generated)}")
    typer.echo(f"real       {side(result.real)}")
    typer.echo(f"tools      {tools()}")


@app.command("reconstruction")
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
        typer.Option("--rfid/--no-rfid", help="Also FID of the reconstructions, where Inception weights are here."),
    ] = True,
    inception_weights: Weights = None,
    batch_size: Batch = None,
    device: Device = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """PSNR of real images that went through the CVAE, and their FID (rFID)."""
    from celebgen_cli.evaluation.compare import Options, reconstruct

    options = Options(num=num, batch_size=batch_size, device=device, inception_weights=inception_weights)
    with listening(quiet) as listener:
        result = reconstruct(model, real, options, rfid=rfid, listener=listener)
    if as_json:
        print_json({"metric": "reconstruction", **result.to_dict(), "versions": versions()})
        return
    typer.echo(f"PSNR       {result.psnr:.3f} dB +/- {result.psnr_interval:.3f} (95 %), mean over images")
    typer.echo(f"           {result.psnr_pooled:.3f} dB over all pixels")
    if result.rfid is not None:
        typer.echo(f"rFID       {result.rfid:.4f}")
    typer.echo(f"model      {result.model}")
    typer.echo(f"images     {result.source}, N {result.n}, size {result.size}, crop {result.crop or 'unknown'}")
    typer.echo(f"tools      {tools()}")


@app.command("stats")
def stats(
    images: Annotated[str, typer.Argument(metavar="SPLIT", help="DATASET[:SPLIT], or a folder or zip of images.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The .safetensors file to write.")],
    name: Annotated[
        str | None, typer.Option("--name", help="What figures call this set. Default: the name of its folder.")
    ] = None,
    num: Number = None,
    features: Annotated[
        bool, typer.Option("--features", help="Keep every image's features too (8 KB an image), which KID needs.")
    ] = False,
    inception_weights: Weights = None,
    batch_size: Batch = None,
    device: Device = None,
    cache: Cache = True,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    quiet: Quiet = False,
) -> None:
    """Write reference statistics that `evaluate fid` takes on either side."""
    from celebgen_cli.errors import UsageError
    from celebgen_cli.evaluation.compare import Options, make_statistics

    if output.suffix.lower() != ".safetensors":
        raise UsageError(f"the statistics file {output} must end in .safetensors")
    if output.exists() and not force:
        raise UsageError(f"{output} is there already: choose another name, or --force to write over it")
    options = Options(num=num, batch_size=batch_size, device=device, inception_weights=inception_weights, cache=cache)
    with listening(quiet) as listener:
        make_statistics(images, output, options, name=name, keep_features=features, listener=listener)
    typer.echo(str(output))
