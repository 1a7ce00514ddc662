"""`celebgen train-judge`: the network that says which attributes a face shows."""

from pathlib import Path
from typing import Annotated

import typer

from celebgen_cli.cli import common, config, train_common
from celebgen_cli.cli.groups import grouped


@config.trains("judge")
@grouped
def train_judge(
    dataset: Annotated[Path, typer.Argument(help="Prepared dataset with attributes; its train split is learned from.")],
    output: train_common.RunFolder,
    preset: Annotated[
        str | None, typer.Option(help="Size: tiny (16 px, for tests), or base128 (64 px, at most 2 MiB); the default.")
    ] = None,
    *,
    loop: train_common.Loop,
    options: str = "",
) -> None:
    """Train the attribute judge that `evaluate attributes` measures with.

    Prints RUN when done, and on stderr the mean accuracy over the 40 attributes on held-out pictures. `export --judge
    RUN` puts it into a model folder. Example: celebgen train-judge data/celeba -o runs/judge
    """
    from celebgen_cli.training import judging

    with common.training_progress("train-judge", loop.quiet) as report:
        figures = judging.train_judge(loop.order(dataset, output, options), preset=preset, report=report)
    if not loop.quiet and figures:
        common.say(f"accuracy {100 * figures['accuracy']:.2f} % over 40 attributes on {figures['images']} pictures")
    print(output)
