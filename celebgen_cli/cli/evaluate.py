"""`celebgen evaluate`: figures on stdout, everything else on stderr."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from celebgen_cli.cli import common
from celebgen_cli.cli.common import Device, Quiet

if TYPE_CHECKING:
    from celebgen_cli.evaluation.compare import Listener

app = typer.Typer(help="Measure a model, or any set of faces, against real ones.", no_args_is_help=True)

Generated = Annotated[
    str | None,
    typer.Argument(
        metavar="[GENERATED]",
        help="Model, folder or zip of images, DATASET[:SPLIT], statistics file. Default: the model in the box.",
        show_default=False,
    ),
]
Real = Annotated[
    str | None,
    typer.Argument(
        metavar="[REAL]",
        help="Folder or zip of images, DATASET[:SPLIT] or statistics file. Default: the valid split of "
        "$CELEBGEN_DATASET, else the statistics of CelebA's valid split that come with celebgen.",
        show_default=False,
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        "--inception-weights",
        metavar="FILE",
        help="torch-fidelity's InceptionV3. Default: $CELEBGEN_INCEPTION_WEIGHTS, else fetched once (91 MiB).",
    ),
]
Batch = Annotated[int | None, typer.Option("--batch-size", min=1, help="Images at a time.")]
Number = Annotated[int | None, typer.Option("--num", "-n", min=2, help="Images to measure. Default: all there are.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Cache = Annotated[bool, typer.Option("--cache/--no-cache", help="Keep the features of images on disk for next time.")]


@app.command("fid")
def fid(
    generated: Generated = None,
    real: Real = None,
    num: Annotated[
        int | None, typer.Option("--num", "-n", min=2, help="Generated images. Default: as many as real ones.")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Sampling steps. Default: the model's.")] = None,
    sampler: Annotated[str | None, typer.Option("--sampler", help="Default: the model's.")] = None,
    guidance: Annotated[float | None, typer.Option("--guidance", help="Default: the model's.")] = None,
    guidance_interval: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="LOW HIGH", help="Default: the model's."),
    ] = None,
    pag: Annotated[
        bool | None, typer.Option("--pag/--no-pag", help="Perturbed-attention guidance. Default: the model's.")
    ] = None,
    calibrate: Annotated[
        bool | None,
        typer.Option("--calibrate/--no-calibrate", help="The model's correction of what it draws. Default: on."),
    ] = None,
    negative: Annotated[str | None, typer.Option("--negative", help="Negative prompt.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the first image.")] = 0,
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
    with _listener(quiet) as listener:
        result = compare(generated, real, options, listener)
    for warning in result.warnings:
        _remark(f"warning: {warning}", quiet)
    if as_json:
        _print_json({"metric": "fid", **result.to_dict()})
        return
    typer.echo(f"FID        {result.fid:.4f}")
    if result.kid is not None:
        typer.echo(
            f"KID        {result.kid:.6f} +/- {result.kid_deviation:.6f}  "
            f"({result.kid_subsets} subsets of {result.kid_subset_size})"
        )
    elif kid:
        _remark("KID is left out: a side is statistics without features", quiet)
    typer.echo(f"generated  {_side(result.generated)}")
    typer.echo(f"real       {_side(result.real)}")
    typer.echo(f"tools      {_tools()}")


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
    with _listener(quiet) as listener:
        result = reconstruct(model, real, options, rfid=rfid, listener=listener)
    if as_json:
        _print_json({"metric": "reconstruction", **result.to_dict(), "versions": _versions()})
        return
    typer.echo(f"PSNR       {result.psnr:.3f} dB +/- {result.psnr_interval:.3f} (95 %), mean over images")
    typer.echo(f"           {result.psnr_pooled:.3f} dB over all pixels")
    if result.rfid is not None:
        typer.echo(f"rFID       {result.rfid:.4f}")
    typer.echo(f"model      {result.model}")
    typer.echo(f"images     {result.source}, N {result.n}, size {result.size}, crop {result.crop or 'unknown'}")
    typer.echo(f"tools      {_tools()}")


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
    with _listener(quiet) as listener:
        make_statistics(images, output, options, name=name, keep_features=features, listener=listener)
    typer.echo(str(output))


@contextlib.contextmanager
def _listener(quiet: bool) -> Iterator[Listener]:
    """A listener with one bar at a time on stderr."""
    from celebgen_cli.evaluation import compare

    with contextlib.ExitStack() as stack:

        class Terminal(compare.Listener):
            def say(self, sentence: str) -> None:
                if not quiet:
                    # Through the console, so that a bar that is shown moves down.
                    common.stderr().print(sentence, markup=False, highlight=False, soft_wrap=True)

            def progress(self, label: str) -> Callable[[int, int], None]:
                stack.close()
                return stack.enter_context(common.progress(label, quiet=quiet))

        yield Terminal()


def _side(info: dict[str, Any]) -> str:
    """What a side is, in one line."""
    parts = [
        str(info.get("source") or info.get("kind") or "unknown"),
        f"N {info.get('n')}",
        f"size {info.get('size') or 'unknown'}",
        f"crop {info.get('crop') or 'unknown'}",
    ]
    if info.get("filter"):
        parts.append(f"filter {info['filter']}")
    settings = info.get("settings") or {}
    for name in ("sampler", "steps", "guidance", "guidance_interval", "pag", "negative", "seed"):
        value = settings.get(name)
        if value is None or value is False or value in ([0, 1], (0, 1)):
            continue
        shown = " to ".join(map(str, value)) if isinstance(value, list | tuple) else value
        parts.append(name if value is True else f"{name.replace('_', ' ')} {shown}")
    if settings.get("calibrate") is False:
        parts.append("not calibrated")
    return ", ".join(parts)


def _versions() -> dict[str, str]:
    from celebgen_cli.evaluation.statistics import tool_versions

    return tool_versions()


def _tools() -> str:
    return ", ".join(f"{name} {version}" for name, version in _versions().items())


def _remark(text: str, quiet: bool) -> None:
    if not quiet:
        common.say(text)


def _print_json(value: dict[str, Any]) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, allow_nan=False))
