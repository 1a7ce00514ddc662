"""`celebgen evaluate edits`: whether edits of photographs do what they are asked, and no more."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from celebgen_cli.cli.evaluate_common import (
    Calibrate,
    Computing,
    Json,
    Labelled,
    listening,
    remark,
    share,
    tools,
    versions,
)
from celebgen_cli.cli.evaluate_reconstruction import LpipsWeights
from celebgen_cli.cli.groups import grouped
from celebgen_cli.cli.results import print_json

if TYPE_CHECKING:
    from celebgen_cli.evaluation.edits import EditTally

COLUMNS = ("n", "hit", "before", "ceiling", "kept", "by CVAE", "LPIPS", "by CVAE")


@grouped
def edits(
    model: Annotated[
        str | None, typer.Argument(metavar="[MODEL]", help="Default: the model in the box.", show_default=False)
    ] = None,
    real: Labelled = None,
    num: Annotated[
        int | None, typer.Option("--num", "-n", min=1, help="Photographs, shared by the edits. Default: 160.")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="As in `celebgen edit`.")] = None,
    guidance: Annotated[float | None, typer.Option("--guidance", help="As in `celebgen edit`.")] = None,
    strength: Annotated[float, typer.Option("--strength", help="As in `celebgen edit`.")] = 0.8,
    method: Annotated[str, typer.Option("--method", help="invert or noise, as in `celebgen edit`.")] = "invert",
    detail: Annotated[
        bool | None, typer.Option("--detail/--no-detail", help="As in `celebgen edit`.", show_default=False)
    ] = None,
    read: Annotated[
        bool,
        typer.Option("--read/--no-read", help="Whether the judge says what a photograph shows, or the prompt is all."),
    ] = True,
    calibrate: Calibrate = None,
    judge: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN|MODEL", help="Judge of the results. Default: the model's own, else the one in the box."
        ),
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option("--sheet", metavar="FILE.png", help="Write photographs here, edited below, for your eyes."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the choice of photographs.")] = 0,
    perceptual_weights: LpipsWeights = None,
    as_json: Json = False,
    *,
    computing: Computing,
) -> None:
    """Whether edits of photographs do what they are asked, and leave alone what they are not.

    Ten prompts edit photographs that lack by their labels what is asked for. A small network judges them: `hit` is the
    share that shows it then, beside the photographs before (it errs) and real faces that have it (the ceiling); `kept`
    the share of its other answers that are as before, beside those on photographs that only went through the CVAE.
    What photographs show is read by the model's own judge, whichever judge the result; it is drawn as fast as can be
    (bf16 where that is fast), where `celebgen edit` takes fp32.
    """
    from celebgen_cli.errors import UsageError
    from celebgen_cli.evaluation.edits import evaluate_edits
    from celebgen_cli.evaluation.options import Options
    from celebgen_cli.evaluation.pictures import TERMS

    if sheet is not None and sheet.suffix.lower() != ".png":
        raise UsageError(f"the sheet {sheet} must end in .png")
    sampling = {"steps": steps, "guidance": guidance}
    options = Options(num=num, sampling=sampling, seed=seed, **computing.options())
    with listening(computing.quiet) as listener:
        result = evaluate_edits(
            model, real, options, strength=strength, method=method, detail=detail, read=read,
            calibrate=calibrate is not False, judge=judge, lpips_weights=perceptual_weights, sheet=sheet,
            listener=listener,
        )  # fmt: skip
    if sheet is not None:
        remark(f"{sheet} {TERMS}", computing.quiet)
    if as_json:
        print_json({"metric": "edits", **result.to_dict(), "versions": versions()})
        return
    low, high = result.total.interval
    how = result.settings
    typer.echo(f"hit        {share(result.total.hit)} (95 %: {share(low)} to {share(high)})")
    typer.echo(f"kept       {share(result.total.kept)} of the judge's other answers")
    typer.echo(f"model      {result.model}, judge {result.judge}")
    typer.echo(f"images     {result.source}, N {result.n}, size {result.size}, crop {result.crop or 'unknown'}")
    typer.echo(
        f"edits      {how['method']}, strength {how['strength']}, {how['steps']} steps, guidance {how['guidance']:g}, "
        f"{'' if how['read'] else 'not '}read by the judge, {'with' if how['detail'] else 'without'} detail"
        f"{'' if how['calibrate'] else ', not calibrated'}"
    )
    typer.echo(f"tools      {tools()}")
    typer.echo("\n" + _row("", *COLUMNS))
    for name, tally in {**result.edits, "all": result.total}.items():
        typer.echo(_line(name, tally))


def _line(name: str, tally: EditTally) -> str:
    shares = map(share, (tally.hit, tally.before, tally.ceiling, tally.kept, tally.kept_by_cvae))
    apart = ("-" if value is None else f"{value:.3f}" for value in (tally.lpips, tally.lpips_of_cvae))
    return _row(name, tally.n, *shares, *apart)


def _row(name: str, *cells: Any) -> str:
    return f"{name:<16}" + "".join(f"{cell:>9}" for cell in cells)
