"""`celebgen evaluate text`: faces and their prompts in the eyes of a CLIP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from celebgen_cli.cli.evaluate_common import (
    Computing,
    Drawing,
    Generated,
    Json,
    Real,
    Save,
    Seed,
    listening,
    refuse_idle,
    side,
    tools,
    versions,
    with_interval,
)
from celebgen_cli.cli.groups import grouped
from celebgen_cli.cli.results import print_json


@grouped
def text(
    generated: Generated = None,
    real: Real = None,
    clip: Annotated[
        str | None,
        typer.Option(
            "--clip",
            metavar="NAME/TAG|local-dir:PATH|RUN",
            help="Which CLIP: open_clip's by name (fetched once) or folder, or a run of train-clip. Default: "
            "$CELEBGEN_CLIP, else one that was fetched before, best one that does not condition the model.",
        ),
    ] = None,
    candidates: Annotated[
        int, typer.Option("--candidates", "-k", help="Prompts that each face's own one must be found among.")
    ] = 100,
    prompts: Annotated[
        Path | None,
        typer.Option("--prompts", metavar="FILE", help="One prompt a line for a folder's pictures, by name."),
    ] = None,
    num: Annotated[
        int | None, typer.Option("--num", "-n", min=2, help="Faces. Default: 500 of a model, else all there are.")
    ] = None,
    seed: Seed = 0,
    save: Save = None,
    as_json: Json = False,
    *,
    drawing: Drawing,
    computing: Computing,
) -> None:
    """CLIP score and R-precision: whether faces show what their prompts say.

    Beside each figure stand what the photographs reach that the prompts were made from, and what chance does. Prompts
    of a folder come from the pictures that celebgen made, from prompts.txt in it, or from --prompts.
    """
    from celebgen_cli.evaluation.options import Options
    from celebgen_cli.evaluation.text import evaluate_text

    refuse_idle(generated, drawing, save)
    options = Options(num, drawing.settings(), seed, save=save, **computing.options())
    with listening(computing.quiet) as listener:
        result = evaluate_text(
            generated, real, options, clip=clip, candidates=candidates, prompts=prompts, listener=listener
        )
    if as_json:
        print_json({"metric": "text", **result.to_dict(), "versions": versions()})
        return
    photographs = "" if result.score_real is None else f"photographs {result.score_real:.3f}, "
    typer.echo(
        f"CLIP score   {with_interval(result.score, result.score_interval, '.3f')} (95 %); {photographs}"
        f"shuffled prompts {result.score_shuffled:.3f}"
    )
    low, high = result.r_precision_interval
    photographs = "" if result.r_precision_real is None else f"photographs {result.r_precision_real:.2%}, "
    typer.echo(
        f"R-precision  {result.r_precision:.2%} ({low:.2%} to {high:.2%}); {photographs}chance {result.chance:.2%}"
    )
    others = "that contradict it" if result.distractors == "contradicting" else "with other words"
    typer.echo(f"             its own prompt first among {result.candidates}, the others {others}")
    flatters = ", conditions the model" if result.conditions_model else ""
    typer.echo(f"CLIP         {result.clip}, sha256 {result.clip_sha256[:12]}{flatters}")
    typer.echo(f"generated    {side(result.generated)}, {result.prompts} prompts")
    typer.echo(f"real         {result.real or 'none'}")
    typer.echo(f"tools        {tools()}")
