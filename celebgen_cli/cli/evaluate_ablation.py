"""`celebgen evaluate ablation`: a grid of models and settings, measured cell by cell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from celebgen_cli.cli.common import say
from celebgen_cli.cli.evaluate_common import (
    Calibrate,
    Computing,
    GuidanceInterval,
    Negative,
    Pag,
    Weights,
    listening,
    remark,
    sampling,
)
from celebgen_cli.cli.groups import grouped
from celebgen_cli.cli.results import print_json

_Value = TypeVar("_Value", int, float, str)


@grouped
def ablation(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for journal, tables, plots.")],
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="MODEL", help="Models. Default: the model in the box.", show_default=False),
    ] = None,
    real: Annotated[
        str | None, typer.Option("--real", metavar="REAL", help="The reference. Default: that of `evaluate fid`.")
    ] = None,
    steps: Annotated[str, typer.Option("--steps", metavar="LIST", help="Such as 5,10,20.")] = "5,10,20,50,100",
    samplers: Annotated[
        str | None, typer.Option("--samplers", metavar="LIST", help="Such as ddim,dpmpp_2m. Default: each model's own.")
    ] = None,
    spacings: Annotated[
        str | None,
        typer.Option("--spacings", metavar="LIST", help="Such as trailing,early. Default: each model's own."),
    ] = None,
    guidance: Annotated[
        str | None, typer.Option("--guidance", metavar="LIST", help="Such as 1,2,4.5. Default: each model's own.")
    ] = None,
    seeds: Annotated[
        str, typer.Option("--seeds", metavar="LIST", help="Sets of faces; 0-2 draws three and gives a spread.")
    ] = "0",
    num: Annotated[int, typer.Option("--num", "-n", min=2, help="Faces of each set.")] = 1000,
    metrics: Annotated[
        str, typer.Option("--metrics", metavar="LIST", help="fid (with KID), obedience.")
    ] = "fid,obedience",
    judge: Annotated[
        Path | None,
        typer.Option("--judge", help="Model or train-judge run that says what faces show. Default: that in the box."),
    ] = None,
    guidance_interval: GuidanceInterval = None,
    pag: Pag = None,
    calibrate: Calibrate = None,
    negative: Negative = None,
    inception_weights: Weights = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a row of the table, on stdout.")] = False,
    *,
    computing: Computing,
) -> None:
    """FID, KID and obedience over a grid of models, steps, samplers and guidance.

    What is measured is kept in DIR at once: the same command goes on where it was interrupted, and a larger grid
    measures only what is new. DIR receives table.md, table.csv, cells.csv, a plot of each figure and ablation.html.

    Example: celebgen evaluate ablation runs/prior runs/noise -o ablation --steps 5,10,20 --seeds 0-2
    """
    from celebgen_cli.evaluation.ablation import measure_grid
    from celebgen_cli.evaluation.ablation_table import aligned, rows_of, text_table, write
    from celebgen_cli.evaluation.grids import Grid
    from celebgen_cli.evaluation.options import Options
    from celebgen_cli.sampling.settings import Seeds

    fixed = sampling(guidance_interval=guidance_interval, pag=pag, calibrate=calibrate, negative=negative)
    options = Options(num=num, sampling=fixed, inception_weights=inception_weights, **computing.options())
    grid = Grid(
        models=models or [None],
        steps=_values(steps, int, "--steps", "whole numbers"),
        samplers=_values(samplers, str, "--samplers", "names") if samplers is not None else [None],
        spacings=_values(spacings, str, "--spacings", "names") if spacings is not None else [None],
        guidance=_values(guidance, float, "--guidance", "numbers") if guidance is not None else [None],
        seeds=list(dict.fromkeys(Seeds.parsed(seeds))),
        metrics=_values(metrics, str, "--metrics", "names"),
    )
    with listening(computing.quiet) as listener:
        made = measure_grid(grid, output, real, options, judge=judge, listener=listener)
    paths = write(made, output)
    for warning in made.warnings:
        remark(f"warning: {warning}", computing.quiet)
    rows = rows_of(made)
    if as_json:
        for row in rows:
            print_json({"metric": "ablation", **row, "num": made.num, "real": made.real})
    else:
        typer.echo(text_table(rows, aligned))
    if not computing.quiet:
        say(f"written: {', '.join(str(path) for path in paths)}")


def _values(text: str, kind: Callable[[str], _Value], name: str, what: str) -> list[_Value]:
    """The values of a list with commas, each once, in their order."""
    from celebgen_cli.errors import UsageError

    try:
        values = [kind(part.strip()) for part in text.split(",")]
    except ValueError as error:
        raise UsageError(f"{name} takes {what} with commas between them, not '{text[:60]}'") from error
    if "" in values:
        raise UsageError(f"{name} takes {what} with commas between them, not '{text[:60]}'")
    return list(dict.fromkeys(values))
