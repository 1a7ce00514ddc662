"""The command line: one module a subcommand. Heavy imports live inside the commands: `--help` answers at once."""

import os
import sys
from typing import Annotated

import typer

from celebgen_cli import __version__
from celebgen_cli.cli import (
    calibrate,
    common,
    config,
    download,
    edit,
    evaluate,
    explore,
    export,
    finetune,
    info,
    interpolate,
    many,
    models,
    prepare,
    sample,
    serve,
    train_clip,
    train_diffusion,
    train_judge,
    train_vae,
    vary,
)

app = typer.Typer(
    name="celebgen",
    help="Text to face on CelebA: words go through a conditional VAE to a latent distribution where denoising starts.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: a third faster, and long options are not cut off at 80 columns
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


app.command("sample", short_help="Make faces from words.")(sample.sample)
app.command("edit", short_help="Edit the face in a photograph by words.")(edit.edit)
app.command("interpolate", short_help="Make the way from one face to another.")(interpolate.interpolate)
app.command("vary", short_help="Make faces like a given one.")(vary.vary)
app.command("serve", short_help="Answer requests on stdin with a model that stays warm.")(serve.serve)
app.command("download", short_help="Fetch or copy CelebA's files.")(download.download)
app.command("prepare", short_help="Crop, resize and match images for training.")(prepare.prepare)
app.command("explore", short_help="Show what a prepared dataset is made of.")(explore.explore)
app.command("train-clip", short_help="Train the compact CLIP that reads the text.")(train_clip.train_clip)
app.command("train-vae", short_help="Train the conditional VAE and its prior.")(train_vae.train_vae)
app.command("train-diffusion", short_help="Train the denoiser.")(train_diffusion.train_diffusion)
app.command("train-judge", short_help="Train the judge of attributes, to measure with.")(train_judge.train_judge)
app.command("finetune", short_help="Train a model on with a few pictures of your own.")(finetune.finetune)
app.command("export", short_help="Write a run as a model folder.")(export.export)
app.command("calibrate", short_help="Correct what a model draws by photographs.")(calibrate.calibrate)
app.add_typer(evaluate.app, name="evaluate")
app.command("info", short_help="Say what a model, run, dataset or picture is.")(info.info)
app.command("models", short_help="List the models that go by a name.")(models.models)
config.configure(app, ("sample", "prepare", "calibrate", "evaluate", "finetune"))
many.mark(app, many.COMMANDS)
common.guard_all(app)


def main() -> None:
    """Entry point of `celebgen` and of `python -m celebgen_cli`."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started this (>&-): nobody reads it
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    if sys.stdin is None:  # likewise (<&-): it has no line
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115
    app()
