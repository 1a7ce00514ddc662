"""`celebgen evaluate memorization`: whether a model copies its training pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from celebgen_cli.cli.evaluate_common import (
    Computing,
    Drawing,
    Json,
    Save,
    Seed,
    Weights,
    listening,
    refuse_idle,
    remark,
    side,
    tools,
    versions,
)
from celebgen_cli.cli.evaluate_reconstruction import LpipsWeights
from celebgen_cli.cli.groups import grouped
from celebgen_cli.cli.results import print_json


@grouped
def memorization(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[GENERATED] [TRAIN]",
            help="Model, folder or zip of images (default: the model in the box), and the training set, "
            "DATASET[:SPLIT] (default: the train split of $CELEBGEN_DATASET). A dataset alone is TRAIN.",
            show_default=False,
        ),
    ] = None,
    held_out: Annotated[
        str | None,
        typer.Option(
            "--held-out",
            metavar="SET",
            help="Photographs that were not trained on. Default: the valid split of TRAIN, else of $CELEBGEN_DATASET.",
        ),
    ] = None,
    space: Annotated[
        list[str] | None,
        typer.Option(
            "--space",
            help="inception, latent (the CVAE's) or pixels; may be repeated. Default: inception where its weights are "
            "here and latent, else latent and pixels.",
        ),
    ] = None,
    num: Annotated[
        int | None, typer.Option("--num", "-n", min=2, help="Faces. Default: 500 of a model, else all there are.")
    ] = None,
    train_num: Annotated[
        int | None, typer.Option("--train-num", min=2, help="Training pictures to search. Default: all.")
    ] = None,
    held_out_num: Annotated[
        int | None, typer.Option("--held-out-num", min=2, help="Held-out photographs. Default: all.")
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(
            "--pairs",
            metavar="FILE.png",
            help="Write the closest pairs here: a face and its three nearest training pictures, for your eyes.",
        ),
    ] = None,
    diversity: Annotated[
        bool, typer.Option("--diversity/--no-diversity", help="Also how much the faces of one prompt differ.")
    ] = True,
    seed: Seed = 0,
    save: Save = None,
    perceptual_weights: LpipsWeights = None,
    inception_weights: Weights = None,
    as_json: Json = False,
    *,
    drawing: Drawing,
    computing: Computing,
) -> None:
    """Nearest training pictures of generated faces, beside those of held-out photographs, in two spaces of features.

    A ratio near 1 says that faces are as far from the training set as new photographs are. A z below -3 says that they
    are nearer as a whole, as copies are, but smooth faces too: copies also have a low ratio at the 1 % quantile, and a
    nearest picture that is far nearer than the 50 next (relative). Look at the pairs before you believe any of it.
    """
    from celebgen_cli.errors import UsageError
    from celebgen_cli.evaluation.memorization import evaluate_memorization, parted
    from celebgen_cli.evaluation.options import Options
    from celebgen_cli.evaluation.pictures import TERMS

    generated, train = parted(words or [])
    if pairs is not None and pairs.suffix.lower() != ".png":
        raise UsageError(f"the pairs {pairs} must end in .png")
    refuse_idle(generated, drawing, save)
    options = Options(
        num, drawing.settings(), seed, inception_weights=inception_weights, save=save, **computing.options()
    )
    with listening(computing.quiet) as listener:
        result = evaluate_memorization(
            generated, train, options, held_out=held_out, train_count=train_num, held_out_count=held_out_num,
            chosen=space or (), pairs=pairs, diversity=diversity, lpips_weights=perceptual_weights, listener=listener,
        )  # fmt: skip
    for warning in result.warnings:
        remark(f"warning: {warning}", computing.quiet)
    if pairs is not None:
        remark(f"{pairs} {TERMS}", computing.quiet)
    if as_json:
        print_json({"metric": "memorization", **result.to_dict(), "versions": versions()})
        return
    for name, found in result.spaces.items():
        low, high = found.below_1_percent_interval
        typer.echo(f"{name:<10} {found.features}")
        typer.echo(
            f"  ratio    {_ratio(found.ratio_median)} at the median ({found.generated_median:.4g} over "
            f"{found.held_out_median:.4g}), {_ratio(found.ratio_1_percent)} at the 1 % quantile"
        )
        typer.echo(f"  z        {found.z:.2f}, {found.nearer:.2%} nearer than held-out (50 % is even)")
        typer.echo(f"  copies   {found.below_1_percent:.2%} nearer than 99 % of held-out ({low:.2%} to {high:.2%})")
        typer.echo(
            f"  relative {found.relative_1_percent:.4f} to the 50 nearest at the 1 % quantile, held-out "
            f"{found.relative_1_percent_held_out:.4f}"
        )
    if result.diversity is not None:
        different = result.diversity
        typer.echo(
            f"diversity  {different.generated:.4f} within a prompt ({different.seeds} seeds, {len(different.prompts)} "
            f"prompts), photographs {different.real:.4f}, ratio {different.ratio:.3f}; {different.distance}"
        )
    typer.echo(f"generated  {side(result.generated)}")
    typer.echo(f"train      {result.train}, N {result.n_train}")
    typer.echo(f"held out   {result.held_out}, N {result.n_held_out}")
    if result.pairs is not None:
        typer.echo(f"pairs      {result.pairs}")
    typer.echo(f"tools      {tools()}")


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
