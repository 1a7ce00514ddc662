"""The command line: one module a subcommand. Heavy imports live inside the commands: `--help` answers at once."""

from typing import Annotated

import typer

from celebgen_cli import __version__
from celebgen_cli.cli import (
    calibrate,
    common,
    download,
    evaluate,
    explore,
    export,
    info,
    models,
    prepare,
    sample,
    serve,
    train_clip,
    train_diffusion,
    train_vae,
)

app = typer.Typer(
    name="celebgen",
    help="Text to face on CelebA: words go through a conditional VAE to a latent distribution where denoising starts.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(show: bool) -> None:
    if show:
        print(f"celebgen {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Text to face on CelebA: words go through a conditional VAE to a latent distribution where denoising starts."""
    common.DEBUG = debug


app.command("sample")(sample.sample)
app.command("serve")(serve.serve)
app.command("download")(download.download)
app.command("prepare")(prepare.prepare)
app.command("explore")(explore.explore)
app.command("train-clip")(train_clip.train_clip)
app.command("train-vae")(train_vae.train_vae)
app.command("train-diffusion")(train_diffusion.train_diffusion)
app.command("export")(export.export)
app.command("calibrate")(calibrate.calibrate)
app.add_typer(evaluate.app, name="evaluate")
app.command("info")(info.info)
app.command("models")(models.models)
common.guard_all(app)


def main() -> None:
    """Entry point of `celebgen` and of `python -m celebgen_cli`."""
    app()
