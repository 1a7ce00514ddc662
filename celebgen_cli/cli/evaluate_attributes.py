"""`celebgen evaluate attributes`: whether faces show what their prompts say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from celebgen_cli.cli.evaluate_common import (
    Computing,
    Drawing,
    Json,
    Labelled,
    Seed,
    listening,
    refuse_idle,
    remark,
    share,
    side,
    tools,
)
from celebgen_cli.cli.groups import grouped
from celebgen_cli.cli.results import print_json

if TYPE_CHECKING:
    from celebgen_cli.evaluation.attributes import AttributesResult
    from celebgen_cli.evaluation.obedience import Tally

COLUMNS = ("n", "hit", "ceiling", "floor", "obeyed")
NEAR = 0.05
"""Where floor and ceiling are nearer than this, a table does not say how far between them a hit rate is."""


@grouped
def attributes(
    generated: Annotated[
        str | None,
        typer.Argument(
            metavar="[GENERATED]",
            help="Model, or folder of pictures that celebgen made, which say their prompts. Default: the model in the "
            "box.",
            show_default=False,
        ),
    ] = None,
    real: Labelled = None,
    num: Annotated[
        int | None,
        typer.Option("--num", "-n", min=2, help="Faces. Default: 500 of a model, all of a folder."),
    ] = None,
    judge: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN|MODEL", help="Attribute judge. Default: GENERATED's own, else that of the model in the box."
        ),
    ] = None,
    worst: Annotated[
        Path | None,
        typer.Option("--worst", metavar="DIR", help="Write the faces of the 16 worst prompts, and a sheet of them."),
    ] = None,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="DIR", help="Keep what the model draws, as PNG, with its prompts.")
    ] = None,
    seed: Seed = 0,
    as_json: Json = False,
    *,
    drawing: Drawing,
    computing: Computing,
) -> None:
    """Whether faces show what their prompts say, for all 40 attributes.

    A model draws faces for sets of 1 to 4 attributes, plainly said and in other words, as frequent as in REAL; from 400
    faces on also for each attribute alone. A small network judges them. It errs, so its hit rate stands beside that on
    real faces that have what is named (the ceiling) and that of the same faces against other prompts (the floor);
    `obeyed` is how far from floor to ceiling the hit rate gets: 0 % does not listen, 100 % shows what is named as
    clearly as photographs do, and strong guidance can show it more clearly than they.
    """
    from celebgen_cli.evaluation.attributes import evaluate_attributes
    from celebgen_cli.evaluation.options import Options

    refuse_idle(generated, drawing, save)
    options = Options(num=num, sampling=drawing.settings(), seed=seed, save=save, **computing.options())
    with listening(computing.quiet) as listener:
        result = evaluate_attributes(generated, real, options, judge=judge, worst=worst, listener=listener)
    for warning in result.warnings:
        remark(f"warning: {warning}", computing.quiet)
    if as_json:
        print_json({"metric": "attributes", **result.to_dict()})
        return
    typer.echo("\n".join(lines(result)))


def lines(result: AttributesResult) -> list[str]:
    """The result as text: figures, tables, the worst prompts."""
    total = result.total
    said = [
        f"obedience  {share(total.obedience)} of the way from floor to ceiling{_interval(result, 'obedience')}",
        f"hit rate   {share(total.hit)}{_interval(result, 'hit')}, {share(total.of_ceiling)} of the ceiling",
        f"ceiling    {share(total.ceiling)}{_interval(result, 'ceiling')}, real faces that have what is named",
        f"floor      {share(total.floor)}{_interval(result, 'floor')}, the same faces against other prompts",
        f"generated  {side(vars(result))}",
        f"prompts    {total.n} that name {total.named} attributes in all; {result.alone} more for one attribute alone",
        f"real       {result.real}",
        f"judge      {result.judge}, {share(result.accuracy)} of its answers on the real faces are right",
        f"tools      {tools()}",
        "",
        _row("", *COLUMNS),
    ]
    groups: list[tuple[str, Mapping[str, Tally | None]]] = [("", result.wordings), ("named ", result.values)]
    for lead, tallies in groups:
        said += [_tally(lead + name, tally) for name, tally in tallies.items() if tally is not None]
    said += [
        _tally(f"{size} attribute{'' if size == '1' else 's'}", tally)
        for size, tally in result.sizes.items()
        if tally is not None
    ]
    for way in ("present", "absent"):
        said += ["", _row(f"named {way}", *COLUMNS) + "  hit, 95 %"]
        for name, both in result.attributes.items():
            tally = both[way]
            if tally is not None:
                interval = result.hits[name][way]
                assert interval is not None
                said.append(f"{_tally(name, tally)}  {share(interval[0])} to {share(interval[1])}")
    if result.worst:
        said += ["", "worst prompts"]
    for one in result.worst:
        where = f"  {one['path']}" if one["path"] else ""
        said.append(f"  {one['prompt']}  (missed: {', '.join(one['missed'])}){where}")
    return said


def _tally(name: str, tally: Tally) -> str:
    obeyed = None if tally.ceiling - tally.floor < NEAR else tally.obedience
    return _row(name, tally.n, *map(share, (tally.hit, tally.ceiling, tally.floor, obeyed)))


def _row(name: str, *cells: Any) -> str:
    return f"{name:<20}" + "".join(f"{cell:>9}" for cell in cells)


def _interval(result: AttributesResult, name: str) -> str:
    interval = result.intervals[name]
    return "" if interval is None else f" (95 %: {share(interval[0])} to {share(interval[1])})"
