"""`celebgen train-clip`: the compact CLIP, trained on pictures and captions of their attributes."""

from pathlib import Path
from typing import Annotated

import typer

from celebgen_cli.cli import common, config, train_common
from celebgen_cli.cli.groups import grouped


@config.trains("clip")
@grouped
def train_clip(
    dataset: Annotated[Path, typer.Argument(help="Prepared dataset.")],
    output: train_common.RunFolder,
    preset: train_common.Preset = None,
    contrast: Annotated[
        str | None, typer.Option(help="sigmoid (default; many positives), or softmax: plain ClipLoss, the baseline.")
    ] = None,
    *,
    wording: train_common.Wording,
    loop: train_common.Loop,
    options: str = "",
) -> None:
    """Train the compact CLIP whose text tower conditions the CVAE and the denoiser.

    Prints RUN when done, and on stderr how well attributes are read from held-out phrasings and how well captions
    find pictures. Example: celebgen train-clip data/celeba -o runs/clip --steps 2000
    """
    from celebgen_cli.training import recipes

    with common.training_progress("train-clip", loop.quiet) as report:
        figures = recipes.train_clip(
            loop.order(dataset, output, options, wording), preset=preset, contrast=contrast, report=report
        )
    if not loop.quiet:
        common.say(train_common.summary(figures))
    print(output)
